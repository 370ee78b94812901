"""Stops that hold whatever is down, and a venue that is always asked: a node with a live account at three venues, over
real sockets and a real PostgreSQL (R4, O2, O3; findings 1 to 12 of the attack on the order path)."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from time import time_ns

import aiohttp
import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from aether.bus.local import LocalBus
from aether.compose.markets import venue_feed
from aether.domain.accounts import AccountConfig, AccountKind, AccountPlan, ForeignOrders, Limits, Mode, Reconciliation
from aether.domain.errors import AetherError
from aether.domain.events import (
    AccountConfigured,
    BookUpdate,
    KillSwitchEngaged,
    KillSwitchReleased,
    OperatorEvent,
    ParentOrderRequested,
    SafeModeEngaged,
    Timer,
)
from aether.domain.identifiers import AccountId, AssetCode, FeedId, InstrumentId, Symbol, VenueId
from aether.domain.instruments import Instrument, make_instrument
from aether.domain.orders import OrderType, Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest
from aether.engine.stops import Stop
from aether.exchange.faces import binance_fields
from aether.exchange.server import LocalExchange
from aether.exchange.venue import NewOrder, Refusal
from aether.node import pulls
from aether.node.brake import LOOK_EVERY_S
from aether.node.live import LiveVenue
from aether.node.pulls import EVERY_ACCOUNT, Pull
from aether.node.runtime import Node
from aether.node.shard import Shard
from aether.store import queries
from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.migrate import migrate
from aether.store.node_store import NodeStore
from aether.telemetry import KILL_SWITCH_RESPONSE
from aether.venues.client import VenueClient, with_urls
from aether.venues.limits import NoLimits
from aether.venues.protocol import Credentials
from aether.venues.registry import protocol_of
from aether.venues.session import ExecutionSession
from tests.contract.venue_desk import ONE, VENUES, in_house, local_exchange
from tests.integration.test_facts_live import Silence
from tests.waiting import until

COMPANY = AccountId("company")
CASH = 90_000
PULL = Pull(reason="a test", actor="ada")


class Firm:
    """A node with one account at three venues; what is kept over its restarts."""

    def __init__(self, database: Database, local: LocalExchange, http: aiohttp.ClientSession) -> None:
        self.database = database
        self.local = local
        self.http = http
        self.folder = Path(tempfile.mkdtemp()) / "brake"
        self.never_up: set[str] = set()
        self.instruments: list[Instrument] = []
        self.keys = {v: local.open_account(v, COMPANY, {"USD": str(CASH // 3)}) for v in VENUES}
        self.number = 0

    async def start(self, database: Database | None = None, *, wait: bool = True) -> None:
        if not self.instruments:
            for venue in VENUES:
                client = await self.client(venue)
                self.instruments.append(client.protocol.listings.of(InstrumentId(f"{venue}:BTC/USD")).instrument)
        config = AccountConfig(
            id=COMPANY,
            name="Company",
            kind=AccountKind.COMPANY,
            mode=Mode.PAPER,
            feed=FeedId("test"),
            currency=AssetCode("USD"),
            strategies=(),
            limits=Limits(
                max_position_bps=10_000,
                max_order_notional_bps=10_000,
                max_daily_fees_bps=10_000,
                market_data_max_age_ms=60_000,
                max_orders_per_minute=1_000,
            ),
            tradable=tuple(i.id for i in self.instruments),
        )
        self.stopping = asyncio.Event()
        self.node = Node(
            NodeStore((database or self.database).node),
            {},
            [AccountPlan(config=config, instruments=tuple(self.instruments), cash=CASH * ONE)],
            lambda _config, _snapshot: LiveVenue(self._connect),
            Silence(),
            FeedId("test"),
            LocalBus(),
            lambda: None,
            wall_clock=True,
            brake_folder=self.folder,
            holder="here",
        )
        self.task = asyncio.create_task(self.node.run(self.stopping))
        if wait:
            await until(lambda: self.task.done() or self._is_open())
            if self.task.done():
                await self.task

    def _is_open(self) -> bool:
        if COMPANY not in self.node.shards:
            return bool(self.node.left_out)
        sessions = self.venue._sessions
        up = [v for v in VENUES if v not in self.never_up]
        return len(sessions) == len(up) and all(s.tracker.may_send or self.shard.failure for s in sessions.values())

    async def client(self, venue: str, credentials: Credentials | None = None) -> VenueClient:
        exchange = self.local.exchanges[venue]
        protocol = with_urls(protocol_of(venue), exchange.url, exchange.ws_url)
        client = VenueClient(protocol, self.http, credentials=credentials, limits=NoLimits(), timeout_s=1.0)
        await client.load_markets()
        return client

    def _connect(self, _booked: object) -> dict[VenueId, Awaitable[ExecutionSession]]:
        return {VenueId(v): self._open(v, *pair) for v, pair in self.keys.items()}

    async def _open(self, venue: str, key: str, secret: str) -> ExecutionSession:
        if venue in self.never_up:
            await asyncio.Event().wait()
        client = await self.client(venue, Credentials(key=key, secret=secret))
        return ExecutionSession(client, answer_timeout_s=1.0, compare_every_s=0.5, settle_margin_s=0.5, holds=True)

    @property
    def shard(self) -> Shard:
        return self.node.shards[COMPANY]

    @property
    def venue(self) -> LiveVenue:
        found = self.shard._venue
        assert isinstance(found, LiveVenue)
        return found

    async def crash(self) -> None:
        """End as a process that is killed: nobody waits for a database that hangs."""
        self.node.committer.end()
        self.task.cancel()
        await asyncio.wait([self.task], timeout=10)
        if self.task.done() and not self.task.cancelled():
            self.task.exception()

    async def end(self) -> None:
        self.stopping.set()
        await self.task

    def open_orders(self, venue: str = "") -> int:
        chosen = [venue] if venue else VENUES
        return sum(len(self.local.exchanges[v].venue.account(COMPANY).open) for v in chosen)

    def tell(self, event: OperatorEvent) -> None:
        self.shard.inbox.put_request(event, 0)

    def books(self) -> None:
        """Show the account each venue's book as it is."""
        for venue in [v for v in VENUES if v not in self.never_up]:
            book = self.local.exchanges[venue].venue.books["BTC/USD"]
            sides = [tuple(in_house(book.levels(10, is_buy=is_buy))) for is_buy in (True, False)]
            instrument = InstrumentId(f"{venue}:BTC/USD")
            self.node.market.offer(BookUpdate(ts_ns=time_ns(), instrument=instrument, bids=sides[0], asks=sides[1]))
        self.node.market.offer(Timer(ts_ns=time_ns()))

    def want(self, side: Side, amount: float, algorithm: Algorithm, limit: float = 0) -> None:
        self.number += 1
        request = ParentRequest(
            id=ParentId(f"p{time_ns()}-{self.number}"),
            symbol=Symbol("BTC/USD"),
            side=side,
            amount=round(amount * ONE),
            algorithm=algorithm,
            limit_price=round(limit * ONE),
            display=round(amount * ONE) if algorithm is Algorithm.ICEBERG else 0,
        )
        self.tell(ParentOrderRequested(ts_ns=0, request=request, actor="ada"))

    async def rest(self, count: int) -> None:
        """Let orders work: each at the venue that the router chooses."""
        self.books()
        for n in range(count):
            self.want(Side.BUY, 0.01 + n / 1_000, Algorithm.ICEBERG, 59_000 + n)
        await until(lambda: self.open_orders() == count)

    async def buy(self, amount: float) -> None:
        """Buy at the market, and see it booked."""
        before = self.held()
        self.books()
        self.want(Side.BUY, amount, Algorithm.ROUTE)
        await until(lambda: self.held() - before > 0.99 * amount * ONE and self.held() == self.at_venues())

    def held(self) -> int:
        return sum(p.quantity for p in self.shard.engine.state.ledger.positions.values())

    def at_venues(self) -> int:
        return sum(self.local.exchanges[v].venue.account(COMPANY).total.get("BTC", 0) for v in VENUES)


