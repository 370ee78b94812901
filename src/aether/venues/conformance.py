"""Whether a venue does what its adapter believes: a named suite against any address, and a report of what came back.

It is what a firm runs before its first real order: against the local exchange, against a sandbox, and, with a cap and a
person's word, against the real venue with a little money. Each case asks one thing of the venue and holds the answer to
what the adapter relies on. Nothing but the suite's own orders is touched; what it placed, it takes back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import ROUND_UP, Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from aether.clock import monotonic_s, wall_s
from aether.domain.errors import AetherError, Failure, UnsupportedError, VenueError
from aether.domain.events import BookUpdate, OrderAccepted, OrderCanceled
from aether.domain.identifiers import ClientOrderId, VenueOrderId
from aether.domain.instruments import Instrument, TradingState
from aether.domain.orders import OrderRequest, OrderType, Side, TimeInForce
from aether.domain.scaled import AMOUNT_DECIMALS, AMOUNT_SCALE, format_amount, round_down, round_up
from aether.venues.actions import (
    Action,
    Amend,
    Balances,
    Cancel,
    CancelAllOrders,
    Candles,
    DeadManSwitch,
    Depth,
    Fees,
    Fills,
    GetOrder,
    OpenOrders,
    Permissions,
    RecentTrades,
    StreamToken,
    Submit,
    Ticker,
)
from aether.venues.client import VenueClient
from aether.venues.feed import MarketFeed
from aether.venues.messages import Execution, OrderUpdate
from aether.venues.protocol import CancelScope, Response
from aether.venues.session import ExecutionSession
from aether.venues.stream import Channel

CASE_WITHIN_S = 60.0
SETTLES_WITHIN_S, LOOK_S = 15.0, 0.3
FAR_BPS = 1_500
"""How far below the market orders rest: far enough not to trade, near enough for venues that bound prices."""
WORTH_MORE = Decimal("1.2")
"""Above the venue's least worth, since prices move."""
SHOWN = 400


class Verdict(StrEnum):
    """What became of a case."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_OFFERED = "not offered"
    NOT_RUN = "not run"


class UnexpectedError(Exception):
    """The venue does otherwise than the adapter believes; `str` says what."""


class NotRunError(Exception):
    """A case would touch what is not the suite's; `str` says why."""


class Result(NamedTuple):
    """What a case came to.

    Attributes:
        told: what came back, in words.
        evidence: what was asked and what the venue answered, in its own text.
    """

    name: str
    asks: str
    verdict: Verdict
    told: str
    ms: int
    evidence: tuple[str, ...]


