"""What venues do to an account that trades, on a real database and with a restart: each ends as the design says, in the
state, in the tables and in the journal (O1, O2, O8, T1). `docs/runbooks/books-and-venue-differ.md` tells the same."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import time_ns
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from aether.bus.local import LocalBus
from aether.domain.accounts import AccountConfig, AccountPlan, Limits
from aether.domain.commands import Command, SubmitOrder
from aether.domain.errors import FencedError
from aether.domain.events import (
    BalanceBooked,
    Bar,
    BookUpdate,
    CapitalMoved,
    Event,
    KillSwitchEngaged,
    OperatorEvent,
    OrderCanceled,
    OrderFilled,
    ParentOrderRequested,
    Quote,
    Timer,
    TradingResumed,
    VenueReleased,
    VenueStopped,
)
from aether.domain.identifiers import (
    AccountId,
    AssetCode,
    BalanceKey,
    FeedId,
    Symbol,
    TradeId,
    VenueId,
    VenueOrderId,
    balance_key,
)
from aether.domain.instruments import Instrument, make_instrument
from aether.domain.orders import Liquidity, OrderRequest, Purpose, Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.core import Engine
from aether.engine.stops import Stop
from aether.engine.strategy import BarValues, Enter, Exit, Intent
from aether.engine.valuation import mark
from aether.node.ports import LiveAccount
from aether.node.runtime import Node
from aether.node.shard import Shard
from aether.store import schema
from aether.store.database import Database
from aether.store.history import StoredHistory
from aether.store.journal import verify
from aether.store.node_store import NodeStore
from aether.store.requests import submit, wait_applied
from tests.desk import BTC, ETH, SECOND, account, scripted

ONE = AMOUNT_SCALE
DESK = AccountId("desk")
PATIENCE_S = 10.0
BNB = balance_key(VenueId("paper"), AssetCode("BNB"))
CHEAP = make_instrument(VenueId("paper"), "PEPE/USD", price_decimals=12, size_decimals=2)
WIDE = Limits(max_order_notional_bps=10_000, max_position_bps=10_000, market_data_max_age_ms=60_000)


def wish(bar: BarValues, _view: Any) -> list[Intent]:
    """A strategy whose wishes stand in the bars' volume, so that a replay wishes the same."""
    name = WISHES[round(bar.volume * ONE)]
    if name == "raise":
        raise KeyError("spread")
    entry = Enter(instrument=bar.instrument, limit_price=49_950 if name == "rest" else None)
    if name == "exit":
        return [Exit(instrument=bar.instrument)]
    return [entry] if name else []


WISHES = ["", "enter", "rest", "exit", "raise"]


class HandVenue:
    """A venue that does what the test says (`aether.node.ports.Venue`)."""

    def __init__(self) -> None:
        self.orders: list[OrderRequest] = []
        self.sent: list[Command] = []
        self.balances: dict[BalanceKey, int] | None = None
        self.account: LiveAccount | None = None
        self.held_back: set[VenueId] = set()

    def feed(self, event: Event) -> Iterator[Event]:
        yield event

    def send(self, command: Command) -> None:
        self.sent.append(command)
        if isinstance(command, SubmitOrder):
            self.orders.append(command.order.request)

    def replay(self, event: Event) -> None:
        pass

    def moved(self, event: Event) -> None:
        pass

    def snapshot(self) -> bytes:
        return b""

    def reported_balances(self) -> dict[BalanceKey, int] | None:
        return self.balances

    def tells_of(self, _key: BalanceKey) -> bool:
        return True

    def stop(self) -> None:
        pass

    def release(self) -> None:
        pass

    def fence(self) -> None:
        pass

    def stop_at(self, venue: VenueId) -> None:
        self.held_back.add(venue)

    def release_at(self, venue: VenueId) -> None:
        self.held_back.discard(venue)

    def left_at(self, venue: VenueId) -> str:
        return ""

    def troubles(self) -> dict[VenueId, str]:
        return {}

    def unconfirmed(self) -> list[str]:
        return []

    async def run(self, account: LiveAccount) -> None:
        self.account = account
        await asyncio.Event().wait()


