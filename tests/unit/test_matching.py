"""How fills are made (B2): latency, spread, depth, queue, fees, funds, time in force; each model on its own."""

import msgspec
import pytest

from aether.domain.commands import ApprovedOrder, CancelAll, CancelOrder, SubmitOrder
from aether.domain.events import (
    BookUpdate,
    CancelRejected,
    MarketEvent,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    Quote,
    Trade,
    VenueReport,
)
from aether.domain.identifiers import ClientOrderId
from aether.domain.orders import Liquidity, OrderRequest, OrderType, Side, TimeInForce
from aether.domain.scaled import AMOUNT_SCALE, fee_of
from aether.matching.simulator import FillModel, Simulator
from tests.desk import BTC, START

MS = 1_000_000
COIN = 10**8
INSTANT = FillModel(latency_ms=0, jitter_ms=0, step_centibps=0)


class Market:
    """A simulator with funds, told about by short words."""

    def __init__(self, model: FillModel = INSTANT, seed: int = 1, usd: int = 1_000_000, coins: int = 10) -> None:
        self.venue = Simulator(model, seed)
        self.venue.list_instrument(BTC)
        self.venue.move_capital(BTC.quote_key, usd * AMOUNT_SCALE)
        self.venue.move_capital(BTC.base_key, coins * COIN)
        self.now = START
        self.count = 0

    def see(self, event: MarketEvent) -> None:
        self.now = event.ts_ns
        self.venue.on_market(event)

    def quote(self, bid: int, ask: int, bid_size: int = COIN, ask_size: int = COIN) -> None:
        self.see(
            Quote(
                ts_ns=self.now + MS,
                instrument=BTC.id,
                bid=bid * 100,
                ask=ask * 100,
                bid_size=bid_size,
                ask_size=ask_size,
            )
        )

    def trade(self, price: int, size: int, side: Side | None = None) -> None:
        self.see(Trade(ts_ns=self.now + MS, instrument=BTC.id, price=price * 100, size=size, side=side))

    def send(self, side: Side, size: int, limit: int = 0, **more: object) -> ClientOrderId:
        self.count += 1
        order_id = ClientOrderId(f"t-{self.count}")
        default = TimeInForce.GTC if limit or more.get("trigger_price") else TimeInForce.IOC
        values: dict[str, object] = {
            "type": OrderType.LIMIT if limit else OrderType.MARKET,
            "time_in_force": default,
            **more,
        }
        request = OrderRequest(
            id=order_id,
            instrument=BTC.id,
            side=side,
            size=size,
            limit_price=limit * 100,
            **values,  # type: ignore[arg-type]
        )
        self.venue.send(SubmitOrder(self.now, ApprovedOrder(request)))
        return order_id

    def reports(self, until_ms: int = 0) -> list[VenueReport]:
        found = []
        while (report := self.venue.next_report(self.now + until_ms * MS)) is not None:
            found.append(report)
        return found

    def fills(self) -> list[tuple[int, int]]:
        return [(r.price // 100, r.size) for r in self.reports() if isinstance(r, OrderFilled)]


def kinds(reports: list[VenueReport]) -> list[type]:
    return [type(r) for r in reports]


def test_a_market_order_walks_the_book_level_by_level() -> None:
    market = Market()
    market.see(
        BookUpdate(
            ts_ns=START,
            instrument=BTC.id,
            bids=((4_999_900, COIN),),
            asks=((5_000_000, COIN), (5_000_100, 2 * COIN), (5_000_500, COIN)),
        )
    )
    market.send(Side.BUY, 4 * COIN)
    assert market.fills() == [(50_000, COIN), (50_001, 2 * COIN), (50_005, COIN)]


def test_behind_a_quote_the_assumed_levels_get_worse() -> None:
    market = Market(FillModel(latency_ms=0, jitter_ms=0, step_centibps=100))
    market.quote(49_999, 50_000)
    market.send(Side.BUY, 3 * COIN)
    assert market.fills() == [(50_000, COIN), (50_005, COIN), (50_010, COIN)]


def test_where_only_trades_are_known_the_spread_is_assumed() -> None:
    market = Market(FillModel(latency_ms=0, jitter_ms=0, half_spread_centibps=200))
    market.trade(50_000, 40 * COIN)
    market.send(Side.BUY, COIN)
    market.send(Side.SELL, COIN)
    assert market.fills() == [(50_010, COIN), (49_990, COIN)]


def test_what_was_taken_is_gone_until_the_market_moves() -> None:
    market = Market()
    market.see(BookUpdate(ts_ns=START, instrument=BTC.id, bids=(), asks=((5_000_000, COIN), (5_000_100, COIN))))
    market.send(Side.BUY, COIN)
    assert market.fills() == [(50_000, COIN)]
    market.send(Side.BUY, COIN)
    assert market.fills() == [(50_001, COIN)]


def test_orders_and_reports_take_their_time_and_the_market_moves_on() -> None:
    market = Market(FillModel(latency_ms=40, jitter_ms=0, step_centibps=0))
    market.quote(49_999, 50_000)
    market.send(Side.BUY, COIN)
    sent = market.now
    market.quote(50_099, 50_100)
    assert market.reports(until_ms=38) == []
    found = market.reports(until_ms=200)
    assert kinds(found) == [OrderAccepted, OrderFilled]
    assert isinstance(found[1], OrderFilled)
    assert (found[1].price, found[1].ts_ns) == (50_100 * 100, sent + 80 * MS)


def test_jitter_is_the_same_for_the_same_seed() -> None:
    def times(seed: int) -> list[int]:
        market = Market(FillModel(latency_ms=10, jitter_ms=50), seed)
        market.quote(49_999, 50_000)
        for _ in range(20):
            market.send(Side.BUY, COIN // 100)
        return [r.ts_ns for r in market.reports(until_ms=500)]

    assert times(1) == times(1)
    assert times(1) != times(2)


def test_a_resting_order_waits_for_the_queue_before_it() -> None:
    market = Market()
    market.quote(50_000, 50_001, bid_size=3 * COIN)
    market.send(Side.BUY, 2 * COIN, limit=50_000)
    assert market.fills() == []
    market.trade(50_000, 2 * COIN, Side.SELL)
    assert market.fills() == []
    market.trade(50_000, 2 * COIN, Side.SELL)
    assert market.fills() == [(50_000, COIN)]
    market.trade(50_000, 5 * COIN, Side.BUY)
    assert market.fills() == [], "buyers do not hit a bid"
    market.trade(49_999, COIN // 2, Side.SELL)
    assert market.fills() == [(50_000, COIN // 2)]


def test_one_public_trade_fills_two_own_orders_with_its_size_and_no_more() -> None:
    market = Market()
    market.quote(100, 101)
    first, second = market.send(Side.BUY, COIN, limit=99), market.send(Side.BUY, COIN, limit=98)
    market.reports()
    market.trade(97, COIN + COIN // 4, Side.SELL)
    filled = [r for r in market.reports() if isinstance(r, OrderFilled)]
    assert [(r.order_id, r.size) for r in filled] == [(first, COIN), (second, COIN // 4)]


def test_a_resting_order_pays_the_maker_rate() -> None:
    market = Market()
    market.quote(50_000, 50_010)
    market.send(Side.SELL, COIN, limit=50_005)
    market.reports()
    market.quote(50_005, 50_015)
    (fill,) = (r for r in market.reports() if isinstance(r, OrderFilled))
    assert (fill.liquidity, fill.fee) == (Liquidity.MAKER, fee_of(50_005 * AMOUNT_SCALE, 2_500))


def test_fees_fall_with_the_volume_traded() -> None:
    market = Market()
    market.quote(49_999, 50_000, ask_size=100 * COIN)
    rates = []
    for _ in range(4):
        market.send(Side.BUY, COIN)
        (fill,) = (r for r in market.reports() if isinstance(r, OrderFilled))
        rates.append(fill.fee * 1_000_000 // (50_000 * AMOUNT_SCALE))
    assert rates == [4_000, 2_400, 2_200, 2_200]


@pytest.mark.parametrize(
    ("more", "outcome", "filled"),
    [
        ({"time_in_force": TimeInForce.IOC}, OrderExpired, COIN),
        ({"time_in_force": TimeInForce.FOK}, OrderExpired, 0),
        ({"post_only": True}, OrderRejected, 0),
        ({}, None, COIN),
    ],
)
def test_time_in_force(more: dict[str, object], outcome: type | None, filled: int) -> None:
    market = Market()
    market.see(BookUpdate(ts_ns=START, instrument=BTC.id, bids=(), asks=((5_000_000, COIN), (5_000_100, COIN))))
    market.send(Side.BUY, 3 * COIN, limit=50_000, **more)
    found = market.reports()
    assert sum(r.size for r in found if isinstance(r, OrderFilled)) == filled
    last = kinds(found)[-1]
    assert last is (outcome or OrderFilled)


def test_fill_or_kill_fills_whole() -> None:
    market = Market()
    market.quote(49_999, 50_000, ask_size=COIN)
    market.send(Side.BUY, COIN, limit=50_000, time_in_force=TimeInForce.FOK)
    assert market.fills() == [(50_000, COIN)]


@pytest.mark.parametrize(
    ("side", "kind", "trigger", "path", "fires"),
    [
        (Side.SELL, OrderType.STOP_LOSS, 49_000, 48_990, True),
        (Side.SELL, OrderType.STOP_LOSS, 49_000, 49_010, False),
        (Side.SELL, OrderType.TAKE_PROFIT, 51_000, 51_000, True),
        (Side.BUY, OrderType.STOP_LOSS, 51_000, 51_010, True),
        (Side.BUY, OrderType.TAKE_PROFIT, 49_000, 49_000, True),
    ],
)
def test_triggers(side: Side, kind: OrderType, trigger: int, path: int, fires: bool) -> None:
    market = Market()
    market.trade(50_000, 40 * COIN)
    market.send(side, COIN, type=kind, trigger_price=trigger * 100)
    assert kinds(market.reports()) == [OrderAccepted]
    market.trade(path, 40 * COIN)
    assert bool(market.fills()) is fires


def test_the_venue_sells_nobody_more_than_they_can_pay() -> None:
    market = Market(usd=75_000)
    market.quote(49_999, 50_000)
    market.send(Side.BUY, 2 * COIN)
    found = market.reports()
    spent = sum(BTC.notional(r.price, r.size) + r.fee for r in found if isinstance(r, OrderFilled))
    assert 74_990 * AMOUNT_SCALE < spent <= 75_000 * AMOUNT_SCALE
    assert isinstance(found[-1], OrderCanceled)
    assert market.venue.state.balances[BTC.quote_key] >= 0


@pytest.mark.parametrize(
    ("side", "size", "limit", "reason"),
    [
        (Side.SELL, 11 * COIN, 50_000, "insufficient funds"),
        (Side.BUY, 21 * COIN, 50_000, "insufficient funds"),
        (Side.BUY, 1_000, 50_000, "below the minimum notional"),
    ],
)
def test_refusals(side: Side, size: int, limit: int, reason: str) -> None:
    market = Market()
    market.quote(49_999, 50_001)
    market.send(side, size, limit=limit)
    (report,) = market.reports()
    assert isinstance(report, OrderRejected)
    assert report.reason == reason


def test_no_market_no_order() -> None:
    market = Market()
    market.send(Side.BUY, COIN)
    (report,) = market.reports()
    assert isinstance(report, OrderRejected)
    assert report.reason == "no market"


def test_rejects_come_at_their_rate() -> None:
    market = Market(msgspec.structs.replace(INSTANT, reject_ppm=300_000))
    market.quote(49_999, 50_000, ask_size=10**12)
    for _ in range(1_000):
        market.send(Side.BUY, COIN // 1_000)
    rejected = sum(1 for r in market.reports() if isinstance(r, OrderRejected))
    assert 250 < rejected < 350


def test_cancels() -> None:
    market = Market()
    market.quote(49_999, 50_001)
    first, second = (market.send(Side.BUY, COIN // 10, limit=49_000 + n) for n in range(2))
    market.reports()
    market.venue.send(CancelOrder(market.now, first, BTC.id))
    market.venue.send(CancelOrder(market.now, first, BTC.id))
    assert kinds(market.reports()) == [OrderCanceled, CancelRejected]
    market.venue.send(CancelAll(market.now))
    (report,) = market.reports()
    assert isinstance(report, OrderCanceled)
    assert report.order_id == second


def test_a_snapshot_goes_on_exactly() -> None:
    def drive(market: Market, restart: bool) -> list[VenueReport]:
        found: list[VenueReport] = []
        for n in range(30):
            market.quote(50_000 + n % 7, 50_001 + n % 7)
            market.send(Side.BUY, COIN // 50, limit=50_000 if n % 2 else 0)
            if restart and n == 15:
                market.venue = Simulator(market.venue.model, 99, market.venue.snapshot())
            found += market.reports(until_ms=30)
        return found

    model = FillModel(latency_ms=5, jitter_ms=20, reject_ppm=100_000)
    assert drive(Market(model), restart=False) == drive(Market(model), restart=True)
