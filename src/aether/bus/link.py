"""The bus between processes of one machine: a Unix socket in the data directory, for its owner only.

`serve` offers a process's bus; a `Link` mirrors it into the bus of another process, and carries that one's questions
over. A frame is its length in four bytes and a JSON list, in which whole numbers of any size pass. Whoever reads too
slowly loses what a subscriber of the process itself would lose, and is then sent the latest of every topic; the
publisher waits for nobody. A link that is cut is made again.
"""

import asyncio
import itertools
import os
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from aether.bus.local import LocalBus, Message
from aether.domain.errors import NoAnswerError
from aether.telemetry import logger

PUBLISHED, ASKED, ANSWERED, LOST = range(4)
LENGTH = struct.Struct(">I")
LONGEST_FRAME = 16 * 1024 * 1024
ASK_WITHIN_S = 3.0
AGAIN_S = 0.2
LOOK_EVERY_S = 2.0

Frame = tuple[int, int, str, Any]
"""What it is, the number of a question, a topic or a question's name, and the content."""

_log = logger("bus")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Frame).decode


def _socket_at(path: Path, *, is_server: bool) -> socket.socket:
    """Return a Unix socket bound to a path, or connected to it, however long the path is. Raises OSError."""
    # An address holds 107 bytes; the folder's descriptor stands for a folder of any length.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        address = f"/proc/self/fd/{folder}/{path.name}"
        if is_server:
            path.unlink(missing_ok=True)
            made.bind(address)
            path.chmod(0o600)
            made.listen()
        else:
            made.connect(address)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    finally:
        os.close(folder)
    return made


def _frame(*parts: Any) -> bytes:
    body = _encode(parts)
    return LENGTH.pack(len(body)) + body


async def _read(reader: asyncio.StreamReader) -> Frame:
    """Return the next frame. Raises OSError, EOFError, MsgspecError when there is none."""
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if length > LONGEST_FRAME:
        raise ConnectionError(f"a frame of {length} bytes")
    frame: Frame = _decode(await reader.readexactly(length))
    return frame


GONE = (OSError, EOFError, msgspec.MsgspecError)
"""What a connection ends with."""


@asynccontextmanager
async def serve(bus: LocalBus, path: Path) -> AsyncIterator[None]:
    """Offer a bus at a path while the context is open, also when the path is deleted. Raises OSError."""
    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(_publish(bus, writer))
                with suppress(*GONE):
                    while True:
                        kind, number, name, body = await _read(reader)
                        if kind == ASKED:
                            group.create_task(_answer(bus, writer, number, name, body))
                sending.cancel()
        finally:
            writers.discard(writer)
            writer.close()

    servers = [await asyncio.start_unix_server(connected, sock=_socket_at(path, is_server=True))]

    async def stay() -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not os.path.lexists(path):  # noqa: ASYNC240  a look at one name
                with suppress(OSError):
                    servers.append(await asyncio.start_unix_server(connected, sock=_socket_at(path, is_server=True)))
                    servers.pop(0).close()

    staying = asyncio.create_task(stay())
    try:
        yield
    finally:
        staying.cancel()
        for server in servers:
            server.close()
        for writer in list(writers):
            writer.close()
        _forget(path)


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _publish(bus: LocalBus, writer: asyncio.StreamWriter) -> None:
    with suppress(*GONE), bus.subscribe() as subscription:
        async for topic, message in subscription:
            if subscription.lost:
                subscription.lost = 0
                writer.write(_frame(LOST, 0, "", None))
                for missed, latest in bus.latest("").items():
                    writer.write(_frame(PUBLISHED, 0, missed, latest))
            writer.write(_frame(PUBLISHED, 0, topic, message))
            await writer.drain()


async def _answer(bus: LocalBus, writer: asyncio.StreamWriter, number: int, name: str, body: Message) -> None:
    try:
        told = _frame(ANSWERED, number, "", await bus.ask(name, body))
    except Exception as error:  # noqa: BLE001  whoever asked hears of it
        told = _frame(ANSWERED, number, f"{type(error).__name__}: {error}", None)
    with suppress(*GONE):
        writer.write(told)
        await writer.drain()


class Link:
    """Another process's bus, mirrored into this one's.

    Args:
        path: where it is served.
        names: the questions that are carried over.
    """

    def __init__(self, bus: LocalBus, path: Path, names: Sequence[str]) -> None:
        self._bus = bus
        self._path = path
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        for name in names:
            bus.answer(name, lambda body, name=name: self._ask(name, body))  # type: ignore[misc]

    async def run(self) -> None:
        """Mirror until canceled; a link that is cut is made again."""
        is_told = False
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(sock=_socket_at(self._path, is_server=False))
                is_told = False
                while True:
                    self._take(await _read(reader))
            except GONE as error:
                if not is_told:
                    _log.warning("link_cut", reason=f"{type(error).__name__}: {error}")
                is_told = True
            finally:
                self._cut()
            await asyncio.sleep(AGAIN_S)

    def _take(self, frame: Frame) -> None:
        kind, number, name, body = frame
        if kind == PUBLISHED:
            self._bus.publish(name, body)
        elif kind == LOST:
            self._bus.lose()
        elif kind == ANSWERED and (asked := self._asked.pop(number, None)) is not None and not asked.done():
            if name:
                asked.set_exception(NoAnswerError(f"The trading process failed: {name}.", remedy="See its log."))
            else:
                asked.set_result(body)

    def _cut(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(_away())
        self._asked.clear()

    async def _ask(self, name: str, body: Message) -> Any:
        if self._writer is None:
            raise _away()
        number = next(self._numbers)
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                self._writer.write(_frame(ASKED, number, name, body))
                return await asked
        except (TimeoutError, OSError) as error:
            raise _away() from error
        finally:
            self._asked.pop(number, None)


def _away() -> NoAnswerError:
    return NoAnswerError(
        "The trading process does not answer.", remedy="Wait: it is started again; `aether doctor` shows how it is."
    )
