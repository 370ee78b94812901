"""Holdings have owners: a strategy, a parent order, the operators; each protects and sells its own (A1, T4, T6, B5)."""

from typing import Any

from aether.domain.events import KillSwitchEngaged, OrderCanceled, ParentOrderRequested, Trade
from aether.domain.identifiers import OPERATOR, Symbol
from aether.domain.orders import OrderRequest, Purpose, Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest, ParentState
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.strategy import Enter, Exit, Rebalance
from tests.desk import BTC, ETH, SCRIPTED, SECOND, Desk, account, alerts, canceled, submitted

ONE = AMOUNT_SCALE


def by_hand(desk: Desk, side: str = "buy", amount: float = 0.1, algorithm: str = "route", **fields: Any) -> list[Any]:
    """Ask for a trade by hand at a fresh book."""
    desk.quote("49999.99", "50000.01")
    request = ParentRequest(
        id=ParentId(f"p{desk.now}"),
        symbol=Symbol("BTC/USD"),
        side=Side(side),
        amount=round(amount * ONE),
        algorithm=Algorithm(algorithm),
        **fields,
    )
    return desk.tell(ParentOrderRequested(ts_ns=desk.now, request=request, actor="ada"))


def holdings(desk: Desk) -> dict[str, float]:
    return {o: holding.quantity / ONE for o, holding in desk.engine.state.ledger.position(BTC.id).holdings.items()}


def fill_all(desk: Desk, orders: list[OrderRequest]) -> None:
    for order in orders:
        desk.fill(order)


def test_a_strategy_does_not_sell_what_an_operator_bought_by_hand() -> None:
    """Finding 9: 11 ETH and 20,000 XRP went this way."""
    desk = Desk()
    fill_all(desk, submitted(by_hand(desk, amount=0.3)))
    assert holdings(desk) == {"operator": 0.3}
    assert submitted(desk.want(Exit(instrument=BTC.id))) == []
    assert submitted(desk.want(Rebalance(instrument=BTC.id, weight=0.0))) == []
    desk.restart()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order)
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    assert sale.size == order.size
    desk.fill(sale)
    assert holdings(desk) == {"operator": 0.3}


def test_a_strategy_is_flat_and_weighs_by_its_own() -> None:
    seen: list[tuple[bool, float]] = []

    def look(bar: Any, view: Any) -> list[Any]:
        seen.append((view.is_flat(BTC.id), view.weight(BTC.id)))
        return []

    desk = Desk(script=look)
    fill_all(desk, submitted(by_hand(desk, amount=0.3)))
    desk.quote("49999.99", "50000.01")
    desk.bar(50_000)
    assert seen == [(True, 0.0)]


def test_each_holding_has_its_own_stop_from_its_own_entry() -> None:
    desk = Desk()
    fill_all(desk, submitted(by_hand(desk, amount=0.2)))
    desk.quote("54999.99", "55000.01")
    desk.intents = [Enter(instrument=BTC.id)]
    (order,) = submitted(desk.bar(55_000))
    desk.fill(order)
    mine, theirs = desk.plan(), desk.plan(owner=OPERATOR)
    assert mine.stop > theirs.stop
    level = mine.stop / 100
    (sale,) = submitted(desk.quote(f"{level:.2f}", f"{level + 0.01:.2f}"))
    assert (sale.owner, sale.size) == (SCRIPTED, order.size)
    desk.fill(sale)
    assert holdings(desk) == {"operator": 0.2}
    assert OPERATOR in desk.engine.state.exits[BTC.id]


def test_what_a_parent_buys_is_its_own_while_it_works_and_the_operators_after() -> None:
    desk = Desk()
    first = submitted(by_hand(desk, amount=0.2, algorithm="twap", duration_s=60, slices=2))
    fill_all(desk, first)
    (owner,) = holdings(desk)
    assert owner.startswith("parent:p")
    assert owner in desk.engine.state.exits[BTC.id], "it is protected meanwhile"
    fill_all(desk, submitted(desk.quote("49999.99", "50000.01", after_s=31)))
    desk.quote("49999.99", "50000.01")
    assert not desk.engine.state.parents
    assert holdings(desk) == {"operator": 0.2}
    assert list(desk.engine.state.exits[BTC.id]) == [OPERATOR]


