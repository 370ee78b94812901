"""Marks say where they come from: book, trade and bar have times of their own (R1, R3, T6)."""

from typing import Any

from aether.domain.accounts import Exits, Limits
from aether.domain.events import BookUpdate, FeedInterrupted, KillSwitchEngaged, Quote, Timer, Trade, TradingResumed
from aether.domain.orders import OrderState, Purpose
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.core import Engine
from aether.engine.stops import Stop
from aether.engine.strategy import Enter, Exit
from aether.engine.valuation import mark, net_asset_value
from aether.kernel.marks import BAR, BOOK, NO_MARK, TRADE, choose_mark
from tests.desk import BTC, ETH, SECOND, Desk, account, alerts, submitted

ONE = AMOUNT_SCALE
DAY = 86_400 * SECOND


def trade(desk: Desk, price: int, *, after_s: float = 0.5) -> list[Any]:
    desk.now += round(after_s * SECOND)
    return desk.tell(Trade(ts_ns=desk.now, instrument=BTC.id, price=price, size=ONE // 100))


def denied(desk: Desk) -> str:
    """Why the last order was denied."""
    last = desk.order(f"desk-{desk.engine.state.next_order - 1}")
    assert last.state is OrderState.DENIED
    return last.reason


def test_a_fresh_book_goes_before_everything_and_an_old_one_before_nothing_newer() -> None:
    assert choose_mark(100, 50, 90, 60, 80, 70, 40) == BOOK
    assert choose_mark(100, 50, 90, 60, 80, 55, 51) == TRADE
    assert choose_mark(100, 50, 90, 60, 80, 70, 51) == BAR
    assert choose_mark(100, 50, 90, 40, 0, 0, 60) == BOOK, "old, but the newest that is known"
    assert choose_mark(0, 0, 0, 0, 80, 5, 0) == BAR
    assert choose_mark(0, 0, 0, 0, 0, 0, 0) == NO_MARK


def test_a_silent_book_beside_living_trades_is_no_young_mark() -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    for _ in range(600):
        trade(desk, 4_000_000, after_s=1)
    found = mark(desk.engine.state, BTC.id)
    assert (found.price, found.source, found.ts_ns) == (4_000_000, TRADE, desk.now)
    desk.intents = [Enter(instrument=BTC.id)]
    assert submitted(desk.bar(40_000)) == []
    assert "600000 ms old" in denied(desk), "the book's own age"


def test_an_exit_goes_on_living_trades_when_the_book_is_silent() -> None:
    desk = Desk(config=account(exits=Exits(trailing_multiple=0)))
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order)
    level = desk.plan().stop
    for _ in range(5):
        trade(desk, level + 1, after_s=1)
    (sale,) = submitted(trade(desk, level))
    assert sale.purpose is Purpose.STOP


def test_a_feeds_trouble_takes_the_book_back_and_blocks_entries_until_the_next_one() -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    trade(desk, 5_000_000)
    desk.tell(FeedInterrupted(ts_ns=desk.now, instrument=BTC.id, reason="checksum"))
    market = desk.engine.state.market[BTC.id]
    assert (market.bid, market.ask, market.bids, market.asks) == (0, 0, (), ())
    assert mark(desk.engine.state, BTC.id).price == 5_000_000, "its last mid stays to value by"
    desk.intents = [Enter(instrument=BTC.id)]
    assert submitted(desk.bar(50_000)) == []
    assert "feed interrupted: checksum" in denied(desk)
    assert submitted(desk.want(Enter(instrument=BTC.id))), "a new quote ends it"


def test_a_quote_that_is_old_when_it_is_taken_up_is_not_traded_on() -> None:
    desk = Desk()
    for late_s in (0, 30):
        desk.now += 60 * SECOND
        taken = desk.now + late_s * SECOND
        book = Quote(
            ts_ns=desk.now, taken_ns=taken, instrument=BTC.id, bid=4_999_999, ask=5_000_001, bid_size=ONE, ask_size=ONE
        )
        desk.tell(book)
        desk.intents = [Enter(instrument=BTC.id, limit_price=49_000 + late_s)]
        from aether.domain.events import Bar

        bar = Bar(
            ts_ns=desk.now,
            taken_ns=taken,
            instrument=BTC.id,
            interval_s=60,
            open=5_000_000,
            high=5_000_000,
            low=5_000_000,
            close=5_000_000,
            volume=1,
        )
        sent = submitted(desk.tell(bar))
        desk.now = taken
        assert bool(sent) is (late_s == 0)
        for order in sent:
            from aether.domain.events import OrderCanceled

            desk.tell(OrderCanceled(ts_ns=desk.now, order_id=order.id, reason="x"))
    assert "30000 ms old" in denied(desk)


def test_a_node_that_lags_denies_what_it_decides_late() -> None:
    """Finding 5: with a decision lag of 2.3 s nothing was denied under a limit of 2 s."""
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    desk.now += 2_300_000_000
    desk.tell(Timer(ts_ns=desk.now - 2_300_000_000, taken_ns=desk.now))
    desk.intents = [Enter(instrument=BTC.id)]
    assert submitted(desk.bar(50_000)) == []
    assert "2300 ms old" in denied(desk)


def test_one_event_stamped_a_day_ahead_moves_no_clock_and_makes_nothing_fresh() -> None:
    desk = Desk(config=account(exits=Exits(trailing_multiple=0)))
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order)
    level = desk.plan().stop
    ahead = Quote(
        ts_ns=desk.now + DAY,
        taken_ns=desk.now + SECOND,
        instrument=BTC.id,
        bid=4_999_999,
        ask=5_000_001,
        bid_size=ONE,
        ask_size=ONE,
    )
    desk.tell(ahead)
    desk.now += SECOND
    assert desk.engine.state.now_ns == desk.now
    assert desk.engine.state.market[BTC.id].book_ns == desk.now
    desk.restart()
    desk.now += 10 * SECOND
    desk.tell(Timer(ts_ns=desk.now, taken_ns=desk.now))
    desk.intents = [Enter(instrument=ETH.id)]
    assert mark(desk.engine.state, BTC.id).ts_ns == desk.now - 10 * SECOND, "it grows old like any other"
    (sale,) = submitted(desk.quote(f"{level / 100:.2f}", f"{level / 100 + 0.01:.2f}"))
    assert sale.purpose is Purpose.STOP


