"""The same trading day at all three venues, against the local exchange over real sockets (T2, T3, T8, O2).

Whatever a venue lacks is refused with a clear error; that is stated in the table `LACKS` and tested too.
"""

import asyncio
from collections.abc import AsyncIterator
from time import time

import pytest

from aether.domain.errors import WithdrawingKeyError
from aether.domain.events import (
    BalanceReported,
    CancelRejected,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderRejected,
)
from aether.domain.identifiers import TradeId
from aether.domain.orders import Order, OrderRequest, OrderState, OrderType, TimeInForce
from aether.exchange.server import LocalExchange
from aether.exchange.venue import Status
from aether.venues.protocol import Credentials
from tests.contract.venue_desk import ONE, VENUES, Trader, local_exchange, trader_at

LACKS: dict[str, set[object]] = {
    "kraken": set(),
    "binance": {TimeInForce.GTD},
    "coinbase": {OrderType.STOP_LOSS, OrderType.TAKE_PROFIT, OrderType.TRAILING_STOP, "iceberg"},
}


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    async with local_exchange() as exchange:
        yield exchange


@pytest.fixture(params=VENUES)
async def trader(local: LocalExchange, request: pytest.FixtureRequest) -> AsyncIterator[Trader]:
    async with trader_at(local, request.param) as one:
        yield one


def lacks(trader: Trader, what: object) -> bool:
    return what in LACKS[trader.venue]


async def test_a_limit_order_rests_and_is_canceled(trader: Trader) -> None:
    order = await trader.send("buy", OrderType.LIMIT, "0.5", limit_price=50_000)
    accepted = await trader.report(OrderAccepted, order)
    assert accepted.venue_order_id
    assert trader.at_venue(order).status is Status.NEW
    trader.session.cancel(order.id)
    await trader.report(OrderCanceled, order)
    assert trader.at_venue(order).status is Status.CANCELED
    assert trader.fills(order) == []


async def test_a_market_order_takes_the_book_and_pays_the_fee(trader: Trader) -> None:
    trader.quote("sell", 60_000, 0.3)
    trader.quote("sell", 60_100, 0.7)
    order = await trader.send("buy", OrderType.MARKET, "0.5", time_in_force=TimeInForce.IOC)
    fills = await trader.filled(order)
    assert [(f.price, f.size) for f in fills] == [(60_000 * ONE, 30_000_000), (60_100 * ONE, 20_000_000)]
    at_venue = trader.at_venue(order)
    assert sum(f.fee for f in fills) == at_venue.fee > 0
    assert {f.fee_asset for f in fills} == {"BTC" if trader.venue == "binance" else "USD"}
    await trader.until(trader.balances_agree)


async def test_partial_fills_of_a_resting_order(trader: Trader) -> None:
    order = await trader.send("sell", OrderType.LIMIT, "1", limit_price=61_000)
    await trader.report(OrderAccepted, order)
    trader.quote("buy", 61_000, 0.25)
    await trader.filled(order, "0.25")
    trader.quote("buy", 61_000, 0.35)
    fills = await trader.filled(order, "0.6")
    assert {f.liquidity for f in fills} == {"maker"}
    trader.session.cancel(order.id)
    await trader.report(OrderCanceled, order)
    assert trader.at_venue(order).filled == 60_000_000
    await trader.until(trader.balances_agree)


async def test_an_order_is_amended(trader: Trader) -> None:
    order = await trader.send("buy", OrderType.LIMIT, "0.5", limit_price=50_000)
    await trader.report(OrderAccepted, order)
    price = 0 if trader.venue == "binance" else 51_000 * ONE
    size = 40_000_000
    if trader.venue == "kraken":
        await trader.session.amend(order.id, limit_price=price)
    else:
        await trader.session.amend(order.id, size=size, limit_price=price)
    at_venue = trader.at_venue(order)
    assert at_venue.price == (510_000 if price else 500_000)
    assert at_venue.size == (50_000_000 if trader.venue == "kraken" else size)
    assert at_venue.status is Status.NEW


@pytest.mark.parametrize(
    ("kind", "side", "trigger", "limit", "moves_to"),
    [
        (OrderType.STOP_LOSS, "sell", 59_000, 0, 58_990),
        (OrderType.STOP_LOSS_LIMIT, "sell", 59_000, 58_000, 58_990),
        (OrderType.TAKE_PROFIT, "sell", 62_000, 0, 62_010),
        (OrderType.TAKE_PROFIT_LIMIT, "sell", 62_000, 57_000, 62_010),
    ],
)
async def test_trigger_orders_wait_and_fire(
    trader: Trader, kind: OrderType, side: str, trigger: int, limit: int, moves_to: int
) -> None:
    trader.quote("buy", 58_500, 5)
    trader.trade_at(60_000)
    fields = {"limit_price": limit} if limit else {}
    order = await trader.send(side, kind, "0.1", trigger_price=trigger, **fields)
    if lacks(trader, kind):
        rejected = await trader.report(OrderRejected, order)
        assert "has no" in rejected.reason
        return
    await trader.report(OrderAccepted, order)
    assert trader.at_venue(order).status is Status.TRIGGER_PENDING
    trader.trade_at(moves_to)
    fills = await trader.filled(order)
    assert fills[0].price == 58_500 * ONE


