"""The cases of the conformance suite, and their order: what reads, what reads with a key, what trades."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aether.domain.errors import AetherError, Failure, UnsupportedError, VenueError
from aether.domain.events import BookUpdate, OrderAccepted, OrderCanceled, OrderRejected
from aether.domain.identifiers import VenueOrderId
from aether.domain.instruments import TradingState
from aether.domain.orders import OrderRequest, OrderType, Side, TimeInForce
from aether.domain.scaled import format_amount, round_down, round_up
from aether.venues.actions import (
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
    RecentTrades,
    Ticker,
)
from aether.venues.conformance import (
    FAR_BPS,
    TAKEN_BACK_WITHIN_S,
    Case,
    Result,
    Suite,
    UnexpectedError,
    Verdict,
)
from aether.venues.feed import MarketFeed
from aether.venues.messages import Execution, OrderUpdate
from aether.venues.profile import CancelScope
from aether.venues.session import ExecutionSession
from aether.venues.stream import Channel

CASE_WITHIN_S = 60.0
READY_WITHIN_S = 20.0


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
    s.need(
        found.can_trade is not False or not s.most,
        "the key may not trade: give it the right to place and cancel orders",
    )
    return f"trades: {found.can_trade}, withdraws: {found.can_withdraw}"


async def balances(s: Suite) -> str:
    """Read what is held."""
    found = await s.client.call(Balances())
    s.need(len({b.asset for b in found}) == len(found), "an asset is there twice")
    s.need(all(0 <= b.free <= b.total for b in found if b.free >= 0), "more is free than is held")
    s.free = next((max(0, b.free) for b in found if b.asset == s.instrument.quote), 0)
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
    right = s.instrument.size_text(s.size(far))
    order = s.order(far, size=s.instrument.size_text(least))
    return await s.refused(order, "an order of a tenth of the least size", size=right)


async def off_tick(s: Suite) -> str:
    """Have a price refused that is between two ticks."""
    i = s.instrument
    far = await s.price(-FAR_BPS)
    order = s.order(far + max(1, i.tick // 10))
    return await s.refused(order, "a price between two ticks", price=i.price_text(far))


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
    far = await s.price(-FAR_BPS)
    s.afford(far, 2 * s.size(far))
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
    nearer = await s.price(-FAR_BPS + 100)
    s.afford(nearer, s.size(await s.price(-FAR_BPS)))  # what it costs once it was moved
    order, number = await s.rest()
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
    far = await s.price(-FAR_BPS)
    near, size = await s.price(100), s.size(far)  # enough at either price
    s.afford(near, size)
    order = s.order(near, size=s.instrument.size_text(size), post_only=True)
    number, told = await s.ended(order, price=s.instrument.price_text(far))
    if told:
        return told
    found: list[Execution] = await s.client.call(Fills(symbol=s.symbol, venue_order_id=number))
    s.need(not found, "it took")
    return "taken, and canceled at once"


async def immediate(s: Suite) -> str:
    """Let an immediate-or-cancel order far from the market end without a trade."""
    order = s.order(await s.price(-FAR_BPS), time_in_force=TimeInForce.IOC)
    number, told = await s.ended(order, time_in_force=TimeInForce.GTC)
    return told or f"{number} ended"


async def round_trip(s: Suite) -> str:
    """Buy the least at once and sell it again at the market; read the executions with their fees."""
    await s.alone()
    quoted = await s.client.call(Ticker(symbol=s.symbol))
    price = round_up(quoted.ask * 10_050 // 10_000, s.instrument.tick)
    least = s.size(price)
    size = round_up(least + least // 50, s.instrument.lot)  # the fee may be taken of the coins
    s.afford(price, size)
    bought = await s.trade(s.order(price, size=s.instrument.size_text(size), time_in_force=TimeInForce.IOC))
    s.need(bought, "nothing was bought at half a percent above the best ask")
    held = round_down(max(0, s.net(bought)), s.instrument.lot)
    if held < s.instrument.min_size:
        return f"{_words(s, bought)}; what is left after the fee is too little to sell"
    sold = await s.trade(s.sale(held))
    s.need(sold, "nothing was sold at the market")
    return f"{_words(s, bought)}; {_words(s, sold)}"


def _words(s: Suite, found: list[Execution]) -> str:
    size, fee = sum(e.size for e in found), sum(e.fee for e in found)
    return f"{found[0].side} {s.instrument.size_text(size)}, fee {format_amount(fee)} {found[0].fee_asset}"


async def cancel_all(s: Suite) -> str:
    """Cancel two orders at once in the venue's own way."""
    await s.alone()
    numbers = [(await s.rest())[1] for _ in range(2)]
    scope = s.client.protocol.profile.cancel_scope
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
    size = s.size(far)
    request = OrderRequest(
        id=s.id(),
        instrument=s.instrument.id,
        side=Side.BUY,
        type=OrderType.LIMIT,
        size=size,
        limit_price=far,
    )
    trading = ExecutionSession(s.client)
    task = asyncio.ensure_future(trading.run())
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN_S):
                await trading.ready.wait()
        s.need(
            trading.ready.is_set(), f"the private socket was not ready within {READY_WITHIN_S:.0f} s: {s.last_answer}"
        )
        s.own[request.id] = VenueOrderId("")
        trading.submit(request)
        seen: list[Any] = []
        while not seen or not isinstance(seen[-1], OrderAccepted):
            seen.append(await trading.reports.get())
            if isinstance(seen[-1], OrderRejected):
                del s.own[request.id]
                raise UnexpectedError(f"the order was refused: {seen[-1].reason}")
        s.own[request.id] = seen[-1].venue_order_id
        trading.stop()
        while not isinstance(seen[-1], OrderCanceled):
            seen.append(await trading.reports.get())
        return f"accepted as {s.own[request.id]}, canceled by a stop"
    finally:
        task.cancel()
        await asyncio.wait([task])


