"""How many connections there may be, and how long one may take (A2): on real sockets, with shorter times."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from aether.api import audit, connections
from aether.api.connections import Places, limited
from aether.api.turns import in_turn

PATIENCE_S = 20.0
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
WHOLE = HEAD + b"Content-Length: 0\r\n\r\n"
ANSWER = b"x" * 100
LONG = 50_000_000

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[bytes], Awaitable[Stream]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, then answer; a long answer for who asks for it."""
    if scope["type"] != "http":
        return
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    body = b"x" * LONG if scope["path"] == "/long" else ANSWER
    length = str(len(body)).encode()
    scope["state"]["asked_too_much"] = scope["path"] == "/much"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(places: Places) -> AsyncIterator[Connect]:
    """A server with these places."""
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", http=limited(places))
    config.load()
    made = uvicorn.Server(config)
    made.lifespan = config.lifespan_class(config)
    await made.startup()
    port = made.servers[0].sockets[0].getsockname()[1]
    writers: list[asyncio.StreamWriter] = []

    async def connect(sends: bytes) -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.write(sends)
        await writer.drain()
        return reader, writer

    yield connect
    for writer in writers:
        writer.close()
    await made.shutdown()


async def ended(stream: Stream) -> bytes:
    """Return what came until the server closed the connection."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await stream[0].read()
        except ConnectionResetError:
            return b""


async def answered(stream: Stream) -> bytes:
    """Return the first line of the answer."""
    async with asyncio.timeout(PATIENCE_S):
        return await stream[0].readline()


def nobody(_address: str) -> bool:
    return False


def run(work: Callable[[Connect], Awaitable[None]], places: Places) -> None:
    async def inner() -> None:
        async with served(places) as connect:
            await work(connect)

    asyncio.run(inner())


@pytest.mark.parametrize(
    ("sends", "says"),
    [
        (b"", b""),
        (HEAD, b"HTTP/1.1 408"),
        (HEAD + b"Content-Length: 10\r\n\r\n12345", b"HTTP/1.1 408"),
        (WHOLE + HEAD, b"HTTP/1.1 200"),
    ],
    ids=["nothing", "half a head", "half a body", "half of the next one"],
)
def test_half_a_request_has_its_time(sends: bytes, says: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    monkeypatch.setattr(connections, "BODY_S", 0.2)

    async def work(connect: Connect) -> None:
        assert (await ended(await connect(sends))).startswith(says)

    places = Places(nobody)
    run(work, places)
    assert len(places) == 0


def test_dripping_wins_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)

    async def work(connect: Connect) -> None:
        answers = []
        for _ in range(5):  # a drip that meets the closed socket may take the answer away, not the end
            stream = await connect(HEAD)
            reading = asyncio.create_task(ended(stream))
            while not reading.done():
                stream[1].write(b"X")
                await asyncio.wait({reading}, timeout=0.01)
            answers.append((await reading)[:12])
        assert b"HTTP/1.1 408" in answers

    run(work, Places(nobody))


def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READ_S", 0.2)

    async def work(connect: Connect) -> None:
        stream = await connect(WHOLE.replace(b"POST /", b"POST /long"))
        async with asyncio.timeout(PATIENCE_S):
            while len(places):
                await asyncio.sleep(0)
        assert len(await ended(stream)) < LONG

    places = Places(nobody)
    run(work, places)


def test_who_asked_too_much_is_not_heard_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood that was refused at once was asked again at once: refusing it took a whole core."""
    monkeypatch.setattr(connections, "REST_S", PATIENCE_S)
    much = WHOLE.replace(b"POST /", b"POST /much")

    async def work(connect: Connect) -> None:
        greedy, modest = await connect(much + WHOLE), await connect(WHOLE)
        for stream in (greedy, modest):
            async with asyncio.timeout(PATIENCE_S):
                await stream[0].readuntil(b"\r\n\r\n" + ANSWER)
        reading = asyncio.create_task(greedy[0].read())
        for _ in range(20):
            modest[1].write(WHOLE)
            assert (await answered(modest)).startswith(b"HTTP/1.1 200")
            await modest[0].readuntil(ANSWER)
        assert not reading.done(), "its second request is not even read"
        assert (await answered(await connect(WHOLE))).startswith(b"HTTP/1.1 200"), "it gave way"
        assert await reading == b""

    run(work, Places(nobody, total=2))


