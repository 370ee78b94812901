"""The keys of a world's firm (`aether.node.keys.KeyRing`): the venues give them out, people replace them."""

import asyncio
from typing import TYPE_CHECKING

from aether.venues.protocol import Credentials

if TYPE_CHECKING:
    from aether.simulation.world import World

LOOK_S = 1.0


class Keys:
    """Every account's key at every venue, with the number of its version."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._given: dict[tuple[str, str], tuple[int, Credentials]] = {}

    def give(self, account: str, venue: str, balances: dict[str, str]) -> str:
        """Have a venue give an account a key, and money with it; return the name of the one before."""
        version, before = self._given.get((account, venue), (0, None))
        key, secret = self._world.exchange.open_account(venue, account, balances)
        self._given[account, venue] = version + 1, Credentials(key=key, secret=secret)
        return before.key if before else ""

    async def version(self, account: str, venue: str) -> int:
        """Return the active version."""
        return self._given[account, venue][0]

    async def load(self, account: str, venue: str) -> tuple[int, Credentials]:
        """Return version and text of the active key."""
        return self._given[account, venue]

    async def note_use(self, account: str, venue: str, version: int) -> None:
        """Hear who trades with what: the world looks at orders instead."""

    async def changed(self) -> None:
        """Return after a while."""
        await asyncio.sleep(LOOK_S)