async def test_a_trailing_stop_follows_the_price(trader: Trader) -> None:
    trader.quote("buy", 58_000, 5)
    trader.trade_at(60_000)
    order = await trader.send("sell", OrderType.TRAILING_STOP, "0.1", trail=600, trigger_price=60_000)
    if lacks(trader, OrderType.TRAILING_STOP):
        await trader.report(OrderRejected, order)
        return
    await trader.report(OrderAccepted, order)
    trader.trade_at(61_000)
    trader.trade_at(60_500)
    assert trader.at_venue(order).status is Status.TRIGGER_PENDING
    trader.trade_at(60_390)
    await trader.filled(order)


async def test_immediate_or_cancel_takes_what_is_there_and_expires(trader: Trader) -> None:
    trader.quote("sell", 60_000, 0.2)
    order = await trader.send("buy", OrderType.LIMIT, "0.5", limit_price=60_000, time_in_force=TimeInForce.IOC)
    await trader.report(OrderExpired, order)
    assert sum(f.size for f in trader.fills(order)) == 20_000_000


async def test_fill_or_kill_fills_whole_or_not_at_all(trader: Trader) -> None:
    trader.quote("sell", 60_000, 0.2)
    killed = await trader.send("buy", OrderType.LIMIT, "0.5", limit_price=60_000, time_in_force=TimeInForce.FOK)
    await trader.report(OrderExpired, killed)
    assert trader.fills(killed) == []
    whole = await trader.send("buy", OrderType.LIMIT, "0.2", limit_price=60_000, time_in_force=TimeInForce.FOK)
    await trader.filled(whole)


async def test_good_till_date_expires(trader: Trader) -> None:
    soon = trader.exchange.venue.clock() + 1_500_000_000
    order = await trader.send(
        "buy", OrderType.LIMIT, "0.5", limit_price=50_000, time_in_force=TimeInForce.GTD, expire_ns=soon
    )
    if lacks(trader, TimeInForce.GTD):
        await trader.report(OrderRejected, order)
        return
    await trader.report(OrderExpired, order)


async def test_post_only_is_refused_rather_than_taking(trader: Trader) -> None:
    trader.quote("sell", 60_000, 1)
    taking = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=60_000, post_only=True)
    await trader.report(OrderRejected, taking)
    resting = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=59_999, post_only=True)
    await trader.report(OrderAccepted, resting)


async def test_an_iceberg_shows_its_tip(trader: Trader) -> None:
    order = await trader.send("sell", OrderType.LIMIT, "1", limit_price=60_000, display_size=0.1)
    if lacks(trader, "iceberg"):
        await trader.report(OrderRejected, order)
        return
    await trader.report(OrderAccepted, order)
    assert trader.exchange.venue.books["BTC/USD"].levels(1, is_buy=False) == [(600_000, 10_000_000)]
    trader.quote("buy", 60_000, 0.35)
    await trader.filled(order, "0.35")
    assert trader.exchange.venue.books["BTC/USD"].levels(1, is_buy=False) == [(600_000, 5_000_000)]


async def test_own_orders_never_trade_with_each_other(trader: Trader) -> None:
    resting = await trader.send("sell", OrderType.LIMIT, "0.1", limit_price=60_000)
    await trader.report(OrderAccepted, resting)
    taking = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=60_000)
    await trader.report(OrderCanceled, taking)
    assert trader.fills(resting) == trader.fills(taking) == []


async def test_the_venue_refuses_with_its_own_words(trader: Trader) -> None:
    poor = await trader.send("buy", OrderType.LIMIT, "100", limit_price=60_000)
    refused = await trader.report(OrderRejected, poor)
    words = {"kraken": "Insufficient funds", "binance": "-2010", "coinbase": "INSUFFICIENT_FUND"}
    assert words[trader.venue] in refused.reason
    small = await trader.send("buy", OrderType.LIMIT, "0.00000001", limit_price=60_000)
    await trader.report(OrderRejected, small)


async def test_cancelling_what_has_ended_says_so(trader: Trader) -> None:
    trader.quote("sell", 60_000, 1)
    order = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=60_000)
    await trader.filled(order)
    trader.session.cancel(order.id)
    await trader.report(CancelRejected, order)