def test_an_account_whose_clock_was_ahead_is_set_right() -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    true_now = desk.now
    desk.tell(Timer(ts_ns=true_now + DAY, taken_ns=true_now + DAY))
    engine = Engine(desk.catalogue, desk.engine.snapshot())
    commands = engine.apply(Timer(ts_ns=true_now, taken_ns=true_now + SECOND))
    assert engine.state.now_ns == true_now + SECOND
    assert "clock" in alerts(commands)
    assert all(m.book_ns <= engine.state.now_ns for m in engine.state.market.values())
    day = engine.state.risk.day
    engine.apply(Timer(ts_ns=true_now, taken_ns=true_now + 2 * SECOND))
    assert engine.state.risk.day == day, "a day that was rolled too early is not begun again"


def test_a_recordings_own_time_goes_only_forward() -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    now = desk.engine.state.now_ns
    desk.tell(Timer(ts_ns=now - 3_600 * SECOND))
    assert desk.engine.state.now_ns == now


# Losses are watched at every mark (R3).


def test_the_loss_cap_stops_entries_at_the_mark_that_passes_it() -> None:
    desk = Desk(config=account(limits=Limits(max_daily_loss_bps=10), exits=Exits(stop_multiple=0, trailing_multiple=0)))
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order, fee=0)
    held = order.size
    fall = 100 * ONE * ONE // held * 100 // ONE
    assert Stop.LOSS not in desk.engine.state.stops
    desk.quote(f"{(5_000_000 - fall + 100) / 100:.2f}", f"{(5_000_000 - fall + 102) / 100:.2f}")
    assert Stop.LOSS not in desk.engine.state.stops, "a dollar before it"
    commands = desk.quote(f"{(5_000_000 - fall - 200) / 100:.2f}", f"{(5_000_000 - fall - 198) / 100:.2f}")
    assert alerts(commands) == ["loss_stop"]
    assert desk.engine.state.next_order == 2, "and nobody had asked for an order"
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    assert sale.purpose is Purpose.EXIT


