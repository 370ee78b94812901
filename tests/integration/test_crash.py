"""kill -9 at twenty random moments: nothing lost, nothing doubled (O1, O2)."""

import asyncio
import random
import threading
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from aether.backtest.runner import Plan, run
from aether.compose.accounts import DEFAULT_CASH, assign, recording_account
from aether.compose.storage import open_storage
from aether.config import load_settings
from aether.domain.accounts import Limits, Mode
from aether.domain.identifiers import AccountId
from aether.market.files import read_dataset
from aether.market.options import ReadOptions
from aether.matching.simulator import FillModel
from aether.store import queries
from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.history import StoredHistory
from aether.store.journal import verify
from aether.store.market_log import verify_log
from aether.store.schema import fills, journal, orders
from aether.strategies import catalogue
from tests.integration.platform import Platform, aether

KILLS = 20
SEED = 20
STRATEGIES = {"company": "ema_cross", "director-1": "mean_reversion", "director-2": "vol_target_basket"}


async def check_account(database: Database, account: AccountId) -> tuple[int, int]:
    """Prove one account's records against its journal; return its rows and fills."""
    rows = await verify(StoredHistory(database.desk), account)
    async with database.desk.begin() as connection:
        reports = [
            msgspec.json.decode(r.payload)
            for r in await connection.execute(
                sa.select(journal.c.payload).where(journal.c.account == account, journal.c.kind == "OrderFilled")
            )
        ]
        booked = (await connection.execute(sa.select(fills).where(fills.c.account == account))).all()
        numbers = [
            r.number for r in await connection.execute(sa.select(orders.c.number).where(orders.c.account == account))
        ]
    assert Counter((r["order_id"], r["trade_id"]) for r in reports) == Counter((f.order_id, f.trade_id) for f in booked)
    assert max(Counter(f.trade_id for f in booked).values(), default=1) == 1, "a trade is booked once"
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), "no order number is missing or doubled"
    if rows == 0:
        return 0, 0
    cash, coins = Decimal(DEFAULT_CASH), Decimal(0)
    for f in booked:
        sign = 1 if f.side == "buy" else -1
        cash -= sign * f.notional + f.fee
        coins += sign * f.size
    held = {r.key: r.free + r.locked for r in await queries.list_balances(database.desk, account)}
    assert held.get("paper:USD", 0) == cash
    assert held.get("paper:BTC", 0) == coins
    return rows, len(booked)


def test_a_platform_with_a_changed_journal_does_not_start(tmp_path: Path, recording: Path) -> None:
    options = ("--market", f"replay:{recording}", "--symbol", "BTC/USD", "--speed", "max", "--exit-when-done")
    assert Platform(tmp_path, *options).wait() == 0

    async def tamper() -> None:
        server = EmbeddedServer(tmp_path / "postgresql")
        owner = Database(server.start())
        async with owner.engine.begin() as connection:
            await connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
            await connection.execute(sa.text("DELETE FROM snapshots"))
            await connection.execute(sa.text("UPDATE journal SET payload = set_byte(payload, 30, 49) WHERE seq = 3"))
        await owner.close()
        server.stop()

    asyncio.run(tamper())
    done = aether("up", *options, "--port", "0", data_dir=tmp_path)
    assert done.returncode == 10, done.stderr
    assert "is broken at sequence 3" in done.stderr
    proof = aether("journal", "verify", data_dir=tmp_path)
    assert proof.returncode == 10
    assert "is broken at sequence 3" in proof.stderr


def test_twenty_kills_lose_and_double_nothing(tmp_path: Path, recording: Path) -> None:
    dataset, _ = read_dataset(recording, ReadOptions("BTC/USD"))
    names = {AccountId(f"{name}.{dataset.digest[:8]}"): strategy for name, strategy in STRATEGIES.items()}
    moments = random.Random(SEED)
    options = ("--market", f"replay:{recording}", "--symbol", "BTC/USD")
    settings = load_settings({"data_dir": tmp_path}, {})
    progress: list[int] = []

    async def check() -> None:
        async with open_storage(settings) as storage:
            for account in names:
                await check_account(storage.database, account)
            history = StoredHistory(storage.database.desk)
            progress.append(sum([await verify_log(history, log) for log in await history.logs()]))

    for n in range(KILLS):
        platform = Platform(tmp_path, *options, "--speed", "40000")
        if n % 5:
            platform.link()
        delay = threading.Event()
        delay.wait(moments.uniform(0.05, 0.9))
        assert not platform.has_ended()
        platform.kill()
        asyncio.run(check())
    assert len(set(progress)) > 2, "it traded on between the kills"
    assert Platform(tmp_path, *options, "--speed", "max", "--exit-when-done").wait() == 0

    async def compare() -> None:
        async with open_storage(settings) as storage:
            for account, strategy in names.items():
                _, count = await check_account(storage.database, account)
                found = await queries.list_fills(storage.database.desk, account, limit=100_000)
                plan = Plan(
                    account=recording_account(
                        "backtest", dataset, assign(strategy, (dataset.instrument().id,)), Mode.BACKTEST, Limits(), 1
                    ),
                    cash=DEFAULT_CASH,
                    model=FillModel(),
                )
                expected: list[Any] = run(plan, dataset, catalogue()).fills
                assert sorted((f.ts_ns, f.trade_id, f.side, f.price, f.size, f.fee) for f in found) == sorted(
                    (f.ts_ns, f.trade_id, f.side, f.price, f.size, f.fee) for f in expected
                ), strategy
                assert count == len(expected)

    asyncio.run(compare())
