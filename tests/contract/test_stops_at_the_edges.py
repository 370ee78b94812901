"""Where a stop, an adoption or a comparison meets what nobody expects: pairs that are not listed, a venue that refuses
everything, one that fails, a disk that is full, a clock that was ahead (R4, R5, O2, O3; found by review)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import contextmanager
from pathlib import Path
from time import time_ns
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aether.domain.commands import CancelOrder, SubmitOrder
from aether.domain.errors import Failure, WithdrawingKeyError
from aether.domain.events import OrderAccepted, OrderAdopted, OrderFilled, OrderRejected, VenueNoted, VenueReport
from aether.domain.identifiers import AccountId, BalanceKey, ClientOrderId, InstrumentId, VenueId, VenueOrderId
from aether.domain.orders import Order, OrderRequest, OrderState, OrderType, Side
from aether.exchange.server import LocalExchange
from aether.exchange.venue import NewOrder
from aether.node.live import LiveVenue
from aether.venues.actions import Cancel, CancelAllOrders, Fills, OpenOrders
from aether.venues.keystate import KeyState
from aether.venues.limits import NoLimits
from aether.venues.protocol import Credentials, Response, refuse
from aether.venues.reconciliation import Remembered
from aether.venues.session import ExecutionSession
from tests.contract.venue_desk import ONE, VENUES, Trader, local_exchange, silent_after, trader_at
from tests.waiting import until

ACCOUNT = AccountId("company")


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    async with local_exchange(enforce_limits=False) as exchange:
        yield exchange


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again soon."""
    monkeypatch.setattr("aether.venues.tracked.LONGEST_WAIT_S", 0.2)


def still_open(trader: Trader) -> int:
    return len(trader.exchange.venue.account(trader.account).open)


async def rest(trader: Trader) -> OrderRequest:
    order = await trader.send("buy", OrderType.LIMIT, "0.01", limit_price=50_000)
    await trader.report(OrderAccepted, order)
    return order


def known(*orders: Order, since_ns: int = 0) -> Remembered:
    return Remembered(account=ACCOUNT, next_order=1_000, since_ns=since_ns or time_ns() - 60 * 10**9, orders=orders)


