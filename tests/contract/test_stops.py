"""What is wanted of orders is done, at all three venues over real sockets (R4, T8, O2, O3; the findings of the attack).

A kill ends with the venue's own list empty whatever is down meanwhile; doubt ends in the truth; what nobody told is
found.
"""

import asyncio
from collections.abc import AsyncIterator
from time import time, time_ns

import pytest

from aether.domain.events import (
    OrderAccepted,
    OrderAdopted,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    RejectedBy,
    VenueNoted,
)
from aether.domain.identifiers import AccountId, ClientOrderId, foreign_id
from aether.domain.orders import Order, OrderRequest, OrderState, OrderType, Side
from aether.exchange.server import LocalExchange
from aether.exchange.venue import NewOrder
from aether.exchange.venue import Order as VenueOrder
from aether.venues.client import RetryPolicy
from aether.venues.limits import BinanceLimits, CoinbaseLimits, KrakenLimits, VenueLimits
from aether.venues.protocol import Credentials
from aether.venues.reconciliation import Remembered
from aether.venues.session import ExecutionSession
from tests.contract.venue_desk import ONE, VENUES, Trader, local_exchange, trader_at
from tests.waiting import until

ACCOUNT = AccountId("company")
TIGHT: dict[str, VenueLimits] = {
    "kraken": KrakenLimits("starter"),
    "binance": BinanceLimits(orders_10s=5),
    "coinbase": CoinbaseLimits(3),
}


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    async with local_exchange(enforce_limits=False) as exchange:
        yield exchange


def still_open(trader: Trader) -> int:
    return len(trader.exchange.venue.account(trader.account).open)


async def rest(trader: Trader, count: int) -> list[OrderRequest]:
    orders = [await trader.send("buy", OrderType.LIMIT, "0.01", limit_price=50_000 + n) for n in range(count)]
    for order in orders:
        await trader.report(OrderAccepted, order)
    return orders


def remembered(orders: list[Order], *, next_order: int = 1_000, stopped: bool = False) -> Remembered:
    return Remembered(
        account=ACCOUNT,
        next_order=next_order,
        since_ns=time_ns() - 60 * 10**9,
        instruments=tuple({o.request.instrument for o in orders}),
        orders=tuple(orders),
        is_stopped=stopped,
    )


def journaled(request: OrderRequest, state: OrderState) -> Order:
    now = time_ns()
    return Order(request=request, state=state, created_ns=now, updated_ns=now)


# Findings 1 to 3: stops.


