"""Public and account data over REST, batches, the dead-man switch and maintenance, at all three venues alike (T2,
R5)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from aether.domain.errors import Failure, UnsupportedError, VenueError
from aether.domain.events import OrderAccepted, OrderRejected, VenueNoted
from aether.domain.instruments import TradingState
from aether.domain.orders import OrderState, OrderType, Side
from aether.exchange.server import LocalExchange
from aether.exchange.venue import NewOrder, Status
from aether.venues import actions as a
from tests.contract.venue_desk import ONE, VENUES, Trader, local_exchange, silent_after, trader_at

SYMBOL = "BTC/USD"


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    async with local_exchange(enforce_limits=False) as exchange:
        yield exchange


@pytest.fixture(params=VENUES)
async def trader(local: LocalExchange, request: pytest.FixtureRequest) -> AsyncIterator[Trader]:
    async with trader_at(local, request.param) as one:
        yield one


async def test_reference_data_has_the_venues_rules(trader: Trader) -> None:
    instrument = trader.client.protocol.listings.of(trader.instrument).instrument
    market = trader.exchange.venue.markets[SYMBOL]
    assert (instrument.price_decimals, instrument.size_decimals) == (8, 8), "finer than the venue's steps"
    assert instrument.price_text(instrument.tick) == market.price_text(1)
    assert instrument.size_text(instrument.lot) == market.size_text(1)
    assert (instrument.min_size, instrument.min_notional) == (market.min_size, market.min_notional)
    assert (instrument.base, instrument.quote) == ("BTC", "USD")


async def test_public_data_agrees_with_the_exchange(trader: Trader) -> None:
    trader.quote("sell", 60_000, 1)
    trader.quote("buy", 59_000, 2)
    trader.trade_at(59_500)
    quote = await trader.client.call(a.Ticker(symbol=SYMBOL))
    assert (quote.bid, quote.ask, quote.bid_size, quote.ask_size) == (59_000 * ONE, 60_000 * ONE, 2 * ONE, ONE)
    trades = await trader.client.call(a.RecentTrades(symbol=SYMBOL))
    assert [(t.price, t.size) for t in trades] == [(59_500 * ONE, ONE // 1000)]
    since_s = trader.exchange.venue.clock() // 10**9 - 600
    bars = await trader.client.call(a.Candles(symbol=SYMBOL, since_s=since_s, until_s=since_s + 900))
    assert [(b.open, b.close, b.volume) for b in bars] == [(59_500 * ONE, 59_500 * ONE, ONE // 1000)]


async def test_account_data_agrees_with_the_exchange(trader: Trader) -> None:
    trader.quote("sell", 60_000, 1)
    taken = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=60_000)
    await trader.filled(taken)
    resting = await trader.send("buy", OrderType.LIMIT, "0.2", limit_price=50_000)
    await trader.report(OrderAccepted, resting)
    rates = await trader.client.call(a.Fees(symbol=SYMBOL))
    tier = trader.exchange.venue.rules.fee_tiers[0]
    assert (rates.maker_ppm, rates.taker_ppm) == (tier.maker_ppm, tier.taker_ppm)
    opened = await trader.client.call(a.OpenOrders(symbol=SYMBOL))
    assert [(o.size, o.limit_price, o.state) for o in opened] == [(ONE // 5, 50_000 * ONE, OrderState.ACCEPTED)]
    ended = await trader.client.call(a.ClosedOrders(symbol=SYMBOL))
    assert (ONE // 10, OrderState.FILLED) in [(o.filled, o.state) for o in ended]
    fills = await trader.client.call(a.Fills(symbol=SYMBOL, since_s=1))
    assert [(f.price, f.size, f.side) for f in fills] == [(60_000 * ONE, ONE // 10, Side.BUY)]
    assert fills[0].fee == trader.at_venue(taken).fee


async def test_the_venues_state_is_told(local: LocalExchange) -> None:
    for venue in ("kraken", "binance"):
        async with trader_at(local, venue, running=False) as trader:
            assert (await trader.client.call(a.SystemStatus())).state is TradingState.ONLINE
            trader.exchange.venue.state = "maintenance"
            assert (await trader.client.call(a.SystemStatus())).state is TradingState.MAINTENANCE


async def test_a_batch_is_one_request(local: LocalExchange) -> None:
    async with trader_at(local, "kraken", running=False) as trader:
        orders = tuple(
            a.Submit(symbol=SYMBOL, side=Side.BUY, type=OrderType.LIMIT, size="0.1", price=str(50_000 + n))
            for n in range(3)
        )
        placed = await trader.client.call(a.SubmitBatch(orders=orders))
        assert len({p.venue_order_id for p in placed}) == 3
        assert not any(p.reason for p in placed)
        assert len(trader.exchange.venue.account("company").open) == 3
        with pytest.raises(UnsupportedError, match="2 to 15"):
            await trader.client.call(a.SubmitBatch(orders=orders[:1]))


async def test_an_order_of_a_batch_that_is_not_taken_is_told_with_its_reason(local: LocalExchange) -> None:
    async with trader_at(local, "kraken", running=False) as trader:
        order = a.Submit(symbol=SYMBOL, side=Side.BUY, type=OrderType.LIMIT, size="0.1", price="50000")
        dear = a.Submit(symbol=SYMBOL, side=Side.BUY, type=OrderType.LIMIT, size="900", price="50000")
        good, bad = await trader.client.call(a.SubmitBatch(orders=(order, dear)))
        assert good.venue_order_id
        assert not good.reason
        assert not bad.venue_order_id
        assert "Insufficient funds" in bad.reason


async def test_lists_longer_than_a_page_are_read_whole(trader: Trader) -> None:
    """T6: what is not on the first page is open all the same, and has ended all the same."""
    core = trader.exchange.venue
    for n in range(1_003):
        core.deposit("company", "USD", 10**4 * ONE)
        order = NewOrder(SYMBOL, Side.BUY, OrderType.LIMIT, 10**6, price=300_000 + n, client_id=f"many-{n}")
        placed = core.place("company", order)
        if n % 10 == 0:
            core.cancel("company", placed)
    assert len(await trader.client.call(a.OpenOrders(symbol=SYMBOL))) == 902
    ended = await trader.client.call(a.ClosedOrders(symbol=SYMBOL, since_s=1))
    assert sum(o.client_id.startswith("many-") for o in ended if o.state is OrderState.CANCELED) == 101


async def test_what_lies_in_a_vault_is_not_for_trading(local: LocalExchange) -> None:
    async with trader_at(local, "coinbase", running=False) as trader:
        trader.exchange.venue.deposit("company", "BTC:vault", 5 * ONE)
        held = {b.asset: b.total for b in await trader.client.call(a.Balances())}
        assert held["BTC"] == 10 * ONE


async def test_krakens_dead_man_switch_cancels_when_we_fall_silent(local: LocalExchange) -> None:
    async with trader_at(local, "kraken", before=silent_after(1)) as trader:
        order = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=50_000)
        await trader.report(OrderAccepted, order)
        account = trader.exchange.venue.account("company")
        first = account.dead_man_ns
        await until(lambda: account.dead_man_ns > first > 0)
        assert trader.at_venue(order).status is Status.NEW
        kept = trader.at_venue(order)
    await until(lambda: kept.status is Status.CANCELED)


async def test_the_dead_man_switch_is_armed_and_put_off_as_the_account_wants_it(local: LocalExchange) -> None:
    """R5: by written choice, while it trades."""
    wanted_s = 0
    async with trader_at(local, "kraken", before=lambda s: setattr(s, "dead_man_s", lambda: wanted_s)) as trader:
        order = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=50_000)
        await trader.report(OrderAccepted, order)
        account = trader.exchange.venue.account("company")
        assert account.dead_man_ns == 0
        wanted_s = 2
        await until(lambda: account.dead_man_ns > 0)
        wanted_s = 0
        await until(lambda: account.dead_man_ns == 0)
        kept = trader.at_venue(order)
    assert kept.status is Status.NEW, "nobody is there, and exits rest"


async def test_a_dead_man_switch_of_the_session_before_is_put_off(local: LocalExchange) -> None:
    """A timer that nobody wants any more would cancel exits too."""
    async with trader_at(local, "kraken", running=False) as first:
        account = first.exchange.venue.account("company")
        await first.client.call(a.DeadManSwitch(timeout_s=60))
        assert account.dead_man_ns > 0
        credentials = first.client.credentials
    async with trader_at(local, "kraken", credentials=credentials):
        await until(lambda: account.dead_man_ns == 0)


async def test_a_dead_man_switch_that_is_refused_is_told_and_not_asked_for_each_second(
    local: LocalExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trader_at(local, "kraken", before=silent_after(3)) as trader:
        asked = 0

        async def refused(action: a.Action, **_more: object) -> None:
            nonlocal asked
            asked += isinstance(action, a.DeadManSwitch)
            raise VenueError("no", remedy="none", failure=Failure.REJECTED)

        monkeypatch.setattr(trader.session._asker, "perform", refused)
        note = await trader.until(lambda: [r for r in trader.reports if isinstance(r, VenueNoted)])
        assert note[0].code == "dead_man_refused"
        assert asked <= 4


@pytest.mark.parametrize("venue", ["binance", "coinbase"])
async def test_people_are_told_once_where_there_is_no_dead_man_switch(local: LocalExchange, venue: str) -> None:
    async with trader_at(local, venue, before=silent_after(10)) as trader:
        note = await trader.until(lambda: [r for r in trader.reports if isinstance(r, VenueNoted)])
        assert note[0].code == "no_dead_man"


@pytest.mark.parametrize("venue", ["binance", "coinbase"])
async def test_a_dead_man_switch_is_refused_where_there_is_none(local: LocalExchange, venue: str) -> None:
    async with trader_at(local, venue, running=False) as trader:
        with pytest.raises(UnsupportedError, match="DeadManSwitch"):
            await trader.client.call(a.DeadManSwitch(timeout_s=10))


@pytest.mark.parametrize("venue", VENUES)
async def test_an_order_sent_into_maintenance_is_looked_for_and_then_given_up(local: LocalExchange, venue: str) -> None:
    async with trader_at(local, venue, deadline_s=0.6, settle_margin_s=0.1, use_socket=False) as trader:
        trader.exchange.venue.state = "maintenance"
        order = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=50_000)
        await until(lambda: trader.session.tracker.unknown_outcomes == 1)
        trader.exchange.venue.state = "online"
        rejected = await trader.report(OrderRejected, order)
        assert rejected.reason == "it never reached the venue"


async def test_a_damaged_key_is_an_auth_failure(local: LocalExchange) -> None:
    for venue in ("kraken", "binance"):
        async with trader_at(local, venue, running=False) as trader:
            face = trader.exchange.face
            face.keys[next(iter(face.keys))].secret = "AAAA"
            with pytest.raises(VenueError) as refused:
                await trader.client.call(a.Balances())
            assert refused.value.failure == "auth"
            face.keys.clear()


async def until(met: object) -> None:
    async def wait() -> None:
        while not met():  # type: ignore[operator]
            await asyncio.sleep(0.02)

    await asyncio.wait_for(wait(), 10)
