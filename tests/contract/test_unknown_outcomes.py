"""A thousand orders while answers are lost or late and connections drop: none doubled, none lost, ledgers equal
(T8)."""

import asyncio
import random
from collections import Counter

import pytest

from aether.domain.events import OrderAccepted, OrderCanceled, OrderExpired, OrderFilled, OrderRejected
from aether.domain.orders import OrderRequest, OrderType, Side
from aether.domain.scaled import amount_of_size, notional_of
from aether.kernel.positions import rounding_tolerance
from aether.venues.actions import Action, Request
from aether.venues.limits import NoLimits
from tests.contract.venue_desk import ONE, VENUES, Trader, local_exchange, trader_at

ORDERS = 1_000
AT_ONCE = 125
RATES = {"lose_response": 0.12, "slow_response": 0.08, "lose_request": 0.03, "disconnect": 0.003}
FINAL = (OrderFilled, OrderRejected, OrderCanceled, OrderExpired)


@pytest.mark.parametrize("venue", VENUES)
async def test_nothing_is_doubled_and_nothing_lost(venue: str) -> None:
    async with (
        local_exchange(enforce_limits=False) as local,
        trader_at(
            local, venue, timeout_s=0.4, limits=NoLimits(), answer_timeout_s=0.4, deadline_s=1.0, settle_margin_s=0.2
        ) as trader,
    ):
        trader.quote("sell", 60_000, 10)
        trader.quote("buy", 59_000, 10)
        trader.exchange.faults.rates = dict(RATES)
        trader.exchange.faults.slow_s = 0.6
        orders = await send_all(trader)
        trader.exchange.faults.clear()
        await asyncio.wait_for(trader.session.ready.wait(), 30)
        await asyncio.wait_for(trader.session.compare(), 30)
        await trader.until(lambda: all(settled(trader, o) for o in orders))
        await trader.until(trader.balances_agree)
        check(trader, orders)
        assert trader.session.tracker.unknown_outcomes > ORDERS * 0.15


async def send_all(trader: Trader) -> list[OrderRequest]:
    """Send orders that fill at once and orders that rest, a bounded number of them unsettled at a time."""
    draw = random.Random(5)
    orders: list[OrderRequest] = []
    for number in range(ORDERS):
        side = draw.choice(("buy", "sell"))
        fills = number % 3 != 0
        price = (60_000 if side == "buy" else 59_000) if fills else (50_000 if side == "buy" else 70_000)
        size = f"{draw.randint(1, 50) / 10_000:.4f}"
        orders.append(await trader.send(side, OrderType.LIMIT, size, limit_price=price))
        if len(orders) % AT_ONCE == 0:
            await all_known(trader, orders[-AT_ONCE:])
    return orders


async def all_known(trader: Trader, orders: list[OrderRequest]) -> None:
    await trader.until(lambda: all(known(trader, o) for o in orders))


def known(trader: Trader, order: OrderRequest) -> bool:
    return any(isinstance(r, OrderAccepted | OrderRejected) and r.order_id == order.id for r in trader.reports[-4_000:])


def settled(trader: Trader, order: OrderRequest) -> bool:
    """Whether what was reported of an order is what the exchange holds."""
    wire = trader.client.protocol.wire_id(order.id)
    held = trader.exchange.venue.account(trader.account).by_client.get(wire)
    if held is None:
        return any(isinstance(r, OrderRejected) and r.order_id == order.id for r in trader.reports)
    return sum(f.size for f in trader.fills(order)) == held.filled and known(trader, order)


def check(trader: Trader, orders: list[OrderRequest]) -> None:
    account = trader.exchange.venue.account(trader.account)
    by_client = Counter(o.request.client_id for o in account.orders.values())
    assert max(by_client.values()) == 1, "an order was sent twice"
    reported = {
        o.id for o in orders if not any(isinstance(r, OrderRejected) and r.order_id == o.id for r in trader.reports)
    }
    wires = {trader.client.protocol.wire_id(order_id) for order_id in reported}
    assert wires == set(by_client), "an order was lost"
    trades = [r.trade_id for r in trader.reports if isinstance(r, OrderFilled)]
    assert len(trades) == len(set(trades)), "an execution was reported twice"
    totals = {"USD": 1_000_000 * ONE, "BTC": 10 * ONE}
    sides = {o.id: o.side for o in orders}
    for fill in (r for r in trader.reports if isinstance(r, OrderFilled)):
        sign = 1 if sides[fill.order_id] is Side.BUY else -1
        totals["BTC"] += sign * amount_of_size(fill.size, 8)
        totals["USD"] -= sign * notional_of(fill.price, fill.size, 8, 8)
        totals[fill.fee_asset] -= fill.fee
    kept = trader.exchange.venue.rules.kept_decimals
    for asset, total in totals.items():
        tolerance = rounding_tolerance(2 * len(trades), kept.get(asset, 8)) if asset in kept else 0
        assert abs(total - account.total[asset]) <= tolerance, "the ledgers differ by more than the venue rounds"


async def test_the_fates_of_many_orders_cost_what_one_does_where_the_venue_tells_many_at_once() -> None:
    """Kraken's call counter gives half a call a second back: asked one by one, eight orders took minutes (R4)."""
    async with (
        local_exchange() as local,
        trader_at(local, "kraken", timeout_s=0.4, answer_timeout_s=0.4, deadline_s=1.0, settle_margin_s=0.2) as trader,
    ):
        trader.quote("sell", 60_000, 10)
        asked: Counter[str] = Counter()
        whole = trader.client.protocol.requests

        def counted(action: Action) -> list[Request]:
            asked[type(action).__name__] += 1
            return whole(action)

        trader.client.protocol.requests = counted  # type: ignore[method-assign]
        first = await trader.send("buy", OrderType.LIMIT, "0.01", limit_price=50_000)
        await trader.until(lambda: settled(trader, first))  # and what a session begins with is answered
        trader.exchange.faults.pending["lose_response"] = 5
        orders = [await trader.send("buy", OrderType.LIMIT, "0.01", limit_price=50_000) for _ in range(5)]
        await trader.until(lambda: trader.session.tracker.unknown_outcomes == 5)
        trader.exchange.faults.clear()
        trader.exchange.faults.pending["lose_request"] = 3
        orders += [await trader.send("buy", OrderType.LIMIT, "0.01", limit_price=50_000) for _ in range(3)]
        await trader.until(lambda: all(settled(trader, o) for o in orders))
        assert sum(isinstance(r, OrderRejected) for r in trader.reports) == 3, "what never arrived is told as such"
        assert asked["Fates"] >= 1
        assert asked["Fates"] + asked["GetOrder"] <= 6, asked
        trader.session.stop()
        await asyncio.wait_for(still(trader), 30)


async def still(trader: Trader) -> None:
    while not trader.session.is_still:
        await asyncio.sleep(0.01)