class Silence:
    """A market that says nothing by itself."""

    async def run(self, _market: Any, _shards: Any, _on_bar: Any) -> None:
        await asyncio.Event().wait()

    def admit(self, _shard: Shard) -> None:
        pass


class Live:
    """An account that trades on a database, told about by short words."""

    def __init__(
        self, database: Database, instruments: tuple[Instrument, ...], config: AccountConfig, cash: int
    ) -> None:
        self.database = database
        self.instruments = instruments
        self.plan = AccountPlan(config=config, instruments=instruments, cash=cash * ONE)
        self.venue = HandVenue()
        self.trades = 0
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def start(self) -> None:
        self.venue, self._stop = HandVenue(), asyncio.Event()
        self.node = Node(
            NodeStore(self.database.node),
            scripted(wish),
            [self.plan],
            lambda _config, _snapshot: self.venue,
            Silence(),
            FeedId("test"),
            LocalBus(),
            lambda: None,
            wall_clock=True,
            brake_folder=Path(tempfile.mkdtemp()) / "brake",
            holder="here",
        )
        self._task = asyncio.create_task(self.node.run(self._stop))
        await until(lambda: self.venue.account is not None or self._ended())
        assert not self._ended(), self._task.exception()

    def _ended(self) -> bool:
        return self._task is not None and self._task.done()

    async def stop(self) -> None:
        """End cleanly, with a snapshot."""
        assert self._task is not None
        self._stop.set()
        await self._task

    async def crash(self) -> None:
        """End as a process does that is killed: nothing is left but what is durable."""
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError, BaseExceptionGroup, FencedError):
            await self._task

    @property
    def shard(self) -> Shard:
        return self.node.shards[DESK]

    @property
    def engine(self) -> Engine:
        return self.shard.engine

    async def settled(self) -> None:
        """Return once everything given so far has been applied and is durable."""
        inbox, market = self.shard.inbox, self.node.market
        await until(lambda: not len(inbox) and inbox.drained.is_set() and not self.shard.lag and not market.has_waiting)

    def offer(self, price: float, instrument: Instrument = BTC, *, ts_ns: int = 0) -> None:
        """Let the market quote a price."""
        scale = 10**instrument.price_decimals
        mid = round(price * scale)
        quote = Quote(
            ts_ns=ts_ns or time_ns(), instrument=instrument.id, bid=mid - 1, ask=mid + 1, bid_size=ONE, ask_size=ONE
        )
        self.node.market.offer(quote)

    async def quote(self, price: float, instrument: Instrument = BTC, *, ts_ns: int = 0) -> None:
        self.offer(price, instrument, ts_ns=ts_ns)
        await self.settled()

    async def want(self, wanted: str, *, price: float = 50_000, instrument: Instrument = BTC) -> list[OrderRequest]:
        """Let the strategy ask at a fresh quote; return the orders that were sent."""
        before = len(self.venue.orders)
        await self.quote(price, instrument)
        close = round(price * 10**instrument.price_decimals)
        bar = Bar(
            ts_ns=time_ns(), instrument=instrument.id, interval_s=60, open=close, high=close, low=close, close=close,
            volume=WISHES.index(wanted),
        )  # fmt: skip
        self.node.market.offer(bar)
        await self.settled()
        return self.venue.orders[before:]

    async def fill(
        self, order: OrderRequest, size: int = 0, fee: int = 0, fee_asset: str = "USD", price: int = 0
    ) -> Any:
        self.trades += 1
        event = OrderFilled(
            ts_ns=time_ns() - SECOND,
            order_id=order.id,
            venue_order_id=VenueOrderId(f"V{order.id}"),
            trade_id=TradeId(f"T{self.trades}"),
            price=price or order.limit_price or mark(self.engine.state, order.instrument).price,
            size=size or order.size,
            fee=fee,
            fee_asset=AssetCode(fee_asset),
            liquidity=Liquidity.TAKER,
            instrument=order.instrument,
            side=order.side,
        )
        await self.report(event)
        return event

    async def report(self, event: Any) -> None:
        assert self.venue.account is not None
        self.venue.account.report(event)
        await self.settled()

    async def decide(self, event: OperatorEvent) -> None:
        """Let an operator decide something, as the API does."""
        ids = await submit(self.database.control, [DESK], event)
        assert await wait_applied(self.database.control, ids, PATIENCE_S)
        await self.settled()

    async def compared(self, **totals: int) -> None:
        """Let the venue tell its balances and the account compare them."""
        self.venue.balances = {BalanceKey(f"paper:{asset}"): total for asset, total in totals.items()}
        self.shard._compared_ns = 0
        self.node.market.offer(Timer(ts_ns=time_ns()))
        await self.settled()

    def total(self, asset: str) -> int:
        return self.engine.state.ledger.balance(BalanceKey(f"paper:{asset}")).total

    def totals(self) -> dict[str, int]:
        return {key.partition(":")[2]: b.total for key, b in self.engine.state.ledger.balances.items()}

    async def rows(self, table: sa.Table) -> list[Any]:
        query = sa.select(table).where(table.c.account == DESK)
        return list(await self.database.desk.all(query))


