"""Local access: a one-time token from the terminal becomes a session cookie; everything else is refused.

The process makes its secrets anew at each start and keeps only their hashes. Requests must name a local host (which
defeats DNS rebinding), and writes and web sockets must come from the page itself (which defeats cross-site requests).
"""

import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

from fastapi import HTTPException, Request, WebSocket
from starlette.requests import HTTPConnection

COOKIE = "aether_session"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
MAX_SESSIONS = 64


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class LocalAccess:
    """The tokens and sessions of this process."""

    def __init__(self) -> None:
        self.link_secret = secrets.token_urlsafe(32)
        self._tokens: set[str] = set()
        self._sessions: list[str] = []

    def new_token(self) -> str:
        """Return a token that opens one session."""
        token = secrets.token_urlsafe(24)
        self._tokens.add(_digest(token))
        return token

    def redeem(self, token: str) -> str | None:
        """Return a new session for an unused token, None for anything else; the token is used up."""
        digest = _digest(token)
        if digest not in self._tokens:
            return None
        self._tokens.discard(digest)
        session = secrets.token_urlsafe(32)
        self._sessions = [*self._sessions[-MAX_SESSIONS + 1 :], _digest(session)]
        return session

    def is_session(self, session: str | None) -> bool:
        """Return whether `session` is open."""
        return session is not None and _digest(session) in self._sessions

    def is_link_secret(self, secret: str) -> bool:
        """Return whether `secret` may ask for another token; it lies in the data directory, for its owner only."""
        return hmac.compare_digest(secret, self.link_secret)


def is_same_origin(connection: HTTPConnection) -> bool:
    """Return whether the request comes from our own page, or from no page at all."""
    origin = connection.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == connection.headers.get("host")


def require_session(request: Request) -> None:
    """Let a request pass that carries a session and, if it changes something, comes from our own page."""
    access: LocalAccess = request.app.state.access
    if not access.is_session(request.cookies.get(COOKIE)):
        raise HTTPException(401, "Open the link that `aether up` printed, or run `aether link` for a new one.")
    if request.method not in ("GET", "HEAD") and not is_same_origin(request):
        raise HTTPException(403, "Requests from other sites are refused.")


def may_stream(socket: WebSocket) -> bool:
    """Return whether a web socket carries a session and comes from our own page."""
    access: LocalAccess = socket.app.state.access
    return access.is_session(socket.cookies.get(COOKIE)) and is_same_origin(socket)