def test_the_drawdown_is_from_the_highest_worth_over_days_and_a_restart() -> None:
    """The peak is the highest sample, not the last one (planted: peak follows the last sample)."""
    limits = Limits(
        max_daily_loss_bps=9_000, max_drawdown_bps=500, max_position_bps=9_000, max_order_notional_bps=9_000
    )
    desk = Desk(
        config=account(limits=limits, exits=Exits(stop_multiple=0, trailing_multiple=0, take_profit_multiple=0))
    )
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order, fee=0)
    peaks = []
    for price in (52_000, 60_000, 58_000, 59_000):
        desk.now += DAY
        desk.quote(f"{price - 0.01:.2f}", f"{price + 0.01:.2f}")
        desk.quote(f"{price - 0.01:.2f}", f"{price + 0.01:.2f}", after_s=61)
        peaks.append(desk.engine.state.risk.peak_nav)
        desk.restart()
    assert peaks == sorted(peaks)
    assert peaks[1] == peaks[3]
    at_peak = peaks[-1]
    price = 59_000
    while Stop.LOSS not in desk.engine.state.stops:
        price -= 500
        desk.quote(f"{price - 0.01:.2f}", f"{price + 0.01:.2f}")
    assert net_asset_value(desk.engine.state) < at_peak * 95 // 100
    assert "drawdown" in desk.engine.state.stops[Stop.LOSS].reason


def test_a_new_day_begins_with_its_own_loss_and_keeps_the_stop() -> None:
    desk = Desk(config=account(limits=Limits(max_daily_loss_bps=50), exits=Exits(stop_multiple=0, trailing_multiple=0)))
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order, fee=0)
    desk.quote("20000", "20000.01")
    assert Stop.LOSS in desk.engine.state.stops
    desk.now += DAY
    desk.quote("20000", "20000.01")
    assert desk.engine.state.risk.day_start_nav == net_asset_value(desk.engine.state)
    assert Stop.LOSS in desk.engine.state.stops, "an operator resumes, not the calendar"
    desk.tell(TradingResumed(ts_ns=desk.now, reason="looked", actor="ada"))
    assert not desk.engine.state.stops


def test_the_fees_of_a_day_are_counted_over_a_restart_and_end_with_it() -> None:
    desk = Desk()
    for _ in range(2):
        (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
        desk.fill(order, fee=40 * ONE)
        desk.restart()
        (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
        desk.fill(sale, fee=40 * ONE)
        desk.now += 600 * SECOND
    assert desk.engine.state.risk.fees_today == 160 * ONE
    desk.now += DAY
    desk.quote("49999.99", "50000.01")
    assert desk.engine.state.risk.fees_today == 0


def test_the_volume_of_thirty_days_decides_the_fee_and_the_thirty_first_does_not() -> None:
    """Over time, with restarts: what is traded counts for 30 days, today's included."""
    from aether.engine.valuation import fee_tier, thirty_day_volume

    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    first = desk.fill(order, fee=0)
    notional = BTC.notional(first.price, first.size)
    assert thirty_day_volume(desk.engine.state) == notional
    dear = fee_tier(desk.engine.state, BTC)
    for _ in range(29):
        desk.now += DAY
        desk.tell(Timer(ts_ns=desk.now))
        desk.restart()
    assert thirty_day_volume(desk.engine.state) == notional, "29 days later it is the 30th day"
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    desk.fill(sale, fee=0)
    assert thirty_day_volume(desk.engine.state) > notional
    assert fee_tier(desk.engine.state, BTC).taker_ppm <= dear.taker_ppm
    second = thirty_day_volume(desk.engine.state) - notional
    desk.now += DAY
    desk.tell(Timer(ts_ns=desk.now))
    assert thirty_day_volume(desk.engine.state) == second


def test_a_kill_sells_on_an_old_mark_too() -> None:
    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order)
    desk.now += 3_600 * SECOND
    (sale,) = submitted(desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="r", actor="a", flatten=True)))
    assert sale.purpose is Purpose.FLATTEN


def test_a_book_with_one_side_marks_by_the_trade() -> None:
    desk = Desk()
    desk.tell(BookUpdate(ts_ns=desk.now, instrument=BTC.id, bids=((5_000_000, ONE),), asks=()))
    assert mark(desk.engine.state, BTC.id).source == NO_MARK
    trade(desk, 4_990_000)
    assert mark(desk.engine.state, BTC.id).price == 4_990_000