async def dead_man(s: Suite) -> str:
    """Arm the dead-man switch, and put it off."""
    await s.alone()
    s.is_armed = True
    try:
        await s.client.call(DeadManSwitch(timeout_s=60))
    except UnsupportedError:
        s.is_armed = False
        raise
    await s.client.call(DeadManSwitch(timeout_s=0))
    s.is_armed = False
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
TAKEN_BACK = ("taken back", "Leave no order open and no coin bought", Suite.take_back)


async def run(suite: Suite, on_result: Callable[[Result], None] = lambda _r: None) -> list[Result]:
    """Run all cases that may be run, and take back what they placed, also when a case fails or the run is canceled."""
    results: list[Result] = []

    async def do(case: tuple[str, str, Case], within_s: float = CASE_WITHIN_S) -> bool:
        results.append(await suite.one(*case, within_s))
        on_result(results[-1])
        return results[-1].verdict is not Verdict.FAILED

    for case in READING if suite.client.credentials is None else READING + KEYED:
        await do(case)
    why_not = _why_not(suite, results)
    try:
        for case in TRADING:
            if why_not:
                results.append(Result(*case[:2], Verdict.NOT_RUN, why_not, 0, ()))
                on_result(results[-1])
            elif not await do(case) and not await do(TAKEN_BACK, TAKEN_BACK_WITHIN_S):
                why_not = "what was placed before could not be taken back"
    finally:
        if suite.own or suite.is_armed:
            await do(TAKEN_BACK, TAKEN_BACK_WITHIN_S)
    return results


def _why_not(suite: Suite, results: list[Result]) -> str:
    """Return why no orders are placed, empty when they are."""
    if suite.client.credentials is None:
        return "there is no key"
    if not suite.most:
        return "nothing may be spent"
    failed = [r.name for r in results if r.verdict is not Verdict.PASSED and r.name in ("rules", "key")]
    return f"the {failed[0]} did not pass" if failed else ""
