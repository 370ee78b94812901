"""Markets: what `aether up` trades on, and the venues behind them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from aether.clock import wall_s
from aether.compose.accounts import VENUE_HISTORY_S
from aether.compose.choice import EXCHANGE_MARKET, MarketChoice
from aether.domain.accounts import AccountPlan
from aether.domain.errors import VenueError
from aether.domain.events import Trade
from aether.domain.identifiers import AccountId, InstrumentId, VenueId
from aether.domain.instruments import Instrument
from aether.market.dataset import Dataset
from aether.market.replay import trades_in
from aether.node.feeds import VenueFeed
from aether.telemetry import logger
from aether.venues.actions import Candles
from aether.venues.client import VenueClient, unreachable, with_urls
from aether.venues.feed import MarketFeed
from aether.venues.limits import VenueLimits
from aether.venues.protocol import Credentials
from aether.venues.registry import protocol_of
from aether.venues.shapes import prepare

ATTACH_AGAIN_S = 1.0

_log = logger("markets")


@dataclass(frozen=True)
class Market:
    """What `aether up` trades on.

    Attributes:
        recording: None for the synthetic market and for venues.
        speed: of a recording, times real time; None for as fast as possible.
        venue: the venue whose live public market it is, or `exchange`; empty for the others.
        base_url, ws_url: of the venue, in place of its usual ones; of the local exchange, its admin API.
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


def market_of(choice: MarketChoice, dataset: Dataset | None) -> Market:
    """Return the market that was chosen; `dataset` is its recording."""
    if dataset is not None:
        return Market(dataset, choice.speed)
    if choice.name == "synthetic":
        return Market()
    return Market(venue=choice.name, base_url=choice.base_url, ws_url=choice.ws_url)


class AttachedExchange:
    """The local exchange, apart from who trades there, which keeps its accounts when this one ends.

    Attributes:
        has_limits: it refuses who asks too much, as venues do.

    Args:
        admin_url: of its admin API.
    """

    def __init__(self, admin_url: str, http: aiohttp.ClientSession) -> None:
        self.has_limits = True
        self._admin_url = admin_url.rstrip("/")
        self._http = http

    async def addresses(self) -> dict[str, tuple[str, str]]:
        """Return where each venue listens. Raises VenueError when the exchange cannot be reached."""
        state = await self._ask("GET", "/state", None)
        self.has_limits = any(found["limits"] for found in state.values())
        return {name: (str(found["url"]), str(found["ws_url"])) for name, found in state.items()}

    async def open_account(self, venue: str, account: str, balances: dict[str, str]) -> Credentials:
        """Return a key of an account; one that is new is opened with balances. Waits until the exchange answers."""
        wanted = {"exchange": venue, "account": account, "balances": balances, "once": True}
        while True:
            try:
                given = await self._ask("POST", "/accounts", wanted)
            except VenueError as error:
                _log.warning("waiting_for_exchange", account_id=account, venue=venue, reason=error.message)
                await asyncio.sleep(ATTACH_AGAIN_S)
            else:
                return Credentials(key=given["key"], secret=given["secret"])

    async def _ask(self, method: str, path: str, body: object) -> dict[str, Any]:
        url = self._admin_url + path
        try:
            async with self._http.request(method, url, json=body, timeout=aiohttp.ClientTimeout(total=10)) as answer:
                found: dict[str, Any] = await answer.json()
                return found
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(VenueId(EXCHANGE_MARKET), url, str(error) or type(error).__name__) from error


@dataclass(frozen=True)
class Venues:
    """The venues of a market, open.

    Attributes:
        clients: for public data, with the pairs listed.
        local: the local exchange behind them, if it is one: accounts then trade there for real.
    """

    clients: list[VenueClient]
    local: AttachedExchange | None = None
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


