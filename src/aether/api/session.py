"""Signing in on this machine."""

from fastapi import APIRouter, HTTPException, Request, Response

from aether.api.auth import COOKIE, LocalAccess, is_same_origin
from aether.api.models import Link, LinkRequest, SessionRequest

router = APIRouter(tags=["session"])


@router.post("/session", status_code=204)
async def open_session(body: SessionRequest, request: Request, response: Response) -> None:
    """Turn a one-time token into a session cookie."""
    access: LocalAccess = request.app.state.access
    session = access.redeem(body.token) if is_same_origin(request) else None
    if session is None:
        raise HTTPException(401, "This link was used already. Run `aether link` for a new one.")
    response.set_cookie(COOKIE, session, httponly=True, samesite="strict", path="/")


@router.post("/session/links")
async def new_link(body: LinkRequest, request: Request) -> Link:
    """Give the owner of the data directory another one-time token."""
    access: LocalAccess = request.app.state.access
    if not access.is_link_secret(body.secret):
        raise HTTPException(403, "The secret is not this process's.")
    return Link(token=access.new_token())
