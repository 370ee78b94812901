"""Who may do what: the roles, one table of all actions, and the caller that wants one.

An action that is not in `ACTIONS` does not exist: every route of the API names one, and the matrix of roles and routes
in the docs is made from here.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from aether.domain.errors import InvalidValueError

EVERYWHERE = "*"
"""The account that stands for all of the firm."""


class Role(StrEnum):
    """What a person is in an account, or everywhere."""

    ADMIN = "admin"
    """A director: configures, and answers for money and people."""
    TRADER = "trader"
    """Trades, stops and resumes."""
    AUDITOR = "auditor"
    """Reads everything, changes nothing."""
    SERVICE = "service"
    """A program with a token, which names the actions that it may use."""


class Reach(StrEnum):
    """Where a role must be held for an action."""

    OWN = "own"
    """Nowhere: it concerns the caller alone."""
    ACCOUNT = "account"
    """In the account that it concerns."""
    FIRM = "firm"
    """Everywhere: it concerns more than one account."""


class Action(msgspec.Struct, frozen=True):
    """Something that a caller may want.

    Attributes:
        proof: needs a fresh proof of a second factor, bound to the request.
        second: in production a second person must approve it.
        service: tokens of services may carry it.
        audited: also written to the audit trail when it is only a read.
        raises: the risk that it raises, or what limits stand on that it moves; empty for neither.
        rule: what holds for it besides proof and second person.
    """

    name: str
    reach: Reach
    roles: tuple[Role, ...]
    meaning: str
    proof: bool = False
    second: bool = False
    service: bool = False
    audited: bool = False
    raises: str = ""
    rule: str = ""


_ALL = (Role.ADMIN, Role.TRADER, Role.AUDITOR)
_DESK = (Role.ADMIN, Role.TRADER)
_ADMIN = (Role.ADMIN,)
_WATCH = (Role.ADMIN, Role.AUDITOR)

ACTIONS: Mapping[str, Action] = {
    a.name: a
    for a in (
        Action("own.read", Reach.OWN, _ALL, "see who one is, one's devices and factors", service=True),
        Action("own.change", Reach.OWN, _ALL, "end a session, prove a second factor"),
        Action(
            "own.factors",
            Reach.OWN,
            _ALL,
            "change password, passkeys, TOTP, recovery codes",
            proof=True,
            raises="who can sign in and prove as this person",
            rule="the present password or factor is proven",
        ),
        Action("platform.read", Reach.OWN, _ALL, "see market, health and strategies", service=True),
        Action("metrics.read", Reach.FIRM, _WATCH, "read the metrics", service=True),
        Action("accounts.read", Reach.ACCOUNT, _ALL, "see an account, its orders, positions and worth", service=True),
        Action(
            "accounts.create",
            Reach.FIRM,
            _ADMIN,
            "open an account",
            proof=True,
            raises="another account trades, on paper",
        ),
        Action(
            "accounts.live",
            Reach.FIRM,
            _ADMIN,
            "open an account that trades real money",
            proof=True,
            second=True,
            raises="real money begins to trade",
        ),
        Action("accounts.archive", Reach.ACCOUNT, _ADMIN, "close an account; its records stay", proof=True),
        Action("accounts.configure", Reach.ACCOUNT, _ADMIN, "change limits and settings downwards", proof=True),
        Action(
            "accounts.loosen",
            Reach.ACCOUNT,
            _ADMIN,
            "raise a limit of an account",
            proof=True,
            second=True,
            raises="a limit",
            rule="judged against what is in force at the time when it begins",
        ),
        Action(
            "capital.move",
            Reach.ACCOUNT,
            _ADMIN,
            "book a deposit or withdrawal",
            proof=True,
            second=True,
            raises="the worth that limits are shares of",
            rule="an amount is booked once under a reference",
        ),
        Action(
            "books.book",
            Reach.ACCOUNT,
            _ADMIN,
            "book what a venue did and the books lack",
            proof=True,
            second=True,
            raises="the worth that limits are shares of",
            rule="an amount is booked once under a reference",
        ),
        Action("breaks.assign", Reach.ACCOUNT, _DESK, "take a break of the books on"),
        Action("safe_mode.engage", Reach.ACCOUNT, _DESK, "let an account do exits only", service=True),
        Action(
            "safe_mode.release",
            Reach.ACCOUNT,
            _DESK,
            "let an account enter again after safe mode",
            proof=True,
            raises="entries begin again",
        ),
        Action("kill.engage", Reach.ACCOUNT, _DESK, "stop trading", service=True),
        Action("kill.flatten", Reach.ACCOUNT, _DESK, "sell every position with a stop", service=True),
        Action(
            "kill.release",
            Reach.ACCOUNT,
            _ADMIN,
            "let trading go on after a kill",
            proof=True,
            second=True,
            raises="trading begins again",
        ),
        Action(
            "trading.resume",
            Reach.ACCOUNT,
            _DESK,
            "let trading go on after a halt or a loss stop",
            proof=True,
            raises="trading begins again after a halt or a loss stop",
        ),
        Action(
            "intents.decide",
            Reach.ACCOUNT,
            _DESK,
            "decide on an entry that waits for review",
            proof=True,
            raises="an entry that the gate held is sent",
        ),
        Action(
            "trading.override",
            Reach.ACCOUNT,
            _DESK,
            "trade, hedge or exit by hand",
            proof=True,
            raises="an order that no strategy asked for",
            rule="the pre-trade gate checks it",
        ),
        Action("trading.preview", Reach.ACCOUNT, _DESK, "see what a trade by hand would do, without doing it"),
        Action("capital.preview", Reach.ACCOUNT, _ADMIN, "see what a booking would move, without moving it"),
        Action("secrets.status", Reach.ACCOUNT, _WATCH, "see which keys there are", proof=True, audited=True),
        Action("secrets.audit", Reach.ACCOUNT, _WATCH, "see what was done with keys", proof=True, audited=True),
        Action(
            "secrets.upload",
            Reach.ACCOUNT,
            _ADMIN,
            "store a key of a venue",
            proof=True,
            second=True,
            raises="what trades with which key",
            rule="it may trade and not withdraw, by the venue",
        ),
        Action(
            "secrets.rotate",
            Reach.ACCOUNT,
            _ADMIN,
            "replace a key of a venue",
            proof=True,
            second=True,
            raises="what trades with which key",
            rule="it may trade and not withdraw, by the venue",
        ),
        Action("secrets.test", Reach.ACCOUNT, _ADMIN, "try a stored key at its venue", proof=True, audited=True),
        Action(
            "secrets.delete",
            Reach.ACCOUNT,
            _ADMIN,
            "delete a key of a venue",
            proof=True,
            second=True,
            raises="an account loses its way to a venue",
        ),
        Action(
            "keys.rotate",
            Reach.FIRM,
            _ADMIN,
            "replace the key-encryption key",
            proof=True,
            raises="what opens every sealed value",
            rule="an old key stays while anything needs it",
        ),
        Action("users.read", Reach.FIRM, _WATCH, "see people and their roles", audited=True),
        Action(
            "users.invite",
            Reach.FIRM,
            _ADMIN,
            "invite a person",
            proof=True,
            raises="who may do what",
            rule="an admin's link never goes to who invites; the address is in `AETHER_ADMINS`",
        ),
        Action(
            "users.link",
            Reach.FIRM,
            _ADMIN,
            "hand an invitation's link over",
            proof=True,
            raises="who may do what",
            rule="for an admin's, never who invited",
        ),
        Action(
            "users.confirm",
            Reach.FIRM,
            _ADMIN,
            "confirm that a new admin is who came in",
            proof=True,
            raises="who may do what",
            rule="never who held the link",
        ),
        Action(
            "users.roles",
            Reach.FIRM,
            _ADMIN,
            "change what a person may do",
            proof=True,
            second=True,
            raises="who may do what",
            rule="the address of an admin is in `AETHER_ADMINS`",
        ),
        Action(
            "users.disable",
            Reach.FIRM,
            _ADMIN,
            "lock a person out",
            proof=True,
            raises="who is left to decide",
            rule="two directors stay",
        ),
        Action(
            "users.enable",
            Reach.FIRM,
            _ADMIN,
            "let a person in again",
            proof=True,
            second=True,
            raises="who may do what",
            rule="with the factors and roles that they had",
        ),
        Action("tokens.read", Reach.FIRM, _WATCH, "see the tokens of services", audited=True),
        Action(
            "tokens.create",
            Reach.FIRM,
            _ADMIN,
            "make a token for a service",
            proof=True,
            raises="a program acts",
            rule="it can do what its maker may",
        ),
        Action(
            "tokens.arm",
            Reach.FIRM,
            _ADMIN,
            "make a token that may sell every position",
            proof=True,
            second=True,
            raises="a program may sell everything",
            rule="it can do what its maker may",
        ),
        Action("tokens.revoke", Reach.FIRM, _ADMIN, "end a token", proof=True),
        Action("approvals.read", Reach.ACCOUNT, _ALL, "see what waits for a second person"),
        Action(
            "approvals.decide",
            Reach.ACCOUNT,
            _ADMIN,
            "approve or decline what another asked for",
            proof=True,
            raises="all of these",
            rule="never who asked; the address is in `AETHER_DIRECTORS`",
        ),
        Action("approvals.withdraw", Reach.ACCOUNT, _ADMIN, "take back what one asked for", proof=True),
        Action("audit.read", Reach.ACCOUNT, _WATCH, "read, export and prove the audit trail", audited=True),
    )
}


class CallerKind(StrEnum):
    """What stands behind a request."""

    PERSON = "person"
    SERVICE = "service"
    LOCAL = "local"
    """The owner of the machine, before anybody was set up; never in production."""
    PLATFORM = "platform"
    """The platform itself."""


LOCAL_ACTIONS = (
    "own.read",
    "platform.read",
    "accounts.read",
    "kill.engage",
    "kill.flatten",
    "kill.release",
    "trading.resume",
    "trading.override",
    "trading.preview",
    "safe_mode.engage",
    "safe_mode.release",
    "breaks.assign",
)
"""What the machine's owner may do before the first admin is set up: what moves paper money only."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants something, and from where.

    Attributes:
        id: of the person or token.
        name: as people and the audit trail see it: an e-mail address for persons.
        roles: by account, `*` for everywhere.
        actions: that a service's token carries.
        session: of a person.
        claim: the Idempotency-Key that the request carries, and when it was taken for it; None without one.
    """

    kind: CallerKind
    id: str
    name: str
    roles: Mapping[str, Role] = {}
    actions: frozenset[str] = frozenset()
    session: str = ""
    address: str = ""
    agent: str = ""
    request_id: str = ""
    claim: tuple[str, int] | None = None

    def may(self, action: Action, account: str = EVERYWHERE) -> bool:
        """Return whether the caller may do `action` in `account`."""
        if self.kind is CallerKind.LOCAL:
            return action.name in LOCAL_ACTIONS
        if self.kind is CallerKind.SERVICE and not (action.service and action.name in self.actions):
            return False
        if action.reach is Reach.OWN:
            return True
        where = {EVERYWHERE} if action.reach is Reach.FIRM else {EVERYWHERE, account}
        held = {self.roles[a] for a in where if a in self.roles}
        return Role.SERVICE in held or bool(held & set(action.roles))

    def sees_all(self) -> bool:
        """Return whether the caller is something everywhere."""
        return self.kind is CallerKind.LOCAL or EVERYWHERE in self.roles


PLATFORM = Caller(kind=CallerKind.PLATFORM, id="platform", name="platform")


DIRECTORS = 2
"""So many approve each other's requests in production."""


