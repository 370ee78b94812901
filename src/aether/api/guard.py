"""Who calls, and may they: authentication for every request, and the one dependency that every route carries.

`Authentication` finds out who calls before anything is routed; only the routes in `PUBLIC` answer strangers. `allow`
names the action that a route is about; it checks role and account, takes the database role of the account, wants a
fresh proof where the action needs one, and writes refusals and sensitive reads to the audit trail. A test holds that no
route is without `allow`.
"""

import ipaddress
import re
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from fastapi import Depends, Header, Request
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from aether.api.local import LocalAccess
from aether.api.ports import Context
from aether.api.problems import problem_of
from aether.clock import monotonic_s, wall_ns
from aether.control.access import ACTIONS, EVERYWHERE, Action, Caller, CallerKind, Reach
from aether.control.audit import entry_of
from aether.control.proofs import ProofFault, ProofRefusedError, payload_hash
from aether.control.throttle import network_of
from aether.domain.errors import (
    AetherError,
    NotSignedInError,
    RefusedError,
    TooManyAttemptsError,
    UnknownNameError,
)
from aether.store.control_schema import account_scopes
from aether.store.database import Scope
from aether.store.patience import DATABASE_AWAY, within
from aether.telemetry import TURNED_AWAY, logger

_log = logger("guard")

PREFIX = "/api/v1"
PUBLIC = frozenset(
    f"{PREFIX}{path}"
    for path in (
        "/session",
        "/session/token",
        "/session/factor",
        "/session/passkey/challenge",
        "/session/passkey",
        "/session/oidc/start",
        "/session/oidc/callback",
        "/session/links",
        "/setup/invitation",
        "/setup/person",
        "/setup/factor",
    )
)
"""Where one becomes somebody. Everything else under the prefix needs a caller."""

COOKIE = "aether_session"
SECURE_COOKIE = "__Host-aether_session"
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")

METRICS = "/metrics"
"""Tells what accounts are worth: in production it needs a caller too."""

CALLERS = (50.0, 400.0)
"""Requests a second, and at once, of somebody who is known."""
STRANGERS = (20.0, 100.0)
"""The same of an address: of pages and probes, and of whoever is not on the roster, before anything is looked up."""
ALL_STRANGERS = (150.0, 600.0)
"""What strangers of all addresses have together before each has less, which leaves the processor to trading."""
IN_A_CROWD = (1.0, 30.0)
"""What an address has then: enough to come and sign in."""
BUCKETS_KEPT = 10_000

STOP = re.compile(r"/kill-switch/engage$|/venues/[^/]+/stop$")
"""How the paths of stops end."""
STOP_ACTION = ACTIONS["kill.engage"]
STOP_ASKS_S = 1.0
"""The database has so long to say who asks for a stop; then the roster counts."""
NOTES_S = 2.0
"""The audit trail has so long to take a note of a refusal; who is refused is refused."""


def cookie_name(context: Context) -> str:
    """Return the name of the session's cookie; over HTTPS the browser ties it to this host."""
    return SECURE_COOKIE if context.is_https else COOKIE


def is_same_origin(connection: HTTPConnection, context: Context) -> bool:
    """Return whether a request comes from our own page, or from no page at all."""
    origin = connection.headers.get("origin")
    if origin is not None:
        public = urlsplit(context.public_url)
        own = {f"{public.scheme}://{public.netloc}"}
        if not context.is_https:
            own.add(f"http://{connection.headers.get('host', '')}")
        return origin in own
    return connection.headers.get("sec-fetch-site", "none") in ("none", "same-origin")


def address_of(connection: HTTPConnection, context: Context) -> str:
    """Return where a request comes from: the peer, or what the nearest proxy that we trust saw."""
    peer = connection.client.host if connection.client else ""
    told = ",".join(connection.headers.getlist("x-forwarded-for"))
    hops = [h.strip() for h in told.split(",") if h.strip()]
    while hops and is_trusted(peer, context.trusted_proxies):
        peer = hops.pop()
    return peer