def test_a_late_fill_of_a_parent_that_is_over_goes_to_the_operators() -> None:
    desk = Desk()
    (order,) = submitted(by_hand(desk, amount=0.2))
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=order.id, reason="x"))
    desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="r", actor="a"))
    assert not desk.engine.state.parents
    desk.fill(order)
    assert holdings(desk) == {"operator": 0.2}


def test_a_sale_by_hand_takes_the_operators_coins_first_and_may_take_a_strategys() -> None:
    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order)
    fill_all(desk, submitted(by_hand(desk, amount=0.1)))
    fill_all(desk, submitted(by_hand(desk, "sell", amount=0.1)))
    assert holdings(desk) == {SCRIPTED: order.size / ONE}
    fill_all(desk, submitted(by_hand(desk, "sell", amount=0.05)))
    assert round(holdings(desk)[SCRIPTED] * ONE) == order.size - ONE // 20


def test_lots_add_up_to_the_position_whatever_happens() -> None:
    desk = Desk()
    for n in range(6):
        fill_all(desk, submitted(by_hand(desk, amount=0.02 + n / 100)))
        fill_all(desk, submitted(desk.want(Enter(instrument=BTC.id))))
        fill_all(desk, submitted(desk.want(Exit(instrument=BTC.id))))
        fill_all(desk, submitted(by_hand(desk, "sell", amount=0.015)))
        desk.now += 61 * SECOND
        desk.engine.state.ledger.assert_balanced()
        desk.restart()
    position = desk.engine.state.ledger.position(BTC.id)
    assert sum(holding.quantity for holding in position.holdings.values()) == position.quantity > 0


def test_a_pegged_parent_does_not_buy_again_what_a_stop_is_selling() -> None:
    """Finding 7: it re-entered on an instrument whose stop was hit."""
    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order)
    (resting,) = submitted(by_hand(desk, amount=0.1, algorithm="pegged"))
    desk.accept(resting)
    level = desk.plan().stop / 100 - 1
    commands = desk.quote(f"{level:.2f}", f"{level + 0.01:.2f}")
    assert canceled(commands) == [resting.id]
    commands = desk.tell(OrderCanceled(ts_ns=desk.now, order_id=resting.id, reason="x"))
    assert [o.purpose for o in submitted(commands)] == [Purpose.STOP], "the sale, and no new pegged order"
    (sale,) = submitted(commands)
    desk.fill(sale)
    for _ in range(20):
        bought = [o for o in submitted(desk.quote(f"{level:.2f}", f"{level + 0.01:.2f}", after_s=5)) if o.side == "buy"]
        assert bought == []
    (parent,) = desk.engine.state.closed_parents.values()
    assert parent.state is ParentState.FAILED
    assert "cool_down" in parent.reason


def test_a_parents_fees_are_counted() -> None:
    desk = Desk()
    orders = submitted(by_hand(desk, amount=0.2))
    for order in orders:
        desk.fill(order, fee=7 * ONE)
    (parent,) = [*desk.engine.state.parents.values(), *desk.engine.state.closed_parents.values()]
    assert parent.fees == 7 * ONE * len(orders) > 0


def test_a_parent_keeps_the_mids_of_its_decision_and_its_end() -> None:
    desk = Desk()
    (order,) = submitted(by_hand(desk, amount=0.2))
    record = desk.order(order.id)
    assert record.arrival_price == record.decision_price == record.send_price == 5_000_000
    desk.quote("50999.99", "51000.01")
    desk.fill(order)
    desk.quote("50999.99", "51000.01")
    (parent,) = desk.engine.state.closed_parents.values()
    assert (parent.decision_mid, parent.end_mid) == (50_000 * ONE, 51_000 * ONE)
    assert parent.request.id in desk.changes().parents


# What a strategy wants is driven until it is so (finding 7).


