"""Old days of the market's log go to files: in a process of its own, since proving a day costs processor that trading
needs."""

import asyncio
import contextlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from aether.clock import wall_ns
from aether.compose.storage import open_storage
from aether.config import Settings
from aether.store.archive import DAY_NS, day_name
from aether.store.database import Database
from aether.store.retention import archive_before, days_before, open_days
from aether.telemetry import configure_logging, logger

GENTLY = 10

_log = logger("archive")


async def keep_days(settings: Settings, database: Database) -> None:
    """Open the days to come of the market's log, and archive those that are older than the settings say."""
    today = wall_ns() // DAY_NS
    await open_days(database.node, range(today, today + 2))
    if not await days_before(database.node, today - settings.market_log_days):
        return
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, archive_now, settings, today - settings.market_log_days)


def archive_now(settings: Settings, day: int) -> None:
    """Archive the days before a day; runs in a process of its own."""
    with contextlib.suppress(OSError):
        os.nice(GENTLY)
    configure_logging(settings.log_level, as_json=settings.logs_json)
    asyncio.run(_archive(settings, day))


async def _archive(settings: Settings, day: int) -> None:
    async with open_storage(settings, is_prepared=True) as storage:
        for old in await archive_before(storage.database.node, settings.market_archive, day):
            _log.info("market_archived", log=old.log, day=day_name(old.day), events=old.events)
