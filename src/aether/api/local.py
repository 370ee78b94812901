"""Local access: before anybody is set up, a one-time token from the terminal opens a session for the machine's owner.

Only hashes are kept, in a file of the data directory, so that a process that is started again still knows them; each
start of the platform begins without any. Once the first admin is set up these sessions are nobody's
(`guard.identify`), and in production there never are any.
"""

import hashlib
import hmac
import secrets
from contextlib import suppress
from pathlib import Path

import msgspec

from aether.control.access import Caller, CallerKind
from aether.control.private import write_private
from aether.domain.errors import DataDirectoryError

MAX_SESSIONS = 64


class _Kept(msgspec.Struct):
    """Hashes of tokens that were not used yet, and of sessions."""

    tokens: list[str] = []
    sessions: list[str] = []


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class LocalAccess:
    """The tokens and sessions of the machine's owner.

    Args:
        link_secret: that lets its holder ask for a token; it lies in the data directory, for its owner only.
        file: where hashes are kept; None keeps them in memory.
    """

    def __init__(self, link_secret: str, file: Path | None) -> None:
        self._link_secret = link_secret
        self._file = file
        self._kept = _Kept()
        self._written_ns = 0
        self._read()

    def new_token(self) -> str:
        """Return a token that opens one session."""
        token = secrets.token_urlsafe(24)
        kept = self._kept
        self._keep(_Kept([*kept.tokens[-MAX_SESSIONS + 1 :], _digest(token)], kept.sessions))
        return token

    def redeem(self, token: str) -> str | None:
        """Return a new session for an unused token, None for anything else; the token is used up."""
        kept, digest = self._kept, _digest(token)
        if digest not in kept.tokens:
            return None
        session = secrets.token_urlsafe(32)
        left = [t for t in kept.tokens if t != digest]
        self._keep(_Kept(left, [*kept.sessions[-MAX_SESSIONS + 1 :], _digest(session)]))
        return session

    def end(self, session: str | None) -> None:
        """End a session, if it is one."""
        kept = self._kept
        if session is not None and _digest(session) in kept.sessions:
            self._keep(_Kept(kept.tokens, [s for s in kept.sessions if s != _digest(session)]))

    def is_session(self, session: str | None) -> bool:
        """Return whether `session` is open."""
        self._read()
        return session is not None and _digest(session) in self._kept.sessions

    def _read(self) -> None:
        """Take over what another process has written."""
        if self._file is None:
            return
        with suppress(OSError):
            written_ns = self._file.stat().st_mtime_ns
            if written_ns != self._written_ns:
                self._kept = msgspec.json.decode(self._file.read_bytes(), type=_Kept)
                self._written_ns = written_ns

    def _keep(self, wanted: _Kept) -> None:
        """Write down what is to hold from now on, then hold it. Raises DataDirectoryError; nothing has changed then."""
        if self._file is not None:
            try:
                write_private(self._file, wanted)
            except OSError as error:
                raise DataDirectoryError(
                    f"The session cannot be kept in {self._file}: {error.strerror or error}.",
                    remedy="Make room in the data directory, or correct its permissions.",
                ) from error
        self._kept = wanted

    @staticmethod
    def owner(where: Caller) -> Caller:
        """Return the machine's owner as a caller."""
        return msgspec.structs.replace(where, kind=CallerKind.LOCAL, id="local", name="owner of this machine")

    def is_link_secret(self, secret: str) -> bool:
        """Return whether `secret` may ask for another token."""
        return bool(self._link_secret) and hmac.compare_digest(secret.encode(), self._link_secret.encode())