def test_an_exit_during_a_working_entry_is_not_lost() -> None:
    desk = Desk()
    (entry,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_990)))
    desk.accept(entry)
    desk.fill(entry, size=entry.size // 2)
    commands = desk.want(Exit(instrument=BTC.id))
    assert canceled(commands) == [entry.id]
    assert submitted(commands) == [], "the sale would meet our own entry"
    commands = desk.tell(OrderCanceled(ts_ns=desk.now, order_id=entry.id, reason="on request"))
    (sale,) = submitted(commands)
    assert sale.size == entry.size // 2
    assert "exit_refused" not in alerts(desk.commands)


def test_an_exit_does_not_wait_for_ever_for_a_cancel_that_is_not_answered() -> None:
    desk = Desk()
    (entry,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_990)))
    desk.fill(entry, size=entry.size // 2)
    assert submitted(desk.want(Exit(instrument=BTC.id))) == []
    assert submitted(desk.quote("49999.99", "50000.01", after_s=1)) == []
    (sale,) = submitted(desk.quote("49999.99", "50000.01", after_s=1.5))
    assert sale.side is Side.SELL


def test_what_fills_after_the_exit_was_asked_for_is_sold_too() -> None:
    desk = Desk()
    (entry,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(entry, size=entry.size // 2)
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    desk.fill(entry, size=entry.size - entry.size // 2)
    before = len(desk.commands)
    desk.fill(sale)
    (rest,) = submitted(desk.commands[before:])
    assert rest.size == entry.size - entry.size // 2
    desk.fill(rest)
    assert desk.held() == 0
    assert BTC.id not in desk.engine.state.exits


def test_a_rebalance_above_the_order_limit_is_done_in_pieces() -> None:
    from aether.domain.accounts import Limits

    desk = Desk(config=account(limits=Limits(max_order_notional_bps=1_000, max_daily_fees_bps=9_000)))
    for n in range(3):
        (order,) = submitted(desk.want(Rebalance(instrument=BTC.id, weight=0.3)))
        assert BTC.notional(5_000_000, order.size) <= 10_000 * ONE, n
        desk.fill(order)
    assert desk.engine.state.ledger.position(BTC.id).cost > 28_000 * ONE


def test_flattening_sells_three_times_the_largest_order_and_says_when_it_is_done() -> None:
    import msgspec

    small = msgspec.structs.replace(BTC, max_size=ONE // 10)
    desk = Desk(instruments=(small, ETH))
    for _ in range(3):
        fill_all(desk, submitted(by_hand(desk, amount=0.1)))
    sales = submitted(desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="r", actor="a", flatten=True)))
    sold = 0
    while sales:
        (sale,) = sales
        before = len(desk.commands)
        desk.fill(sale)
        sold += sale.size
        sales = submitted(desk.commands[before:])
    assert sold == 3 * ONE // 10
    assert "flat" in alerts(desk.commands)
    assert desk.held() == 0


def test_flattening_goes_on_after_a_refusal_and_over_a_restart() -> None:
    from aether.domain.events import OrderRejected

    desk = Desk()
    fill_all(desk, submitted(by_hand(desk, amount=0.1)))
    (sale,) = submitted(desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="r", actor="a", flatten=True)))
    for n in range(4):
        desk.tell(OrderRejected(ts_ns=desk.now, order_id=sale.id, reason="busy"))
        desk.restart()
        (sale,) = submitted(desk.quote("49999.99", "50000.01", after_s=2 ** (n + 1)))
    desk.fill(sale)
    assert desk.held() == 0
    assert alerts(desk.commands).count("exit_refused") == 1


def test_others_volume_counts_for_parents_of_any_owner() -> None:
    desk = Desk()
    by_hand(desk, amount=1.0, algorithm="pov", participation_bps=2_000)
    desk.now += SECOND
    sent = submitted(desk.tell(Trade(ts_ns=desk.now, instrument=BTC.id, price=5_000_000, size=4 * ONE // 10)))
    assert sum(o.size for o in sent) == ONE // 10
