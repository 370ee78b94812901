"""A trader at the local exchange, over real sockets, for every venue alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from aether.clock import running_s
from aether.domain.events import OrderFilled, VenueReport
from aether.domain.identifiers import ClientOrderId, InstrumentId
from aether.domain.orders import OrderRequest, OrderType, Side, TimeInForce
from aether.exchange.server import Exchange, LocalExchange, build, serve
from aether.exchange.venue import NewOrder, Order
from aether.venues.client import VenueClient, with_urls
from aether.venues.limits import VenueLimits
from aether.venues.protocol import Credentials
from aether.venues.registry import protocol_of
from aether.venues.session import ExecutionSession

VENUES = ("kraken", "binance", "coinbase")
PATIENCE_S = 40.0
ONE = 10**8
UNIT = 10**7
"""What the exchange's prices of BTC/USD, of one decimal, are in the house's scale."""


def in_house(levels: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the exchange's levels as the house has them."""
    return [(price * UNIT, size) for price, size in levels]


class Trader:
    """One account at one venue: client, session, and the exchange's own view beside it."""

    def __init__(self, exchange: Exchange, client: VenueClient, session: ExecutionSession, account: str) -> None:
        self.exchange = exchange
        self.client = client
        self.session = session
        self.account = account
        self.reports: list[VenueReport] = []
        self._number = 0

    @property
    def venue(self) -> str:
        return self.exchange.venue.name

    @property
    def instrument(self) -> InstrumentId:
        return InstrumentId(f"{self.venue}:BTC/USD")

    def request(self, side: str, kind: OrderType, size: str, **fields: Any) -> OrderRequest:
        """An order for BTC/USD: size in BTC, prices in dollars."""
        self._number += 1
        for name in ("limit_price", "trigger_price", "trail"):
            if name in fields:
                fields[name] = round(float(fields[name]) * ONE)
        if "display_size" in fields:
            fields["display_size"] = round(float(fields["display_size"]) * ONE)
        return OrderRequest(
            id=ClientOrderId(f"{self.account}-{self._number}"),
            instrument=self.instrument,
            side=Side(side),
            type=kind,
            size=round(float(size) * ONE),
            **fields,
        )

    async def until(self, met: Callable[[], Any]) -> Any:
        """Wait until a condition on what was reported holds."""

        async def wait() -> Any:
            while not (found := met()):
                self.reports.append(await self.session.reports.get())
            return found

        while not self.session.reports.empty():
            self.reports.append(self.session.reports.get_nowait())
        return await asyncio.wait_for(wait(), PATIENCE_S)

    async def report(self, kind: type[Any], order: OrderRequest) -> Any:
        """Wait for a report of a kind about an order."""
        return await self.until(
            lambda: next((r for r in self.reports if isinstance(r, kind) and r.order_id == order.id), None)
        )

    async def send(self, side: str, kind: OrderType, size: str, **fields: Any) -> OrderRequest:
        request = self.request(side, kind, size, **fields)
        self.session.submit(request)
        return request

    async def filled(self, order: OrderRequest, size: str = "") -> list[OrderFilled]:
        """Wait until so much of an order has been reported as filled."""
        wanted = round(float(size) * ONE) if size else order.size
        await self.until(lambda: sum(f.size for f in self.fills(order)) >= wanted)
        return self.fills(order)

    def fills(self, order: OrderRequest) -> list[OrderFilled]:
        return [r for r in self.reports if isinstance(r, OrderFilled) and r.order_id == order.id]

    def at_venue(self, order: OrderRequest) -> Order:
        """The order as the exchange holds it."""
        wire = self.client.protocol.wire_id(order.id)
        return self.exchange.venue.account(self.account).by_client[wire]

    def quote(self, side: str, price: float, size: float, account: str = "other") -> Order:
        """Let someone else place a limit order."""
        return self.exchange.venue.place(
            account,
            NewOrder("BTC/USD", Side(side), OrderType.LIMIT, round(size * ONE), price=round(price * 10)),
        )

    def trade_at(self, price: float, size: float = 0.001) -> None:
        """Let two others trade at a price, inside the spread or not."""
        self.exchange.venue.place(
            "third", NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, round(size * ONE), price=round(price * 10))
        )
        self.exchange.venue.place(
            "other",
            NewOrder(
                "BTC/USD", Side.BUY, OrderType.LIMIT, round(size * ONE), price=round(price * 10), tif=TimeInForce.IOC
            ),
        )

    def balances_agree(self) -> bool:
        """Whether the session's balances are the exchange's."""
        account = self.exchange.venue.account(self.account)
        return all(self.session.balances.get(f"{self.venue}:{a}", 0) == v for a, v in account.total.items())  # type: ignore[call-overload]


def silent_after(seconds: int) -> Callable[[ExecutionSession], None]:
    """Have the venue cancel everything when the session is silent so long."""

    def choose(session: ExecutionSession) -> None:
        session.dead_man_s = lambda: seconds

    return choose


@asynccontextmanager
async def local_exchange(**options: Any) -> AsyncIterator[LocalExchange]:
    local = build(background=False, **options)
    for exchange in local.exchanges.values():
        for account in ("other", "third"):
            for asset in ("BTC", "ETH", "USD"):
                exchange.venue.deposit(account, asset, 10**6 * ONE)
    async with serve(local, moving=False):
        yield local


@asynccontextmanager
async def trader_at(
    local: LocalExchange,
    venue: str,
    account: str = "company",
    *,
    state_folder: Path | None = None,
    credentials: Credentials | None = None,
    running: bool = True,
    before: Callable[[ExecutionSession], None] | None = None,
    timeout_s: float = 2.0,
    limits: VenueLimits | None = None,
    clock: Callable[[], float] = running_s,
    **options: Any,
) -> AsyncIterator[Trader]:
    exchange = local.exchanges[venue]
    if credentials is None:
        key, secret = local.open_account(venue, account, {"USD": "1000000", "BTC": "10"})
        credentials = Credentials(key=key, secret=secret)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        protocol = with_urls(protocol_of(venue), exchange.url, exchange.ws_url)
        client = VenueClient(
            protocol,
            http,
            credentials=credentials,
            state_folder=state_folder,
            timeout_s=timeout_s,
            limits=limits,
            clock=clock,
        )
        await client.load_markets()
        session = ExecutionSession(client, **{"answer_timeout_s": 1.0, **options})
        if before:
            before(session)
        trader = Trader(exchange, client, session, account)
        task = asyncio.create_task(session.run()) if running else None
        if task:
            await asyncio.wait_for(session.ready.wait(), PATIENCE_S)
        try:
            yield trader
        finally:
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