async def test_cancel_all_takes_everything_off(trader: Trader) -> None:
    orders = [await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=50_000 + n) for n in range(5)]
    for order in orders:
        await trader.report(OrderAccepted, order)
    trader.session.stop()
    for order in orders:
        await trader.report(OrderCanceled, order)
    assert not trader.exchange.venue.account("company").open


async def test_reconnect_in_the_middle_of_an_order(trader: Trader) -> None:
    order = await trader.send("sell", OrderType.LIMIT, "1", limit_price=60_000)
    await trader.report(OrderAccepted, order)
    trader.session.ready.clear()
    trader.exchange.face.disconnect_all()
    for socket in list(trader.exchange.face.sockets):
        await socket.response.close()
    trader.quote("buy", 60_000, 0.4)
    fills = await trader.filled(order, "0.4")
    assert sum(f.size for f in fills) == 40_000_000
    trader.quote("buy", 60_000, 0.6)
    await trader.filled(order)
    await trader.until(trader.balances_agree)
    assert trader.session.connection.connects >= 2


@pytest.mark.parametrize("venue", VENUES)
async def test_restart_with_open_orders(local: LocalExchange, venue: str) -> None:
    key, secret = local.open_account(venue, "company", {"USD": "1000000", "BTC": "10"})
    credentials = Credentials(key=key, secret=secret)
    async with trader_at(local, venue, credentials=credentials) as first:
        order = await first.send("sell", OrderType.LIMIT, "1", limit_price=60_000)
        await first.report(OrderAccepted, order)
        first.quote("buy", 60_000, 0.2)
        known = {f.trade_id for f in await first.filled(order, "0.2")}
    first.quote("buy", 60_000, 0.3)
    then = known_order(order, 20_000_000, known)
    async with trader_at(
        local,
        venue,
        credentials=credentials,
        before=lambda s: s.tracker.restore(then, time()),
    ) as second:
        fills = await second.filled(order, "0.3")
        assert sum(f.size for f in fills) == 30_000_000
        assert not known & {f.trade_id for f in fills}
        second.session.cancel(order.id)
        await second.report(OrderCanceled, order)
        await second.until(second.balances_agree)
        assert second.at_venue(order).filled == 50_000_000


def known_order(
    request: OrderRequest, filled: int, trades: set[TradeId], state: OrderState = OrderState.PARTIALLY_FILLED
) -> Order:
    return Order(request=request, state=state, created_ns=0, updated_ns=0, filled=filled, trade_ids=sorted(trades))


async def test_an_order_that_the_venue_has_forgotten_is_canceled(trader: Trader) -> None:
    request = trader.request("buy", OrderType.LIMIT, "0.1", limit_price=50_000)
    trader.session.tracker.restore(known_order(request, 0, set(), OrderState.ACCEPTED), time())
    await trader.session.compare()
    assert "does not know" in (await trader.report(OrderCanceled, request)).reason


async def test_an_order_that_never_left_is_rejected_after_a_restart(trader: Trader) -> None:
    request = trader.request("buy", OrderType.LIMIT, "0.1", limit_price=50_000)
    trader.session.tracker.deadline_s = trader.session.tracker.settle_margin_s = 0.0
    trader.session.tracker.restore(known_order(request, 0, set(), OrderState.SUBMITTED), time())
    await trader.session.compare()
    await trader.report(OrderRejected, request)


async def test_balances_are_told(trader: Trader) -> None:
    await trader.until(lambda: any(isinstance(r, BalanceReported) for r in trader.reports) and trader.balances_agree())
    assert trader.session.balances[f"{trader.venue}:USD"] == 1_000_000 * ONE  # type: ignore[index]


@pytest.mark.parametrize("venue", VENUES)
async def test_a_key_that_can_withdraw_is_refused(local: LocalExchange, venue: str) -> None:
    key, secret = local.open_account(venue, "company", {"USD": "1"}, can_withdraw=True)
    async with trader_at(local, venue, credentials=Credentials(key=key, secret=secret), running=False) as trader:
        with pytest.raises(WithdrawingKeyError, match="may withdraw"):
            await trader.client.check_key()
        with pytest.raises(WithdrawingKeyError):
            await asyncio.wait_for(trader.session.run(), 10)


async def test_a_key_that_only_trades_is_taken(trader: Trader) -> None:
    permissions = await trader.client.check_key()
    assert permissions.can_trade
    assert not permissions.can_withdraw


async def test_the_clock_offset_is_measured_and_used(trader: Trader) -> None:
    trader.exchange.faults.skew_ms = 30_000
    order = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=50_000)
    if trader.venue != "coinbase":
        await trader.report(OrderRejected, order)
    offset = await trader.client.measure_clock()
    assert offset == pytest.approx(30, abs=1.1)
    again = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=50_000)
    await trader.report(OrderAccepted, again)
    assert trader.at_venue(again).status is Status.NEW