def by_hand(trader: Trader, pair: str = "BTC/USD", size: int = ONE // 10, price: int = 100_000) -> Any:
    return trader.exchange.venue.place("company", NewOrder(pair, Side.BUY, OrderType.LIMIT, size, price=price))


async def stopped(session: ExecutionSession) -> None:
    session.stop()
    await until(lambda: session.is_still)


def forget(trader: Trader, pair: str) -> None:
    """Let the venue list a pair later than this session began."""
    listings = trader.client.protocol.listings
    for name in [n for n, found in listings.items() if found.id.endswith(pair)]:
        listings._by_id.pop(listings.pop(name).id, None)


@pytest.mark.parametrize("venue", VENUES)
async def test_a_kill_outlasts_a_venue_that_refuses_even_its_clock(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall in between answers 403 to everything for a second; the question for the time waits for no lock."""
    async with trader_at(local, venue) as trader:
        await rest(trader)
        trader.client._measured_s = 0.0

        async def blocked(_action: object, _request: object) -> Response:
            return Response(status=403, headers={}, body=b"<html>blocked</html>")

        with monkeypatch.context() as during:
            during.setattr(trader.client, "_send", blocked)
            await trader.session.connection.close()
            trader.session.stop()
            await asyncio.sleep(0.5)
            assert still_open(trader) == 1
        await until(lambda: trader.session.is_still)
        assert still_open(trader) == 0


@pytest.mark.parametrize("venue", VENUES)
async def test_a_stop_takes_back_orders_of_pairs_that_are_not_listed(local: LocalExchange, venue: str) -> None:
    async with trader_at(local, venue, compare_every_s=0.3) as trader:
        forget(trader, "ETH/USD")
        await rest(trader)
        by_hand(trader, "ETH/USD", price=10_000)
        note = await trader.until(lambda: [r for r in trader.reports if isinstance(r, VenueNoted)])
        assert note[0].code == "foreign_order"
        assert "(buy of" in note[0].text
        await stopped(trader.session)
        assert still_open(trader) == 0


@pytest.mark.parametrize("venue", VENUES)
async def test_an_order_of_a_pair_that_is_gone_holds_up_no_stop(local: LocalExchange, venue: str) -> None:
    """The books have an open order of a pair that was taken off; the venue knows neither."""
    request = OrderRequest(
        id=ClientOrderId("company-7"),
        instrument=InstrumentId(f"{venue}:GONE/USD"),
        side=Side.BUY,
        type=OrderType.LIMIT,
        size=ONE,
        limit_price=1_000,
    )
    order = Order(request=request, state=OrderState.ACCEPTED, created_ns=time_ns(), updated_ns=time_ns())
    order.venue_order_id = VenueOrderId("4711")
    async with trader_at(local, venue, before=lambda s: s.begin(known(order)), settle_margin_s=0.3) as trader:
        by_hand(trader)
        await stopped(trader.session)
        assert still_open(trader) == 0


async def test_a_pair_whose_cancel_is_refused_keeps_no_other(
    local: LocalExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Binance cancels pair by pair; one of them is halted."""
    async with trader_at(local, "binance") as trader:
        await rest(trader)
        by_hand(trader, "ETH/USD", price=10_000)
        call, perform = trader.client.call, trader.session._asker.perform

        def check(action: object) -> None:
            if isinstance(action, Cancel | CancelAllOrders) and action.symbol == "BTC/USD":
                raise refuse(VenueId("binance"), Failure.REJECTED, "Market is closed.")

        async def checked_call(action: Any, **more: Any) -> Any:
            check(action)
            return await call(action, **more)

        async def checked_perform(action: Any, **more: Any) -> Any:
            check(action)
            return await perform(action, **more)

        with monkeypatch.context() as during:
            during.setattr(trader.client, "call", checked_call)
            during.setattr(trader.session._asker, "perform", checked_perform)
            trader.session.stop()
            await until(lambda: still_open(trader) == 1)
            assert not trader.session.is_still
        await until(lambda: trader.session.is_still)


@pytest.mark.parametrize("venue", VENUES)
async def test_a_foreign_order_that_fills_before_it_is_adopted_is_a_strangers(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list that shows it and the read of its executions it is filled up: there is nothing to adopt."""
    async with trader_at(local, venue, running=False) as trader:
        session = trader.session
        session.comparison.takes = lambda _: True
        trader.quote("sell", 60_000, 0.4)
        order = by_hand(trader, size=ONE, price=600_000)
        session.begin(known())
        call = trader.client.call

        async def filling(action: Any, **more: Any) -> Any:
            if isinstance(action, Fills) and action.venue_order_id and order.status == "partial":
                trader.quote("sell", 60_000, 0.6)
            return await call(action, **more)

        monkeypatch.setattr(trader.client, "call", filling)
        monkeypatch.setattr(trader.exchange.face, "on_order", lambda *_: None)
        running = asyncio.create_task(session.run())
        try:
            await trader.until(lambda: sum(r.size for r in trader.reports if isinstance(r, OrderFilled)) == ONE)
            await session.compare()
            assert not session.tracker.foreign
            assert not [r for r in trader.reports if isinstance(r, OrderAdopted)]
        finally:
            running.cancel()


@pytest.mark.parametrize("venue", VENUES)
async def test_a_foreign_order_of_which_too_little_is_known_is_named(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trader_at(local, venue, compare_every_s=0.3) as trader:
        trader.session.comparison.takes = lambda _: True
        call = trader.client.call

        async def without_size(action: Any, **more: Any) -> Any:
            found = await call(action, **more)
            for update in found if isinstance(action, OpenOrders) else ():
                update.size = 0
            return found

        monkeypatch.setattr(trader.client, "call", without_size)
        monkeypatch.setattr(trader.exchange.face, "on_order", lambda *_: None)
        by_hand(trader)
        note = await trader.until(lambda: [r for r in trader.reports if isinstance(r, VenueNoted)])
        assert note[0].code == "foreign_order"


async def test_the_dead_man_switch_outlives_a_full_disk(
    local: LocalExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trader_at(local, "kraken", state_folder=tmp_path / "keys", before=silent_after(3)) as trader:

        @contextmanager
        def full(_self: KeyState) -> Any:
            raise OSError(28, "No space left on device")
            yield

        with monkeypatch.context() as during:
            during.setattr(KeyState, "_open", full)
            await asyncio.sleep(1.5)
        await rest(trader)
        await asyncio.sleep(4)
        assert still_open(trader) == 1, "the venue heard from us in time"


@pytest.mark.parametrize("venue", VENUES)
async def test_books_of_a_clock_that_was_ahead_are_no_riddle(local: LocalExchange, venue: str) -> None:
    """An order that never arrived and an execution meanwhile, both dated an hour ahead by the machine of then."""
    key, secret = local.open_account(venue, "company", {"USD": "1000000", "BTC": "10"})
    credentials = Credentials(key=key, secret=secret)
    ahead = time_ns() + 3_600 * 10**9
    async with trader_at(local, venue, credentials=credentials, running=False) as first:
        order = Order(
            request=first.request("buy", OrderType.LIMIT, "0.01", limit_price=50_000),
            state=OrderState.SUBMITTED,
            created_ns=ahead,
            updated_ns=ahead,
        )
        first.quote("sell", 60_000, 1)
        first.exchange.venue.place("company", NewOrder("BTC/USD", Side.BUY, OrderType.MARKET, ONE // 10))
    remembered = Remembered(
        account=ACCOUNT,
        next_order=1_000,
        since_ns=ahead,
        instruments=(InstrumentId(f"{venue}:BTC/USD"),),
        orders=(order,),
    )
    async with trader_at(
        local,
        venue,
        credentials=credentials,
        before=lambda s: s.begin(remembered),
        limits=NoLimits(),
        deadline_s=0.5,
        settle_margin_s=0.5,
    ) as second:
        await stopped(second.session)
        await second.report(OrderRejected, order.request)
        await second.until(lambda: [r for r in second.reports if isinstance(r, OrderFilled)])


async def test_a_comparison_counts_for_its_own_connection_alone(
    local: LocalExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket flaps while the venue cannot be compared: one comparison is tried, and none makes it ready."""
    async with trader_at(local, "binance") as trader:
        session, call, gate = trader.session, trader.client.call, asyncio.Event()

        async def held_up(action: Any, **more: Any) -> Any:
            found = await call(action, **more)
            if isinstance(action, OpenOrders):
                await gate.wait()
            return found

        monkeypatch.setattr(trader.client, "call", held_up)
        for flap in range(2, 5):
            await session.connection.close()
            await until(lambda flap=flap: session.connection.connects == flap and session.connection.is_open)  # type: ignore[misc]
        await asyncio.sleep(0.1)
        comparing = [t for t in session._tasks if cast("Any", t.get_coro()).__name__ == "_compare"]
        assert len(comparing) == 1

        async def shut(_stream: object) -> list[str]:
            await asyncio.Event().wait()
            return []

        monkeypatch.setattr(session.connection, "_opening", shut)
        await session.connection.close()
        await until(lambda: not session.connection.is_open)
        gate.set()
        await asyncio.sleep(0.3)
        assert not session.ready.is_set()


class Account:
    """An account that listens."""

    def __init__(self) -> None:
        self.reports: list[VenueReport] = []
        self.stills = 0

    def owned_s(self) -> float:
        return 60.0

    def booked_balances(self) -> dict[BalanceKey, int]:
        return {}

    def remembered(self, _venue: VenueId, _unsent: object) -> Remembered:
        return known()

    def now_ns(self) -> int:
        return time_ns()

    def report(self, report: VenueReport) -> None:
        self.reports.append(report)

    async def taken(self) -> bool:
        return True

    def wants_empty(self) -> bool:
        return False

    def dead_man_s(self) -> int:
        return 0

    def takes_foreign(self, _instrument: InstrumentId) -> bool:
        return False

    def still(self) -> None:
        self.stills += 1


async def test_a_venue_that_failed_is_emptied_as_well_and_named_until_it_is(
    local: LocalExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key turns out to be allowed to withdraw when it reconnects: what works there is taken back."""

    async def give(session: ExecutionSession) -> ExecutionSession:
        return session

    async with (
        trader_at(local, "kraken", running=False) as kraken,
        trader_at(local, "binance", account="second", running=False) as binance,
    ):
        traders = {VenueId("kraken"): kraken, VenueId("binance"): binance}
        venue, account = LiveVenue(lambda _: {v: give(t.session) for v, t in traders.items()}), Account()
        venue.stop()
        assert venue.unconfirmed() == ["venues: not opened yet"]
        venue.release()
        running = asyncio.create_task(venue.run(cast("Any", account)))
        await until(lambda: all(t.session.ready.is_set() for t in traders.values()))
        binance.session.submit(binance.request("buy", OrderType.LIMIT, "0.01", limit_price=50_000))
        await until(lambda: still_open(binance) == 1)

        async def withdraws() -> None:
            raise WithdrawingKeyError("This key may withdraw.", remedy="Make another.")

        monkeypatch.setattr(binance.client, "check_key", withdraws)
        binance.session._is_checked = False
        await binance.session.connection.close()
        await until(running.done)
        assert isinstance(running.exception(), ExceptionGroup)
        assert still_open(binance) == 0
        assert venue.unconfirmed() == []


async def test_a_cancel_reaches_an_order_that_waits_for_its_venue(local: LocalExchange) -> None:
    """Its venue opens a moment later; the order never leaves."""
    gate = asyncio.Event()
    async with trader_at(local, "kraken", running=False) as trader:

        async def open_late() -> ExecutionSession:
            await gate.wait()
            return trader.session

        venue, account = LiveVenue(lambda _: {VenueId("kraken"): open_late()}), Account()
        running = asyncio.create_task(venue.run(cast("Any", account)))
        await asyncio.sleep(0)
        order = trader.request("buy", OrderType.LIMIT, "0.01", limit_price=50_000)
        venue.send(SubmitOrder(time_ns(), cast("Any", SimpleNamespace(request=order))))
        venue.send(CancelOrder(time_ns(), order.id, order.instrument))
        assert [r.order_id for r in account.reports if isinstance(r, OrderRejected)] == [order.id]
        gate.set()
        await until(trader.session.ready.is_set)
        assert still_open(trader) == 0
        running.cancel()