class Suite:
    """The cases at one venue.

    Args:
        client: with markets loaded; with credentials for what needs a key.
        symbol: the pair that everything is tried on.
        most: what may be spent at most, of the quote asset; 0 for nothing: only what reads is run then.
    """

    def __init__(self, client: VenueClient, symbol: str, most: Decimal) -> None:
        self.client = client
        self.symbol = symbol
        self.most = most
        self.instrument: Instrument = next(
            li.instrument for li in client.protocol.listings.values() if li.instrument.symbol == symbol
        )
        self._run = f"{int(wall_s()) % 1_000_000:06d}"
        self._number = 0
        self._own: dict[ClientOrderId, VenueOrderId] = {}
        self._evidence: list[str] = []
        client.on_answer = self._note

    async def run(self, on_result: Callable[[Result], None] = lambda _r: None) -> list[Result]:
        """Run all cases that may be run, and take back what they placed."""
        cases = [*READING]
        if self.client.credentials is not None:
            cases += KEYED + (TRADING if self.most else ())
        results = []
        for case in cases:
            result = await self._one(*case)
            results.append(result)
            on_result(result)
            if result.name == "key" and result.verdict is not Verdict.PASSED:
                break  # what withdraws, or cannot be asked about, places nothing
        if self.client.credentials is not None and self.most:
            await self._take_back()
        return results

    async def _one(self, name: str, asks: str, case: "Case") -> Result:
        began, self._evidence = monotonic_s(), []
        try:
            async with asyncio.timeout(CASE_WITHIN_S):
                told, verdict = await case(self), Verdict.PASSED
        except UnsupportedError as error:
            told, verdict = error.message, Verdict.NOT_OFFERED
        except NotRunError as error:
            told, verdict = str(error), Verdict.NOT_RUN
        except TimeoutError:
            told, verdict = f"no answer within {CASE_WITHIN_S:.0f} s", Verdict.FAILED
        except (UnexpectedError, AetherError) as error:
            told, verdict = str(error), Verdict.FAILED
        return Result(name, asks, verdict, told, round((monotonic_s() - began) * 1000), tuple(self._evidence))

    def _note(self, action: Action, response: Response) -> None:
        asked = {k: str(v) for k, v in msgspec.structs.asdict(action).items() if v}
        body = (
            "(kept back)" if isinstance(action, StreamToken | Permissions) else response.body.decode("utf-8", "replace")
        )
        shown = body if len(body) <= SHOWN else f"{body[:SHOWN]}… ({len(body)} characters)"
        self._evidence.append(f"{type(action).__name__} {asked} -> HTTP {response.status} {shown}")

    # What cases are made of.

    def need(self, holds: object, otherwise: str) -> None:
        """Fail the case unless something holds."""
        if not holds:
            raise UnexpectedError(otherwise)

    async def price(self, bps: int) -> int:
        """Return a price so many basis points from the best bid, on the venue's ticks."""
        quote = await self.client.call(Ticker(symbol=self.symbol))
        self.need(quote.bid > 0, "there is no bid to price by")
        return max(self.instrument.tick, round_down(quote.bid * (10_000 + bps) // 10_000, self.instrument.tick))

    def size(self, price: int) -> int:
        """Return the least size that the venue takes at a price. Raises NotRunError where it costs too much."""
        instrument = self.instrument
        worth = int(Decimal(instrument.min_notional) * WORTH_MORE)
        unit = instrument.notional(price, 10**instrument.size_decimals)
        wanted = Decimal(worth) * 10**instrument.size_decimals / unit
        least = max(instrument.min_size, int(wanted.to_integral_value(ROUND_UP)))
        size = round_up(least, instrument.lot)
        cost = instrument.notional(price, size)
        if cost > self.most * AMOUNT_SCALE:
            raise NotRunError(f"the least order costs {format_amount(cost)}, {self.most} may be spent")
        return size

    def order(self, price: int, **changes: Any) -> Submit:
        """Return a limit order to buy the least size, under an id of the suite's own."""
        self._number += 1
        fields: dict[str, Any] = {
            "symbol": self.symbol,
            "side": Side.BUY,
            "type": OrderType.LIMIT,
            "size": self.instrument.size_text(self.size(price)),
            "price": self.instrument.price_text(price),
            "time_in_force": TimeInForce.GTC,
            "client_order_id": ClientOrderId(f"conf-{self._run}-{self._number}"),
        }
        return Submit(**{**fields, **changes})

    async def place(self, order: Submit) -> VenueOrderId:
        """Place an order, and know it as the suite's own."""
        number = VenueOrderId(await self.client.call(order))
        self._own[order.client_order_id] = number
        return number

    async def refused(self, order: Submit, what: str) -> str:
        """Return how the venue refuses an order; an order that it takes instead fails the case."""
        try:
            number = await self.place(order)
        except VenueError as error:
            self.need(
                error.failure is Failure.REJECTED, f"{what} was refused as {error.failure}, not as rejected: {error}"
            )
            return error.message
        raise UnexpectedError(f"{what} was taken, as {number}")

    async def ended(self, order: Submit) -> tuple[VenueOrderId, str]:
        """Place an order that ends at once; return its number, or how it was refused instead."""
        try:
            number = await self.place(order)
        except VenueError as error:
            self.need(error.failure is Failure.REJECTED, f"{error.failure}: {error.message}")
            return VenueOrderId(""), error.message
        await self.gone(number)
        return number, ""

    async def open_orders(self) -> list[OrderUpdate]:
        """Return the pair's open orders."""
        found: list[OrderUpdate] = await self.client.call(OpenOrders(symbol=self.symbol))
        return found

    async def until(self, holds: Callable[[], Awaitable[Any]], what: str) -> Any:
        """Return what something comes to be, within a while."""
        end = monotonic_s() + SETTLES_WITHIN_S
        while True:
            if found := await holds():
                return found
            if monotonic_s() > end:
                raise UnexpectedError(f"{what} did not come within {SETTLES_WITHIN_S:.0f} s")
            await asyncio.sleep(LOOK_S)

    async def rest(self) -> tuple[Submit, VenueOrderId]:
        """Place an order far below the market, and see it among the open ones."""
        order = self.order(await self.price(-FAR_BPS))
        number = await self.place(order)

        async def seen() -> bool:
            return any(o.venue_order_id == number for o in await self.open_orders())

        await self.until(seen, "the order in the list of open ones")
        return order, number

    def by(self, order: Submit, number: VenueOrderId) -> dict[str, Any]:
        """Return how an order is named."""
        return {"symbol": self.symbol, "client_order_id": order.client_order_id, "venue_order_id": number}

    async def gone(self, number: VenueOrderId) -> None:
        """Wait until an order is not open any more."""

        async def is_gone() -> bool:
            return all(o.venue_order_id != number for o in await self.open_orders())

        await self.until(is_gone, "the order's end")

    async def alone(self) -> None:
        """Raise NotRunError when orders are open, of whatever pair, that are not the suite's."""
        others = [o for o in await self.client.call(OpenOrders()) if o.venue_order_id not in self._own.values()]
        if others:
            raise NotRunError(f"{len(others)} orders of others are open, which this would cancel")

    async def _take_back(self) -> None:
        """Cancel what the suite placed and is still open."""
        with suppress(AetherError):
            still = {o.venue_order_id for o in await self.open_orders()}
            for client_id, number in self._own.items():
                if number in still:
                    with suppress(AetherError):
                        await self.client.call(
                            Cancel(symbol=self.symbol, client_order_id=client_id, venue_order_id=number)
                        )


Case = Callable[[Suite], Awaitable[str]]


async def clock(s: Suite) -> str:
    """Measure how far apart the clocks are."""
    offset_s = await s.client.measure_clock()
    s.need(abs(offset_s) < 5, f"the venue's clock is {offset_s:+.1f} s from this machine's: set this machine's")
    return f"{offset_s:+.3f} s apart"


async def rules(s: Suite) -> str:
    """Read the pair's rules."""
    (pair, *_) = await s.client.pairs([s.symbol])
    i = pair.instrument
    s.need(pair.state is TradingState.ONLINE, f"{s.symbol} is {pair.state.words} ({pair.detail})")
    return f"tick {i.price_text(i.tick)}, lot {i.size_text(i.lot)}, least worth {format_amount(i.min_notional)}"


async def quote(s: Suite) -> str:
    """Read the best bid and ask."""
    found = await s.client.call(Ticker(symbol=s.symbol))
    s.need(0 < found.bid < found.ask, f"bid {found.bid}, ask {found.ask}")
    return f"{s.instrument.price_text(found.bid)} / {s.instrument.price_text(found.ask)}"


async def book(s: Suite) -> str:
    """Read the book over REST."""
    found = await s.client.call(Depth(symbol=s.symbol, levels=50))
    bids, asks = [p for p, _ in found.bids], [p for p, _ in found.asks]
    s.need(bids and asks, "one side is missing")
    s.need(bids == sorted(bids, reverse=True) and asks == sorted(asks), "the levels are not in order")
    s.need(bids[0] < asks[0], "the book is crossed")
    return f"{len(bids)} bids, {len(asks)} asks"


async def trades(s: Suite) -> str:
    """Read the last public trades."""
    found = await s.client.call(RecentTrades(symbol=s.symbol))
    s.need(found, "there are none")
    s.need(all(t.price > 0 and t.size > 0 for t in found), "one has no price or size")
    return f"{len(found)}, {sum(t.side is Side.BUY for t in found)} bought"


async def candles(s: Suite) -> str:
    """Read bars of a minute."""
    since_s = int(s.client.now_ms() / 1000) - 3_600
    found = await s.client.call(Candles(symbol=s.symbol, interval_s=60, since_s=since_s))
    s.need(found, "there are none")
    s.need(all(b.low <= min(b.open, b.close) <= max(b.open, b.close) <= b.high for b in found), "one is impossible")
    return f"{len(found)} bars"


async def feed(s: Suite) -> str:
    """Follow the book on the public socket until it is proven."""
    source = MarketFeed(s.client, [s.symbol], channels=(Channel.BOOK,))
    async for event in source.events():
        if isinstance(event, BookUpdate):
            s.need(event.bids[0][0] < event.asks[0][0], "the book is crossed")
            return f"proven, {len(event.bids)} bids and {len(event.asks)} asks"
    raise UnexpectedError("the socket ended")


async def key(s: Suite) -> str:
    """Ask what the key may do: trade, and not withdraw."""
    found = await s.client.check_key()
    return f"trades: {found.can_trade}, withdraws: {found.can_withdraw}"


async def balances(s: Suite) -> str:
    """Read what is held."""
    found = await s.client.call(Balances())
    s.need(len({b.asset for b in found}) == len(found), "an asset is there twice")
    s.need(all(0 <= b.free <= b.total for b in found if b.free >= 0), "more is free than is held")
    return f"{len(found)} assets"


async def fees(s: Suite) -> str:
    """Read the account's fee rates."""
    found = await s.client.call(Fees(symbol=s.symbol))
    s.need(0 <= found.maker_ppm <= found.taker_ppm < 50_000, f"maker {found.maker_ppm}, taker {found.taker_ppm} ppm")
    return f"maker {found.maker_ppm / 10_000:.3f} %, taker {found.taker_ppm / 10_000:.3f} %"


async def listed(s: Suite) -> str:
    """Read the open orders."""
    found = await s.open_orders()
    unread = [o for o in found if o.unread]
    s.need(not unread, f"{len(unread)} are not understood: {unread[0].unread if unread else ''}")
    return f"{len(found)} open"


async def too_small(s: Suite) -> str:
    """Have an order refused that is smaller than the venue takes."""
    far = await s.price(-FAR_BPS)
    least = max(s.instrument.lot, s.instrument.min_size // 10)
    s.size(far)
    return await s.refused(s.order(far, size=s.instrument.size_text(least)), "an order of a tenth of the least size")


async def off_tick(s: Suite) -> str:
    """Have a price refused that is between two ticks."""
    i = s.instrument
    far = await s.price(-FAR_BPS) + max(1, i.tick // 10)
    return await s.refused(s.order(far), "a price between two ticks")


async def resting(s: Suite) -> str:
    """Place an order, find it by our own id, and cancel it."""
    order, number = await s.rest()
    found: OrderUpdate = await s.client.call(GetOrder(symbol=s.symbol, client_order_id=order.client_order_id))
    s.need(found.venue_order_id == number, f"our id leads to {found.venue_order_id}, not to {number}")
    s.need(found.filled <= 0, "it has traded")
    await s.client.call(Cancel(**s.by(order, number)))
    await s.gone(number)
    return f"{number}, canceled"


async def same_id(s: Suite) -> str:
    """Send the same order twice: there is never a second one."""
    order, number = await s.rest()
    try:
        told = f"the first one is given back: {await s.client.call(order)}"
    except VenueError as error:
        told = f"refused: {error.message}"
    of_id = [o for o in await s.open_orders() if o.client_id == s.client.protocol.wire_id(order.client_order_id)]
    await s.client.call(Cancel(**s.by(order, number)))
    s.need(len(of_id) == 1, f"{len(of_id)} orders of one id are open")
    return told


async def amend(s: Suite) -> str:
    """Move the price of an order that rests."""
    order, number = await s.rest()
    nearer = await s.price(-FAR_BPS + 100)
    try:
        await s.client.call(Amend(**s.by(order, number), size=order.size, price=s.instrument.price_text(nearer)))

        async def moved() -> bool:
            return any(o.limit_price == nearer for o in await s.open_orders())

        await s.until(moved, "the new price in the list of open orders")
    finally:
        with suppress(AetherError):
            await s.client.call(Cancel(**s.by(order, number)))
    return f"to {s.instrument.price_text(nearer)}"


async def unknown_order(s: Suite) -> str:
    """Cancel an order twice: the second time there is none."""
    order, number = await s.rest()
    await s.client.call(Cancel(**s.by(order, number)))
    await s.gone(number)
    try:
        await s.client.call(Cancel(**s.by(order, number)))
    except VenueError as error:
        s.need(error.failure in (Failure.NOT_FOUND, Failure.REJECTED), f"{error.failure}: {error.message}")
        return error.message
    return "taken, and nothing done"


async def post_only(s: Suite) -> str:
    """Have a post-only order refused, or ended, that would take."""
    order = s.order(await s.price(100), post_only=True)
    number, told = await s.ended(order)
    if told:
        return told
    found: list[Execution] = await s.client.call(Fills(symbol=s.symbol, venue_order_id=number))
    s.need(not found, "it took")
    return "taken, and canceled at once"


async def immediate(s: Suite) -> str:
    """Let an immediate-or-cancel order far from the market end without a trade."""
    order = s.order(await s.price(-FAR_BPS), time_in_force=TimeInForce.IOC)
    number, told = await s.ended(order)
    return told or f"{number} ended"


async def round_trip(s: Suite) -> str:
    """Buy the least at the market and sell it again; read the executions with their fees."""
    quoted = await s.client.call(Ticker(symbol=s.symbol))
    price = round_up(quoted.ask * 10_050 // 10_000, s.instrument.tick)
    least = s.size(price)
    size = s.instrument.size_text(round_up(least + least // 50, s.instrument.lot))  # the fee may be taken of the coins
    told = []
    for side in (Side.BUY, Side.SELL):
        order = msgspec.structs.replace(
            s.order(price), side=side, type=OrderType.MARKET, size=size, price="", time_in_force=None
        )
        number = await s.place(order)

        async def executed(of: VenueOrderId = number) -> list[Execution]:
            found: list[Execution] = await s.client.call(Fills(symbol=s.symbol, venue_order_id=of))
            return [e for e in found if e.venue_order_id == of]

        found = await s.until(executed, f"the executions of the {side}")
        fee = sum(e.fee for e in found)
        got = sum(e.size for e in found)
        told.append(f"{side} {s.instrument.size_text(got)}, fee {format_amount(fee)} {found[0].fee_asset}")
        if side is Side.BUY and found[0].fee_asset == s.instrument.base:
            units = 10 ** (AMOUNT_DECIMALS - s.instrument.size_decimals)
            left = round_down(got - -(-fee // units), s.instrument.lot)
            size = s.instrument.size_text(left)
            if left < s.instrument.min_size:
                return f"{told[0]}; what is left after the fee is too little to sell"
    return "; ".join(told)


async def cancel_all(s: Suite) -> str:
    """Cancel two orders at once in the venue's own way."""
    await s.alone()
    numbers = [(await s.rest())[1] for _ in range(2)]
    scope = s.client.protocol.cancel_scope
    await s.client.call(
        CancelAllOrders(
            symbol=s.symbol if scope is CancelScope.SYMBOL else "",
            venue_order_ids=tuple(numbers) if scope is CancelScope.ORDER else (),
        )
    )
    for number in numbers:
        await s.gone(number)
    return f"{len(numbers)} gone, by {scope.value}"


async def session(s: Suite) -> str:
    """Trade as an account does: order on the private socket, told, and taken back by a stop."""
    await s.alone()
    far = await s.price(-FAR_BPS)
    s._number += 1
    request = OrderRequest(
        id=ClientOrderId(f"conf-{s._run}-{s._number}"),
        instrument=s.instrument.id,
        side=Side.BUY,
        type=OrderType.LIMIT,
        size=s.size(far),
        limit_price=far,
    )
    trading = ExecutionSession(s.client)
    task = asyncio.ensure_future(trading.run())
    try:
        await trading.ready.wait()
        trading.submit(request)
        seen: list[Any] = []
        while not seen or not isinstance(seen[-1], OrderAccepted):
            seen.append(await trading.reports.get())
        s._own[request.id] = seen[-1].venue_order_id
        trading.stop()
        while not isinstance(seen[-1], OrderCanceled):
            seen.append(await trading.reports.get())
        return f"accepted as {s._own[request.id]}, canceled by a stop"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, AetherError):
            await task


async def dead_man(s: Suite) -> str:
    """Arm the dead-man switch, and put it off."""
    await s.client.call(DeadManSwitch(timeout_s=60))
    await s.client.call(DeadManSwitch(timeout_s=0))
    return "armed for 60 s, and put off"


def _named(*cases: Case) -> tuple[tuple[str, str, Case], ...]:
    return tuple((c.__name__.replace("_", " "), (c.__doc__ or "").strip().rstrip("."), c) for c in cases)


READING = _named(clock, rules, quote, book, trades, candles, feed)
"""What needs no key."""
KEYED = _named(key, balances, fees, listed)
"""What reads with a key."""
TRADING = _named(
    too_small, off_tick, resting, same_id, amend, unknown_order, post_only, immediate, round_trip, cancel_all, session,
    dead_man,
)  # fmt: skip
"""What places orders."""


def report_of(venue: str, address: str, symbol: str, most: Decimal, results: list[Result], at: str) -> str:
    """Return the report as Markdown: each case, what was asked, what came back."""
    counts = ", ".join(f"{sum(r.verdict is v for r in results)} {v.value}" for v in Verdict)
    spent = f"at most {most} of the quote asset" if most else "nothing: reading only"
    lines = [
        f"# Conformance of {venue.capitalize()}",
        "",
        f"{at} UTC, {address}, {symbol}, {spent}. {counts}.",
        "",
        "| case | verdict | what came back | ms |",
        "| --- | --- | --- | --- |",
        *(f"| {r.name} | {r.verdict.value} | {_cell(r.told)} | {r.ms} |" for r in results),
    ]
    for result in results:
        lines += ["", f"## {result.name}: {result.verdict.value}", "", f"{result.asks}.", ""]
        lines += [f"    {line}" for line in result.evidence] or ["    (on the socket)"]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
