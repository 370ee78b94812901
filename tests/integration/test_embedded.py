"""Processes share the embedded server: who left it while others went on may come back after they have ended it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncpg

from aether.store.embedded import EmbeddedServer

SHARER = """
import sys
from pathlib import Path
from aether.store.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print("here", flush=True)
sys.stdin.readline()
server.stop()
"""


async def answer_of(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT 42"))
    finally:
        await connection.close()


def test_who_left_comes_back_after_the_last_has_ended_it(tmp_path: Path) -> None:
    folder = tmp_path / "postgresql"
    ours = EmbeddedServer(folder)
    ours.start()
    with subprocess.Popen(
        [sys.executable, "-c", SHARER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "here\n"
        ours.stop()
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.wait(60) == 0
    assert not (folder / "postmaster.pid").exists(), "the last one has ended it"
    again = EmbeddedServer(folder)
    assert asyncio.run(answer_of(again.start())) == 42
    again.stop()
