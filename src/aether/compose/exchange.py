"""The local exchange as a market: in a process of its own, apart from who trades there.

It begins anew with each start, at the prices where an earlier run left off: a node that finds its accounts gone opens
them with what the books hold.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal

from aether.compose.accounts import VENUE_HISTORY_S
from aether.compose.choice import EXCHANGE_MARKET
from aether.compose.storage import open_storage
from aether.config import Settings
from aether.domain.identifiers import InstrumentId
from aether.exchange.server import MARKETS, LocalExchange, build, serve
from aether.store import queries
from aether.store.database import Database

STEP_S = 10


def local_exchange(seed: int, last: Mapping[InstrumentId, Decimal]) -> LocalExchange:
    """Return the local exchange with hours of trading behind it.

    Args:
        last: last known prices.
    """
    symbols = {market.symbol for market in MARKETS}
    prices = {i.partition(":")[2]: float(price) for i, price in last.items() if i.partition(":")[2] in symbols}
    steps = VENUE_HISTORY_S // STEP_S
    return build(seed=seed, enforce_limits=False, warm_steps=steps, warm_step_s=STEP_S, prices=prices)


@contextlib.asynccontextmanager
async def serving_exchange(database: Database, seed: int) -> AsyncIterator[str]:
    """Serve it while the context is open; yields the address of its admin API.

    Raises:
        DatabaseUnavailableError, ...: when the last prices cannot be read.
    """
    last = await queries.last_prices(database.desk, EXCHANGE_MARKET)
    async with serve(local_exchange(seed, last)) as served:
        yield served.admin_url


async def run_exchange(settings: Settings, stop: asyncio.Event, *, seed: int, on_ready: Callable[[str], None]) -> None:
    """Serve until `stop` is set.

    Args:
        on_ready: called once it serves, with the address of its admin API.

    Raises:
        DatabaseUnavailableError, ...: as `serving_exchange` does.
    """
    async with open_storage(settings, is_prepared=True) as storage, serving_exchange(storage.database, seed) as url:
        on_ready(url)
        await stop.wait()
