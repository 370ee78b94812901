"""People and the tokens of services, as admins manage them."""

from typing import Annotated

from fastapi import APIRouter

from aether.api.guard import Granted, allow
from aether.api.models import (
    DisableRequest,
    Done,
    Invitation,
    InviteRequest,
    ReasonRequest,
    RolesRequest,
    ServiceToken,
    TokenCreate,
    TokenCreated,
    User,
)
from aether.api.shown import done_of
from aether.control.access import EVERYWHERE, Role
from aether.control.approvals import Task

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
            has_totp=p.has_totp,
            passkeys=p.passkeys,
            recovery_codes=p.recovery_codes,
            created_ns=p.created_ns,
            disabled=p.disabled,
        )
        for p in await granted.context.control.people.listing()
    ]


@router.post("/users", status_code=201)
async def invite(body: InviteRequest, granted: Annotated[Granted, allow("users.invite")]) -> Invitation:
    """Invite a person; give them the link yourself, it works once within three days."""
    given = {account: Role(role) for account, role in body.roles.items()}
    token = await granted.context.control.people.invite(granted.caller, body.email, body.name, given, body.reason)
    return Invitation(token=token, link=f"{granted.context.public_url}/#invitation={token}")


@router.put("/users/{user}/roles")
async def set_roles(user: str, body: RolesRequest, granted: Annotated[Granted, allow("users.roles")]) -> Done:
    """Give a person exactly these roles; in production a second person approves it."""
    control = granted.context.control
    person = await control.people.person(user)
    given = ", ".join(f"{role} of {'all' if a == EVERYWHERE else a}" for a, role in body.roles.items())
    task = Task(
        action="users.roles",
        account=EVERYWHERE,
        payload={"user": user, "roles": dict(body.roles)},
        summary=f"{person.email} becomes {given}",
        reason=body.reason,
    )
    return done_of(await control.approvals.submit(granted.caller, task))


@router.put("/users/{user}/disabled", status_code=204)
async def set_disabled(user: str, body: DisableRequest, granted: Annotated[Granted, allow("users.disable")]) -> None:
    """Lock a person out at once, or let them in again."""
    await granted.context.control.people.set_disabled(granted.caller, user, disabled=body.disabled, reason=body.reason)


@router.post("/users/{user}/sign-out", status_code=204)
async def sign_out(user: str, body: ReasonRequest, granted: Annotated[Granted, allow("users.disable")]) -> None:
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
    """Make a token for a service; its text is shown this once."""
    number, text = await granted.context.control.tokens.create(
        granted.caller, body.name, body.actions, body.accounts, body.days
    )
    return TokenCreated(id=number, token=text)


@router.delete("/tokens/{token}", status_code=204)
async def revoke_token(token: str, granted: Annotated[Granted, allow("tokens.revoke")]) -> None:
    """End a token at once."""
    await granted.context.control.tokens.revoke(granted.caller, token)
