"""One market log for all accounts: written once, proven, archived, replayed; older journals go on (O1, O2, O5, O7)."""

import asyncio
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aether.compose.accounts import DEFAULT_CASH, replay_plans
from aether.compose.archiving import archive_now
from aether.compose.trading import make_paper_venue
from aether.config import load_settings
from aether.domain.accounts import AccountPlan
from aether.domain.errors import FencedError, JournalCorruptError, MarketLogCorruptError
from aether.domain.events import MARKET_EVENTS, Event, MarketDelayed, MarketFollowed, encode_event, opening_events
from aether.domain.identifiers import AccountId
from aether.engine.core import Engine
from aether.engine.step import step
from aether.market.bars import with_bars
from aether.market.dataset import Dataset
from aether.market.replay import feed_id, replay_trades
from aether.node import runtime
from aether.node.appetite import Appetite
from aether.node.inbox import INBOX_LIMIT
from aether.node.recovery import END, Replay, Until, replay_until
from aether.node.runtime import Node
from aether.node.standby import Replicas
from aether.store import queries
from aether.store.archive import archived_days
from aether.store.commit import Batch, Snapshot, commit
from aether.store.database import Database
from aether.store.history import StoredHistory
from aether.store.journal import JournalRow, row_hash, verify
from aether.store.market_log import GENESIS, LogReader, verify_log
from aether.store.node_store import NodeStore
from aether.store.retention import archive_before, open_days
from aether.store.schema import journal, market_log, snapshots
from aether.strategies import catalogue
from tests.desk import BTC, scripted
from tests.integration.platform import Platform, aether_json, until
from tests.integration.test_amounts import market_events
from tests.integration.test_facts_live import DESK, Live, live, wish
from tests.integration.test_node import check_against_backtest, dataset, make_node, run_until, taken

__all__ = ["dataset"]

DAY_NS = 86_400 * 10**9
TOMORROW = datetime.datetime.now(datetime.UTC).toordinal() - datetime.date(1970, 1, 1).toordinal() + 1


async def as_owner(database: Database, *statements: str) -> None:
    """Change the database as somebody who rules over it may."""
    async with database.engine.begin() as connection:
        await connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            await connection.execute(sa.text(statement))


async def traded(database: Database, dataset: Dataset, events: int) -> Node:
    """Trade so much of the recording."""
    node = make_node(database, dataset)
    await run_until(node, taken(node, events))
    return node


async def whole(database: Database, plan: AccountPlan, folder: Path | None, until: Until = END) -> Replay:
    """Replay an account from its first row."""
    return await replay_until(
        NodeStore(database.node, folder),
        plan.config.id,
        catalogue(),
        lambda s: make_paper_venue(plan.config, s),
        until,
        from_snapshot=False,
    )


async def rows_of(database: Database, account: str) -> list[Any]:
    return list(await queries.list_journal(database.desk, AccountId(account), first=1, limit=100_000))


async def test_the_market_is_written_once_and_an_account_has_only_its_own(database: Database, dataset: Dataset) -> None:
    node = await traded(database, dataset, 5_000)
    events = await verify_log(StoredHistory(database.node), feed_id(dataset))
    assert events >= 5_000
    decided = 0
    for account in node.shards:
        rows = await rows_of(database, account)
        assert len(rows) < 200
        about_market = [r for r in rows if r.kind in {k.__name__ for k in MARKET_EVENTS}]
        decided += len(about_market)
        assert not any(r.payload for r in about_market), "what was decided, not copies"
        assert [r.market for r in rows if r.market is not None] == sorted(
            r.market for r in rows if r.market is not None
        )
    assert decided