def stock(local: LocalExchange) -> None:
    for n, venue in enumerate(VENUES):
        for side, price in (("buy", 59_900 - n), ("sell", 60_000 + n)):
            order = NewOrder("BTC/USD", Side(side), OrderType.LIMIT, 5 * ONE, price=price * 10)
            local.exchanges[venue].venue.place("other", order)


@pytest.fixture
async def firm(database: Database) -> AsyncIterator[Firm]:
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        stock(local)
        made = Firm(database, local, http)
        await made.start()
        yield made
        await made.crash()


def confirmed() -> float:
    """How many stops have been confirmed at the venues so far."""
    samples = next(iter(KILL_SWITCH_RESPONSE.labels("confirmed").collect())).samples
    return next(s.value for s in samples if s.name.endswith("_count"))


def postgres_pids(server: EmbeddedServer) -> list[int]:
    master = int((server._folder / "postmaster.pid").read_text().splitlines()[0])
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [master, *map(int, children)]


async def test_a_kill_empties_every_venue_and_has_a_sample(firm: Firm) -> None:
    await firm.rest(6)
    before = confirmed()
    firm.tell(KillSwitchEngaged(ts_ns=0, reason="test", actor="ada"))
    await until(lambda: confirmed() == before + 1)
    assert firm.open_orders() == 0
    await until(lambda: firm.shard.unconfirmed() == [])