def is_trusted(address: str, trusted: tuple[str, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in ipaddress.ip_network(net, strict=False) for net in trusted)
    except ValueError:
        return False


class RateLimiter:
    """A token bucket for each caller."""

    def __init__(self, clock: Callable[[], float] = monotonic_s) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, key: str, per_s: float, burst: float) -> float:
        """Take one token; return 0, or how long to wait for one."""
        now = self._clock()
        level, before = self._buckets.pop(key, (burst, now))
        level = min(burst, level + (now - before) * per_s)
        allowed = level >= 1.0
        self._buckets[key] = (level - 1.0 if allowed else level, now)
        if len(self._buckets) > BUCKETS_KEPT:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if allowed else (1.0 - level) / per_s

    def stranger_wait_s(self, kind: str, address: str) -> float:
        """Take one token of whoever is not known; return 0, or how long to wait for one."""
        network = network_of(address)
        wait_s = self.wait_s(f"{kind} {network}", *STRANGERS)
        if not wait_s and self.wait_s("strangers", *ALL_STRANGERS):
            wait_s = self.wait_s(f"crowd {network}", *IN_A_CROWD)
        return wait_s


class Authentication:
    """Finds out who calls, as ASGI middleware; the caller is left in `request.state.caller`.

    Args:
        by_roster: the roster alone says so, as when the database is away.
    """

    def __init__(self, app: ASGIApp, context: Context | None, access: LocalAccess, *, by_roster: bool) -> None:
        self._app = app
        self._context = context
        self._access = access
        self._by_roster = by_roster
        self._limiter = RateLimiter()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] not in ("http", "websocket") or self._context is None:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        path = scope["path"]
        where = _where(connection, self._context)
        caller, is_away = None, False
        if scope["type"] == "http" and scope["method"] in UNSAFE:
            receive = await _whole(receive)
        try:
            if not path.startswith(PREFIX) and not (path == METRICS and self._context.is_production):
                if identify_by_roster(connection, self._context, self._access, where) is None:
                    self._limit_stranger("page", where)
            else:
                caller, is_away = await self._enter(connection, self._context, where)
        except AetherError as error:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await problem_of(error)(scope, receive, send)
            return
        scope.setdefault("state", {}).update(caller=caller or where, is_database_away=is_away)
        await self._app(scope, receive, send)

    async def _enter(self, connection: HTTPConnection, context: Context, where: Caller) -> tuple[Caller | None, bool]:
        """Return who calls, and whether the roster had to tell; refuse who may not come in."""
        known = identify_by_roster(connection, context, self._access, where)
        if known is None:
            self._limit_stranger("address", where)
        else:
            self._limit_caller(known)
        caller, is_away = await self._identify(connection, context, where, known)
        if caller is not None:
            if known is None:
                self._limit_caller(caller)
        elif connection.scope["path"] not in PUBLIC:
            raise NotSignedInError("Nobody is signed in.", remedy="Sign in, or send a token that is still good.")
        is_reading = connection.scope["type"] == "http" and connection.scope["method"] not in UNSAFE
        if not is_reading and not is_same_origin(connection, context):
            raise RefusedError("Requests from other sites are refused.", remedy="Use the platform's own page.")
        return caller, is_away

    async def _identify(
        self, connection: HTTPConnection, context: Context, where: Caller, known: Caller | None
    ) -> tuple[Caller | None, bool]:
        """Return who calls, and whether the roster had to tell: who asks for a stop is not kept waiting."""
        if self._by_roster:
            return known, True
        work = identify(connection, context, self._access, where)
        if not STOP.search(connection.scope["path"]):
            return await work, False
        try:
            return await within(STOP_ASKS_S, work), False
        except DATABASE_AWAY:
            if not context.control.roster.is_good:
                raise
            return identify_by_roster(connection, context, self._access, where), True

    def _limit_stranger(self, kind: str, where: Caller) -> None:
        self._refuse(kind, self._limiter.stranger_wait_s(kind, where.address))

    def _limit_caller(self, caller: Caller) -> None:
        self._refuse(caller.kind, self._limiter.wait_s(f"{caller.kind} {caller.id}", *CALLERS))

    def _refuse(self, kind: str, wait_s: float) -> None:
        if wait_s:
            TURNED_AWAY.labels(kind).inc()
            raise TooManyAttemptsError("Too many requests.", remedy="Slow down.", retry_after_s=wait_s)


async def _whole(receive: Receive) -> Receive:
    """Read a body to its end, and return what gives it again.

    Who calls is asked afterwards: between head and end of a body somebody may be locked out.
    """
    messages = deque([await receive()])
    while messages[-1].get("more_body"):
        messages.append(await receive())

    async def again() -> Message:
        return messages.popleft() if messages else await receive()

    return again


