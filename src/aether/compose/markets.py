"""Markets: what `aether up` trades on, and the venues behind them."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time

import aiohttp

from aether.compose.accounts import VENUE_HISTORY_S
from aether.domain.accounts import AccountPlan
from aether.domain.events import Trade
from aether.domain.identifiers import InstrumentId
from aether.exchange.server import MARKETS, LocalExchange, build, serve
from aether.market.dataset import Dataset
from aether.market.replay import trades_in
from aether.node.feeds import VenueFeed
from aether.venues.actions import Candles
from aether.venues.client import VenueClient, with_urls
from aether.venues.feed import MarketFeed
from aether.venues.limits import VenueLimits
from aether.venues.protocol import Credentials
from aether.venues.registry import protocol_of

EXCHANGE_STEP_S = 10

EXCHANGE_MARKET = "exchange"
"""The name of the local exchange as a market: all three faces at once."""


@dataclass(frozen=True)
class Market:
    """What `aether up` trades on.

    Attributes:
        recording: None for the synthetic market and for venues.
        speed: of a recording, times real time; None for as fast as possible.
        venue: the venue whose live public market it is, or `exchange`; empty for the others.
        base_url, ws_url: of the venue, in place of its usual ones.
    """

    recording: Dataset | None = None
    speed: float | None = 1.0
    venue: str = ""
    base_url: str = ""
    ws_url: str = ""

    @property
    def name(self) -> str:
        """How people see it."""
        if self.venue:
            return "local exchange" if self.venue == EXCHANGE_MARKET else f"{self.venue.capitalize()}, live market data"
        if self.recording is None:
            return "synthetic market"
        pace = "full speed" if self.speed is None else f"{self.speed:g} times real time"
        return f"recording {self.recording.source} at {pace}"


@dataclass(frozen=True)
class Venues:
    """The venues of a market, open.

    Attributes:
        clients: for public data, with the pairs listed.
        local: the local exchange behind them, if it is one: accounts then trade there for real.
    """

    clients: list[VenueClient]
    local: LocalExchange | None = None
    http: aiohttp.ClientSession | None = None

    @property
    def are_simulated(self) -> bool:
        """Whether no order reaches a real venue."""
        return not self.clients or self.local is not None

    def with_key(
        self,
        public: VenueClient,
        credentials: Credentials,
        *,
        limits: VenueLimits | None,
        state_folder: Path | None = None,
    ) -> VenueClient:
        """Return a client of the same venue with an account's own key."""
        assert self.http is not None
        protocol = protocol_of(public.protocol.venue)
        protocol.urls, protocol.listings = public.protocol.urls, public.protocol.listings
        return VenueClient(protocol, self.http, credentials=credentials, state_folder=state_folder, limits=limits)


def local_market(seed: int, last: Mapping[InstrumentId, int]) -> LocalExchange:
    """Return the local exchange with hours of trading behind it.

    Args:
        last: last known prices, where an earlier run left off.
    """
    steps = VENUE_HISTORY_S // EXCHANGE_STEP_S
    decimals = {market.symbol: market.price_decimals for market in MARKETS}
    symbols = {instrument: instrument.partition(":")[2] for instrument in last}
    prices = {s: last[i] / 10 ** decimals[s] for i, s in symbols.items() if s in decimals}
    return build(seed=seed, enforce_limits=False, warm_steps=steps, warm_step_s=EXCHANGE_STEP_S, prices=prices)


@contextlib.asynccontextmanager
async def open_venues(market: Market, seed: int, last: Mapping[InstrumentId, int]) -> AsyncIterator[Venues]:
    """Open the venues of a market, with their pairs listed; none for a market that is not venues'.

    Raises:
        VenueError: when one cannot be reached.
    """
    if not market.venue:
        yield Venues([])
        return
    async with contextlib.AsyncExitStack() as stack:
        addresses = {market.venue: (market.base_url, market.ws_url)}
        local = None
        if market.venue == EXCHANGE_MARKET:
            local = await stack.enter_async_context(serve(local_market(seed, last)))
            addresses = {name: (e.url, e.ws_url) for name, e in local.exchanges.items()}
        http = await stack.enter_async_context(aiohttp.ClientSession(trust_env=True))
        clients = [
            VenueClient(with_urls(protocol_of(name), rest, socket_), http)
            for name, (rest, socket_) in addresses.items()
        ]
        for client in clients:
            await client.load_markets()
        yield Venues(clients, local, http)


async def venue_history(client: VenueClient, symbols: Sequence[str]) -> list[Trade]:
    """Return trades that stand for the venue's last one-minute bars."""
    since_s = int(time()) // 60 * 60 - VENUE_HISTORY_S
    found: list[Trade] = []
    for symbol in symbols:
        until_s = since_s + VENUE_HISTORY_S
        action = Candles(symbol=symbol, interval_s=60, since_s=since_s, until_s=until_s)
        for bar in await client.call(action):
            if bar.ts_ns <= until_s * 1_000_000_000 and bar.volume:
                prices = (bar.open, bar.high, bar.low, bar.close)
                found += trades_in(bar.instrument, bar.ts_ns, 60_000_000_000, prices, bar.volume)
    return found


async def venue_feed(venues: list[VenueClient], plans: list[AccountPlan]) -> VenueFeed:
    history: list[Trade] = []
    feeds = []
    for client in venues:
        symbols: list[str] = sorted(
            {i.symbol for p in plans for i in p.instruments if i.venue == client.protocol.venue}
        )
        history += await venue_history(client, symbols)
        feeds.append(MarketFeed(client, symbols))
    return VenueFeed(feeds, sorted(history, key=lambda trade: trade.ts_ns))
