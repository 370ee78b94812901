"""A node that stands by: it keeps each account as a warm replica, by the journal and the market log that another node
writes, and has it ready when it takes over.

A replica only follows what is durable. Of the market it goes up to what was told a while ago, since the owner's rows
may be a commit behind the log; should it have gone too far, it does not prove any more and is made anew. Between two
looks it holds no connection.
"""

import asyncio
from collections.abc import Callable, Iterable

from aether.clock import wall_ns
from aether.domain.accounts import AccountConfig, AccountPlan
from aether.domain.errors import AetherError
from aether.domain.identifiers import AccountId
from aether.engine.strategy import Catalogue
from aether.node.ports import Store, Venue
from aether.node.recovery import Recovered, Replay, advance, recovered, warm
from aether.telemetry import logger

LOOK_EVERY_S = 1.0
BEHIND_NS = 10_000_000_000
"""What the market told so long ago has been decided on, durably, or never is."""

_log = logger("standby")


class Replicas:
    """The accounts of a market as they are at their owner.

    Args:
        make_venue: makes an account's venue from its configuration and a snapshot; it is not opened.
    """

    def __init__(
        self, store: Store, catalogue: Catalogue, make_venue: Callable[[AccountConfig, bytes | None], Venue]
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._make_venue = make_venue
        self._replays: dict[AccountId, Replay] = {}

    async def run(self, plans: Callable[[], Iterable[AccountPlan]]) -> None:
        """Follow until canceled."""
        while True:
            await self.follow(plans())
            await asyncio.sleep(LOOK_EVERY_S)

    async def follow(self, plans: Iterable[AccountPlan]) -> None:
        """Bring every replica to the present; one with which that fails is made anew the next time."""
        for plan in plans:
            try:
                replay = await self._advanced(plan.config)
                await replay.pass_market(wall_ns() - BEHIND_NS)
                await replay.close()
                self._replays[plan.config.id] = replay
            except Exception as error:  # noqa: BLE001  a replica is a convenience: nothing of it may end the node
                self._note(plan.config.id, error)

    async def recover(self, config: AccountConfig) -> Recovered:
        """Return an account after its last journaled row: from its replica where there is one that proves.

        Raises:
            JournalCorruptError, MarketLogCorruptError, ReplayMismatchError: as `aether.node.recovery.warm`.
        """
        if config.id in self._replays:
            try:
                return recovered(await self._advanced(config))
            except Exception as error:  # noqa: BLE001  it is brought back from its snapshot then
                self._note(config.id, error)
        return recovered(await self._made(config))

    async def _advanced(self, config: AccountConfig) -> Replay:
        """Return a replica at the journal's last row; while it is not there yet nobody else has it."""
        replay = self._replays.pop(config.id, None)
        if replay is None:
            return await self._made(config)
        await advance(self._store, replay)
        return replay

    async def _made(self, config: AccountConfig) -> Replay:
        return await warm(self._store, config.id, self._catalogue, lambda snapshot: self._make_venue(config, snapshot))

    def _note(self, account: AccountId, error: Exception) -> None:
        """Say why a replica is made anew: as a rule it was ahead of its owner, which is no fault of the journal."""
        reason = error.message if isinstance(error, AetherError) else f"{type(error).__name__}: {error}"
        _log.warning("replica_made_anew", account_id=account, reason=reason)