def _where(connection: HTTPConnection, context: Context) -> Caller:
    """Return a caller that is nobody yet, with where the request comes from."""
    return Caller(
        kind=CallerKind.PERSON,
        id="",
        name="nobody",
        address=address_of(connection, context),
        agent=connection.headers.get("user-agent", "")[:200],
        request_id=secrets.token_hex(8),
    )


async def identify(
    connection: HTTPConnection, context: Context, access: LocalAccess, where: Caller, *, is_use: bool = True
) -> Caller | None:
    """Return who calls: by token, by session, or the machine's owner while nobody is set up.

    Args:
        is_use: a session lives longer by it.
    """
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme:
        return await context.control.tokens.caller_of(token.strip(), where) if scheme.lower() == "bearer" else None
    session = connection.cookies.get(cookie_name(context))
    if not session:
        return None
    found = await context.control.sessions.caller_of(session, where, is_use=is_use)
    if found is None and access.is_session(session) and await local_access_open(context):
        return access.owner(where)
    return found


def identify_by_roster(
    connection: HTTPConnection, context: Context, access: LocalAccess, where: Caller
) -> Caller | None:
    """Return who calls as `identify` does, as far as they may stop accounts."""
    roster = context.control.roster
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme:
        return roster.caller_of(token.strip(), where) if scheme.lower() == "bearer" else None
    session = connection.cookies.get(cookie_name(context), "")
    if not context.is_production and not roster.has_people and access.is_session(session):
        return access.owner(where)
    return roster.caller_of(session, where)


async def local_access_open(context: Context) -> bool:
    """Return whether the machine's owner may still come in by a link: in development, before anybody is set up."""
    return not context.is_production and not await context.control.people.has_people()


@dataclass(frozen=True)
class Granted:
    """What a route may work with.

    Attributes:
        account: that the request is about; `*` for none in particular.
        scope: the database as the request may see it.
        is_database_away: the roster let the caller in, since the database does not answer.
    """

    caller: Caller
    action: Action
    account: str
    scope: Scope
    context: Context
    is_database_away: bool = False

    def accounts(self) -> list[str] | None:
        """Return the accounts in which the caller may do the action, None for all."""
        if self.caller.may(self.action):
            return None
        return [a for a in self.caller.roles if a != EVERYWHERE and self.caller.may(self.action, a)]

    def asked_about(self) -> list[str] | None:
        """Return the account that the request names, or all of `accounts` when it names none."""
        return self.accounts() if self.account == EVERYWHERE else [self.account]


class Guard:
    """The dependency that every route carries."""

    def __init__(self, action: Action, *, anywhere: bool) -> None:
        self.action = action
        self.anywhere = anywhere

    async def __call__(self, request: Request) -> Granted:
        """Return what the request may work with, or refuse it."""
        return await self.grant(request, "")

    async def grant(self, request: Request, proof: str) -> Granted:
        """Return what the request may work with, or refuse it; `proof` is the token of a second factor."""
        context: Context = request.app.state.context
        caller: Caller = request.state.caller
        account = _account_of(request)
        try:
            scope, is_away = await self._scope(request, context, caller, account)
            if self.action.proof and caller.kind is CallerKind.PERSON:
                await self._check_proof(request, context, caller, proof)
        except RefusedError as error:
            if not (isinstance(error, ProofRefusedError) and error.fault is ProofFault.MISSING):
                await note_refusal(context, caller, self.action, account, request.url.path, error)
            raise
        if self.action.audited:
            entry = entry_of(caller, self.action.name, "done", account=account, target=request.url.path)
            await context.control.audit.note(entry, wall_ns())
        return Granted(caller, self.action, account, scope, context, is_away and not context.is_lane)

    async def _scope(self, request: Request, context: Context, caller: Caller, account: str) -> tuple[Scope, bool]:
        """Check role and account; return the database as they may see it, and whether the roster had to tell."""
        if self.action is not STOP_ACTION:
            return await self._check(context, caller, account), False
        if not request.state.is_database_away:
            try:
                return await within(STOP_ASKS_S, self._check(context, caller, account)), False
            except DATABASE_AWAY:
                if not context.control.roster.is_good:
                    raise
        self._check_by_roster(context, caller, account)
        return context.database.desk, True

    def _check_by_roster(self, context: Context, caller: Caller, account: str) -> None:
        """Check role and account of a stop without the database."""
        roster = context.control.roster
        if account != EVERYWHERE and (
            account not in roster.accounts or not (caller.sees_all() or account in caller.roles)
        ):
            known = sorted(roster.accounts if caller.sees_all() else caller.roles)
            raise _no_account(account, known)
        if not caller.may(self.action, account):
            raise RefusedError(f"{caller.name} may not {self.action.meaning}.", remedy=_way(caller, self.action))

    async def _check(self, context: Context, caller: Caller, account: str) -> Scope:
        if account != EVERYWHERE:
            scope = await account_scope(context, account)
            if scope is None or not (caller.sees_all() or account in caller.roles):
                raise _no_account(account, await _all_accounts(context) if caller.sees_all() else sorted(caller.roles))
            if not caller.may(self.action, account):
                raise RefusedError(
                    f"{caller.name} may not {self.action.meaning} in {account}.",
                    remedy=_way(caller, self.action),
                )
            return scope
        if caller.may(self.action):
            return context.database.desk
        some = self.anywhere and any(caller.may(self.action, a) for a in caller.roles)
        if not some:
            raise RefusedError(
                f"{caller.name} may not {self.action.meaning}.",
                remedy=_way(caller, self.action),
            )
        return context.database.desk

    async def _check_proof(self, request: Request, context: Context, caller: Caller, token: str) -> None:
        path, query = request.scope["raw_path"].decode("latin-1"), request.scope["query_string"].decode("latin-1")
        target = f"{path}?{query}" if query else path
        payload = payload_hash(request.method, target, await request.body())
        await context.control.proofs.use(caller, self.action, payload, token, wall_ns())


