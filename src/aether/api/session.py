"""Becoming somebody: links from the terminal, setting up a person, signing in with two factors, an OpenID provider."""

import secrets
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from aether.api.guard import Granted, allow, cookie_name, local_access_open
from aether.api.local import LocalAccess
from aether.api.models import (
    Challenge,
    FactorRequest,
    Invitation,
    InvitationCheck,
    Invited,
    Link,
    LinkRequest,
    Me,
    PersonSetup,
    SignInRequest,
    TokenRequest,
)
from aether.api.ports import Context
from aether.control.access import ACTIONS, EVERYWHERE, Caller, CallerKind
from aether.control.devices import KNOWN_S
from aether.control.proving import Answer, Factors
from aether.control.sessions import SignedIn
from aether.domain.errors import NotSignedInError, RefusedError, UnknownNameError

router = APIRouter(tags=["session"])

DEVICE_COOKIE = "aether_device"
DEVICE_PATH = "/api/v1/session"
"""Nothing else is told which device it is."""


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def challenge_of(factors: Factors) -> Challenge:
    """Return a challenge as it goes over the wire."""
    return Challenge(
        challenge=factors.challenge,
        methods=list(factors.methods),
        passkey=factors.passkey,
        totp_uri=factors.totp_uri,
        totp_qr=factors.totp_qr,
    )


def answer_of(body: FactorRequest) -> Answer:
    """Return the second factor in a request."""
    return Answer(code=body.code, recovery_code=body.recovery_code, credential=body.credential)


async def _me(request: Request, caller: Caller, codes: tuple[str, ...] = ()) -> Me:
    context = _context(request)
    is_somebody = bool(caller.id)
    is_person = is_somebody and caller.kind is CallerKind.PERSON
    return Me.model_validate(
        {
            "kind": caller.kind.value if is_somebody else "nobody",
            "name": caller.name,
            "roles": dict(caller.roles),
            "actions": [
                a.name
                for a in ACTIONS.values()
                if is_somebody and any(caller.may(a, where) for where in (EVERYWHERE, *caller.roles))
            ],
            "grants": {
                where: found
                for where in (EVERYWHERE, *caller.roles)
                if is_somebody and (found := [a.name for a in ACTIONS.values() if caller.may(a, where)])
            },
            "needs_setup": not await context.control.people.has_people(),
            "production": context.is_production,
            "waits": is_person and not caller.roles and (await context.control.people.person(caller.id)).waits,
            "oidc": context.oidc is not None,
            "attacks": await context.control.identity.attacks(caller.name) if is_person else 0,
            "recovery_codes": list(codes),
        }
    )


def _set_cookie(request: Request, response: Response, token: str) -> None:
    context = _context(request)
    response.set_cookie(
        cookie_name(context),
        token,
        max_age=context.control.sessions.rules.max_s,
        httponly=True,
        samesite="strict",
        secure=context.is_https,
        path="/",
    )


async def _opened(request: Request, response: Response, signed_in: SignedIn) -> Me:
    _set_cookie(request, response, signed_in.token)
    context = _context(request)
    response.set_cookie(
        DEVICE_COOKIE,
        context.control.devices.issue(signed_in.caller.name, secrets.token_hex(8)),
        max_age=KNOWN_S,
        httponly=True,
        samesite="strict",
        secure=context.is_https,
        path=DEVICE_PATH,
    )
    return await _me(request, signed_in.caller, signed_in.recovery_codes)


# Links from the terminal.


@router.post("/session/links")
async def new_link(body: LinkRequest, request: Request) -> Link:
    """Give the owner of the data directory a one-time token: to come in, or in production to set up the first admin."""
    access: LocalAccess = request.app.state.access
    if not access.is_link_secret(body.secret):
        raise RefusedError("The secret is not this process's.", remedy="Run `aether link` on the platform's machine.")
    return await first_link(_context(request), access)


async def first_link(context: Context, access: LocalAccess) -> Link:
    """Return the one-time token with which the machine's owner begins. Raises RefusedError once people are set up."""
    if await context.control.people.has_people():
        raise RefusedError("People are set up; links sign nobody in any more.", remedy="Sign in on the page.")
    if context.is_production:
        return Link(token=await context.control.people.first_invitation(), kind="setup")
    return Link(token=access.new_token(), kind="session")


@router.post("/session/token", status_code=204)
async def open_local_session(body: TokenRequest, request: Request, response: Response) -> None:
    """Turn a one-time token into a session of the machine's owner; only before anybody is set up."""
    access: LocalAccess = request.app.state.access
    allowed = await local_access_open(_context(request))
    session = access.redeem(body.token) if allowed else None
    if session is None:
        raise NotSignedInError(
            "This link was used already, or people are set up.", remedy="Run `aether link` for a new one, or sign in."
        )
    _set_cookie(request, response, session)


# Setting up a person.


@router.post("/setup/invitation")
async def invite_first_admin(request: Request) -> Invitation:
    """Give the machine's owner the token that sets up the first admin."""
    context, caller = _context(request), _caller(request)
    if caller.kind is not CallerKind.LOCAL:
        raise RefusedError("Only the machine's owner may do this.", remedy="Open the link that `aether up` printed.")
    token = await context.control.people.first_invitation()
    return Invitation(token=token, link=f"{context.public_url}/#invitation={token}")


