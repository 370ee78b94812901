"""The keys of one account while it trades: loaded when it starts, replaced while it runs.

A key that cannot be loaded yet is waited for; a rotated one is taken up by the sessions that are open. What is loaded
stays in memory, so trading goes on while the key service is away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

from aether.domain.errors import AetherError
from aether.domain.identifiers import VenueId
from aether.store.database import CONNECTION_ERRORS
from aether.telemetry import SECRET_VERSION, logger
from aether.venues.protocol import Credentials
from aether.venues.session import ExecutionSession

RETRY_S = 5.0
WORKS_WITHIN_S = 5.0

_log = logger("keys")


class KeyRing(Protocol):
    """Where an account's keys come from."""

    async def version(self, account: str, venue: str) -> int:
        """Return the active version, 0 for none."""
        ...

    async def load(self, account: str, venue: str) -> tuple[int, Credentials]:
        """Return version and text of the active key. Raises AetherError."""
        ...

    async def note_use(self, account: str, venue: str, version: int) -> None:
        """Tell that this node trades with a version from now on."""
        ...


Changed = Callable[[], Awaitable[None]]
"""Returns when keys may have changed, or after a while in any case."""


async def wait_for_key(ring: KeyRing, account: str, venue: str, changed: Changed) -> tuple[int, Credentials]:
    """Return the account's key at a venue, once there is one that opens."""
    told = ""
    while True:
        try:
            return await ring.load(account, venue)
        except (AetherError, *CONNECTION_ERRORS) as error:
            if str(error) != told:
                told = str(error)
                _log.warning("waiting_for_key", account_id=account, venue=venue, reason=told)
        await changed()


async def follow_keys(
    ring: KeyRing,
    account: str,
    sessions: Mapping[VenueId, ExecutionSession],
    versions: dict[VenueId, int],
    changed: Changed,
) -> None:
    """Take up rotated keys until canceled.

    A key with which a session does not work is no reason to wait for it: the next may be the right one. A version is
    noted as used once its session works with it.

    Args:
        sessions: as they open.
        versions: that the sessions trade with now.
    """
    noted: dict[VenueId, int] = {}
    while True:
        for venue, session in list(sessions.items()):
            try:
                if await ring.version(account, venue) not in (0, versions[venue]):
                    version, credentials = await ring.load(account, venue)
                    await session.renew(credentials)
                    versions[venue] = version
                    with suppress(TimeoutError):
                        async with asyncio.timeout(WORKS_WITHIN_S):
                            await session.ready.wait()
                    _log.info("key_taken_up", account_id=account, venue=venue, version=version)
                if session.ready.is_set() and noted.get(venue) != versions[venue]:
                    await _note(ring, account, venue, versions[venue])
                    noted[venue] = versions[venue]
            except Exception as error:  # noqa: BLE001  whatever it is, the next key may be the right one
                known = isinstance(error, (AetherError, *CONNECTION_ERRORS))
                reason = str(error) or type(error).__name__
                _log.warning("key_not_taken_up", account_id=account, venue=venue, reason=reason, exc_info=not known)
        await changed()


async def _note(ring: KeyRing, account: str, venue: str, version: int) -> None:
    SECRET_VERSION.labels(account, venue).set(version)
    try:
        await ring.note_use(account, venue, version)
    except (AetherError, *CONNECTION_ERRORS) as error:
        _log.warning("key_use_not_noted", account_id=account, venue=venue, reason=str(error))
