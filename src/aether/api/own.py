"""One's own: proofs of a second factor, password, authenticator app, passkeys, recovery codes, devices."""

from typing import Annotated

from fastapi import APIRouter

from aether.api.guard import Granted, allow
from aether.api.models import (
    Challenge,
    Passkey,
    PasskeyAdd,
    PasswordChange,
    Proof,
    ProofRequest,
    RecoveryCodes,
    Session,
    TotpConfirm,
)
from aether.api.session import challenge_of
from aether.clock import wall_ns
from aether.control.access import ACTIONS, CallerKind
from aether.control.proving import Answer
from aether.domain.errors import RefusedError, UnknownNameError

router = APIRouter(tags=["own"])

Reads = Annotated[Granted, allow("own.read")]
Changes = Annotated[Granted, allow("own.change")]
Factors = Annotated[Granted, allow("own.factors")]


def _person(granted: Granted) -> Granted:
    if granted.caller.kind is not CallerKind.PERSON:
        raise RefusedError("Only people have factors.", remedy="Set up a person, or sign in as one.")
    return granted


@router.post("/mfa/challenges")
async def ask_proof(granted: Changes) -> Challenge:
    """Ask for a fresh proof of a second factor."""
    return challenge_of(await granted.context.control.identity.ask_proof(_person(granted).caller))


@router.post("/mfa/proofs")
async def prove(body: ProofRequest, granted: Changes) -> Proof:
    """Answer a challenge with a second factor; the token that comes back is good for one request, once."""
    control, caller = granted.context.control, _person(granted).caller
    if body.action not in ACTIONS:
        raise UnknownNameError(f"There is no action {body.action!r}.", remedy="Take it from the refusal.")
    answer = Answer(code=body.code, credential=body.credential)
    method = await control.identity.prove(caller, body.challenge, answer)
    return Proof(token=await control.proofs.issue(caller, body.action, body.payload_hash, method, wall_ns()))


@router.put("/me/password", status_code=204)
async def change_password(body: PasswordChange, granted: Factors) -> None:
    """Set another password; every other session ends."""
    await granted.context.control.own.change_password(_person(granted).caller, body.current, body.password)


@router.post("/me/totp")
async def new_totp(granted: Factors) -> Challenge:
    """Begin to replace the authenticator app; a code of the new one completes it."""
    return challenge_of(await granted.context.control.own.new_totp(_person(granted).caller))


@router.post("/me/totp/confirm", status_code=204)
async def confirm_totp(body: TotpConfirm, granted: Changes) -> None:
    """Complete it with a code of the new app."""
    caller = _person(granted).caller
    await granted.context.control.own.confirm_totp(caller, body.challenge, body.code)


@router.get("/me/passkeys")
async def list_passkeys(granted: Reads) -> list[Passkey]:
    """Return one's passkeys."""
    rows = await granted.context.control.own.list_passkeys(granted.caller)
    return [Passkey(id=bytes(r.id).hex(), name=r.name, created_ns=r.created_ns, used_ns=r.used_ns) for r in rows]


@router.post("/me/passkeys/challenge")
async def new_passkey(granted: Factors) -> Challenge:
    """Begin to add a passkey."""
    return challenge_of(await granted.context.control.own.new_passkey(_person(granted).caller))


@router.post("/me/passkeys", status_code=204)
async def add_passkey(body: PasskeyAdd, granted: Changes) -> None:
    """Add the passkey that the browser made."""
    own = granted.context.control.own
    await own.add_passkey(_person(granted).caller, body.challenge, body.credential, body.name)


@router.delete("/me/passkeys/{passkey}", status_code=204)
async def remove_passkey(passkey: str, granted: Factors) -> None:
    """Remove a passkey; never the last second factor."""
    try:
        key = bytes.fromhex(passkey)
    except ValueError:
        key = b""
    await granted.context.control.own.remove_passkey(_person(granted).caller, key)


@router.post("/me/recovery-codes")
async def renew_recovery_codes(granted: Factors) -> RecoveryCodes:
    """Make new recovery codes; the old ones end."""
    return RecoveryCodes(codes=await granted.context.control.own.renew_recovery_codes(_person(granted).caller))


@router.get("/me/sessions")
async def list_sessions(granted: Reads) -> list[Session]:
    """Return the devices that are signed in as the caller."""
    rows = await granted.context.control.sessions.listing(granted.caller)
    return [
        Session(
            id=r.id,
            method=r.method,
            address=r.address,
            agent=r.agent,
            created_ns=r.created_ns,
            seen_ns=r.seen_ns,
            current=r.id == granted.caller.session,
        )
        for r in rows
    ]


@router.delete("/me/sessions/{session}", status_code=204)
async def end_session(session: str, granted: Changes) -> None:
    """Sign a device out."""
    await granted.context.control.sessions.end(_person(granted).caller, session)
