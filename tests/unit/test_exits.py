"""Protective exits (T6) and sizing (R2)."""

import math
from itertools import pairwise

import msgspec
import pytest

from aether.domain.accounts import Exits, Limits, Sizing
from aether.domain.events import OrderCanceled, OrderRejected
from aether.domain.orders import OrderState, OrderType, Purpose, Side
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.core import Engine
from aether.engine.strategy import Enter, Rebalance
from aether.kernel.exits import NO_EXIT, PROFIT_HIT, STOP_HIT, TRAIL_HIT, exit_hit
from aether.kernel.sizing import (
    PRIOR_VARIANCE_PER_S,
    annual_volatility,
    entry_weight,
    ewma_variance,
    volatility_over,
)
from tests.desk import BTC, SECOND, Desk, account, alerts, canceled, submitted

NO_TRAIL = Exits(trailing_multiple=0)


def entered(exits: Exits = NO_TRAIL) -> Desk:
    desk = Desk(config=account(exits=exits))
    (entry,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(entry)
    return desk


@pytest.mark.parametrize(
    ("price", "hit"), [(100, NO_EXIT), (90, STOP_HIT), (89, STOP_HIT), (95, TRAIL_HIT), (120, PROFIT_HIT)]
)
def test_levels(price: int, hit: int) -> None:
    assert exit_hit(price, best=105, stop=90, profit=120, trail_distance=10) == hit


def test_levels_that_are_off_never_hit() -> None:
    assert exit_hit(1, best=10**9, stop=0, profit=0, trail_distance=0) == NO_EXIT


def test_the_stop_is_as_far_as_volatility_says() -> None:
    desk = entered()
    plan = desk.plan()
    sigma = volatility_over(PRIOR_VARIANCE_PER_S, NO_TRAIL.horizon_s)
    assert plan.stop == pytest.approx(50_000_01 * (1 - 2.5 * sigma), rel=1e-3)
    assert plan.profit == pytest.approx(50_000_01 * (1 + 6 * sigma), rel=1e-3)


def test_the_stop_sells_everything_once_and_cools_down() -> None:
    desk = entered()
    held = desk.held()
    level = desk.plan().stop / 100
    assert submitted(desk.quote(f"{level + 0.01:.2f}", f"{level + 0.02:.2f}")) == []
    (sale,) = submitted(desk.quote(f"{level:.2f}", f"{level + 0.01:.2f}"))
    assert (sale.side, sale.purpose, sale.size) == (Side.SELL, Purpose.STOP, round(held * 10**8))
    assert submitted(desk.quote(f"{level - 10:.2f}", f"{level - 9:.2f}")) == [], "one exit at a time"
    desk.fill(sale)
    assert desk.held() == 0
    assert BTC.id not in desk.engine.state.exits
    assert submitted(desk.want(Enter(instrument=BTC.id), price=level)) == []
    assert desk.order("desk-3").reason.startswith("cool_down")


def test_the_profit_is_taken() -> None:
    desk = entered()
    level = desk.plan().profit / 100
    (sale,) = submitted(desk.quote(f"{level:.2f}", f"{level + 0.01:.2f}"))
    assert sale.purpose is Purpose.TAKE_PROFIT
    desk.fill(sale)
    assert BTC.id not in desk.engine.state.risk.cool_until


def test_the_trailing_stop_follows_the_best_price() -> None:
    desk = entered(Exits(stop_multiple=0, take_profit_multiple=0, trailing_multiple=1))
    desk.quote("54000", "54000.01")
    distance = desk.plan().trail_distance / 100
    assert submitted(desk.quote(f"{54_000 - distance + 1:.2f}", "54000")) == []
    (sale,) = submitted(desk.quote(f"{54_000 - distance:.2f}", "54000"))
    assert sale.purpose is Purpose.TRAILING_STOP


def test_an_exit_first_takes_back_what_rests() -> None:
    desk = entered()
    desk.quote("49999.99", "50000.01")
    desk.intents = [Rebalance(instrument=BTC.id, weight=0.3)]
    (resting,) = submitted(desk.bar(50_000))
    desk.order(resting.id).request = msgspec.structs.replace(resting, type=OrderType.LIMIT, limit_price=4_990_000)
    low = desk.plan().stop / 100 - 1
    commands = desk.quote(f"{low:.2f}", f"{low + 1:.2f}")
    assert (canceled(commands), submitted(commands)) == ([resting.id], [])
    (sale,) = submitted(desk.tell(OrderCanceled(ts_ns=desk.now, order_id=resting.id, reason="on request")))
    assert sale.purpose is Purpose.STOP


def test_a_refused_exit_is_tried_again_with_growing_pauses_and_told_once() -> None:
    desk = entered()
    level = desk.plan().stop / 100 - 5
    sent_at = []
    for _ in range(40):
        for sale in submitted(desk.quote(f"{level:.2f}", f"{level + 0.01:.2f}")):
            sent_at.append(desk.now // SECOND)
            desk.tell(OrderRejected(ts_ns=desk.now, order_id=sale.id, reason="busy"))
    pauses = [b - a for a, b in pairwise(sent_at)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= 1
    assert pauses[-1] >= 8
    assert alerts(desk.commands).count("exit_refused") == 1
    assert desk.held() > 0


def test_exits_survive_a_restart() -> None:
    desk = entered()
    level = desk.plan().stop / 100
    desk.engine = Engine(desk.catalogue, desk.engine.snapshot())
    (sale,) = submitted(desk.quote(f"{level:.2f}", f"{level + 0.01:.2f}"))
    assert sale.purpose is Purpose.STOP


def test_a_crossed_book_triggers_nothing() -> None:
    desk = entered()
    assert submitted(desk.quote("30000", "29999")) == []


def test_an_entry_risks_at_most_the_stated_share_of_nav() -> None:
    desk = Desk(config=account(sizing=Sizing(risk_per_trade_bps=50), exits=NO_TRAIL))
    (entry,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(entry, fee=0)
    plan = desk.plan()
    lost = BTC.notional(5_000_000, entry.size) - BTC.notional(plan.stop, entry.size)
    assert lost == pytest.approx(500 * AMOUNT_SCALE, rel=0.01)


def test_strength_scales_and_limits_cap_the_entry() -> None:
    whole, half = (
        submitted(Desk().want(Enter(instrument=BTC.id, strength=strength)))[0].size for strength in (1.0, 0.5)
    )
    assert half == pytest.approx(whole / 2, rel=1e-6)
    capped = Desk(config=account(limits=Limits(max_position_bps=200)))
    (order,) = submitted(capped.want(Enter(instrument=BTC.id)))
    assert BTC.notional(5_000_000, order.size) <= 2_000 * AMOUNT_SCALE


def test_an_entry_never_needs_more_than_is_free() -> None:
    desk = Desk(
        config=account(
            sizing=Sizing(target_volatility=5, risk_per_trade_bps=10_000),
            limits=Limits(max_position_bps=10_000, max_order_notional_bps=10_000),
        )
    )
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    assert desk.order(order.id).state is OrderState.SUBMITTED
    assert BTC.notional(5_000_000, order.size) > 95_000 * AMOUNT_SCALE


def test_weight_is_the_smallest_of_its_caps() -> None:
    assert entry_weight(1.0, 0.3, 0.6, 1.0, 0.0) == pytest.approx(0.5)
    assert entry_weight(1.0, 0.3, 0.6, 0.005, 0.05) == pytest.approx(0.1)
    assert entry_weight(1.0, 0.3, 0.01, 1.0, 0.0) == 1.0
    assert entry_weight(0.5, 0.3, 0.6, 1.0, 0.0) == pytest.approx(0.25)


def test_volatility_settles_at_what_bars_show() -> None:
    variance = PRIOR_VARIANCE_PER_S
    for n in range(2_000):
        variance = ewma_variance(variance, 0.001 * (-1) ** n, 60, 60)
    assert annual_volatility(variance) == pytest.approx(0.001 * math.sqrt(365 * 86_400 / 60), rel=1e-6)
