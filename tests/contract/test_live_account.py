"""An account that trades at three venues at once through engine, gate and sessions: the books and the venues agree,
also when answers are lost, and a restart in the middle loses and doubles nothing (O2, O3, T5, T8)."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from time import time_ns

import aiohttp
import msgspec
import pytest

from aether.domain.accounts import AccountConfig, AccountKind, Exits, Limits, Mode
from aether.domain.commands import ApprovedOrder, SubmitOrder
from aether.domain.events import (
    BalanceReported,
    BookUpdate,
    CapitalMoved,
    Event,
    KillSwitchEngaged,
    OrderRejected,
    ParentOrderRequested,
    RejectedBy,
    Timer,
    VenueReleased,
    VenueReport,
    VenueStopped,
    opening_events,
)
from aether.domain.identifiers import (
    AccountId,
    AssetCode,
    BalanceKey,
    ClientOrderId,
    FeedId,
    InstrumentId,
    Symbol,
    VenueId,
)
from aether.domain.orders import Order, OrderRequest, OrderType, Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest, ParentState
from aether.engine.core import Engine
from aether.engine.stops import Stop
from aether.exchange.server import LocalExchange
from aether.exchange.venue import NewOrder, Refused
from aether.node.live import LiveVenue
from aether.venues.client import VenueClient, with_urls
from aether.venues.limits import NoLimits
from aether.venues.protocol import Credentials
from aether.venues.reconciliation import Remembered
from aether.venues.registry import protocol_of
from aether.venues.session import ExecutionSession
from tests.contract.venue_desk import ONE, UNIT, VENUES, in_house, local_exchange

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
PATIENCE_S = 20.0
CASH = 300_000 * ONE


class Runner:
    """The account without its database: events in order, commands out, reports back."""

    def __init__(self, engine: Engine, venue: LiveVenue) -> None:
        self.engine = engine
        self.venue = venue
        self.now = max(START, engine.state.now_ns)
        self.began_ns = time_ns() - 60 * SECOND
        self.changed = asyncio.Event()
        self.reported: list[VenueReport] = []

    def tell(self, event: Event) -> None:
        if isinstance(event, VenueStopped):
            self.venue.stop_at(event.venue)
        for command in self.engine.apply(event):
            self.venue.send(command)
        self.changed.set()

    def now_ns(self) -> int:
        return self.now

    def remembered(self, venue: VenueId, unsent: Collection[ClientOrderId]) -> Remembered:
        state = self.engine.state
        orders = (*state.closed_orders.values(), *state.open_orders.values())
        return Remembered(
            account=AccountId("company"),
            next_order=state.next_order,
            since_ns=self.began_ns,
            instruments=(InstrumentId(f"{venue}:BTC/USD"),),
            orders=tuple(o for o in orders if o.request.instrument.startswith(venue) and o.request.id not in unsent),
            is_stopped=self.wants_empty(venue),
        )

    def owned_s(self) -> float:
        return 60.0

    async def taken(self) -> bool:
        return True

    def dead_man_s(self) -> int:
        return self.engine.state.own.reconciliation.dead_man_s

    def takes_foreign(self, instrument: InstrumentId) -> bool:
        return False

    def wants_empty(self, venue: VenueId) -> bool:
        return venue in self.engine.state.stopped_venues

    def still(self) -> None:
        pass

    def booked_balances(self) -> dict[BalanceKey, int]:
        return {key: balance.total for key, balance in self.engine.state.ledger.balances.items()}

    def report(self, report: VenueReport) -> None:
        self.reported.append(report)
        self.tell(msgspec.structs.replace(report, ts_ns=self.now, venue_ns=report.ts_ns))

    def books(self, local: LocalExchange) -> None:
        """Show the account each venue's book as it is."""
        self.now += SECOND
        for venue in VENUES:
            book = local.exchanges[venue].venue.books["BTC/USD"]
            sides = [tuple(in_house(book.levels(10, is_buy=is_buy))) for is_buy in (True, False)]
            instrument = InstrumentId(f"{venue}:BTC/USD")
            self.tell(BookUpdate(ts_ns=self.now, instrument=instrument, bids=sides[0], asks=sides[1]))
        self.tell(Timer(ts_ns=self.now))


