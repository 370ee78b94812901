"""People and the tokens of services, as admins manage them."""

from typing import Annotated

import msgspec
from fastapi import APIRouter

from aether.api.guard import Granted, allow
from aether.api.models import (
    Done,
    Invitation,
    InviteRequest,
    OpenInvitation,
    ReasonRequest,
    RolesRequest,
    ServiceToken,
    TokenCreate,
    TokenCreated,
    User,
)
from aether.api.shown import approval_of, done_of
from aether.control.access import EVERYWHERE, Role, roles_text
from aether.control.approvals import Task
from aether.control.factors import digest
from aether.control.tokens import TokenPlan, new_text

router = APIRouter(tags=["people"])


@router.get("/users")
async def list_users(granted: Annotated[Granted, allow("users.read")]) -> list[User]:
    """Return everybody with their roles."""
    return [
        User(
            id=p.id,
            email=p.email,
            name=p.name,
            roles=dict(p.roles),
            waits=p.waits,
            has_totp=p.has_totp,
            passkeys=p.passkeys,
            recovery_codes=p.recovery_codes,
            created_ns=p.created_ns,
            disabled=p.disabled,
        )
        for p in await granted.context.control.people.listing()
    ]


@router.post("/users", status_code=201)
async def invite_person(body: InviteRequest, granted: Annotated[Granted, allow("users.invite")]) -> Invitation:
    """Invite a person; give them the link, which works once within three days.

    Where two people are needed, an admin's link is not shown to who invites: another admin hands it over.
    """
    given = {account: Role(role) for account, role in body.roles.items()}
    token = await granted.context.control.people.invite(granted.caller, body.email, body.name, given, body.reason)
    return _invitation(granted, token)


def _invitation(granted: Granted, token: str) -> Invitation:
    return Invitation(token=token, link=f"{granted.context.public_url}/#invitation={token}" if token else "")


@router.get("/invitations")
async def list_invitations(granted: Annotated[Granted, allow("users.read")]) -> list[OpenInvitation]:
    """Return who is invited and has not come yet."""
    return [
        OpenInvitation.model_validate(msgspec.to_builtins(found))
        for found in await granted.context.control.vouching.invited()
    ]


@router.post("/invitations/{email}/link")
async def hand_over(email: str, granted: Annotated[Granted, allow("users.link")]) -> Invitation:
    """Return the link of an invitation, to be handed over by somebody other than who invited; an earlier link ends."""
    return _invitation(granted, await granted.context.control.vouching.hand_over(granted.caller, email))


@router.post("/users/{user}/confirm", status_code=204)
async def confirm_person(user: str, body: ReasonRequest, granted: Annotated[Granted, allow("users.confirm")]) -> None:
    """Let the roles of a new admin count, having made sure that it is they; never by who held their link."""
    await granted.context.control.vouching.confirm(granted.caller, user, body.reason)


@router.put("/users/{user}/roles")
async def set_roles(user: str, body: RolesRequest, granted: Annotated[Granted, allow("users.roles")]) -> Done:
    """Give a person exactly these roles; in production a second person approves it."""
    control = granted.context.control
    person = await control.people.person(user)
    task = Task(
        action="users.roles",
        account=EVERYWHERE,
        payload={"user": user, "roles": dict(body.roles)},
        summary=f"{person.email} becomes {roles_text(body.roles)}; make sure that they are who signs in so",
        reason=body.reason,
    )
    return done_of(await control.approvals.submit(granted.caller, task))


@router.post("/users/{user}/disable", status_code=204)
async def disable_person(user: str, body: ReasonRequest, granted: Annotated[Granted, allow("users.disable")]) -> None:
    """Lock a person out at once."""
    await granted.context.control.people.set_disabled(granted.caller, user, disabled=True, reason=body.reason)


@router.post("/users/{user}/enable")
async def enable_person(user: str, body: ReasonRequest, granted: Annotated[Granted, allow("users.enable")]) -> Done:
    """Let a person in again who was locked out; in production a second person approves it."""
    control = granted.context.control
    person = await control.people.person(user)
    task = Task(
        action="users.enable",
        account=EVERYWHERE,
        payload={"user": user},
        summary=f"{person.email}, who was locked out, comes in again as {roles_text(person.roles)}",
        reason=body.reason,
    )
    return done_of(await control.approvals.submit(granted.caller, task))


@router.post("/users/{user}/sign-out", status_code=204)
async def sign_out_person(user: str, body: ReasonRequest, granted: Annotated[Granted, allow("users.disable")]) -> None:
    """End every session of a person; they may sign in again."""
    await granted.context.control.people.sign_out(granted.caller, user, body.reason)


@router.get("/tokens")
async def list_tokens(granted: Annotated[Granted, allow("tokens.read")]) -> list[ServiceToken]:
    """Return the tokens of services; their texts are not kept."""
    return [
        ServiceToken(
            id=r.id,
            name=r.name,
            actions=r.permissions,
            accounts=r.accounts,
            created_by=r.created_by,
            created_ns=r.created_ns,
            expires_ns=r.expires_ns,
            used_ns=r.used_ns,
            ended_ns=r.ended_ns,
        )
        for r in await granted.context.control.tokens.listing()
    ]


@router.post("/tokens", status_code=201)
async def create_token(body: TokenCreate, granted: Annotated[Granted, allow("tokens.create")]) -> TokenCreated:
    """Make a token for a service; its text is shown this once.

    One that may sell positions works once a second person has approved it, where two people are needed.
    """
    control, caller = granted.context.control, granted.caller
    text = new_text()
    wanted = TokenPlan(digest(text), body.name, tuple(body.actions), tuple(body.accounts), body.days)
    if not wanted.is_armed:
        return TokenCreated(id=await control.tokens.create(caller, wanted), token=text)
    control.tokens.check(caller, wanted)
    task = Task(
        action="tokens.arm",
        account=EVERYWHERE,
        payload={"token": msgspec.to_builtins(wanted)},
        summary=f"A token may {', '.join(wanted.actions)} in {', '.join(wanted.accounts)}; its name: {wanted.name!r}",
        reason=f"a token for {wanted.name}",
    )
    outcome = await control.approvals.submit(caller, task)
    waits = approval_of(outcome.approval) if outcome.approval else None
    return TokenCreated(id=outcome.result or "", token=text, approval=waits)


@router.delete("/tokens/{token}", status_code=204)
async def revoke_token(token: str, granted: Annotated[Granted, allow("tokens.revoke")]) -> None:
    """End a token at once."""
    await granted.context.control.tokens.revoke(granted.caller, token)