async def test_the_brake_works_while_the_database_hangs(firm: Firm, server: EmbeddedServer) -> None:
    """Nothing can be journaled for as long as it does; then the kill is, and its file goes (finding 6)."""
    await firm.rest(6)
    before, pids = confirmed(), postgres_pids(server)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert firm.node.brake.pull(EVERY_ACCOUNT, PULL) == [COMPANY]
        await until(lambda: firm.open_orders() == 0)
        await until(lambda: confirmed() == before + 1)
        await until((firm.folder / "company.brake").is_file)
        assert Stop.KILL not in firm.shard.engine.state.stops
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    await until(lambda: Stop.KILL in firm.shard.engine.state.stops)
    assert firm.shard.engine.state.stops[Stop.KILL].reason == "a test"
    await until(lambda: not (firm.folder / "company.brake").exists())


async def test_a_confirmed_stop_stays_one_while_the_database_hangs(firm: Firm, server: EmbeddedServer) -> None:
    """The engine has not heard of it yet; an order that turns up is taken back, and none is taken up."""
    await firm.rest(2)
    before, pids = confirmed(), postgres_pids(server)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        firm.node.brake.pull(EVERY_ACCOUNT, PULL)
        await until(lambda: confirmed() == before + 1)
        order = NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 100, price=500_000)
        for venue in VENUES:
            firm.local.exchanges[venue].venue.place(COMPANY, order)
        await until(lambda: firm.open_orders() == 0)
        assert not firm.shard.takes_foreign(InstrumentId("kraken:BTC/USD"))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_a_kill_that_was_never_journaled_is_honoured_by_the_next_start(
    firm: Firm, server: EmbeddedServer
) -> None:
    await firm.rest(3)
    pids = postgres_pids(server)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    firm.node.brake.pull(COMPANY, PULL)
    await until((firm.folder / "company.brake").is_file)
    crashing = asyncio.create_task(firm.crash())
    await asyncio.sleep(0.1)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    await crashing
    late = firm.local.exchanges["kraken"].venue.place(
        COMPANY, NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 100, price=500_000)
    )
    await firm.start()
    await until(lambda: Stop.KILL in firm.shard.engine.state.stops)
    await until(lambda: firm.open_orders() == 0)
    assert not late.status.is_open
    await until(lambda: not (firm.folder / "company.brake").exists())


async def test_a_stop_outlasts_an_earlier_one_and_its_release(firm: Firm) -> None:
    """Both had waited in the database while the node was away, and took the newest stop along (found by attack)."""
    await firm.rest(3)
    firm.node.brake.pull(COMPANY, PULL)
    firm.tell(Pull(reason="the first", actor="ada").event())
    firm.tell(KillSwitchReleased(ts_ns=0, reason="after the first", actor="ada"))
    stops = firm.shard.engine.state.stops
    await until(lambda: Stop.KILL in stops and stops[Stop.KILL].reason == "the first")
    await until(lambda: Stop.KILL in stops and stops[Stop.KILL].reason == PULL.reason)
    await until(lambda: not list(pulls.read(firm.folder)))
    assert firm.open_orders() == 0
    assert Stop.KILL in stops


