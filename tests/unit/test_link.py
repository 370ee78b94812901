"""The bus between processes: what is published on one side is heard on the other, whatever becomes of the line."""

import asyncio
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aether.bus.link import Link, _decode, serve
from aether.bus.local import QUEUE_LIMIT, LocalBus
from aether.domain.errors import NoAnswerError


async def until(met: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not met():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def linked(path: Path) -> AsyncIterator[tuple[LocalBus, LocalBus, Link]]:
    """A bus that is offered, and one that mirrors it."""
    here, there = LocalBus(), LocalBus()
    link = Link(there, path, ("double", "fail", "hang"))
    async with serve(here, path):
        running = asyncio.create_task(link.run())
        here.publish("hello", {"n": 0})
        await until(lambda: there.latest("hello"))
        try:
            yield here, there, link
        finally:
            running.cancel()


async def test_what_is_published_is_heard_by_the_other_process_and_by_a_newcomer(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    async with linked(path) as (here, there, _):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with there.subscribe() as subscription:
            heard = aiter(subscription)
            assert await anext(heard) == ("hello", {"n": 0})
            here.publish("news", {"text": "ä", "list": [1, 2.5, None, -(2**90)]})
            assert await anext(heard) == ("news", {"text": "ä", "list": [1, 2.5, None, -(2**90)]})
        assert there.age_s("news") < 20
        assert there.age_s("never") == float("inf")
    assert not path.exists()


async def test_a_path_that_is_deleted_is_offered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever came later never found the node, until that was restarted (found by attack)."""
    monkeypatch.setattr("aether.bus.link.LOOK_EVERY_S", 0.01)
    path = tmp_path / "node.sock"
    async with linked(path) as (here, _, __):
        path.unlink()
        await until(path.exists)
        late = LocalBus()
        running = asyncio.create_task(Link(late, path, ()).run())
        here.publish("hello", {"n": 1})
        await until(lambda: late.latest("hello").get("hello") == {"n": 1})
        running.cancel()
    assert not path.exists()


async def test_questions_are_answered_and_failures_are_told(tmp_path: Path) -> None:
    async def double(body: dict[str, Any]) -> int:
        return int(body["n"]) * 2

    async def fail(_body: dict[str, Any]) -> int:
        raise ValueError("no such account")

    async with linked(tmp_path / "node.sock") as (here, there, _):
        here.answer("double", double)
        here.answer("fail", fail)
        assert await asyncio.gather(*(there.ask("double", {"n": n}) for n in range(50))) == list(range(0, 100, 2))
        with pytest.raises(NoAnswerError, match="no such account"):
            await there.ask("fail", {})
        with pytest.raises(NoAnswerError, match="Nobody answers 'hang'"):
            await there.ask("hang", {})
        with pytest.raises(NoAnswerError, match="Nobody answers 'unknown'"):
            await there.ask("unknown", {})


async def test_a_question_to_a_process_that_ends_fails_and_the_link_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    there = LocalBus()
    link = Link(there, path, ("hang",))
    running = asyncio.create_task(link.run())
    with pytest.raises(NoAnswerError, match="does not answer"):
        await there.ask("hang", {})
    asked = asyncio.Event()

    async def hang(_body: dict[str, Any]) -> None:
        asked.set()
        await asyncio.Event().wait()

    here = LocalBus()
    here.answer("hang", hang)
    here.publish("life", {"n": 1})
    async with serve(here, path):
        await until(lambda: there.latest("life"))
        asking = asyncio.create_task(there.ask("hang", {}))
        await asked.wait()
    with pytest.raises(NoAnswerError, match="does not answer"):
        await asking
    again = LocalBus()
    again.publish("life", {"n": 2})
    async with serve(again, path):
        await until(lambda: there.latest("life")["life"] == {"n": 2})
    running.cancel()


async def test_who_reads_too_slowly_loses_the_oldest_and_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    here = LocalBus()
    big = "x" * 2_000
    async with serve(here, path):
        reader, writer = await asyncio.open_unix_connection(path)  # reads nothing yet
        await until(lambda: here._subscriptions)
        for n in range(5 * QUEUE_LIMIT):
            here.publish("flood", {"n": n, "text": big})
            if n % 100 == 0:
                await asyncio.sleep(0)
        assert len(here._subscriptions[0]._messages) <= QUEUE_LIMIT
        there = LocalBus()
        link = Link(there, path, ())
        with there.subscribe() as subscription:
            while not there.latest("flood") or there.latest("flood")["flood"]["n"] < 5 * QUEUE_LIMIT - 1:
                size = int.from_bytes(await reader.readexactly(4), "big")
                link._take(_decode(await reader.readexactly(size)))
            assert subscription.lost > 0, "whoever follows hears that something was lost"
        writer.close()


async def test_a_data_directory_may_have_a_long_and_odd_name(tmp_path: Path) -> None:
    folder = tmp_path / ("a folder with 'quotes' " * 4) / ("x" * 100)
    folder.mkdir(parents=True)
    async with linked(folder / "node.sock") as (here, there, _):
        here.publish("news", {"n": 1})
        await until(lambda: there.latest("news"))


async def test_what_speaks_another_language_is_hung_up_on(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    async with linked(path) as (here, there, _):
        for junk in (
            b"\xff\xff\xff\xff",
            b"\x00\x00\x00\x04junk",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x00\x00\x00\x02\x91\x01",
        ):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(junk)
            writer.write_eof()
            async with asyncio.timeout(20):
                while await reader.read(65_536):
                    pass
            writer.close()
        here.publish("news", {"n": 1})
        await until(lambda: there.latest("news"))