@contextlib.asynccontextmanager
async def open_venues(market: Market) -> AsyncIterator[Venues]:
    """Open the venues of a market, with their pairs listed; none for a market that is not venues'.

    Raises:
        VenueError: when one cannot be reached.
    """
    if not market.venue:
        yield Venues([])
        return
    async with contextlib.AsyncExitStack() as stack:
        addresses = {market.venue: (market.base_url, market.ws_url)}
        http = await stack.enter_async_context(aiohttp.ClientSession(trust_env=True))
        local = None
        if market.venue == EXCHANGE_MARKET:
            local = AttachedExchange(market.base_url, http)
            addresses = await local.addresses()
        clients = [
            VenueClient(with_urls(protocol_of(name), rest, socket_), http)
            for name, (rest, socket_) in addresses.items()
        ]
        prepare()
        for client in clients:
            await client.load_markets()
        yield Venues(clients, local, http)


def keep_scales(
    clients: list[VenueClient], accounts: Iterable[tuple[AccountId, Iterable[Instrument]]]
) -> dict[AccountId, str]:
    """List the venues' pairs in the scales that the books have them in.

    Args:
        accounts: with their instruments as they know them, the oldest first.

    Returns:
        Accounts that keep a pair in another scale than an older one, and why they cannot trade on the same market.
    """
    first: dict[InstrumentId, tuple[AccountId, Instrument]] = {}
    misfits: dict[AccountId, str] = {}
    for account, instruments in accounts:
        for one in instruments:
            owner, kept = first.setdefault(one.id, (account, one))
            if (kept.price_decimals, kept.size_decimals) != (one.price_decimals, one.size_decimals):
                misfits[account] = (
                    f"it keeps {one.id} in {one.price_decimals} and {one.size_decimals} decimals, and {owner} in "
                    f"{kept.price_decimals} and {kept.size_decimals}: prices of one would be wrong to the other"
                )
    for client in clients:
        for _, instrument in first.values():
            if instrument.venue == client.protocol.venue:
                client.protocol.listings.keep_scale(instrument)
    return misfits


async def venue_history(client: VenueClient, symbols: Sequence[str]) -> list[Trade]:
    """Return trades that stand for the venue's last one-minute bars; a pair without any begins without."""
    since_s = int(wall_s()) // 60 * 60 - VENUE_HISTORY_S
    found: list[Trade] = []
    for symbol in symbols:
        until_s = since_s + VENUE_HISTORY_S
        action = Candles(symbol=symbol, interval_s=60, since_s=since_s, until_s=until_s)
        try:
            bars = await client.call(action)
        except VenueError as error:
            _log.warning("no_history", venue=client.protocol.venue, symbol=symbol, reason=error.message)
            continue
        for bar in bars:
            if bar.ts_ns <= until_s * 1_000_000_000 and bar.volume:
                prices = (bar.open, bar.high, bar.low, bar.close)
                found += trades_in(bar.instrument, bar.ts_ns, 60_000_000_000, prices, bar.volume)
    return found


async def venue_feed(venues: list[VenueClient], plans: list[AccountPlan]) -> VenueFeed:
    """Return the market data of the venues, of every pair that an account trades and the venue lists.

    A pair that was renamed or taken off keeps nobody from trading the others: it has no data, so nothing is traded in
    it, and people are told.
    """
    history: list[Trade] = []
    feeds = []
    for client in venues:
        venue, listings = client.protocol.venue, client.protocol.listings
        wanted = {i.id: i.symbol for p in plans for i in p.instruments if i.venue == venue}
        for instrument in sorted(i for i in wanted if not listings.has(i)):
            _log.error("pair_not_listed", venue=venue, instrument=instrument)
        symbols: list[str] = sorted({symbol for i, symbol in wanted.items() if listings.has(i)})
        history += await venue_history(client, symbols)
        feeds.append(MarketFeed(client, symbols))
    return VenueFeed(feeds, sorted(history, key=lambda trade: trade.ts_ns))