class Allowlists(msgspec.Struct, frozen=True):
    """Who may become what, from the settings alone.

    Attributes:
        admins: who may hold the role admin; empty allows anybody in development.
        directors: who may approve what another asked for; likewise.
        strict: production, where an empty list allows nobody.
    """

    admins: frozenset[str] = frozenset()
    directors: frozenset[str] = frozenset()
    strict: bool = False

    def held(self, email: str, given: Mapping[str, Role]) -> dict[str, Role]:
        """Return the roles that a person holds of those that were given: whoever left the list is admin no more."""
        return {a: role for a, role in given.items() if role is not Role.ADMIN or self.allows_admin(email)}

    def allows_admin(self, email: str) -> bool:
        """Return whether a person may be admin."""
        return email in self.admins or not (self.admins or self.strict)

    def allows_approval(self, email: str) -> bool:
        """Return whether a person may approve what another asked for."""
        return email in self.directors or not (self.directors or self.strict)


def roles_text(given: Mapping[str, str]) -> str:
    """Return roles as people read them."""
    return ", ".join(f"{role} of {'all' if account == EVERYWHERE else account}" for account, role in given.items())


def normal_email(text: str) -> str:
    """Return an e-mail address as it is stored. Raises InvalidValueError when it is none."""
    email = text.strip().lower()
    local, _, domain = email.partition("@")
    plain = text.isascii() and all(c.isprintable() and c not in ' "(),:;<>[]\\#/?%' for c in email)
    if not (local and "." in domain.strip(".") and plain and email.count("@") == 1 and len(email) <= 254):
        raise InvalidValueError(f"{text[:80]!r} is no e-mail address.", remedy="Write it like name@example.com.")
    return email