@router.post("/setup/person")
async def set_up_person(body: PersonSetup, request: Request) -> Challenge:
    """Take name and password of an invited person; the second factor comes next."""
    identity = _context(request).control.identity
    return challenge_of(await identity.enrol(body.token, body.email, body.name.strip(), body.password))


@router.post("/setup/factor")
async def finish_setup(body: FactorRequest, request: Request, response: Response) -> Me:
    """Make the person once the second factor works, and sign them in; returns their recovery codes, this once."""
    identity = _context(request).control.identity
    return await _opened(
        request, response, await identity.finish_enrolment(body.challenge, answer_of(body), _caller(request))
    )


@router.put("/setup/invitation")
async def read_invitation(body: InvitationCheck, request: Request) -> Invited:
    """Return who an invitation is for."""
    email, name = await _context(request).control.people.invited(body.token)
    return Invited(email=email, name=name)


# Signing in.


@router.get("/session")
async def who_am_i(request: Request) -> Me:
    """Return who the caller is; a stranger is nobody."""
    return await _me(request, _caller(request))


@router.post("/session")
async def sign_in(body: SignInRequest, request: Request) -> Challenge:
    """Check address and password; the second factor comes next."""
    identity = _context(request).control.identity
    device = request.cookies.get(DEVICE_COOKIE, "")
    return challenge_of(await identity.sign_in(body.email, body.password, _caller(request), device))


@router.post("/session/factor")
async def finish_sign_in(body: FactorRequest, request: Request, response: Response) -> Me:
    """Turn a challenge and a second factor into a session."""
    identity = _context(request).control.identity
    return await _opened(
        request, response, await identity.finish_sign_in(body.challenge, answer_of(body), _caller(request))
    )


@router.post("/session/passkey/challenge")
async def ask_passkey(request: Request) -> Challenge:
    """Return a challenge that any passkey of this site may answer."""
    return challenge_of(await _context(request).control.identity.passkey_challenge())


@router.post("/session/passkey")
async def sign_in_with_passkey(body: FactorRequest, request: Request, response: Response) -> Me:
    """Sign in with a passkey alone: it is both factors."""
    identity = _context(request).control.identity
    signed_in = await identity.sign_in_with_passkey(body.challenge, body.credential or {}, _caller(request))
    return await _opened(request, response, signed_in)


@router.delete("/session", status_code=204)
async def sign_out(request: Request, response: Response, granted: Annotated[Granted, allow("own.change")]) -> None:
    """End this session."""
    access: LocalAccess = request.app.state.access
    access.end(request.cookies.get(cookie_name(granted.context)))
    if granted.caller.session:
        await granted.context.control.sessions.end(granted.caller, granted.caller.session)
    response.delete_cookie(
        cookie_name(granted.context), path="/", secure=granted.context.is_https, httponly=True, samesite="strict"
    )


# An OpenID provider. The state travels in a cookie that only the way back from the provider brings along.

OIDC_COOKIE = "aether_oidc"
OIDC_S = 300


@router.get("/session/oidc/start", status_code=303, response_class=RedirectResponse)
async def start_oidc(request: Request) -> Response:
    """Send the browser to the OpenID provider."""
    context = _context(request)
    if context.oidc is None:
        raise UnknownNameError("No OpenID provider is set up.", remedy="Set AETHER_OIDC_ISSUER, or use your password.")
    started = await context.oidc.start()
    answer = RedirectResponse(started.url, 303)
    kept = msgspec.json.encode([started.state, started.nonce, started.verifier]).hex()
    answer.set_cookie(
        OIDC_COOKIE,
        kept,
        max_age=OIDC_S,
        httponly=True,
        samesite="lax",
        secure=context.is_https,
        path="/api/v1/session/oidc",
    )
    return answer


@router.get("/session/oidc/callback", status_code=303, response_class=RedirectResponse)
async def finish_oidc(
    request: Request,
    code: Annotated[str, Query(max_length=2_000)] = "",
    state: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Take the provider's word for the password; the page then asks for the second factor."""
    context = _context(request)
    if context.oidc is None:
        raise UnknownNameError("No OpenID provider is set up.", remedy="Set AETHER_OIDC_ISSUER, or use your password.")
    wanted = _kept(request.cookies.get(OIDC_COOKIE, ""))
    if not (code and state and wanted and wanted[0] == state):
        raise NotSignedInError("The way back from the provider does not fit.", remedy="Begin again on the page.")
    vouched = await context.oidc.finish(code, wanted[1], wanted[2])
    factors = await context.control.identity.sign_in_by_subject(vouched.subject, vouched.email, _caller(request))
    told = msgspec.json.encode({"challenge": factors.challenge, "methods": factors.methods, "passkey": factors.passkey})
    answer = RedirectResponse(f"/#factor={told.hex()}", 303)
    answer.delete_cookie(OIDC_COOKIE, path="/api/v1/session/oidc")
    return answer


def _kept(cookie: str) -> list[Any]:
    try:
        found = msgspec.json.decode(bytes.fromhex(cookie), type=list[str])
    except (ValueError, msgspec.DecodeError):
        return []
    return found if len(found) == 3 else []