@pytest.mark.parametrize("trouble", ["maintenance", "rate_limit", "locked_out"])
@pytest.mark.parametrize("venue", VENUES)
async def test_a_stop_outlasts_a_venue_that_refuses(
    local: LocalExchange, venue: str, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far more tries than the eight of old are refused; the stop still ends with the list empty (finding 1)."""
    monkeypatch.setattr("aether.venues.tracked.LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr("aether.venues.client.READS", RetryPolicy(1, 0.01))
    async with trader_at(local, venue) as trader:
        await rest(trader, 5)
        stilled = asyncio.Event()
        trader.session.on_still = stilled.set
        face, key = trader.exchange.face, trader.client.credentials
        assert key is not None
        if trouble == "maintenance":
            trader.exchange.venue.state = "maintenance"
        elif trouble == "locked_out":
            kept = face.keys.pop(key.key)
        else:
            trader.exchange.faults.rates = {"rate_limit": 1.0}
        trader.session.stop()
        tries = trader.session.tracker
        await asyncio.sleep(1.5)
        has_another_way = trouble == "maintenance" or (trouble == "locked_out" and venue == "kraken")
        if not has_another_way:
            assert still_open(trader) == 5
            assert not stilled.is_set()
            assert tries.overdue(time()) > 1.0
        trader.exchange.venue.state = "online"
        trader.exchange.faults.clear()
        if trouble == "locked_out":
            face.add_key(kept)
        await asyncio.wait_for(stilled.wait(), 30)
        assert still_open(trader) == 0
        assert trader.session.is_still


@pytest.mark.parametrize("venue", VENUES)
async def test_a_single_cancel_outlasts_a_venue_that_refuses(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aether.venues.tracked.LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr("aether.venues.client.READS", RetryPolicy(1, 0.01))
    async with trader_at(local, venue) as trader:
        (order,) = await rest(trader, 1)
        trader.exchange.faults.rates = {"rate_limit": 1.0}
        trader.session.cancel(order.id)
        await asyncio.sleep(1.5)
        assert still_open(trader) == 1
        trader.exchange.faults.clear()
        await trader.report(OrderCanceled, order)
        assert still_open(trader) == 0


@pytest.mark.parametrize("venue", VENUES)
async def test_what_was_to_be_canceled_is_canceled_after_a_restart(local: LocalExchange, venue: str) -> None:
    """The process died after the cancel was journaled and before it was sent (finding 2)."""
    key, secret = local.open_account(venue, "company", {"USD": "1000000"})
    credentials = Credentials(key=key, secret=secret)
    async with trader_at(local, venue, credentials=credentials) as first:
        gone, kept = await rest(first, 2)

    def begin(session: ExecutionSession) -> None:
        session.begin(remembered([journaled(gone, OrderState.PENDING_CANCEL), journaled(kept, OrderState.ACCEPTED)]))

    async with trader_at(local, venue, credentials=credentials, before=begin) as second:
        await second.report(OrderCanceled, gone)
        assert [o.request.client_id for o in second.exchange.venue.account("company").open.values()] == [
            second.client.protocol.wire_id(kept.id)
        ]


@pytest.mark.parametrize("venue", VENUES)
async def test_an_account_that_was_killed_begins_by_emptying_the_venues_list(local: LocalExchange, venue: str) -> None:
    """Also of orders that the books never heard of (finding 2, and an order of somebody else's)."""
    key, secret = local.open_account(venue, "company", {"USD": "1000000"})
    credentials = Credentials(key=key, secret=secret)
    async with trader_at(local, venue, credentials=credentials) as first:
        known, _ = await rest(first, 2)
    local.exchanges[venue].venue.place(
        "company", NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 100, price=400_000)
    )

    def begin(session: ExecutionSession) -> None:
        session.begin(remembered([journaled(known, OrderState.ACCEPTED)], stopped=True))

    async with trader_at(local, venue, credentials=credentials, before=begin) as second:
        await until(lambda: second.session.is_still)
        assert still_open(second) == 0


@pytest.mark.parametrize("use_socket", [True, False])
@pytest.mark.parametrize("venue", VENUES)
async def test_an_order_that_the_cancel_overtakes_is_taken_back(
    local: LocalExchange, venue: str, use_socket: bool
) -> None:
    """The order is on its way for half a second while cancel-all passes it (finding 3)."""
    async with trader_at(local, venue, use_socket=use_socket) as trader:
        trader.exchange.faults.slow_s = 0.5
        trader.exchange.faults.pending = {"slow_request": 3}
        orders = [await trader.send("buy", OrderType.LIMIT, "0.01", limit_price=50_000 + n) for n in range(3)]
        await until(lambda: not trader.exchange.faults.pending["slow_request"])
        trader.session.stop()
        await trader.until(lambda: all(is_over(trader, o) for o in orders))
        await until(lambda: trader.session.is_still)
        assert trader.exchange.venue.account("company").orders, "they never arrived: nothing was tried"
        assert still_open(trader) == 0


def is_over(trader: Trader, order: OrderRequest) -> bool:
    over = (OrderCanceled, OrderRejected)
    return any(isinstance(r, over) and r.order_id == order.id for r in trader.reports)


@pytest.mark.parametrize("venue", VENUES)
async def test_orders_in_the_limiters_queue_die_with_a_stop(local: LocalExchange, venue: str) -> None:
    """Only those leave for which there was room before the stop (finding 3)."""
    async with trader_at(local, venue, limits=TIGHT[venue], use_socket=False) as trader:
        orders = [await trader.send("buy", OrderType.LIMIT, "0.001", limit_price=50_000 + n) for n in range(80)]
        await until(lambda: trader.exchange.venue.account("company").orders)
        trader.session.stop()
        await trader.until(lambda: all(is_over(trader, o) for o in orders))
        await until(lambda: trader.session.is_still)
        assert len(trader.exchange.venue.account("company").orders) < 80
        stopped = [r for r in trader.reports if isinstance(r, OrderRejected) and "stopped before" in r.reason]
        assert stopped
        assert still_open(trader) == 0


@pytest.mark.parametrize("venue", VENUES)
async def test_entries_and_exits_decided_after_a_stop_still_go_out(local: LocalExchange, venue: str) -> None:
    """A flatten sells after it has canceled: the stop takes back what was there before, not what comes after."""
    async with trader_at(local, venue) as trader:
        trader.quote("buy", 49_000, 5)
        await rest(trader, 2)
        trader.session.stop()
        sale = await trader.send("sell", OrderType.MARKET, "0.5")
        await trader.filled(sale)
        await until(lambda: trader.session.is_still)
        assert still_open(trader) == 0


@pytest.mark.parametrize("venue", VENUES)
async def test_people_hear_of_a_venue_that_does_not_cancel(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aether.venues.session.TOLD_AFTER_S", 0.5)
    monkeypatch.setattr("aether.venues.session.WATCH_EVERY_S", 0.05)
    async with trader_at(local, venue) as trader:
        await rest(trader, 2)
        trader.exchange.faults.rates = {"rate_limit": 1.0}
        trader.session.stop()
        told = await trader.until(lambda: [r for r in trader.reports if isinstance(r, VenueNoted)][1:])
        assert told[0].code == "not_canceled"
        assert trader.session.left().startswith("2 orders")


# Finding 8: what nobody told.


@pytest.mark.parametrize("venue", VENUES)
async def test_an_execution_that_no_stream_told_is_found(local: LocalExchange, venue: str) -> None:
    async with trader_at(local, venue, compare_every_s=0.3) as trader:
        sale = await trader.send("sell", OrderType.LIMIT, "1", limit_price=60_000)
        await trader.report(OrderAccepted, sale)
        deafen(trader)
        trader.quote("buy", 60_000, 0.4)
        await trader.filled(sale, "0.4")
        trader.quote("buy", 60_000, 0.6)
        fills = await trader.filled(sale)
        assert len({f.trade_id for f in fills}) == len(fills) == 2
        await trader.until(trader.balances_agree)
        assert trader.session.connection.connects == 1, "it was found without a reconnection"


def deafen(trader: Trader) -> None:
    """Let the exchange tell nothing of this account's orders any more, on a socket that stays open."""
    for told in ("on_trade", "on_order", "on_balance"):
        setattr(trader.exchange.face, told, lambda *_args: None)


@pytest.mark.parametrize("venue", VENUES)
async def test_an_order_that_vanishes_at_the_venue_is_ended(local: LocalExchange, venue: str) -> None:
    async with trader_at(local, venue, compare_every_s=0.3, settle_margin_s=0.3) as trader:
        (order,) = await rest(trader, 1)
        account = trader.exchange.venue.account("company")
        held = trader.at_venue(order)
        deafen(trader)
        trader.exchange.venue.cancel("company", held)
        account.orders.pop(held.number)
        account.by_client.clear()
        canceled = await trader.report(OrderCanceled, order)
        assert "does not know" in canceled.reason


@pytest.mark.parametrize("venue", VENUES)
async def test_a_foreign_order_is_named_and_counted(local: LocalExchange, venue: str) -> None:
    async with trader_at(local, venue, compare_every_s=0.3) as trader:
        trader.exchange.venue.place(
            "company", NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 100, price=400_000)
        )
        note = await trader.until(lambda: [r for r in trader.reports if isinstance(r, VenueNoted)])
        assert note[0].code == "foreign_order"
        assert f"(buy 0.01000000 of {venue}:BTC/USD" in note[0].text
        assert len(trader.session.tracker.foreign) == 1
        assert still_open(trader) == 1, "it is somebody's; only a stop takes it back"


def foreign(trader: Trader, size: int, price: int) -> VenueOrder:
    """Place a buy order of the account's that nobody here knows: by hand, on the venue's own page."""
    return trader.exchange.venue.place("company", NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, size, price=price))