@pytest.mark.parametrize(
    ("tamper", "where"),
    [
        ("UPDATE market_log SET payload = set_byte(payload, 40, 57) WHERE first = {first}", "{first}"),
        ("DELETE FROM market_log WHERE first = {first}", "{first}"),
        ("UPDATE market_log SET hash = set_byte(hash, 0, 7) WHERE first = {first}", "{first}"),
        ("UPDATE market_heads SET pos = pos + 3", "{missing}"),
        ("UPDATE market_heads SET hash = set_byte(hash, 0, 7)", "{last}"),
    ],
)
async def test_one_changed_market_row_is_named(database: Database, dataset: Dataset, tamper: str, where: str) -> None:
    await traded(database, dataset, 3_000)
    log = feed_id(dataset)
    firsts = [r.first for r in await database.node.all(sa.select(market_log.c.first).order_by(market_log.c.first))]
    last = (await StoredHistory(database.node).head(log)).pos
    named = {"first": firsts[len(firsts) // 2], "missing": last + 1, "last": last}
    await as_owner(database, tamper.format(**named))
    with pytest.raises(MarketLogCorruptError, match=f"broken at position {where.format(**named)}:"):
        await verify_log(StoredHistory(database.node), log)


async def test_a_journal_does_not_prove_over_another_market(database: Database, dataset: Dataset) -> None:
    """An attacker who writes the log anew, hashes and all, is found by the accounts' rows."""
    node = await traded(database, dataset, 3_000)
    account = next(iter(node.shards))
    row = next(r for r in await rows_of(database, account) if r.market)
    await as_owner(database, f"UPDATE journal SET market = market + 1 WHERE account = '{account}' AND seq = {row.seq}")
    with pytest.raises(JournalCorruptError, match=f"broken at sequence {row.seq}"):
        await verify(StoredHistory(database.node), account)


async def test_archived_days_prove_replay_and_go_on(database: Database, dataset: Dataset, tmp_path: Path) -> None:
    node = await traded(database, dataset, 9_000)
    log, plans = feed_id(dataset), replay_plans(dataset, 1)
    states = {a: s.engine.state_hash() for a, s in node.shards.items()}
    count = await verify_log(StoredHistory(database.node), log)
    (day,) = await archive_before(database.node, tmp_path, TOMORROW)
    assert await archive_before(database.node, tmp_path, TOMORROW) == []
    assert await database.node.all(sa.select(market_log)) == []
    assert (day.first, day.last) == (1, count)
    assert await verify_log(StoredHistory(database.node, tmp_path), log) == count
    for plan in plans:
        assert await verify(StoredHistory(database.node, tmp_path), plan.config.id) == node.shards[plan.config.id].seq
        found = await whole(database, plan, tmp_path)
        assert found.engine.state_hash() == states[plan.config.id]
    last = make_node(database, dataset, archive=tmp_path)
    await run_until(last, last.drain)
    await check_against_backtest(database, dataset, tmp_path)


async def test_an_archived_file_that_was_changed_or_lost_is_named(
    database: Database, dataset: Dataset, tmp_path: Path
) -> None:
    await traded(database, dataset, 3_000)
    (day,) = await archive_before(database.node, tmp_path, TOMORROW)
    file = tmp_path / day.file
    content = file.read_bytes()
    file.write_bytes(content[:99] + b"!" + content[100:])
    with pytest.raises(MarketLogCorruptError, match="is not what was archived"):
        await verify_log(StoredHistory(database.node, tmp_path), feed_id(dataset))
    file.unlink()
    with pytest.raises(MarketLogCorruptError, match="cannot be read"):
        await verify_log(StoredHistory(database.node, tmp_path), feed_id(dataset))


async def test_a_day_that_does_not_prove_stays_in_the_database(
    database: Database, dataset: Dataset, tmp_path: Path
) -> None:
    await traded(database, dataset, 3_000)
    await as_owner(database, "UPDATE market_log SET payload = set_byte(payload, 40, 57) WHERE first > 1000")
    before = len(await database.node.all(sa.select(market_log.c.first)))
    with pytest.raises(MarketLogCorruptError):
        await archive_before(database.node, tmp_path, TOMORROW)
    assert len(await database.node.all(sa.select(market_log.c.first))) == before
    assert await archived_days(database.node, feed_id(dataset)) == []
    with pytest.raises(sa.exc.DBAPIError, match="is not archived"):
        async with database.node.begin() as connection:
            await connection.execute(sa.text(f"SELECT drop_market_day({TOMORROW - 1})"))


async def test_the_state_of_any_time_is_the_one_that_was(database: Database, dataset: Dataset) -> None:
    """O1: by sequence and by time, from the first row and from a snapshot between."""
    node = make_node(database, dataset)
    seen: dict[int, tuple[AccountId, str, int]] = {}

    async def watch() -> None:
        for count in (1_000, 4_000, 7_000):
            await taken(node, count)()  # type: ignore[misc]
            shard = next(iter(node.shards.values()))
            state = shard.engine.state
            seen[state.now_ns] = (shard.account, shard.engine.state_hash(), shard.place.pos)
        await node.drain()

    await run_until(node, watch)
    plan = replay_plans(dataset, 1)[0]
    for now_ns, (account, state, pos) in seen.items():
        assert account == plan.config.id
        found = await whole(database, plan, None, Until(ts_ns=now_ns))
        if found.place.pos == pos:  # several events may share a time
            assert found.engine.state_hash() == state
        assert found.engine.state.now_ns == now_ns
    assert len(seen) == 3
    last = await whole(database, plan, None)
    assert last.engine.state_hash() == node.shards[plan.config.id].engine.state_hash()


# Journals of before there was a log.


def old_journal(plan: AccountPlan, events: Iterator[Event], count: int) -> tuple[Batch, Engine, bytes]:
    """Return an account's journal as versions before the market log wrote it, after so many market events."""
    engine, venue = Engine(catalogue()), make_paper_venue(plan.config, None)
    batch, previous = Batch(plan.config.id, []), GENESIS
    appetite: Appetite | None = None
    market = 0
    opening = opening_events(plan.config, list(plan.instruments), DEFAULT_CASH, plan.opened_ns or 0)
    for event in (*opening, *events):
        if isinstance(event, MARKET_EVENTS):
            appetite = appetite or Appetite(engine.config)
            if not appetite.wants(event):
                continue
            market += 1
        for one in step(venue, engine, event):
            payload = encode_event(one.event)
            row = JournalRow(
                plan.config.id,
                len(batch.rows) + 1,
                one.event.ts_ns,
                type(one.event).__name__,
                payload,
                b"",
                one.decided,
            )
            previous = row_hash(previous, row, None)
            batch.rows.append(row._replace(hash=previous))
        if market == count:
            break
    batch.project(engine.take_changes(), engine, batch.rows[-1].seq, 1)
    batch.describe_account(engine)
    return batch, engine, venue.snapshot()


@pytest.mark.parametrize("with_snapshot", [True, False])
async def test_an_older_journal_stays_provable_and_goes_on_where_it_was(
    database: Database, dataset: Dataset, *, with_snapshot: bool
) -> None:
    instrument = dataset.instrument().id
    plans = replay_plans(dataset, 1)
    intervals = {a.bar_s for p in plans for a in p.config.strategies} | {60}
    connection = await database.node.connect()
    for n, plan in enumerate(plans):
        events = with_bars(replay_trades(dataset, instrument), intervals)
        count = 4_000 + 1_000 * n
        batch, engine, venue = old_journal(plan, iter(events), count)
        if with_snapshot:
            batch.snapshot = Snapshot(batch.rows[-1].seq, engine.snapshot(), venue, count, "", None)
        await commit(connection, [batch])
        assert await verify(StoredHistory(database.node), plan.config.id) == batch.rows[-1].seq > count
    await connection.close()
    for events_more in (2_000, 9_000):
        node = make_node(database, dataset)
        await run_until(node, taken(node, events_more))
    last = make_node(database, dataset)
    await run_until(last, last.drain)
    await check_against_backtest(database, dataset, old=True)
    for plan in plans:
        kinds = [r.kind for r in await rows_of(database, plan.config.id)]
        assert kinds.count(MarketFollowed.__name__) == 1
        assert (await whole(database, plan, None)).engine.state_hash() == last.shards[
            plan.config.id
        ].engine.state_hash()


# Behind the market.


async def replayed_hash(desk: Live) -> str:
    """Return the state that the journal and the log lead to, from the first row."""
    await desk.settled()
    found = await replay_until(
        NodeStore(desk.database.node), DESK, scripted(wish), lambda _s: desk.venue, END, from_snapshot=False
    )
    return found.engine.state_hash()


async def test_an_account_that_cannot_follow_takes_the_latest_and_its_journal_says_so(database: Database) -> None:
    """O5: a flood while it waits for a commit; nothing is refused, and the replay takes the same."""
    async with live(database) as desk:
        (order,) = await desk.want("enter")
        await desk.fill(order)
        quote = desk.engine.state.market[BTC.id]
        for n in range(3 * INBOX_LIMIT):
            desk.offer(50_000 + n / 1_000)
        assert len(desk.shard.inbox) <= INBOX_LIMIT
        await desk.settled()
        assert quote is desk.engine.state.market[BTC.id]
        assert desk.shard.place.pos == desk.node.market.pos, "the last one was taken"
        delays = [r for r in await desk.rows(journal) if r.kind == MarketDelayed.__name__]
        assert delays, "it says that it was behind"
        state = desk.engine.state_hash()
        await desk.crash()
        await as_owner(database, "DELETE FROM snapshots")
        await desk.start()
        assert desk.engine.state_hash() == state, "replay takes what was taken"
        assert await verify(StoredHistory(database.desk), DESK) == desk.shard.seq


async def test_an_account_that_was_away_takes_what_is_left_of_the_market(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live(database) as desk:
        await desk.want("enter")
        rows = desk.shard.seq
        for n in range(50):
            desk.offer(50_000 + n)
        await desk.settled()
        await desk.crash()
        await as_owner(database, "DELETE FROM snapshots")
        monkeypatch.setattr(runtime, "ALIVE_NS", -DAY_NS)
        await desk.start()
        tail = [r for r in await desk.rows(journal) if r.seq > rows]
        assert [r.kind for r in tail if r.kind == MarketDelayed.__name__], "it was away"
        assert desk.engine.state.market[BTC.id].ask == (50_049 * 100) + 1, "the last quote"
        assert await replayed_hash(desk) == desk.engine.state_hash()


async def test_snapshots_say_where_in_the_market_they_are(database: Database, dataset: Dataset) -> None:
    node = await traded(database, dataset, 2_000)
    for shard in node.shards.values():
        query = sa.select(snapshots).where(snapshots.c.account == shard.account).order_by(snapshots.c.seq.desc())
        newest = (await database.node.all(query))[0]
        assert (newest.log, newest.market, newest.market_taken) == (feed_id(dataset), shard.place.pos, 0)


async def test_a_node_that_finds_the_log_ahead_of_its_own_is_fenced_whole(database: Database) -> None:
    """O4: whoever else writes this market's log has its accounts; quiet accounts hear of it too."""
    async with live(database) as desk:
        desk.offer(50_000)
        await desk.settled()
        await as_owner(database, "UPDATE market_heads SET pos = pos + 1")
        desk.offer(50_001)
        async with asyncio.timeout(10):
            while not desk.shard.failure:
                await asyncio.sleep(0.01)
        assert desk.shard.failure.startswith("fenced")
        assert desk.shard.is_fenced
        with pytest.raises(FencedError):
            await desk.stop()


async def test_days_are_opened_before_anybody_needs_them(database: Database, dataset: Dataset) -> None:
    """A backup that reads the log over midnight keeps no commit waiting: its day is there already."""
    today = TOMORROW - 1
    await open_days(database.node, range(today, today + 2))
    await traded(database, dataset, 200)
    reading = await database.connect("postgres")
    transaction = reading.transaction()
    await transaction.start()
    await reading.execute("LOCK TABLE market_log IN ACCESS SHARE MODE")
    await traded(database, dataset, 400)
    await open_days(database.node, range(today, today + 2))
    with pytest.raises(sa.exc.DBAPIError, match="lock timeout"):
        await open_days(database.node, [today + 2])
    await transaction.rollback()
    await reading.close()


def test_old_days_are_archived_by_a_process_of_its_own(tmp_path: Path) -> None:
    """D5, O7: as the running node does it, by the settings alone."""
    platform = Platform(tmp_path)
    platform.link()
    until(lambda: market_events(tmp_path) > 100, "a market")
    assert platform.stop() == 0
    before = market_events(tmp_path)
    archive_now(load_settings({"data_dir": tmp_path}, {}), TOMORROW)
    (file,) = (tmp_path / "market").rglob("*.parquet")
    assert file.stat().st_size > 1_000
    assert market_events(tmp_path) == before, "all chains prove, from the file"
    again = Platform(tmp_path)
    again.link()
    until(lambda: market_events(tmp_path) > before, "a market that goes on")
    assert again.stop() == 0
    replayed: Any = aether_json("journal", "replay", "--verify", data_dir=tmp_path)
    assert {r["account"] for r in replayed} == {"company", "director-1", "director-2"}
    state: Any = aether_json("journal", "state", "--account", "company", data_dir=tmp_path)
    assert state["state"] == next(r["state"] for r in replayed if r["account"] == "company")


async def test_a_replica_follows_and_is_what_a_take_over_begins_with(database: Database) -> None:
    """O4: what another node decides is replayed as it is written; nothing is read twice, and no connection is held."""
    async with live(database) as desk:
        replicas = Replicas(NodeStore(database.node), scripted(wish), lambda _config, _snapshot: desk.venue)
        await desk.settled()
        await replicas.follow([desk.plan])
        followed = replicas._replays[DESK]
        seen = followed.chain.seq
        (order,) = await desk.want("enter")
        await desk.fill(order)
        await desk.settled()
        await replicas.follow([desk.plan])
        assert followed.chain.seq > seen
        assert followed.reader()._blocks is None  # type: ignore[union-attr]
        found = await replicas.recover(desk.plan.config)
        assert found.engine is followed.engine
        assert found.engine.state_hash() == desk.engine.state_hash()


async def test_a_replica_that_fails_is_made_anew(database: Database) -> None:
    """Whatever is wrong with it, the account is brought back from its snapshot, and the node stays."""
    async with live(database) as desk:
        replicas = Replicas(NodeStore(database.node), scripted(wish), lambda _config, _snapshot: desk.venue)
        (order,) = await desk.want("enter")
        await desk.fill(order)
        await desk.settled()
        await replicas.follow([desk.plan])
        replicas._replays[DESK].engine = None  # type: ignore[assignment]
        await desk.want("exit")
        await desk.settled()
        await replicas.follow([desk.plan])
        assert DESK not in replicas._replays
        found = await replicas.recover(desk.plan.config)
        assert found.engine.state_hash() == desk.engine.state_hash()


async def test_a_reader_that_came_to_the_end_goes_on_with_what_is_written_later(database: Database) -> None:
    """A standby follows the log as it grows: what was asked for before must not hide what came after."""
    async with live(database) as desk:
        reader = LogReader(StoredHistory(database.node), desk.node.market.log, 0)
        for price in (50_000, 50_100, 50_200):
            desk.offer(price)
            await desk.settled()
            while desk.node.market.has_waiting:
                await asyncio.sleep(0.01)
            wanted = desk.node.market.pos
            assert (await reader.ahead(wanted))[-1].pos == wanted
            assert (await reader.next()) is not None
        await reader.close()
