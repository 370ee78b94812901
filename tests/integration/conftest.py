"""A real PostgreSQL for the tests of a worker, and a database of its own for each test."""

import asyncio
import contextlib
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest

from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.migrate import migrate
from tests.integration.platform import Platform

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The worker's server."""
    made = EmbeddedServer(tmp_path_factory.mktemp("pg") / "data")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session", autouse=True)
def _no_server_stays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """End the servers of platforms that a test killed: nobody else would."""
    yield
    folder = str(tmp_path_factory.getbasetemp())
    left = [p for p in psutil.process_iter(["name", "cmdline"]) if _is_server_in(p, folder)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)
    psutil.wait_procs(left, timeout=30)


def _is_server_in(process: psutil.Process, folder: str) -> bool:
    command = process.info["cmdline"] or []
    return process.info["name"] == "postgres" and "-D" in command and any(part.startswith(folder) for part in command)


async def new_database(server: EmbeddedServer, template: str = "template1") -> str:
    """Make a database like another; return its URL."""
    base = await asyncio.to_thread(server.start)
    name = f"t{next(_numbers)}"
    connection = await asyncpg.connect(base)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await connection.close()
    return base.replace("/postgres?", f"/{name}?")


@pytest.fixture
async def url(server: EmbeddedServer) -> str:
    """The URL of an empty database."""
    return await new_database(server)


@pytest.fixture(scope="session")
def migrated(server: EmbeddedServer) -> str:
    """The name of a database with the newest schema, of which others are copied: four times as fast as to migrate."""

    async def make() -> str:
        url = await new_database(server)
        made = Database(url)
        await migrate(made.engine)
        await made.close()
        return urlsplit(url).path.strip("/")

    return asyncio.run(make())


@pytest.fixture
async def database(server: EmbeddedServer, migrated: str) -> AsyncIterator[Database]:
    """A database with the newest schema."""
    made = Database(await new_database(server, migrated))
    yield made
    await made.close()


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six days of minute bars in a file."""
    import numpy as np

    random = np.random.default_rng(5)
    count = 6 * 1_440
    steps = random.normal(0, 0.0009, count) + 0.0005 * np.sin(np.arange(count) / 400)
    close = 40_000 * np.exp(np.cumsum(steps))
    rows, before = ["timestamp,open,high,low,close,volume"], 40_000.0
    for n, price in enumerate(close.tolist()):
        high, low = max(before, price) * 1.0003, min(before, price) * 0.9997
        rows.append(f"{1_700_000_040 + 60 * n},{before:.2f},{high:.2f},{low:.2f},{price:.2f},{3 + n % 5}.25")
        before = float(f"{price:.2f}")
    path = tmp_path_factory.mktemp("recording") / "bars.csv"
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform on its synthetic market, for all tests of a file."""
    made = Platform(tmp_path_factory.mktemp("desk"))
    yield made
    assert made.stop() == 0