async def test_a_release_is_for_the_stops_that_were_known(firm: Firm) -> None:
    """One that was approved a day later released a kill that nobody had spoken of (found by attack)."""
    stops = firm.shard.engine.state.stops
    firm.tell(KillSwitchEngaged(ts_ns=0, reason="maintenance", actor="ada"))
    await until(lambda: Stop.KILL in stops)
    known_ns = stops[Stop.KILL].asked_ns
    firm.tell(KillSwitchEngaged(ts_ns=0, reason="a key leaked", actor="ada"))
    await until(lambda: stops[Stop.KILL].asked_ns > known_ns)
    firm.tell(KillSwitchReleased(ts_ns=0, reason="it is over", actor="ada", engaged_ns=known_ns))
    firm.tell(SafeModeEngaged(ts_ns=0, reason="after it", actor="ada"))
    await until(lambda: Stop.SAFE in stops)
    assert Stop.KILL in stops
    firm.tell(KillSwitchReleased(ts_ns=0, reason="now", actor="ada", engaged_ns=stops[Stop.KILL].asked_ns))
    await until(lambda: Stop.KILL not in stops)


async def test_a_pull_by_file_is_found_by_a_running_node(firm: Firm) -> None:
    await firm.rest(3)
    pulls.write(firm.folder, EVERY_ACCOUNT, PULL)
    await until(lambda: firm.open_orders() == 0)
    await until(lambda: Stop.KILL in firm.shard.engine.state.stops)
    await until(lambda: not list(pulls.read(firm.folder)))
    firm.tell(KillSwitchReleased(ts_ns=0, reason="over", actor="ada"))
    await until(lambda: Stop.KILL not in firm.shard.engine.state.stops)
    await asyncio.sleep(3 * LOOK_EVERY_S)
    assert Stop.KILL not in firm.shard.engine.state.stops, "an old file killed again"


async def test_a_file_that_cannot_be_read_stops_as_well(firm: Firm) -> None:
    firm.folder.mkdir(parents=True, exist_ok=True)
    (firm.folder / "company.brake").write_text("")
    await until(lambda: Stop.KILL in firm.shard.engine.state.stops)


async def test_an_account_that_failed_is_emptied_and_can_be_killed(firm: Firm, database: Database) -> None:
    """The database refuses a row of it: it fails alone, and nothing of it stays at a venue (finding 5)."""
    await firm.rest(4)
    before = confirmed()
    async with database.engine.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE journal ADD CONSTRAINT refuse CHECK (ts_ns < 0) NOT VALID"))
    firm.books()
    firm.want(Side.BUY, 0.01, Algorithm.ICEBERG, 58_000)
    await until(lambda: bool(firm.shard.failure))
    await until(lambda: firm.open_orders() == 0)
    await until(lambda: confirmed() > before)
    firm.local.exchanges["binance"].venue.place(
        COMPANY, NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 100, price=500_000)
    )
    assert firm.node.brake.pull(COMPANY, PULL) == [COMPANY]
    await until(lambda: firm.open_orders() == 0 and not firm.shard.unconfirmed())


async def test_an_account_that_cannot_be_brought_back_is_emptied(firm: Firm, database: Database) -> None:
    await firm.rest(4)
    await firm.crash()
    async with database.engine.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE journal DISABLE TRIGGER ALL"))
        await connection.execute(sa.text("UPDATE journal SET hash = '\\x00'::bytea WHERE seq = 2"))
        await connection.execute(sa.text("DELETE FROM snapshots"))
    with pytest.raises(AetherError, match="broken at sequence"):
        await firm.start()
        await firm.task
    assert firm.open_orders() == 0, "nobody minds them any more"


async def test_one_venue_that_is_never_up_keeps_nothing_from_the_others(database: Database) -> None:
    """Orders, cancels and the kill go to the others; the stop says what it waits for (finding 5)."""
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        stock(local)
        firm = Firm(database, local, http)
        firm.never_up = {"kraken"}
        await firm.start()
        firm.books()
        await firm.buy(0.2)
        firm.local.exchanges["coinbase"].venue.place(
            COMPANY, NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 100, price=500_000)
        )
        firm.node.brake.pull(COMPANY, PULL)
        await until(lambda: firm.open_orders("coinbase") == 0)
        await until(lambda: firm.shard.unconfirmed() == ["kraken: no way to it yet"])
        await firm.crash()


