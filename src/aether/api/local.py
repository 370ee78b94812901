"""Local access: before anybody is set up, a one-time token from the terminal opens a session for the machine's owner.

The process makes its secrets anew at each start and keeps only their hashes. Once the first admin is set up these
sessions are nobody's (`guard.identify`), and in production there never are any.
"""

import hashlib
import hmac
import secrets

import msgspec

from aether.control.access import Caller, CallerKind

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

    def end(self, session: str | None) -> None:
        """End a session, if it is one."""
        if session is not None and _digest(session) in self._sessions:
            self._sessions.remove(_digest(session))

    def is_session(self, session: str | None) -> bool:
        """Return whether `session` is open."""
        return session is not None and _digest(session) in self._sessions

    @staticmethod
    def owner(where: Caller) -> Caller:
        """Return the machine's owner as a caller."""
        return msgspec.structs.replace(where, kind=CallerKind.LOCAL, id="local", name="owner of this machine")

    def is_link_secret(self, secret: str) -> bool:
        """Return whether `secret` may ask for another token; it lies in the data directory, for its owner only."""
        return hmac.compare_digest(secret.encode(), self.link_secret.encode())
