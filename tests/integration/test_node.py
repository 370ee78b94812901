"""The node on a real database: the same trades as a back-test, through restarts, outages and operators (B1, O1, O2,
R4)."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from aether.backtest.runner import Plan, run
from aether.bus.local import LocalBus
from aether.compose.accounts import DEFAULT_CASH, assign, recording_account, replay_plans
from aether.compose.trading import make_paper_venue
from aether.domain.accounts import Limits, Mode
from aether.domain.errors import FencedError, JournalCorruptError
from aether.domain.events import Bar, KillSwitchEngaged, KillSwitchReleased, Trade
from aether.domain.identifiers import AccountId
from aether.domain.scaled import format_amount
from aether.engine.stops import Stop, reason_of
from aether.market.bars import with_bars
from aether.market.dataset import Dataset
from aether.market.files import read_dataset
from aether.market.options import ReadOptions
from aether.market.replay import feed_id, replay_trades
from aether.matching.simulator import FillModel
from aether.node.feeds import ReplayFeed
from aether.node.runtime import Node
from aether.store import queries
from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.history import StoredHistory
from aether.store.journal import verify
from aether.store.market_log import verify_log
from aether.store.node_store import NodeStore
from aether.store.requests import submit, wait_applied
from aether.store.schema import journal
from aether.strategies import catalogue
from tests.integration.test_committer import fill

STRATEGIES = {"company": "ema_cross", "director-1": "mean_reversion", "director-2": "vol_target_basket"}


@pytest.fixture(scope="module")
def dataset(recording: Path) -> Dataset:
    return read_dataset(recording, ReadOptions("BTC/USD"))[0]


def make_node(
    database: Database,
    dataset: Dataset,
    speed: float | None = None,
    revive: Callable[[], None] = lambda: None,
    trades: Callable[[], Iterator[Trade]] | None = None,
    archive: Path | None = None,
) -> Node:
    instrument = dataset.instrument()
    return Node(
        NodeStore(database.node, archive),
        catalogue(),
        replay_plans(dataset, 1),
        make_paper_venue,
        ReplayFeed(trades or (lambda: replay_trades(dataset, instrument.id)), speed),
        feed_id(dataset),
        LocalBus(),
        revive,
        wall_clock=False,
        brake_folder=Path(tempfile.mkdtemp()) / "brake",
        holder="here",
    )


async def run_until(node: Node, ending: Callable[[], object]) -> None:
    """Run `node` until `ending`, an awaitable maker, is done; then stop it cleanly."""
    stop = asyncio.Event()

    async def watch() -> None:
        await ending()  # type: ignore[misc]
        stop.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(node.run(stop))
        group.create_task(watch())


def taken(node: Node, count: int) -> Callable[[], object]:
    async def reached() -> None:
        while not node.shards or any(s.place.pos < count for s in node.shards.values()):
            await asyncio.sleep(0.005)

    return reached


async def trail(database: Database, account: str) -> list[tuple[object, ...]]:
    """Return what an account did, without its name: fills in order."""
    rows = await queries.list_fills(database.desk, AccountId(account), limit=100_000)
    return sorted((r.ts_ns, r.order_id.split("-")[-1], r.trade_id, r.side, r.price, r.size, r.fee) for r in rows)


def expected(dataset: Dataset, strategy: str) -> list[tuple[object, ...]]:
    """Return the same of a back-test."""
    account = recording_account(
        "backtest", dataset, assign(strategy, (dataset.instrument().id,)), Mode.BACKTEST, Limits(), 1
    )
    outcome = run(Plan(account=account, cash=DEFAULT_CASH, model=FillModel()), dataset, catalogue())
    return sorted(
        (f.ts_ns, f.order_id.split("-")[-1], f.trade_id, f.side, f.price, f.size, f.fee) for f in outcome.fills
    )


async def check_against_backtest(
    database: Database, dataset: Dataset, archive: Path | None = None, *, old: bool = False
) -> None:
    """Check the fills; with `old`, part of the market stands in the accounts' own journals."""
    traded = 0
    for name, strategy in STRATEGIES.items():
        account = f"{name}.{dataset.digest[:8]}"
        found = await trail(database, account)
        assert found == expected(dataset, strategy), strategy
        rows = await verify(StoredHistory(database.desk, archive), AccountId(account))
        assert len(found) < rows < (10_000 if old else 1_000), "its own inputs and decisions"
        traded += len(found)
    assert traded > 20
    assert await verify_log(StoredHistory(database.desk, archive), feed_id(dataset)) > 30_000