@pytest.mark.parametrize("reject", [0.0, 0.2])
async def test_flatten_ends_flat(firm: Firm, reject: float) -> None:
    """Under rejects, and in pieces of the venues' sizes (finding 4)."""
    await firm.buy(0.7)
    await firm.rest(3)
    for exchange in firm.local.exchanges.values():
        exchange.faults.rates = {"reject": reject}
    firm.tell(KillSwitchEngaged(ts_ns=0, reason="test", actor="ada", flatten=True))

    def is_flat() -> bool:
        firm.books()
        return firm.at_venues() == 0 and firm.open_orders() == 0

    await until(is_flat)
    await until(lambda: firm.held() == 0)
    firm.books()
    await until(lambda: firm.shard.engine.state.stops[Stop.FLATTEN].is_done)


async def test_books_and_venues_agree_after_crashes_with_orders_at_work(firm: Firm) -> None:
    await firm.buy(0.3)
    await firm.rest(5)
    before = firm.held()
    await firm.crash()
    for venue in VENUES:
        order = NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, 6 * ONE, price=589_000)
        firm.local.exchanges[venue].venue.place("third", order)
    await firm.start()
    await until(lambda: firm.held() == firm.at_venues() > before)
    assert not firm.shard.engine.state.stops


async def test_a_restored_back_up_is_found_out_and_reuses_no_id(firm: Firm, url: str, database: Database) -> None:
    """The books of yesterday meet the venues of today: they halt, take what the venues say, and count on above it."""
    await firm.buy(0.1)
    await firm.end()
    await database.engine.dispose()
    copy = make_url(url).database
    admin = Database(url.replace(f"/{copy}?", "/postgres?"))
    async with admin.engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(sa.text(f"CREATE DATABASE {copy}_old TEMPLATE {copy}"))
    await admin.close()
    await firm.start()
    await firm.buy(0.2)
    await firm.rest(2)
    used = {o.request.client_id for v in VENUES for o in firm.local.exchanges[v].venue.account(COMPANY).orders.values()}
    await firm.crash()
    old = Database(url.replace(f"/{copy}?", f"/{copy}_old?"))
    await migrate(old.engine)
    await firm.start(old)
    state = firm.shard.engine.state
    await until(lambda: Stop.HALT in state.stops)
    await until(lambda: firm.held() == firm.at_venues() > 0.29 * ONE)
    assert state.next_order > 3
    assert "books" in state.stops[Stop.HALT].reason or "does not know" in state.stops[Stop.HALT].reason
    firm.books()
    firm.want(Side.BUY, 0.05, Algorithm.ROUTE)
    await asyncio.sleep(0.5)
    now = {o.request.client_id for v in VENUES for o in firm.local.exchanges[v].venue.account(COMPANY).orders.values()}
    assert now == used, "it traded before anybody looked"
    await firm.crash()
    await old.close()