def test_a_proxys_connection_never_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request on it is somebody else's."""
    monkeypatch.setattr(connections, "REST_S", PATIENCE_S)

    async def work(connect: Connect) -> None:
        stream = await connect(WHOLE.replace(b"POST /", b"POST /much") + WHOLE)
        await stream[0].readuntil(b"\r\n\r\n" + ANSWER)
        async with asyncio.timeout(PATIENCE_S / 2):
            assert (await answered(stream)).startswith(b"HTTP/1.1 200")

    run(work, Places(lambda _: True))


def test_after_its_rest_it_is_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REST_S", 0.2)

    async def work(connect: Connect) -> None:
        stream = await connect(WHOLE.replace(b"POST /", b"POST /much") + WHOLE)
        await stream[0].readuntil(b"\r\n\r\n" + ANSWER)
        assert (await answered(stream)).startswith(b"HTTP/1.1 200")

    run(work, Places(nobody))


@pytest.mark.parametrize("places", [Places(nobody, per_address=5), Places(nobody, total=5)], ids=["address", "total"])
def test_who_only_waits_gives_way_to_who_asks(places: Places) -> None:
    async def work(connect: Connect) -> None:
        waiting = [await connect(b"") for _ in range(20)]
        assert await answered(await connect(WHOLE)) == b"HTTP/1.1 200 OK\r\n"
        assert len(places) == 5
        for one in waiting[:15]:
            assert await ended(one) == b"", "the first to come is the first to go"
        waiting[-1][1].write(WHOLE)
        assert await answered(waiting[-1]) == b"HTTP/1.1 200 OK\r\n"

    run(work, places)


def test_who_is_at_work_keeps_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are being sent are not cut off for a newcomer, who is told to come again."""
    monkeypatch.setattr(connections, "READ_S", PATIENCE_S)

    async def work(connect: Connect) -> None:
        at_work = [await connect(WHOLE.replace(b"POST /", b"POST /long")) for _ in range(3)]
        for one in at_work:
            assert await answered(one) == b"HTTP/1.1 200 OK\r\n"
        refused = await ended(await connect(b""))
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1" in refused

    run(work, Places(nobody, per_address=3))


def test_a_proxy_speaks_for_many() -> None:
    async def work(connect: Connect) -> None:
        for _ in range(8):
            await connect(b"")
        assert await answered(await connect(WHOLE)) == b"HTTP/1.1 200 OK\r\n"
        assert len(places) == 9

    places = Places(lambda address: address == "127.0.0.1", per_address=3)
    run(work, places)


def test_few_read_the_whole_trail_at_once() -> None:
    """Sixty exports by one auditor made the kill switch wait for 3.9 s (A9; found by attack)."""

    async def work() -> None:
        go_on = asyncio.Event()

        async def lines() -> AsyncIterator[bytes]:
            await go_on.wait()
            yield b"{}\n"

        async def export() -> int:
            statuses: list[int] = []

            async def receive() -> dict[str, object]:
                await asyncio.Event().wait()
                return {}

            async def send(message: dict[str, object]) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(int(str(message["status"])))

            scope = {"type": "http", "method": "GET", "headers": [], "asgi": {"spec_version": "2.3"}}
            await in_turn(audit.WHOLE_READS, lines(), "application/x-ndjson")(scope, receive, send)  # type: ignore[arg-type]
            return statuses[0]

        first = [asyncio.create_task(export()) for _ in range(2)]
        await asyncio.sleep(0)
        assert await export() == 429
        first[0].cancel()
        await asyncio.wait({first[0]})
        go_on.set()
        assert await export() == 200, "who went away left the turn"
        assert await first[1] == 200
        assert await export() == 200

    asyncio.run(work())