async def test_a_replay_gives_the_orders_and_fills_of_the_back_test(database: Database, dataset: Dataset) -> None:
    node = make_node(database, dataset)
    await run_until(node, node.drain)
    await check_against_backtest(database, dataset)
    instrument = dataset.instrument().id
    minutes = [e for e in with_bars(replay_trades(dataset, instrument), {60}) if isinstance(e, Bar)]
    kept = await queries.list_bars(database.desk, feed_id(dataset), instrument, interval_s=60, limit=100_000)
    assert len(kept) == len(minutes), "the last ones too"
    for shard in node.shards.values():
        assert set(shard.engine.state.stops) <= {Stop.LOSS}
        rows = await queries.list_orders(database.desk, shard.account, only_open=False, limit=100_000)
        assert len(rows) == shard.engine.state.next_order - 1


async def test_clean_restarts_change_nothing(database: Database, dataset: Dataset) -> None:
    for count in (4_000, 4_001, 17_000):
        node = make_node(database, dataset)
        await run_until(node, taken(node, count))
    last = make_node(database, dataset)
    await run_until(last, last.drain)
    await check_against_backtest(database, dataset)


async def test_an_outage_pauses_and_resumes_without_loss(
    server: EmbeddedServer, database: Database, dataset: Dataset
) -> None:
    instrument = dataset.instrument()
    revived = 0

    def revive() -> None:
        nonlocal revived
        revived += 1
        server.ensure_running()

    def trades_with_outages() -> Iterator[Trade]:
        for n, trade in enumerate(replay_trades(dataset, instrument.id)):
            if n in (3_000, 12_000):
                server._server.stop()
            yield trade

    node = make_node(database, dataset, revive=revive, trades=trades_with_outages)
    await run_until(node, node.drain)
    assert revived >= 2
    assert node.committer.outage == ""
    await check_against_backtest(database, dataset)


async def test_a_broken_connection_in_the_middle_of_commits_loses_and_doubles_nothing(
    database: Database, dataset: Dataset
) -> None:
    node = make_node(database, dataset)

    async def cut_connections() -> None:
        for count in range(2_000, 20_000, 1_500):
            await taken(node, count)()  # type: ignore[misc]
            async with database.engine.begin() as connection:
                await connection.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )
        await node.drain()

    await run_until(node, cut_connections)
    await check_against_backtest(database, dataset)


async def test_a_kill_switch_request_is_applied_exactly_once_with_confirmation(
    database: Database, dataset: Dataset
) -> None:
    node = make_node(database, dataset)
    account = AccountId(f"director-2.{dataset.digest[:8]}")
    event = KillSwitchEngaged(ts_ns=0, reason="drill", actor="test", flatten=True)

    async def interfere() -> None:
        await taken(node, 5_000)()  # type: ignore[misc]
        assert await wait_applied(database.control, await submit(database.control, [account], event), 10)
        assert (await queries.kill_states(database.desk))[account][:2] == (True, "drill")
        await node.drain()

    await run_until(node, interfere)
    shard = node.shards[account]
    assert reason_of(shard.engine.state.stops, Stop.KILL) == "drill"
    assert shard.engine.state.ledger.positions[dataset.instrument().id].quantity == 0
    kinds = [r.kind for r in await queries.list_journal(database.desk, account, first=1, limit=100_000)]
    assert kinds.count("KillSwitchEngaged") == 1
    assert await trail(database, f"company.{dataset.digest[:8]}") == expected(dataset, "ema_cross")