async def test_a_nul_in_a_venues_words_ends_no_account(firm: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through codec, engine, journal and back (finding 11)."""
    monkeypatch.setitem(binance_fields.ERRORS, Refusal.INJECTED, (-2010, "no\x00 such luck"))
    for exchange in firm.local.exchanges.values():
        exchange.faults.rates = {"reject": 1.0}
    firm.books()
    for _ in range(6):
        firm.want(Side.BUY, 0.05, Algorithm.ROUTE)
    await until(lambda: any(o.reason for o in firm.shard.engine.state.closed_orders.values()))
    await until(lambda: firm.shard.lag == 0)
    assert not firm.shard.failure
    assert all("\x00" not in o.reason for o in firm.shard.engine.state.closed_orders.values())


async def test_a_node_that_is_fenced_leaves_the_venues_alone(firm: Firm) -> None:
    """Another process owns the account: its orders are not ours to cancel."""
    await firm.rest(3)
    other = Firm(firm.database, firm.local, firm.http)
    other.keys, other.instruments = firm.keys, firm.instruments
    await other.start()
    for one, limit in ((other, 58_500), (firm, 58_400)):
        one.books()
        one.want(Side.BUY, 0.02, Algorithm.ICEBERG, limit)
    await until(lambda: "fenced" in firm.shard.failure + other.shard.failure)
    await asyncio.sleep(1.0)
    assert not (firm.shard.failure and other.shard.failure)
    assert firm.open_orders() >= 3
    await other.crash()


async def test_a_pair_that_was_renamed_keeps_nobody_from_starting(firm: Firm) -> None:
    """It is told and has no data; every other pair trades (finding 12)."""
    clients = [await firm.client(v) for v in VENUES]
    gone = make_instrument(VenueId("kraken"), "LUNA/USD", price_decimals=2, size_decimals=8)
    plan = firm.node._plans[0]
    config = plan.config
    feed = await venue_feed(clients, [AccountPlan(config=config, instruments=(*plan.instruments, gone), cash=0)])
    assert feed is not None


async def test_a_silent_private_stream_is_no_loss(firm: Firm) -> None:
    """Executions that no socket tells are found at the next comparison (finding 8)."""
    await firm.rest(2)
    for exchange in firm.local.exchanges.values():
        for told in ("on_trade", "on_order", "on_balance"):
            setattr(exchange.face, told, lambda *_args: None)
    for venue in VENUES:
        order = NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, 6 * ONE, price=589_000)
        firm.local.exchanges[venue].venue.place("third", order)
    await until(lambda: firm.held() == firm.at_venues() > 0)
    assert not firm.shard.engine.state.stops


async def test_foreign_orders_become_what_the_settings_say_over_a_restart(firm: Firm) -> None:
    """Adopted at all three venues, in rows of their own, filled after a crash; then the account wants none (R5)."""
    config = firm.node._plans[0].config
    configured = AccountConfigured(
        ts_ns=0,
        version=1,
        limits=config.limits,
        sizing=config.sizing,
        exits=config.exits,
        review=config.review,
        reconciliation=Reconciliation(foreign_orders=ForeignOrders.ADOPT),
        actor="ada",
    )
    firm.tell(configured)
    foreign = NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 100, price=599_000)
    await until(lambda: firm.shard.takes_foreign(InstrumentId("kraken:BTC/USD")))
    for venue in VENUES:
        firm.local.exchanges[venue].venue.place(COMPANY, foreign)
    await until(lambda: len(firm.shard.engine.state.open_orders) == 3)
    firm.books()
    firm.want(Side.BUY, 0.01, Algorithm.ICEBERG, 59_000)
    await until(lambda: firm.open_orders() == len(firm.shard.engine.state.open_orders) == 4)
    await firm.crash()
    await firm.start()
    rows = await queries.list_orders(firm.database.node, COMPANY, only_open=False, limit=9)
    assert [o.number for o in rows] == [4, 3, 2, 1]
    assert sorted(str(o.id).split("-")[0] for o in rows) == ["company", "foreign", "foreign", "foreign"]
    for venue in VENUES:
        order = NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, 6 * ONE, price=589_000)
        firm.local.exchanges[venue].venue.place("third", order)
    await until(lambda: firm.held() == firm.at_venues() > 0 and not firm.shard.engine.state.open_orders)
    assert not firm.shard.engine.state.stops
    wanted = Reconciliation(foreign_orders=ForeignOrders.CANCEL)
    firm.tell(msgspec.structs.replace(configured, version=2, reconciliation=wanted))
    far = NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 100, price=500_000)
    placed = [firm.local.exchanges[v].venue.place(COMPANY, far) for v in VENUES]
    await until(lambda: firm.open_orders() == 0)
    await until(lambda: not firm.shard.engine.state.open_orders)
    assert [o.filled for o in placed] == [0, 0, 0]
    assert not firm.shard.engine.state.stops, "nobody has to look: it is the account's wish"


async def test_an_order_that_turns_up_after_a_kill_is_taken_back(firm: Firm) -> None:
    """The stop was confirmed; what comes late, or from somebody else, does not stay."""
    firm.tell(KillSwitchEngaged(ts_ns=0, reason="test", actor="ada"))
    await until(lambda: Stop.KILL in firm.shard.engine.state.stops and not firm.shard.unconfirmed())
    for venue in VENUES:
        order = NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 100, price=500_000)
        firm.local.exchanges[venue].venue.place(COMPANY, order)
    assert firm.open_orders() == 3
    await until(lambda: firm.open_orders() == 0)


async def test_a_venue_that_fails_lets_the_others_be_emptied(database: Database) -> None:
    """A key that may withdraw ends the account; what works at its other venues does not stay there (finding 5)."""
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        stock(local)
        firm = Firm(database, local, http)
        firm.keys["kraken"] = local.open_account("kraken", COMPANY, {}, can_withdraw=True)
        for venue in ("binance", "coinbase"):
            order = NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 100, price=500_000)
            local.exchanges[venue].venue.place(COMPANY, order)
        await firm.start(wait=False)
        await until(lambda: COMPANY in firm.node.shards and "withdraw" in firm.shard.failure)
        assert firm.open_orders() == 0
        await firm.crash()
