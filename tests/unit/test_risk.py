"""The risk gate (R1, R2, R3): each check denies alone, all reasons are told, exits stay possible."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from aether.domain.accounts import Exits, Limits, Mode, StrategyAssignment
from aether.domain.events import (
    BalanceReported,
    CapitalMoved,
    KillSwitchEngaged,
    KillSwitchReleased,
    LimitsChanged,
    ModeChanged,
    OrderCanceled,
    PairTold,
    SafeModeEngaged,
    StrategyEnabled,
    Timer,
    TradingResumed,
    VenueStopped,
)
from aether.domain.identifiers import OPERATOR, ClientOrderId, StrategyName, VenueId
from aether.domain.instruments import TradingState
from aether.domain.orders import OrderRequest, OrderState, OrderType, Purpose, Side
from aether.domain.records import Verdict
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.ledger import Charge
from aether.engine.risk import CHECKS, Gate, make_candidate
from aether.engine.state import Breaker
from aether.engine.stops import Stop, Stopped
from aether.engine.strategy import Enter, Exit, Rebalance
from tests.desk import BTC, ETH, SCRIPTED, SECOND, Desk, account, alerts, canceled, submitted

COIN = 10**8


def request(**overrides: object) -> OrderRequest:
    values: dict[str, object] = {
        "id": ClientOrderId("desk-1000"),
        "instrument": BTC.id,
        "side": Side.BUY,
        "type": OrderType.LIMIT,
        "size": COIN // 10,
        "limit_price": 50_000 * 100,
        "purpose": Purpose.ENTRY,
        "strategy": StrategyName("scripted"),
        "owner": SCRIPTED,
    }
    return OrderRequest(**{**values, **overrides})  # type: ignore[arg-type]


def judge(desk: Desk, order: OrderRequest) -> Verdict:
    return Gate().judge(make_candidate(desk.engine.state, order))[0]


def fresh(**config: Any) -> Desk:
    desk = Desk(config=account(**config))
    desk.quote("49999.99", "50000.01")
    return desk


def limits(**values: int) -> Desk:
    return fresh(limits=Limits(**values))


def with_position(desk: Desk, size: int = COIN // 2) -> Desk:
    charge = Charge(0, 0, BTC.quote_key)
    desk.engine.state.ledger.book_buy(BTC, SCRIPTED, size, BTC.notional(5_000_000, size), charge)
    return desk


def case_kill_switch() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="drill", actor="t"))
    return desk, request()


def case_halt() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.engine.state.stops[Stop.HALT] = Stopped(desk.now, "evidence")
    return desk, request()


def case_fault() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.engine.state.stops[Stop.FAULT] = Stopped(desk.now, "an error")
    return desk, request()


def case_venue_stop() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.tell(VenueStopped(ts_ns=desk.now, venue=VenueId("paper"), reason="drill", actor="ada"))
    return desk, request()


def case_pair() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.tell(
        PairTold(ts_ns=desk.now, instrument=BTC.id, definition=BTC, state=TradingState.MAINTENANCE, detail="HALT")
    )
    return desk, request()


def case_breaker() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.engine.state.breakers[VenueId("paper")] = Breaker(opened_ns=desk.now, reason="5 of the last 5 orders failed")
    return desk, request()


def case_safe_mode() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.tell(SafeModeEngaged(ts_ns=desk.now, reason="storm", actor="t"))
    return desk, request()


def case_breaks() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.quote_key, total=1))
    return desk, request()


def case_mode() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.tell(ModeChanged(ts_ns=desk.now, mode=Mode.LIVE, actor="t"))
    return desk, request()


def case_strategy() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.tell(StrategyEnabled(ts_ns=desk.now, strategy=StrategyName("scripted"), enabled=False, actor="t"))
    return desk, request()


def case_instrument() -> tuple[Desk, OrderRequest]:
    only_eth = StrategyAssignment(strategy=StrategyName("scripted"), instruments=(ETH.id,))
    return fresh(strategies=(only_eth,)), request()


def case_market_data_age() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.engine.state.now_ns += 2 * SECOND + 1_000_000
    return desk, request()


def case_crossed_book() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.quote("50000.01", "50000.00")
    return desk, request()


def case_price_collar() -> tuple[Desk, OrderRequest]:
    return fresh(), request(limit_price=5_100_001)


def case_tick_size() -> tuple[Desk, OrderRequest]:
    coarse = msgspec.structs.replace(BTC, tick=50)
    desk = Desk(instruments=(coarse, ETH))
    desk.quote("49999.99", "50000.01")
    return desk, request(limit_price=5_000_010)


def case_lot_size() -> tuple[Desk, OrderRequest]:
    coarse = msgspec.structs.replace(BTC, lot=1_000)
    desk = Desk(instruments=(coarse, ETH))
    desk.quote("49999.99", "50000.01")
    return desk, request(size=COIN // 10 + 1)


def case_order_size() -> tuple[Desk, OrderRequest]:
    big = msgspec.structs.replace(BTC, min_size=COIN)
    desk = Desk(instruments=(big, ETH))
    desk.quote("49999.99", "50000.01")
    return desk, request()


def case_min_notional() -> tuple[Desk, OrderRequest]:
    return fresh(), request(size=1_999)


def case_max_order_notional() -> tuple[Desk, OrderRequest]:
    return limits(max_order_notional_bps=499), request()


def case_free_balance() -> tuple[Desk, OrderRequest]:
    desk = limits(
        max_order_notional_bps=20_000, max_position_bps=20_000, max_gross_exposure_bps=20_000, max_daily_fees_bps=9_000
    )
    return desk, request(size=2 * COIN)


def case_max_position() -> tuple[Desk, OrderRequest]:
    return limits(max_position_bps=499), request()


def case_gross_exposure() -> tuple[Desk, OrderRequest]:
    return limits(max_gross_exposure_bps=499), request()


def case_open_orders() -> tuple[Desk, OrderRequest]:
    desk = limits(max_open_orders=1)
    desk.want(Enter(instrument=BTC.id, limit_price=49_900, post_only=True))
    return desk, request(size=COIN // 11)


def case_order_rate() -> tuple[Desk, OrderRequest]:
    desk = limits(max_orders_per_second=3)
    desk.engine.state.risk.order_times = [desk.now] * 3
    return desk, request()


def case_repeated_orders() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.engine.state.risk.throttled = {f"scripted|{BTC.id}": 30}
    return desk, request()


def case_loss_stop() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.engine.state.stops[Stop.LOSS] = Stopped(desk.now, "daily_loss")
    return desk, request()


def case_daily_loss() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.engine.state.risk.day_start_nav = 103_100 * AMOUNT_SCALE
    return desk, request()


def case_drawdown() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.engine.state.risk.peak_nav = 117_700 * AMOUNT_SCALE
    return desk, request()


def case_fee_budget() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.engine.state.risk.fees_today = 981 * AMOUNT_SCALE
    return desk, request()


def case_cool_down() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.engine.state.risk.cool_until[BTC.id] = desk.now + 60 * SECOND
    return desk, request()


def case_self_trade() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    desk.want(Enter(instrument=BTC.id, limit_price=49_950, post_only=True))
    with_position(desk, COIN // 10)
    return desk, request(side=Side.SELL, limit_price=4_994_000, purpose=Purpose.EXIT)


def case_own_stop() -> tuple[Desk, OrderRequest]:
    desk = with_position(fresh(exits=Exits(at_venue=True)), COIN)
    desk.engine._protection.catch_up()
    desk.tell(Timer(ts_ns=desk.now))
    moved = CapitalMoved(
        ts_ns=desk.now, venue=BTC.venue, asset=BTC.base, amount=COIN, value=COIN, actor="t", reference="r", reason="in"
    )
    desk.tell(moved)
    sale = request(side=Side.SELL, size=COIN // 10, type=OrderType.MARKET, limit_price=0, purpose=Purpose.EXIT)
    return desk, msgspec.structs.replace(sale, owner=SCRIPTED)


def case_duplicate() -> tuple[Desk, OrderRequest]:
    desk = fresh()
    (sent,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_950)))
    return desk, msgspec.structs.replace(sent, id=ClientOrderId("desk-1000"))


CASES: dict[str, Callable[[], tuple[Desk, OrderRequest]]] = {
    name.removeprefix("case_"): case for name, case in dict(globals()).items() if name.startswith("case_")
}


@pytest.mark.parametrize("check", CASES)
def test_each_check_denies_alone_with_value_and_limit(check: str) -> None:
    desk, order = CASES[check]()
    verdict = judge(desk, order)
    assert [b.check for b in verdict.breaches] == [check]
    assert verdict.breaches[0].value
    assert verdict.breaches[0].limit
    assert not verdict.approved


def test_every_check_of_the_gate_has_a_case() -> None:
    assert len(CASES) == len(CHECKS) + 1, "tick_and_lot is one check with two cases"


def test_a_plain_order_passes() -> None:
    assert judge(fresh(), request()).approved


def test_all_reasons_are_told_at_once() -> None:
    desk, _ = case_kill_switch()
    desk.engine.state.now_ns += 10 * SECOND
    verdict = judge(desk, request(limit_price=6_000_000, size=1))
    assert {b.check for b in verdict.breaches} == {"kill_switch", "market_data_age", "price_collar", "min_notional"}
    assert "engaged: drill" in verdict.reason


def test_what_a_buy_must_cover_is_its_worst_price_and_the_fee_on_it() -> None:
    """Locked for a market order of 0.1 at 50,000: the collar's 2 % and the taker's 0.4 % on top, rounded up."""
    desk = fresh()
    market = make_candidate(desk.engine.state, request(type=OrderType.MARKET, limit_price=0))
    worst = 5_100 * AMOUNT_SCALE
    assert market.reserve == worst + worst * 4_000 // 1_000_000
    limit = make_candidate(desk.engine.state, request())
    assert limit.reserve == 5_000 * AMOUNT_SCALE + 20 * AMOUNT_SCALE
    odd = make_candidate(desk.engine.state, request(type=OrderType.MARKET, limit_price=0, size=1))
    assert odd.notional == 50_000
    assert odd.reserve == 51_000 + 204
    uneven = make_candidate(desk.engine.state, request(size=3, limit_price=0, type=OrderType.MARKET))
    assert uneven.reserve == 153_000 + 612
    desk.quote("50000.32", "50000.34")
    raised = make_candidate(desk.engine.state, request(size=1, limit_price=0, type=OrderType.MARKET))
    assert raised.notional == 50_000
    desk.tell(LimitsChanged(ts_ns=desk.now, limits=Limits(price_collar_bps=1), actor="t"))
    raised = make_candidate(desk.engine.state, request(size=1, limit_price=1_234_567, type=OrderType.MARKET))
    assert raised.notional == 12_346
    assert raised.reserve == 12_348 + 49, "12,347.23 is rounded up: a buy never costs more than was locked"


def test_open_buys_count_for_the_largest_position() -> None:
    desk = limits(max_position_bps=1_000, max_order_notional_bps=10_000)
    desk.tell(LimitsChanged(ts_ns=desk.now, limits=Limits(max_position_bps=9_000), actor="t"))
    (resting,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_950)))
    working = BTC.notional(resting.limit_price, resting.size)
    share = -(-working * 10_000 // (100_000 * AMOUNT_SCALE))
    desk.tell(LimitsChanged(ts_ns=desk.now, limits=Limits(max_position_bps=share + 40), actor="t"))
    small = request(size=3 * COIN // 400, owner=OPERATOR)
    assert judge(desk, small).approved, "375 dollars more"
    large = request(size=COIN // 100, owner=OPERATOR)
    assert [b.check for b in judge(desk, large).breaches] == ["max_position"], "500 more are too many"


def test_limits_hold_at_their_edge() -> None:
    assert judge(limits(max_order_notional_bps=500), request()).approved
    assert judge(fresh(), request(limit_price=5_100_000)).approved
    assert judge(fresh(), request(size=2_000)).approved


def test_a_denied_order_is_recorded_and_locks_nothing() -> None:
    desk = limits(max_open_orders=1)
    desk.want(Enter(instrument=BTC.id, limit_price=49_900, post_only=True))
    locked = desk.usd()[1]
    desk.quote("3000", "3000.01", ETH)
    desk.intents = [Enter(instrument=ETH.id)]
    assert submitted(desk.bar(3_000, ETH)) == []
    denied = desk.order("desk-2")
    assert denied.state is OrderState.DENIED
    assert denied.reason.startswith("open_orders")
    assert desk.usd()[1] == locked


def test_spot_never_goes_short() -> None:
    desk = fresh()
    verdict = judge(desk, request(side=Side.SELL, type=OrderType.MARKET, limit_price=0, purpose=Purpose.EXIT))
    assert [b.check for b in verdict.breaches] == ["free_balance"]


def test_losses_block_entries_keep_exits_and_need_an_operator() -> None:
    desk = with_position(fresh())
    desk.quote("49999.99", "50000.01")
    assert "loss_stop" in alerts(desk.quote("43000", "43000.01")), "at the mark, not when an order is asked for"
    desk.intents = [Rebalance(instrument=BTC.id, weight=0.35)]
    assert submitted(desk.bar(43_000)) == []
    desk.quote("50000", "50000.01")
    desk.intents = [Rebalance(instrument=BTC.id, weight=0.30)]
    assert submitted(desk.bar(50_000)) == [], "it stays off though the loss is gone"
    desk.tell(TradingResumed(ts_ns=desk.now, reason="looked at it", actor="risk"))
    desk.intents = [Rebalance(instrument=BTC.id, weight=0.30)]
    assert submitted(desk.bar(50_000))
    desk.engine.state.stops[Stop.LOSS] = Stopped(desk.now, "drawdown")
    desk.quote("50000", "50000.01")
    assert submitted(desk.want(Exit(instrument=BTC.id)))


def test_the_repeated_order_throttle_stays_off_until_a_person_lets_go() -> None:
    desk = limits(repeated_order_limit=3, duplicate_window_ms=0)
    for n in range(6):
        sent = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_000 + n)))
        if sent:
            desk.tell(OrderCanceled(ts_ns=desk.now, order_id=sent[0].id, reason="x"))
    assert len(submitted(desk.commands)) == 3
    assert "repeated_orders" in alerts(desk.commands)
    desk.now += 3_600 * SECOND
    assert submitted(desk.want(Enter(instrument=BTC.id))) == []
    desk.tell(TradingResumed(ts_ns=desk.now, reason="mended", actor="risk"))
    assert submitted(desk.want(Enter(instrument=BTC.id)))


def test_the_kill_switch_cancels_refuses_and_lets_go() -> None:
    desk = fresh()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_900)))
    assert canceled(desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="drill", actor="t"))) == ["all"]
    assert desk.order(order.id).state is OrderState.PENDING_CANCEL
    assert submitted(desk.want(Enter(instrument=ETH.id))) == []
    desk.tell(KillSwitchReleased(ts_ns=desk.now, reason="over", actor="t"))
    desk.quote("3000", "3000.01", ETH)
    desk.intents = [Enter(instrument=ETH.id)]
    assert submitted(desk.bar(3_000, ETH))


def test_the_kill_switch_flattens_on_demand_once_orders_are_gone() -> None:
    desk = fresh()
    (entry,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(entry, entry.size // 2)
    commands = desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="drill", actor="t", flatten=True))
    assert submitted(commands) == []
    commands = desk.tell(OrderCanceled(ts_ns=desk.now, order_id=entry.id, reason="all"))
    (sale,) = submitted(commands)
    assert (sale.side, sale.size, sale.purpose) == (Side.SELL, entry.size // 2, Purpose.FLATTEN)
    desk.fill(sale)
    assert desk.held() == 0


def test_a_bar_does_not_make_old_quotes_fresh() -> None:
    desk = fresh()
    desk.now += 30 * SECOND
    desk.intents = [Enter(instrument=BTC.id)]
    assert submitted(desk.bar(50_000)) == []
    assert desk.order("desk-1").reason.startswith("market_data_age: 30000 ms old")


def test_flattening_leaves_dust_alone_and_releasing_stops_it() -> None:
    desk = with_position(fresh(), size=1_000)
    desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="drill", actor="t", flatten=True))
    for _ in range(5):
        desk.quote("49999.99", "50000.01")
    assert desk.engine.state.next_order == 1, "half a dollar cannot be sold and is not tried"
    desk = with_position(fresh())
    (sale,) = submitted(desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="drill", actor="t", flatten=True)))
    desk.fill(sale, sale.size // 2)
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=sale.id, reason="no more depth"))
    (rest,) = submitted(desk.commands)[-1:]
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=rest.id, reason="no more depth"))
    desk.commands.clear()
    desk.tell(KillSwitchReleased(ts_ns=desk.now, reason="over", actor="t"))
    working = [o.request.id for o in desk.engine.state.open_orders.values()]
    for order_id in working:
        desk.tell(OrderCanceled(ts_ns=desk.now, order_id=order_id, reason="x"))
    desk.commands.clear()
    desk.quote("49999.99", "50000.01")
    assert submitted(desk.commands) == []
    assert desk.held() > 0


def test_a_limit_price_is_taken_to_the_nearest_unit() -> None:
    desk = fresh()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=50_000.29), price=50_001))
    assert order.limit_price == 5_000_029


def test_changed_limits_apply_from_the_next_order_on() -> None:
    desk = fresh()
    desk.tell(LimitsChanged(ts_ns=desk.now, limits=Limits(max_position_bps=100), actor="t"))
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    assert BTC.notional(5_000_000, order.size) <= 1_000 * AMOUNT_SCALE