async def note_refusal(
    context: Context, caller: Caller, action: Action, account: str, target: str, error: RefusedError
) -> None:
    """Write a refusal to the audit trail, which has only so long to take it."""
    entry = entry_of(caller, action.name, "refused", account=account, target=target, reason=error.message)
    try:
        await within(NOTES_S, context.control.audit.note(entry, wall_ns()))
    except DATABASE_AWAY:
        _log.error("refusal_not_recorded", caller=caller.name, action=action.name, account_id=account)


def _account_of(request: Request) -> str:
    """Return the account that a request names, `*` for none: a query names one only where the route says so."""
    declared = {field.alias for field in request.scope["route"].dependant.query_params}
    named = request.query_params.get("account") if "account" in declared else None
    return request.path_params.get("account") or named or EVERYWHERE


class ProvenGuard(Guard):
    """The dependency of routes that need a fresh proof of a second factor, in `X-MFA-Token`."""

    async def __call__(
        self,
        request: Request,
        x_mfa_token: Annotated[
            str, Header(max_length=200, description="token of a proof for exactly this request, from POST /mfa/proofs")
        ] = "",
    ) -> Granted:
        """Return what the request may work with, or refuse it."""
        return await self.grant(request, x_mfa_token)


def _no_account(account: str, known: Sequence[str]) -> UnknownNameError:
    return UnknownNameError(f"There is no account {account!r}.", remedy=f"Yours are: {', '.join(known) or 'none yet'}.")


def _way(caller: Caller, action: Action) -> str:
    """Return how someone who may not do something gets it done."""
    if caller.kind is CallerKind.LOCAL:
        return "Set up sign-in first (the page's banner does): it takes a person with a second factor."
    where = " for all accounts" if action.reach is Reach.FIRM else ""
    return f"Ask an admin; it takes the role {' or '.join(action.roles)}{where}."


async def account_scope(context: Context, account: str) -> Scope | None:
    """Return the database as an account's own role sees it, None when there is no such account."""
    query = sa.select(account_scopes.c.role).where(account_scopes.c.account == account)
    found = await context.database.control.all(query)
    return Scope(context.database, found[0].role) if found else None


async def _all_accounts(context: Context) -> list[str]:
    query = sa.select(account_scopes.c.account).order_by(account_scopes.c.account)
    return [row.account for row in await context.database.control.all(query)]


def allow(action: str, *, anywhere: bool = False) -> Any:
    """Return the dependency of a route about `action`.

    Args:
        anywhere: a role in any account lets the request in; the route then looks at `Granted.accounts`.
    """
    chosen = ACTIONS[action]
    return Depends((ProvenGuard if chosen.proof else Guard)(chosen, anywhere=anywhere))
