"""An account's past: its history replayed with the rules of this version, no venue within reach."""

from pathlib import Path

from aether.compose.choice import EXCHANGE_MARKET
from aether.compose.trading import make_paper_venue
from aether.domain.accounts import AccountConfig, Mode
from aether.node.live import LiveVenue
from aether.node.ports import Venue
from aether.node.recovery import Replay, Until, replay_until
from aether.store.database import Scope
from aether.store.node_store import NodeStore
from aether.strategies import catalogue


async def replayed(scope: Scope, archive: Path, config: AccountConfig, until: Until, *, from_snapshot: bool) -> Replay:
    """Return an account as it was, see `aether.node.recovery.replay_until`."""

    def make(snapshot: bytes | None) -> Venue:
        """A venue beyond this process is never opened; a paper venue has to give the same reports again."""
        if not config.shadow_of and (config.mode is Mode.LIVE or config.feed == EXCHANGE_MARKET):
            return LiveVenue(lambda _booked: {})
        return make_paper_venue(config, snapshot)

    store = NodeStore(scope, archive)
    return await replay_until(store, config.id, catalogue(), make, until, from_snapshot=from_snapshot)