def take(session: ExecutionSession) -> None:
    """Let the account take up what it did not place."""
    session.comparison.takes = lambda _: True


async def adopted(trader: Trader) -> OrderAdopted:
    found = await trader.until(lambda: [r for r in trader.reports if isinstance(r, OrderAdopted)])
    assert isinstance(found[0], OrderAdopted)
    return found[0]


@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("venue", VENUES)
async def test_a_foreign_order_is_taken_up_and_driven_as_every_other(
    local: LocalExchange, venue: str, *, heard: bool
) -> None:
    """Told by the stream at once, or found by the comparison; then it fills and is canceled as our own (R5)."""
    async with trader_at(local, venue, before=take, compare_every_s=600 if heard else 0.3) as trader:
        trader.session.begin(remembered([]))
        await trader.session.compare()
        if not heard:
            deafen(trader)
        placed = foreign(trader, ONE // 10, 600_000)
        found = await adopted(trader)
        assert found.request.id == foreign_id(found.venue_order_id)
        assert (found.request.side, found.request.size, found.request.limit_price) == ("buy", ONE // 10, 60_000 * ONE)
        assert (found.filled, found.filled_notional, found.trade_ids) == (0, 0, ())
        assert not trader.session.tracker.foreign
        trader.quote("sell", 60_000, 0.04)
        if not heard:
            await trader.session.compare()
        (fill,) = await trader.filled(found.request, "0.04")
        assert fill.order_id == found.request.id
        trader.session.cancel(found.request.id)
        await trader.report(OrderCanceled, found.request)
        assert placed.status == "canceled"
        assert not [r for r in trader.reports if isinstance(r, VenueNoted)]


@pytest.mark.parametrize("venue", VENUES)
async def test_a_foreign_order_that_has_traded_is_taken_up_with_what_is_left(local: LocalExchange, venue: str) -> None:
    """What it executed before is booked as a stranger's, once; afterwards it fills as the account's own."""
    async with trader_at(local, venue, before=take, running=False, compare_every_s=0.3) as trader:
        trader.quote("sell", 60_000, 0.4)
        foreign(trader, ONE, 600_000)
        trader.session.begin(remembered([]))
        running = asyncio.create_task(trader.session.run())
        try:
            found = await adopted(trader)
            (before,) = [r for r in trader.reports if isinstance(r, OrderFilled)]
            assert (before.order_id, before.size) == (found.request.id, ONE * 4 // 10)
            assert trader.reports.index(before) < trader.reports.index(found)
            assert (found.filled, found.trade_ids) == (before.size, (before.trade_id,))
            assert found.filled_notional == 24_000 * ONE
            trader.quote("sell", 60_000, 0.6)
            fills = await trader.filled(found.request)
            assert [f.size for f in fills] == [ONE * 4 // 10, ONE * 6 // 10]
        finally:
            running.cancel()


@pytest.mark.parametrize("venue", VENUES)
async def test_an_adopted_order_is_known_after_a_restart(local: LocalExchange, venue: str) -> None:
    async with trader_at(local, venue, before=take, running=False, compare_every_s=0.3) as trader:
        placed = foreign(trader, ONE // 10, 600_000)
        async with trader_at(local, venue, before=take) as first:
            first.session.begin(remembered([]))
            await first.session.compare()
            found = await adopted(first)
        order = journaled(found.request, OrderState.PENDING_CANCEL)
        order.venue_order_id = found.venue_order_id
        trader.session.begin(remembered([order]))
        running = asyncio.create_task(trader.session.run())
        try:
            await trader.report(OrderCanceled, found.request)
            assert placed.status == "canceled"
            assert not [r for r in trader.reports if isinstance(r, OrderAdopted)]
        finally:
            running.cancel()


@pytest.mark.parametrize("venue", VENUES)
async def test_a_busy_account_is_compared_as_often_as_a_quiet_one(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each execution has the balances read where no stream tells them; that puts no comparison off (finding 8)."""
    async with trader_at(local, venue, compare_every_s=0.5) as trader:
        sale = await trader.send("sell", OrderType.LIMIT, "9", limit_price=60_000)
        await trader.report(OrderAccepted, sale)
        tell, ours = trader.exchange.face.on_order, trader.at_venue(sale)
        monkeypatch.setattr(trader.exchange.face, "on_order", lambda o, what: tell(o, what) if o is ours else None)
        trader.exchange.venue.place(
            "company", NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 100, price=400_000)
        )

        async def trade() -> None:
            while True:
                trader.quote("buy", 60_000, 0.001)
                await asyncio.sleep(0.05)

        trading = asyncio.create_task(trade())
        try:
            await until(lambda: trader.session.tracker.foreign, 10)
        finally:
            trading.cancel()


@pytest.mark.parametrize("venue", VENUES)
async def test_an_execution_that_was_lost_alone_is_found(local: LocalExchange, venue: str) -> None:
    """Balances are told, and so are other executions: neither explains this one (finding 8)."""
    async with trader_at(local, venue, compare_every_s=0.3) as trader:
        trader.quote("buy", 59_000, 1)
        sale = await trader.send("sell", OrderType.LIMIT, "1", limit_price=60_000)
        await trader.report(OrderAccepted, sale)
        await trader.until(trader.balances_agree)
        face, lost = trader.exchange.face, NewOrder("BTC/USD", Side.SELL, OrderType.MARKET, ONE // 10)
        told = {name: getattr(face, name) for name in ("on_trade", "on_order")}
        for name in told:
            setattr(face, name, lambda *_args: None)
        trader.exchange.venue.place("company", lost)
        for name, tell in told.items():
            setattr(face, name, tell)
        trader.quote("buy", 60_000, 0.4)
        await trader.filled(sale, "0.4")
        await trader.until(
            lambda: [r for r in trader.reports if isinstance(r, OrderFilled) and r.order_id.startswith("foreign-")]
        )
        assert trader.session.connection.connects == 1, "it was found without a reconnection"


@pytest.mark.parametrize("venue", VENUES)
async def test_a_foreign_fill_is_told_once_whichever_way_it_comes(local: LocalExchange, venue: str) -> None:
    async with trader_at(local, venue, compare_every_s=0.3) as trader:
        trader.quote("sell", 60_000, 1)
        trader.exchange.venue.place("company", NewOrder("BTC/USD", Side.BUY, OrderType.MARKET, ONE // 10))
        fills = await trader.until(lambda: [r for r in trader.reports if isinstance(r, OrderFilled)])
        assert fills[0].order_id.startswith("foreign-")
        assert (fills[0].size, fills[0].side, fills[0].instrument) == (ONE // 10, Side.BUY, f"{venue}:BTC/USD")
        await trader.until(trader.balances_agree)


@pytest.mark.parametrize("venue", VENUES)
async def test_books_that_are_older_than_the_venue_are_found_out(local: LocalExchange, venue: str) -> None:
    """A restored back-up: the venue knows orders 2 and 3, the books end with 1 (finding 8)."""
    key, secret = local.open_account(venue, "company", {"USD": "1000000", "BTC": "1"})
    credentials = Credentials(key=key, secret=secret)
    async with trader_at(local, venue, credentials=credentials) as first:
        first.quote("sell", 60_000, 1)
        await rest(first, 1)
        bought = await first.send("buy", OrderType.LIMIT, "0.1", limit_price=60_000)
        await first.filled(bought)
        ended = (await rest(first, 1))[0]
        first.session.cancel(ended.id)
        await first.report(OrderCanceled, ended)

    def begin(session: ExecutionSession) -> None:
        state = journaled(first.request("buy", OrderType.LIMIT, "0.1", limit_price=1.0), OrderState.CANCELED)
        session.begin(remembered([state], next_order=2))

    async with trader_at(local, venue, credentials=credentials, before=begin) as second:
        note = await second.until(lambda: [r for r in second.reports if isinstance(r, VenueNoted) and r.next_order])
        assert (note[0].code, note[0].next_order) == ("books_behind", 4)
        fills = [r for r in second.reports if isinstance(r, OrderFilled)]
        assert [(f.order_id, f.size) for f in fills] == [(foreign_id(fills[0].venue_order_id), ONE // 10)]


# Findings 9 and 10: deadlines and clocks.


async def test_an_order_that_coinbase_holds_pending_is_not_called_rejected(local: LocalExchange) -> None:
    async with trader_at(local, "coinbase", deadline_s=0.3, settle_margin_s=0.2) as trader:
        trader.exchange.faults.slow_s = 2.0
        trader.exchange.faults.pending = {"lose_response": 1, "pending_order": 1}
        deafen(trader)
        order = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=50_000)
        await trader.report(OrderAccepted, order)
        assert not any(isinstance(r, OrderRejected) for r in trader.reports)
        assert trader.session.tracker.unknown_outcomes == 1


@pytest.mark.parametrize("venue", VENUES)
async def test_an_order_never_leaves_after_its_deadline(local: LocalExchange, venue: str) -> None:
    """It waited behind the limiter: it is reported as not sent, and the venue never sees it (finding 9)."""
    async with trader_at(local, venue, limits=TIGHT[venue], use_socket=False, deadline_s=0.2) as trader:
        orders = [await trader.send("buy", OrderType.LIMIT, "0.001", limit_price=50_000 + n) for n in range(80)]
        await trader.until(lambda: all(is_known(trader, o) for o in orders))
        rejected = {r.order_id for r in trader.reports if isinstance(r, OrderRejected)}
        assert rejected
        at_venue = {o.request.client_id for o in trader.exchange.venue.account("company").orders.values()}
        assert at_venue == {trader.client.protocol.wire_id(o.id) for o in orders if o.id not in rejected}
        assert all("within 0.2 s" in r.reason for r in trader.reports if isinstance(r, OrderRejected))


def is_known(trader: Trader, order: OrderRequest) -> bool:
    return any(isinstance(r, OrderAccepted | OrderRejected) and r.order_id == order.id for r in trader.reports)


@pytest.mark.parametrize("jump_s", [-3_600, 3_600])
@pytest.mark.parametrize("venue", VENUES)
async def test_a_wall_clock_that_jumps_delays_nothing(
    local: LocalExchange, venue: str, jump_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time server puts the machine's clock right in the middle of the work: what is due stays due (finding 10)."""
    monkeypatch.setattr("aether.venues.tracked.LONGEST_WAIT_S", 0.05)
    async with trader_at(local, venue) as trader:
        (order, *_) = await rest(trader, 3)
        trader.exchange.faults.rates = {"rate_limit": 1.0}
        trader.session.cancel(order.id)
        await asyncio.sleep(0.3)
        monkeypatch.setattr("aether.clock.time", lambda: time() + jump_s)
        trader.exchange.faults.clear()
        await trader.report(OrderCanceled, order)
        late = await trader.send("buy", OrderType.LIMIT, "0.01", limit_price=50_000)
        await trader.report(OrderAccepted, late)
        stilled = asyncio.Event()
        trader.session.on_still = stilled.set
        trader.session.stop()
        await asyncio.wait_for(stilled.wait(), 30)
        assert still_open(trader) == 0


@pytest.mark.parametrize("venue", VENUES)
async def test_executions_are_asked_for_by_the_venues_clock(local: LocalExchange, venue: str) -> None:
    """A machine ten minutes ahead of the venue asks since ten minutes ago, and finds what it missed (finding 8)."""
    async with trader_at(local, venue, clock=lambda: time() + 600, compare_every_s=0.3) as trader:
        trader.quote("sell", 61_000, 1)
        sale = await trader.send("sell", OrderType.LIMIT, "1", limit_price=60_000)
        await trader.report(OrderAccepted, sale)
        deafen(trader)
        trader.quote("buy", 60_000, 1)
        trader.exchange.venue.place("company", NewOrder("BTC/USD", Side.BUY, OrderType.MARKET, ONE // 10))
        await trader.filled(sale)
        await trader.until(lambda: [r for r in trader.reports if isinstance(r, OrderFilled) and r.side is Side.BUY])
        assert trader.session.connection.connects == 1, "it was found without a reconnection"


@pytest.mark.parametrize("drift_s", [3, 30, -3, -30])
@pytest.mark.parametrize("use_socket", [True, False])
@pytest.mark.parametrize("venue", VENUES)
async def test_a_clock_that_drifts_stops_no_order_and_no_cancel(
    local: LocalExchange, venue: str, use_socket: bool, drift_s: int
) -> None:
    """The venue's clock is measured anew when a time stamp is refused, and the request repeated (finding 10)."""
    async with trader_at(local, venue, use_socket=use_socket) as trader:
        (resting,) = await rest(trader, 1)
        trader.client._measured_s = 0.0
        trader.exchange.faults.skew_ms = drift_s * 1_000
        order = await trader.send("buy", OrderType.LIMIT, "0.01", limit_price=50_000)
        trader.session.cancel(resting.id)
        await trader.report(OrderCanceled, resting)
        await trader.report(OrderAccepted, order)
        assert not any(isinstance(r, OrderRejected) for r in trader.reports)
        trader.session.stop()
        await until(lambda: trader.session.is_still)
        assert still_open(trader) == 0


# Finding 11: text.


async def test_a_nul_in_a_venues_text_is_cleaned() -> None:
    async with local_exchange(enforce_limits=False) as local, trader_at(local, "kraken") as trader:
        order = trader.request("buy", OrderType.LIMIT, "0.1", limit_price=50_000)
        trader.session.tracker.submit(order, time())
        tracked = trader.session.tracker.orders[ClientOrderId(order.id)]
        trader.session.tracker.due(time())
        trader.session.tracker.refused(tracked, "no\x00 way\ud800", time(), RejectedBy.ANSWER)
        rejected = await trader.report(OrderRejected, order)
        assert rejected.reason == "no way"