async def test_a_request_made_while_nothing_runs_comes_before_trading(database: Database, dataset: Dataset) -> None:
    first = make_node(database, dataset)
    await run_until(first, taken(first, 100))
    accounts, ends = list(first.shards), {a: s.seq for a, s in first.shards.items()}
    await submit(database.control, accounts, KillSwitchEngaged(ts_ns=0, reason="overnight", actor="test"))
    second = make_node(database, dataset)
    await run_until(second, second.drain)
    for shard in second.shards.values():
        assert reason_of(shard.engine.state.stops, Stop.KILL) == "overnight"
        fills = await queries.list_fills(database.desk, shard.account, limit=10)
        assert [f for f in fills if f.seq > ends[shard.account]] == []
    await submit(database.control, accounts, KillSwitchReleased(ts_ns=0, reason="morning", actor="test"))
    third = make_node(database, dataset)
    await run_until(third, third.drain)
    assert all(Stop.KILL not in s.engine.state.stops for s in third.shards.values())


async def test_two_nodes_cannot_trade_one_account(database: Database, dataset: Dataset) -> None:
    one, other = (make_node(database, dataset, speed=60_000) for _ in range(2))
    opened = asyncio.Event()

    async def start_the_other() -> None:
        await taken(one, 2_000)()  # type: ignore[misc]
        stop = asyncio.Event()
        task = asyncio.create_task(other.run(stop))
        while not any(s.failure for s in one.shards.values()):
            await asyncio.sleep(0.005)
        opened.set()
        stop.set()
        await task

    with suppress(BaseExceptionGroup):  # whoever is fenced ends, sooner or later than it is asked to
        await run_until(one, start_the_other)
    assert opened.is_set()
    failures = [s.failure for s in one.shards.values() if s.failure]
    assert failures
    assert all(f.startswith("fenced") for f in failures)
    assert not any(s.failure for s in other.shards.values()), "the one that took over trades"
    for shard in one.shards.values():
        assert await verify(StoredHistory(database.desk), shard.account) >= 4
    assert await verify_log(StoredHistory(database.desk), feed_id(dataset)) >= 2_000
    assert FencedError.exit_code == 11


async def test_bars_that_find_the_disk_full_end_no_account(database: Database, dataset: Dataset) -> None:
    """Charts can wait: what the node writes beside the journal ended it for all accounts."""
    await fill(database, "bars")
    node = make_node(database, dataset)
    await run_until(node, node.drain)
    await check_against_backtest(database, dataset)


async def break_journals(database: Database, where: str) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        await connection.execute(sa.text("DELETE FROM snapshots"))
        await connection.execute(sa.text(f"UPDATE journal SET payload = set_byte(payload, 9, 1) WHERE {where}"))


async def test_an_account_with_a_corrupted_journal_is_left_out_and_the_others_trade(
    database: Database, dataset: Dataset
) -> None:
    """O8, A1: one account's trouble is its own; it is named, with what it was worth."""
    first = make_node(database, dataset)
    await run_until(first, taken(first, 500))
    broken, *others = list(first.shards)
    await break_journals(database, f"seq = 3 AND account = '{broken}'")
    rows = (await database.desk.all(sa.select(sa.func.count()).where(journal.c.account == broken)))[0][0]
    second = make_node(database, dataset)
    await run_until(second, second.drain)
    assert list(second.failures()) == [broken]
    assert "sequence 3" in second.failures()[broken]
    shown = second._bus.latest("account.")[f"account.{broken}"]
    (last,) = await queries.list_equity(database.desk, broken, since_ns=0, points=1)
    assert (shown["status"], shown["nav"]) == ("failed", format_amount(last.nav))
    assert "sequence 3" in shown["reason"]
    assert (await database.desk.all(sa.select(sa.func.count()).where(journal.c.account == broken)))[0][0] == rows
    for account in others:
        assert await trail(database, account) == expected(dataset, STRATEGIES[account.split(".")[0]])


async def test_a_node_with_corrupted_journals_alone_does_not_start(database: Database, dataset: Dataset) -> None:
    first = make_node(database, dataset)
    await run_until(first, taken(first, 500))
    await break_journals(database, "seq = 3")
    second = make_node(database, dataset)
    with pytest.raises(JournalCorruptError, match="sequence 3"):
        await second.run(asyncio.Event())
    assert not second.is_ready