async def until(met: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not met():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(wait(), PATIENCE_S)


@asynccontextmanager
async def live(
    database: Database, instruments: tuple[Instrument, ...] = (BTC, ETH), cash: int = 100_000, **config: Any
) -> AsyncIterator[Live]:
    made = Live(database, instruments, account(**{"limits": WIDE, **config}), cash)
    await made.start()
    try:
        yield made
    finally:
        await made.crash()


@pytest.fixture(params=["killed", "stopped"])
def restart(request: pytest.FixtureRequest) -> Callable[[Live], Any]:
    """Start the account again, after a kill (the journal is replayed) or a clean stop (a snapshot is there)."""

    async def again(desk: Live) -> None:
        before, reported = desk.engine.state_hash(), desk.venue.balances
        await desk.settled()
        if request.param == "killed":
            await desk.crash()
        else:
            await desk.stop()
        await desk.start()
        assert desk.engine.state_hash() == before, "it comes back as it was, byte for byte"
        desk.venue.balances = reported
        assert await verify(StoredHistory(desk.database.desk), DESK) == desk.shard.seq
        await _tables_agree(desk)

    return again


async def _tables_agree(desk: Live) -> None:
    """What the tables say is what the state is."""
    state = desk.engine.state
    assert {r.instrument: (r.quantity, r.cost, r.realized, r.fees) for r in await desk.rows(schema.positions)} == {
        i: (p.quantity, p.cost, p.realized, p.fees)
        for i, p in state.ledger.positions.items()
        if any((p.quantity, p.cost, p.realized, p.fees))
    }
    assert {(r.instrument, r.owner): r.quantity for r in await desk.rows(schema.holdings)} == {
        (i, o): holding.quantity for i, p in state.ledger.positions.items() for o, holding in p.holdings.items()
    }
    assert {r.name for r in await desk.rows(schema.breaks) if not r.cleared_ns} == set(state.breaks)
    balances = {r.key: (r.free, r.locked) for r in await desk.rows(schema.balances)}
    assert {k: v for k, v in balances.items() if any(v)} == {
        k: (b.free, b.locked) for k, b in state.ledger.balances.items() if b.free or b.locked
    }


def capital(asset: str, amount: int, **more: Any) -> CapitalMoved:
    return CapitalMoved(ts_ns=0, venue=VenueId("paper"), asset=AssetCode(asset), amount=amount, actor="ada", **more)


async def test_a_fee_in_bnb_without_books(database: Database, restart: Callable[[Live], Any]) -> None:
    async with live(database) as desk:
        (order,) = await desk.want("enter")
        event = await desk.fill(order, fee=12_345, fee_asset="BNB")
        for _ in range(2):
            await restart(desk)
            await desk.report(event)
        assert desk.total("BTC") == order.size
        assert desk.total("BNB") == -12_345
        (row,) = await desk.rows(schema.fills)
        assert (row.fee_asset, row.fee_amount, row.owner) == ("BNB", 12_345, "strategy:scripted")
        assert 0 < row.venue_ns < row.ts_ns
        assert set(desk.engine.state.breaks) == {f"overdraft|{BNB}"}
        assert await desk.want("enter", price=3_000, instrument=ETH) == []
        await desk.decide(capital("BNB", ONE, reference="tx 1"))
        assert not desk.engine.state.stops
        (entry,) = await desk.want("enter", price=3_000, instrument=ETH)
        assert entry.side is Side.BUY
        (flow,) = [r for r in await desk.rows(schema.flows) if r.asset == "BNB"]
        assert (flow.kind, flow.amount, flow.reference, flow.actor) == ("capital", ONE, "tx 1", "ada")


async def test_a_fee_in_bnb_with_books(database: Database, restart: Callable[[Live], Any]) -> None:
    async with live(database) as desk:
        await desk.decide(capital("BNB", ONE))
        (order,) = await desk.want("enter")
        event = await desk.fill(order, fee=12_345, fee_asset="BNB")
        await restart(desk)
        await desk.report(event)
        assert desk.total("BNB") == ONE - 12_345
        await desk.compared(**desk.totals())
        assert not desk.engine.state.stops


async def test_a_late_fill_whose_funds_are_locked_again(database: Database, restart: Callable[[Live], Any]) -> None:
    async with live(database, cash=10_000, exits=account().exits) as desk:
        (first,) = await desk.want("rest")
        await desk.report(OrderCanceled(ts_ns=time_ns(), order_id=first.id, reason="on request"))
        request = ParentRequest(
            id=ParentId("p"), symbol=Symbol("ETH/USD"), side=Side.BUY, amount=3 * ONE, algorithm=Algorithm.PEGGED
        )
        await desk.quote(3_000, ETH)
        await desk.decide(ParentOrderRequested(ts_ns=0, request=request, actor="ada"))
        locked = desk.engine.state.ledger.balance(BTC.quote_key).locked
        assert locked > 8_900 * ONE
        await desk.fill(first)
        assert desk.total("BTC") == first.size, "it is booked"
        assert desk.engine.state.ledger.balance(BTC.quote_key).free < 0
        await restart(desk)
        assert set(desk.engine.state.breaks) == {"overdraft|paper:USD"}
        (sale,) = await desk.want("exit")
        await desk.fill(sale)
        assert not desk.engine.state.breaks, "and heals by itself when the coins are sold"


async def test_dust(database: Database, restart: Callable[[Live], Any]) -> None:
    pair = msgspec.structs.replace(BTC, min_notional=100 * ONE)
    async with live(database, (pair, ETH)) as desk:
        (order,) = await desk.want("enter")
        await desk.fill(order)
        (sale,) = await desk.want("exit")
        await desk.fill(sale, size=sale.size - 100_000)
        await desk.report(OrderCanceled(ts_ns=time_ns(), order_id=sale.id, reason="no more depth"))
        await restart(desk)
        codes = [r.code for r in await desk.rows(schema.alerts)]
        assert codes.count("dust") == 1
        (again,) = await desk.want("enter")
        await desk.fill(again)
        (last,) = await desk.want("exit")
        assert last.size == again.size + 100_000
        assert not desk.engine.state.stops


async def test_a_cent_of_rounding(database: Database, restart: Callable[[Live], Any]) -> None:
    cents = msgspec.structs.replace(BTC, quote_decimals=2)
    async with live(database, (cents, ETH)) as desk:
        for n in range(3):
            (order,) = await desk.want("enter")
            await desk.fill(order, price=5_000_001 + n, fee=1_234_567)
            await desk.compared(
                **{**desk.totals(), "USD": (desk.total("USD") + ONE // 200) // (ONE // 100) * (ONE // 100)}
            )
            (sale,) = await desk.want("exit")
            await desk.fill(sale)
            await restart(desk)
        assert not desk.engine.state.breaks
        assert desk.engine.state.ledger.balance(BTC.quote_key).rounding != 0


async def test_a_deposit_that_nobody_announced(database: Database, restart: Callable[[Live], Any]) -> None:
    async with live(database) as desk:
        await desk.compared(USD=101_000 * ONE)
        assert set(desk.engine.state.breaks) == {"balance|paper:USD"}
        await restart(desk)
        assert set(desk.engine.state.stops) == {Stop.BREAK}
        assert await desk.want("enter") == []
        await desk.decide(capital("USD", 1_000 * ONE, reference="wire 5"))
        assert not desk.engine.state.stops
        point = desk.engine.equity_point()
        assert point.nav == point.capital == 101_000 * ONE, "no profit"
        (found,) = await desk.rows(schema.breaks)
        assert found.cleared_ns > found.since_ns
        assert await desk.want("enter")


async def test_interest_is_booked_by_an_operator(database: Database, restart: Callable[[Live], Any]) -> None:
    async with live(database) as desk:
        (order,) = await desk.want("enter")
        await desk.fill(order)
        await desk.compared(**{**desk.totals(), "USD": desk.total("USD") + 12_345})
        (sale,) = await desk.want("exit")
        assert sale.side is Side.SELL, "exits go on"
        await restart(desk)
        booking = BalanceBooked(
            ts_ns=0, venue=VenueId("paper"), asset=AssetCode("USD"), amount=12_345, reason="interest", actor="ada"
        )
        await desk.decide(booking)
        assert not desk.engine.state.stops
        (flow,) = [r for r in await desk.rows(schema.flows) if r.kind == "booking"]
        assert (flow.amount, flow.reason) == (12_345, "interest")


async def test_a_rebate_on_a_full_sale(database: Database, restart: Callable[[Live], Any]) -> None:
    async with live(database) as desk:
        (order,) = await desk.want("enter")
        await desk.fill(order)
        (sale,) = await desk.want("exit")
        await desk.fill(sale, fee=-3_000, fee_asset="BTC")
        await restart(desk)
        assert desk.total("BTC") == 3_000
        assert not desk.engine.state.stops


async def test_an_overfill(database: Database, restart: Callable[[Live], Any]) -> None:
    async with live(database) as desk:
        (order,) = await desk.want("enter")
        await desk.fill(order, size=order.size + 1_000)
        assert desk.total("BTC") == order.size + 1_000
        await restart(desk)
        assert set(desk.engine.state.stops) == {Stop.HALT, Stop.BREAK}
        (sale,) = await desk.want("exit")
        assert sale.size == order.size + 1_000
        await desk.decide(TradingResumed(ts_ns=0, reason="the venue confirms it", actor="ada"))
        assert not desk.engine.state.stops


async def test_a_strategy_that_raises(database: Database, restart: Callable[[Live], Any]) -> None:
    async with live(database) as desk:
        (order,) = await desk.want("enter")
        await desk.fill(order)
        await desk.want("raise")
        assert not desk.engine.state.stops
        (alert,) = [r for r in await desk.rows(schema.alerts) if r.code == "strategy_failed"]
        assert "KeyError: 'spread'" in alert.message
        await restart(desk)
        assert "KeyError" in desk.engine.state.disabled["scripted"]  # type: ignore[index]
        plan = desk.engine.state.exits[BTC.id][order.owner]
        await desk.quote(plan.stop / 100 - 1)
        assert desk.venue.orders[-1].purpose is Purpose.STOP


async def test_an_event_stamped_a_day_ahead(database: Database, restart: Callable[[Live], Any]) -> None:
    async with live(database) as desk:
        (order,) = await desk.want("enter")
        await desk.fill(order)
        plan = desk.engine.state.exits[BTC.id][order.owner]
        await desk.quote(50_000, ts_ns=time_ns() + 86_400 * SECOND)
        assert abs(desk.engine.state.now_ns - time_ns()) < 60 * SECOND
        assert desk.engine.state.market[BTC.id].book_ns <= desk.engine.state.now_ns
        await restart(desk)
        await desk.quote(plan.stop / 100 - 1)
        assert desk.venue.orders[-1].purpose is Purpose.STOP, "stops work on"


async def test_ten_trillion_coins(database: Database, restart: Callable[[Live], Any]) -> None:
    cash = 95_000_000_000
    async with live(database, (CHEAP,), cash, strategies=(), tradable=(CHEAP.id,)) as desk:
        book = BookUpdate(
            ts_ns=time_ns(), instrument=CHEAP.id, bids=((9_000_000, 10**16),), asks=((9_000_001, 10**16),)
        )
        desk.node.market.offer(book)
        await desk.settled()
        many = 10**13 * ONE
        request = ParentRequest(
            id=ParentId("p"), symbol=Symbol("PEPE/USD"), side=Side.BUY, amount=many, algorithm=Algorithm.ROUTE
        )
        await desk.decide(ParentOrderRequested(ts_ns=0, request=request, actor="ada"))
        (order,) = desk.venue.orders
        await desk.fill(order)
        await desk.decide(capital("USD", 95_000_000_000 * ONE))
        await restart(desk)
        assert desk.total("PEPE") == many > 2**64
        (row,) = await desk.rows(schema.positions)
        assert row.quantity == many
        assert desk.shard.failure == ""


async def test_an_error_of_the_engine_stops_one_account_and_is_replayed_as_such(
    database: Database, restart: Callable[[Live], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live(database) as desk:
        (order,) = await desk.want("enter")
        with monkeypatch.context() as patch:

            def fail(*_: Any) -> None:
                raise ZeroDivisionError("by nothing")

            patch.setattr("aether.engine.protection.Protection.on_time", fail)
            desk.node.market.offer(Timer(ts_ns=time_ns()))
            await desk.settled()
        assert "ZeroDivisionError" in desk.engine.state.stops[Stop.FAULT].reason
        assert desk.shard.failure == "", "the account lives: it books and can be killed"
        await desk.fill(order)
        await restart(desk)
        assert desk.total("BTC") == order.size
        await desk.decide(KillSwitchEngaged(ts_ns=0, reason="drill", actor="ada", flatten=True))
        assert desk.venue.orders[-1].purpose is Purpose.FLATTEN
        kinds = [r.kind for r in await desk.rows(schema.journal)]
        assert kinds.count("EngineFaulted") == 1


PAPER = VenueId("paper")


async def test_a_release_that_was_on_its_way_lets_nothing_out_to_a_venue_that_was_stopped_anew(
    database: Database, restart: Callable[[Live], Any]
) -> None:
    """A venue is stopped at once and recorded after; between the two an older release comes by (0030, R4)."""
    stopped = VenueStopped(ts_ns=0, venue=PAPER, reason="it lags", actor="ada")
    released = VenueReleased(ts_ns=0, venue=PAPER, reason="it is well", actor="bob")
    async with live(database) as desk:
        desk.shard.stop_at(PAPER)
        await desk.decide(stopped)
        desk.shard.stop_at(PAPER)
        await desk.decide(released)
        assert desk.venue.held_back == {PAPER}, "the second stop counts, though nothing has recorded it yet"
        await desk.decide(stopped)
        assert await desk.want("enter") == []
        await restart(desk)
        assert PAPER in desk.engine.state.stopped_venues
        await desk.decide(released)
        assert desk.venue.held_back == set()
        assert len(await desk.want("enter")) == 1


async def test_a_venue_is_stopped_though_no_request_can_be_recorded(database: Database) -> None:
    """While the database is away the stop reaches the account by the trading process alone (0030)."""
    async with live(database) as desk:
        desk.shard.stop_at(PAPER)
        desk.shard.journal(VenueStopped(ts_ns=time_ns(), venue=PAPER, reason="it lags", actor="ada"))
        await desk.settled()
        assert desk.engine.state.stopped_venues[PAPER].reason == "it lags"
        assert [r.kind for r in await desk.rows(schema.journal)].count("VenueStopped") == 1
