"""Whatever a venue reports, in whatever order and however often, over restarts: each execution is booked exactly once,
the books are the sum of the facts, nothing free is hidden, and what is held can be left (O8, O1, T1)."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aether.domain.events import (
    BalanceReported,
    CancelRejected,
    Event,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    Timer,
)
from aether.domain.identifiers import AssetCode, ClientOrderId, TradeId, VenueId, VenueOrderId, balance_key
from aether.domain.orders import Liquidity, OrderRequest, Purpose, Side
from aether.engine.stops import Stop
from aether.engine.strategy import Enter, Exit
from aether.engine.valuation import sellable_size
from tests.desk import BTC, SCRIPTED, SECOND, Desk, submitted

BNB = balance_key(VenueId("paper"), AssetCode("BNB"))
PRICE = 5_000_000

sizes = st.integers(1, 60_000_000)
fees = st.tuples(st.sampled_from(["USD", "BTC", "BNB"]), st.integers(-5_000, 2_000_000))
ENDS: list[type[Any]] = [OrderCanceled, OrderExpired, OrderRejected, CancelRejected, OrderAccepted]
ends = st.sampled_from(ENDS)
told = st.one_of(
    st.tuples(st.just("fill"), st.sampled_from(["known", "sale", "strange"]), sizes, fees),
    st.tuples(st.just("end"), st.sampled_from(["known", "sale", "strange"]), ends),
    st.tuples(st.just("again"), st.integers(0, 30)),
    st.tuples(st.just("restart")),
    st.tuples(st.just("balance"), st.integers(-3_000_000, 3_000_000)),
    st.tuples(st.just("time")),
)


def fill(desk: Desk, order_id: str, number: int, side: Side, size: int, fee: tuple[str, int]) -> OrderFilled:
    return OrderFilled(
        ts_ns=desk.now,
        order_id=ClientOrderId(order_id),
        venue_order_id=VenueOrderId("V"),
        trade_id=TradeId(f"T{number}"),
        price=PRICE + number,
        size=size,
        fee=fee[1],
        fee_asset=AssetCode(fee[0]),
        liquidity=Liquidity.TAKER,
        instrument=BTC.id,
        side=side,
    )


def of(kind: type[Any], desk: Desk, order_id: str) -> Event:
    name = ClientOrderId(order_id)
    if kind is OrderAccepted:
        return OrderAccepted(ts_ns=desk.now, order_id=name, venue_order_id=VenueOrderId("V"))
    made: Event = kind(ts_ns=desk.now, order_id=name, reason="x")
    return made


def opened() -> tuple[Desk, dict[str, tuple[str, Side]]]:
    """A desk with a buy and a sale under way; return what the venue may speak of."""
    desk = Desk()
    (first,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(first, fee=0)
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    (buy,) = submitted(desk.want(Enter(instrument=BTC.id))) or (_second(desk),)
    return desk, {
        "known": (buy.id, Side.BUY),
        "sale": (sale.id, Side.SELL),
        "strange": ("web-1", Side.BUY),
    }


def _second(desk: Desk) -> OrderRequest:
    """While it is leaving the account buys nothing; the first order, closed by now, stands for a late one."""
    return desk.order("desk-1").request


@settings(max_examples=250, deadline=None)
@given(st.lists(told, max_size=14))
def test_facts_are_booked_exactly_once_and_the_books_are_their_sum(story: list[tuple[Any, ...]]) -> None:
    desk, names = opened()
    ledger = desk.engine.state.ledger
    start = {key: b.total for key, b in ledger.balances.items()}
    first_lock = {o.request.id: o.reserved for o in desk.engine.state.open_orders.values()}
    wanted: Counter[str] = Counter(start)
    past: list[Event] = []
    booked: set[tuple[str, str]] = set()
    fills = 0
    desk.changes()
    for number, (what, *rest) in enumerate(story):
        desk.now += SECOND
        if what == "fill":
            who, size, fee = rest
            order_id, side = names[who]
            event = fill(desk, order_id, 100 + number, side, size, fee)
            _count(wanted, event)
            booked.add((order_id, event.trade_id))
            past.append(event)
            desk.tell(event)
        elif what == "end":
            past.append(of(rest[1], desk, names[rest[0]][0]))
            desk.tell(past[-1])
        elif what == "again" and past:
            desk.tell(past[rest[0] % len(past)])
        elif what == "restart":
            fills += len(desk.changes().fills)
            desk.restart()
        elif what == "balance":
            total = desk.engine.state.ledger.balance(BTC.quote_key).total
            if abs(rest[0]) > 2_000:
                desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.quote_key, total=total + rest[0]))
        else:
            desk.tell(Timer(ts_ns=desk.now))
        state = desk.engine.state
        assert Stop.FAULT not in state.stops, state.stops
        state.ledger.assert_balanced()
        for key, balance in state.ledger.balances.items():
            locked = sum(o.reserved for o in state.open_orders.values() if _lock_key(o.request) == key)
            assert balance.locked == locked, "nothing free is hidden"
        for o in state.open_orders.values():
            whole = first_lock.setdefault(o.request.id, o.reserved)
            assert o.reserved <= whole * o.remaining // o.request.size, "locked for what is left"
    fills += len(desk.changes().fills)
    assert fills == len(booked)
    ledger = desk.engine.state.ledger
    assert {key: b.total for key, b in ledger.balances.items() if b.total} == {k: v for k, v in wanted.items() if v}
    position = ledger.position(BTC.id)
    assert (
        position.quantity == ledger.balance(BTC.base_key).total == sum(x.quantity for x in position.holdings.values())
    )
    _can_be_left(desk)


def _count(wanted: Counter[str], event: OrderFilled) -> None:
    sign = 1 if event.side is Side.BUY else -1
    wanted[BTC.base_key] += sign * event.size
    wanted[BTC.quote_key] -= sign * BTC.notional(event.price, event.size)
    wanted[f"paper:{event.fee_asset}"] -= event.fee


def _lock_key(request: OrderRequest) -> str:
    return BTC.quote_key if request.side is Side.BUY else BTC.base_key


def _can_be_left(desk: Desk) -> None:
    """Exits are always possible, whatever the breaks: what the strategy holds is offered for sale."""
    for order in list(desk.engine.state.open_orders.values()):
        desk.tell(OrderCanceled(ts_ns=desk.now, order_id=order.request.id, reason="over"))
    before = len(desk.commands)
    desk.quote("49999.99", "50000.01", after_s=120)
    desk.intents = [Exit(instrument=BTC.id)]
    desk.bar(50_000)
    held = sellable_size(desk.engine.state, BTC, SCRIPTED)
    free = desk.engine.state.ledger.balance(BTC.base_key).free
    sold = [o for o in submitted(desk.commands[before:]) if o.side is Side.SELL]
    if held and free >= 0 and not sold:
        assert any(o.request.side is Side.SELL for o in desk.engine.state.open_orders.values()), desk.engine.state.stops


@settings(max_examples=60, deadline=None)
@given(st.lists(told, max_size=8), st.integers(0, 3))
def test_protection_works_whatever_is_broken(story: list[tuple[Any, ...]], restarts: int) -> None:
    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order, fee=0)
    for number, (what, *rest) in enumerate(story):
        if what == "fill" and rest[0] == "strange":
            desk.tell(fill(desk, "web-1", number, Side.BUY, rest[1], ("USD", 1)))
        elif what == "end":
            desk.tell(of(rest[1], desk, "web-2"))
        elif what == "balance":
            total = desk.engine.state.ledger.balance(BTC.quote_key).total
            desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.quote_key, total=total + rest[0]))
    for _ in range(restarts):
        desk.restart()
    level = desk.plan().stop / 100 - 1
    sales = submitted(desk.quote(f"{level:.2f}", f"{level + 0.01:.2f}"))
    mine = [s for s in sales if s.owner == SCRIPTED]
    assert [s.purpose for s in mine] == [Purpose.STOP]
    assert mine[0].size == order.size