class Firm:
    """The credentials of one account at all three venues, kept over restarts."""

    def __init__(self, local: LocalExchange) -> None:
        self.local = local
        self.keys = {venue: local.open_account(venue, "company", {"USD": str(CASH // 3 // ONE)}) for venue in VENUES}

    @asynccontextmanager
    async def running(self, engine: Engine, http: aiohttp.ClientSession) -> AsyncIterator[Runner]:
        async def connect(venue: str, key: str, secret: str) -> ExecutionSession:
            exchange = self.local.exchanges[venue]
            protocol = with_urls(protocol_of(venue), exchange.url, exchange.ws_url)
            client = VenueClient(
                protocol, http, credentials=Credentials(key=key, secret=secret), limits=NoLimits(), timeout_s=0.5
            )
            await client.load_markets()
            return ExecutionSession(client, answer_timeout_s=0.5, deadline_s=1.0, settle_margin_s=0.2, holds=True)

        venue = LiveVenue(lambda _booked: {VenueId(v): connect(v, *pair) for v, pair in self.keys.items()})
        runner = Runner(engine, venue)
        task = asyncio.create_task(venue.run(runner))
        await until(
            lambda: len(venue._sessions) == len(self.keys) and all(s.ready.is_set() for s in venue._sessions.values())
        )
        try:
            yield runner
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(met: object) -> None:
    async def wait() -> None:
        while not met():  # type: ignore[operator]
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), PATIENCE_S)


async def opened(local: LocalExchange, http: aiohttp.ClientSession, exits: Exits | None = None) -> Engine:
    """A new account whose instruments are the venues' own, with a third of its cash at each."""
    instruments = []
    for venue in VENUES:
        exchange = local.exchanges[venue]
        client = VenueClient(with_urls(protocol_of(venue), exchange.url, exchange.ws_url), http)
        await client.load_markets()
        instruments.append(client.protocol.listings.of(InstrumentId(f"{venue}:BTC/USD")).instrument)
    config = AccountConfig(
        id=AccountId("company"),
        name="Company",
        kind=AccountKind.COMPANY,
        mode=Mode.PAPER,
        feed=FeedId("exchange"),
        currency=AssetCode("USD"),
        strategies=(),
        limits=Limits(max_position_bps=10_000, max_order_notional_bps=10_000, max_daily_fees_bps=10_000),
        tradable=tuple(i.id for i in instruments),
        exits=exits or Exits(),
    )
    engine = Engine({})
    for event in opening_events(config, instruments, CASH, START):
        engine.apply(event)
    return engine


def stock(local: LocalExchange) -> None:

    for n, venue in enumerate(VENUES):
        for level in range(6):
            for side, price in (("buy", 59_900 - 20 * level - n), ("sell", 60_000 + 20 * level + n)):
                order = NewOrder("BTC/USD", Side(side), OrderType.LIMIT, ONE // 4, price=price * 10)
                with suppress(Refused):
                    local.exchanges[venue].venue.place("other", order)


def ask(number: int, side: str, amount: float, algorithm: Algorithm, now: int, **fields: int) -> ParentOrderRequested:
    request = ParentRequest(
        id=ParentId(f"p{number}"),
        symbol=Symbol("BTC/USD"),
        side=Side(side),
        amount=round(amount * ONE),
        algorithm=algorithm,
        **fields,  # type: ignore[arg-type]
    )
    return ParentOrderRequested(ts_ns=now, request=request, actor="test")


def books_agree(runner: Runner, local: LocalExchange) -> bool:
    for venue in VENUES:
        account = local.exchanges[venue].venue.account("company")
        for asset in ("USD", "BTC"):
            if runner.engine.state.ledger.balance(BalanceKey(f"{venue}:{asset}")).total != account.total.get(asset, 0):
                return False
    return True


async def work(runner: Runner, local: LocalExchange) -> None:
    """Let the market go on until no parent and no order is at work."""

    async def go_on() -> None:
        while runner.engine.state.parents or runner.engine.state.open_orders:
            stock(local)
            runner.books(local)
            await asyncio.sleep(0.02)

    await asyncio.wait_for(go_on(), PATIENCE_S)


async def test_r6_entries_leave_a_venue_that_fails_and_come_back_to_it() -> None:
    """A venue in maintenance fails five orders; the rest is bought elsewhere, over a restart, until one is taken."""
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        stock(local)
        engine, firm = await opened(local, http), Firm(local)
        down = local.exchanges["binance"]
        async with firm.running(engine, http) as runner:
            down.venue.state = "maintenance"
            runner.books(local)
            runner.tell(ask(1, "buy", 0.1, Algorithm.ROUTE, runner.now))
            await work(runner, local)
            failed = [r for r in runner.reported if isinstance(r, OrderRejected)]
            assert [r.by for r in failed] == [RejectedBy.FAILURE] * 5
            assert engine.state.closed_parents[ParentId("p1")].filled == ONE // 10, "it was bought elsewhere"
            assert not down.venue.account("company").total.get("BTC")
            assert [a.code for a in engine.take_changes().alerts].count("breaker") == 1

        again = Engine({}, engine.snapshot())
        async with firm.running(again, http) as runner:
            down.venue.state = "maintenance"
            runner.books(local)
            runner.tell(ask(2, "buy", 0.1, Algorithm.ROUTE, runner.now))
            await work(runner, local)
            assert not any(isinstance(r, OrderRejected) for r in runner.reported), "it is not tried again so soon"

            down.venue.state = "online"
            runner.now += 120 * SECOND
            runner.books(local)
            runner.tell(ask(3, "buy", 0.1, Algorithm.ROUTE, runner.now))
            await work(runner, local)
            assert down.venue.account("company").total["BTC"], "the cheapest venue is back"
            assert not again.state.breakers


@pytest.mark.parametrize("rates", [{}, {"lose_response": 0.15, "slow_response": 0.05, "lose_request": 0.05}])
async def test_books_and_venues_agree_also_when_answers_are_lost(rates: dict[str, float]) -> None:
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        stock(local)
        engine = await opened(local, http)
        async with Firm(local).running(engine, http) as runner:
            for exchange in local.exchanges.values():
                exchange.faults.rates = dict(rates)
                exchange.faults.slow_s = 0.7
            runner.books(local)
            runner.tell(ask(1, "buy", 1.5, Algorithm.ROUTE, runner.now))
            await work(runner, local)
            runner.tell(ask(2, "sell", 0.6, Algorithm.TWAP, runner.now, duration_s=30, slices=4))
            await work(runner, local)
            runner.tell(ask(3, "buy", 0.4, Algorithm.ICEBERG, runner.now, display=ONE // 10, limit_price=60_100 * ONE))
            await work(runner, local)
            for exchange in local.exchanges.values():
                exchange.faults.clear()
            await until(lambda: books_agree(runner, local))
            assert not engine.state.stops
            done = engine.state.closed_parents
            assert {p.state for p in done.values()} == {ParentState.DONE}
            assert sum(p.filled for p in done.values()) > 2 * ONE


async def test_a_restart_in_the_middle_loses_and_doubles_nothing() -> None:
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        stock(local)
        engine = await opened(local, http)
        firm = Firm(local)
        async with firm.running(engine, http) as runner:
            runner.books(local)
            runner.tell(ask(1, "buy", 1.0, Algorithm.ROUTE, runner.now))
            await work(runner, local)
            runner.tell(ask(2, "sell", 0.5, Algorithm.PEGGED, runner.now))
            await until(lambda: any(o.venue_order_id for o in engine.state.open_orders.values()))
            resting = next(iter(engine.state.open_orders.values()))

        venue = local.exchanges[resting.request.instrument.partition(":")[0]].venue
        price = resting.request.limit_price // UNIT
        venue.place("third", NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 5, price=price))
        again = Engine({}, engine.snapshot())
        async with firm.running(again, http) as runner:
            order_id = resting.request.id
            await until(lambda: (found(again, order_id)).filled == ONE // 5)
            await until(lambda: books_agree(runner, local))
            runner.tell(KillSwitchEngaged(ts_ns=runner.now, reason="test", actor="test"))
            await until(lambda: not again.state.open_orders)
            assert not any(e.venue.account("company").open for e in local.exchanges.values())
            assert set(again.state.stops) == {Stop.KILL}


def stops_at(local: LocalExchange) -> dict[str, int]:
    """Return the triggers of the account's stops as the venues work them, in 10^-8."""
    return {
        venue: order.trigger * UNIT
        for venue in VENUES
        for order in local.exchanges[venue].venue.account("company").open.values()
        if order.request.type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)
    }


RESTING_STOPS = Exits(
    min_stop_bps=100, max_stop_bps=100, trailing_multiple=0.0, take_profit_multiple=0.0, at_venue=True
)


async def hold_everywhere(runner: Runner, local: LocalExchange) -> None:
    """Buy more than one venue has, and wait for a stop at each."""
    runner.books(local)
    runner.tell(ask(1, "buy", 4.0, Algorithm.ROUTE, runner.now))

    def rests() -> bool:
        stock(local)
        runner.books(local)
        return not runner.engine.state.parents and len(stops_at(local)) == len(VENUES)

    await until(rests)


async def test_t6_stops_at_the_venues_protect_while_the_platform_is_gone() -> None:
    """Bought at all three, then nothing of ours runs and the market falls through the stops: all is sold, and told."""
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        stock(local)
        engine, firm = await opened(local, http, RESTING_STOPS), Firm(local)
        async with firm.running(engine, http) as runner:
            await hold_everywhere(runner, local)
            plans = {i.partition(":")[0]: next(iter(p.values())).stop for i, p in engine.state.exits.items()}
            assert all(0 <= plans[v] - at < UNIT for v, at in stops_at(local).items()), "on the venue's tick"

        for venue in VENUES:
            core = local.exchanges[venue].venue
            core.cancel_all("other")
            core.place("other", NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, 2 * ONE, price=590_000))
            core.place("third", NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, ONE // 10, price=590_000))
            assert core.account("company").total["BTC"] < 10_000, f"{venue} sold it while nobody looked"

        again = Engine({}, engine.snapshot())
        async with firm.running(again, http) as runner:
            await until(lambda: books_agree(runner, local) and not again.state.open_orders)
            assert not again.state.exits
            assert set(again.state.risk.cool_until) == {InstrumentId(f"{venue}:BTC/USD") for venue in VENUES}
            assert not again.state.stops


async def test_t6_what_the_venue_has_no_answer_to_is_not_sold_twice() -> None:
    """The market falls while answers are lost: the platform takes its stops back and sells, each coin once."""
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        stock(local)
        engine = await opened(local, http, RESTING_STOPS)
        async with Firm(local).running(engine, http) as runner:
            await hold_everywhere(runner, local)
            for venue in VENUES:
                local.exchanges[venue].faults.rates = {"lose_response": 0.3, "lose_request": 0.2}
                core = local.exchanges[venue].venue
                core.cancel_all("other")
                core.place("other", NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, 2 * ONE, price=590_000))
                core.place("third", NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, ONE, price=590_010))

            def sold() -> bool:
                runner.books(local)
                return not any(engine.state.exits.values()) and not engine.state.open_orders

            await until(sold)
            for exchange in local.exchanges.values():
                exchange.faults.clear()
            await until(lambda: books_agree(runner, local))
            for exchange in local.exchanges.values():
                assert exchange.venue.account("company").total.get("BTC", 0) < 10_000, "dust of a fee at most"
            assert not engine.state.stops


RESTING = NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 10, price=500_000)


async def test_a_stopped_venue_is_emptied_and_stays_so_over_a_restart_while_the_others_work() -> None:
    """R4: the kill switch per venue."""
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        stock(local)
        engine = await opened(local, http)
        firm = Firm(local)
        kraken, binance = (local.exchanges[v].venue for v in ("kraken", "binance"))
        async with firm.running(engine, http) as runner:
            runner.books(local)
            for venue in (kraken, binance):
                venue.place("company", RESTING)
            runner.tell(VenueStopped(ts_ns=runner.now, venue=VenueId("kraken"), reason="it lags", actor="ada"))
            await until(lambda: not kraken.account("company").open)
            assert len(binance.account("company").open) == 1, "the other venue works on"
            runner.books(local)
            runner.tell(ask(1, "buy", 0.4, Algorithm.ROUTE, runner.now))
            await work(runner, local)
            assert kraken.account("company").total["USD"] == CASH // 3, "nothing was bought there"
        kraken.place("company", RESTING)
        again = Engine({}, engine.snapshot())
        async with firm.running(again, http) as runner:
            await until(lambda: not kraken.account("company").open)
            runner.tell(VenueReleased(ts_ns=runner.now, venue=VenueId("kraken"), reason="it is well", actor="ada"))
            runner.venue.release_at(VenueId("kraken"))
            before = kraken.account("company").total["USD"]
            runner.books(local)
            runner.tell(ask(2, "buy", 1.5, Algorithm.ROUTE, runner.now))
            await work(runner, local)
            assert kraken.account("company").total["USD"] < before, "it trades there again"


async def test_fees_in_bnb_and_dollars_to_four_decimals_are_no_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """Binance takes its fee in BNB, Kraken keeps dollars to four decimals: both over real sockets (finding 1 and 3)."""
    monkeypatch.setattr("aether.node.live.QUIET_S", 0.2)
    bnb = BalanceKey("binance:BNB")
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        stock(local)
        engine = await opened(local, http)
        binance = local.exchanges["binance"].venue
        firm = Firm(local)
        binance.deposit("company", "BNB", ONE)
        binance.account("company").fee_coin, binance.account("company").fee_coin_price = "BNB", 600 * ONE
        engine.apply(CapitalMoved(ts_ns=START, venue=VenueId("binance"), asset=AssetCode("BNB"), amount=ONE))
        async with firm.running(engine, http) as runner:
            for n in range(4):
                runner.books(local)
                runner.tell(ask(2 * n, "buy", 0.6137 + n / 7, Algorithm.ROUTE, runner.now))
                await work(runner, local)
                runner.tell(ask(2 * n + 1, "sell", 0.31337 + n / 11, Algorithm.ROUTE, runner.now))
                await work(runner, local)
            await until(lambda: runner.venue.reported_balances() is not None)
            for key, total in (runner.venue.reported_balances() or {}).items():
                runner.tell(BalanceReported(ts_ns=runner.now, key=key, total=total))
            assert not engine.state.breaks
            assert not engine.state.stops
            booked = engine.state.ledger.balance(bnb)
            assert booked.total == binance.account("company").total["BNB"] < ONE
            assert booked.fees == ONE - booked.total > 0
            kraken = engine.state.ledger.balance(BalanceKey("kraken:USD"))
            assert kraken.total == local.exchanges["kraken"].venue.account("company").total["USD"]
            assert kraken.total % 10_000 == 0
            assert kraken.rounding != 0
            assert all(f.venue_ns for f in engine.take_changes().fills)
            fees = sum(p.fees for p in engine.state.ledger.positions.values())
            assert engine.state.risk.fees_today == fees > 0


def found(engine: Engine, order_id: str) -> Order:
    state = engine.state
    order = next(
        (o for o in (*state.open_orders.values(), *state.closed_orders.values()) if o.request.id == order_id), None
    )
    assert order is not None
    return order


async def test_an_order_that_waited_too_long_for_its_venue_is_reported_and_never_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A venue that is never up keeps no order in doubt, and nothing from the account's other venues (finding 5)."""
    monkeypatch.setattr("aether.node.live.ORDER_WAITS_S", 0.05)
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        stock(local)
        engine = await opened(local, http)
        firm = Firm(local)
        del firm.keys["kraken"]
        async with firm.running(engine, http) as runner:
            runner.books(local)
            request = OrderRequest(
                id=ClientOrderId("company-7"),
                instrument=InstrumentId("kraken:BTC/USD"),
                side=Side.BUY,
                type=OrderType.MARKET,
                size=5,
            )
            runner.venue.send(SubmitOrder(runner.now, ApprovedOrder(request)))
            await until(lambda: any(isinstance(r, OrderRejected) for r in runner.reported))
            rejected = [r for r in runner.reported if isinstance(r, OrderRejected)]
            assert [(r.order_id, r.reason) for r in rejected] == [("company-7", "the venue was not open in time")]
