"""Whatever order and however often a consistent venue's reports arrive, the books end the same (T8, O2)."""

from hypothesis import given, settings
from hypothesis import strategies as st

from aether.domain.events import Event, OrderAccepted, OrderCanceled, OrderFilled
from aether.domain.identifiers import TradeId, VenueOrderId
from aether.domain.orders import Liquidity, OrderRequest, OrderState
from aether.domain.scaled import fee_of
from aether.engine.strategy import Enter
from tests.desk import BTC, Desk, submitted


def history(desk: Desk, request: OrderRequest, parts: list[int], *, canceled: bool) -> list[Event]:
    """Return what the venue truly did: took the order, filled it in parts, perhaps canceled the rest."""
    total = sum(parts) + (parts[0] if canceled else 0)
    sizes = [request.size * p // total for p in parts]
    if not canceled:
        sizes[-1] = request.size - sum(sizes[:-1])
    venue_id = VenueOrderId("V1")
    done: list[Event] = [OrderAccepted(ts_ns=desk.now, order_id=request.id, venue_order_id=venue_id)]
    for n, size in enumerate(sizes):
        price = 5_000_000 + n
        done.append(
            OrderFilled(
                ts_ns=desk.now,
                order_id=request.id,
                venue_order_id=venue_id,
                trade_id=TradeId(f"T{n}"),
                price=price,
                size=size,
                fee=fee_of(BTC.notional(price, size), 4_000),
                fee_asset=BTC.quote,
                liquidity=Liquidity.TAKER,
            )
        )
    if canceled:
        done.append(OrderCanceled(ts_ns=desk.now, order_id=request.id, reason="on request"))
    return done


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.booleans(), st.randoms(use_true_random=False), st.data())
def test_any_arrival_ends_the_same(parts: list[int], canceled: bool, random: object, data: st.DataObject) -> None:
    def start() -> tuple[Desk, OrderRequest]:
        desk = Desk()
        return desk, submitted(desk.want(Enter(instrument=BTC.id)))[0]

    plain, request = start()
    reports = history(plain, request, parts, canceled=canceled)
    for report in reports:
        plain.tell(report)
    mixed, _ = start()
    repeated = data.draw(st.lists(st.sampled_from(reports), max_size=6))
    for report in data.draw(st.permutations([*reports, *repeated])):
        mixed.tell(report)
    assert not mixed.halted
    one, other = plain.order(request.id), mixed.order(request.id)
    assert other.filled == one.filled
    assert other.filled_notional == one.filled_notional
    assert other.state is one.state
    assert one.state is (OrderState.CANCELED if canceled else OrderState.FILLED)
    for key, balance in plain.engine.state.ledger.balances.items():
        assert mixed.engine.state.ledger.balances[key] == balance
    assert mixed.engine.state.ledger.positions == plain.engine.state.ledger.positions
