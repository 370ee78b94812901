# ruff: noqa: E402
"""One process of a platform, as `aether up` starts it: `python -m aether.cli.part NAME DESCRIPTOR`.

It reads its instructions from the descriptor, says there that it is up, and ends when it is told to or that closes.
"""

import gc

gc.disable()  # until all is loaded (`_loaded`): to look through what only grows takes a third of the start

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import msgspec

from aether.bus.link import Link, serve
from aether.bus.local import LocalBus
from aether.bus.topics import QUESTIONS
from aether.cli.console import errors_told
from aether.compose.instructions import API, EXCHANGE, NODE, STOPS, Instructions, Up
from aether.compose.storage import open_storage
from aether.config import decode_path
from aether.telemetry import configure_logging

NICE = 10
"""How much the API steps back behind the node when both want the processor."""
SOCKET = "node.sock"


def _loaded() -> None:
    """Let memory be looked through for garbage from now on, without what was loaded: that stays to the end."""
    gc.freeze()
    gc.enable()


class Ready(Protocol):
    """Says that a process is up, and whether its work has begun."""

    def __call__(self, said: str, *, is_settled: bool) -> None: ...


async def _node(told: Instructions, stop: asyncio.Event, ready: Ready) -> None:
    from aether.compose.markets import market_of  # noqa: PLC0415
    from aether.compose.node import run_node  # noqa: PLC0415  each process loads only what is its own
    from aether.compose.trading import Built  # noqa: PLC0415

    _loaded()
    settings, choice = told.settings, told.choice
    dataset = None
    if choice.recording:
        from aether.cli.recordings import read_recording  # noqa: PLC0415

        dataset = await asyncio.to_thread(read_recording, settings, choice.recording, choice.options)
    bus = LocalBus()
    settling: list[asyncio.Task[None]] = []

    async def settle(built: Built) -> None:
        await built.node.settled.wait()
        ready(built.offer.name, is_settled=True)

    def on_built(built: Built) -> None:
        ready(built.offer.name, is_settled=False)
        settling.append(asyncio.create_task(settle(built)))

    async with open_storage(settings, is_prepared=True) as storage, serve(bus, settings.data_dir / SOCKET):
        await run_node(
            settings,
            market_of(choice, dataset),
            bus,
            storage,
            stop,
            seed=told.seed,
            begins_stopped=settings.is_production and told.is_first,
            exit_when_done=told.exit_when_done,
            on_built=on_built,
        )


async def _api(told: Instructions, stop: asyncio.Event, ready: Ready, *, is_lane: bool) -> None:
    from aether.api.local import LocalAccess  # noqa: PLC0415
    from aether.compose.api import Entrance, run_api  # noqa: PLC0415
    from aether.compose.platform import ACCESS_FILE  # noqa: PLC0415

    _loaded()
    if not is_lane:
        os.nice(NICE)
    settings = told.settings
    entrance = Entrance(
        socket.socket(fileno=told.listener),
        told.url,
        LocalAccess(told.link_secret, settings.data_dir / ACCESS_FILE),
        told.choice.kind,
        told.choice.addresses,
        told.stop_url,
        is_lane,
        told.is_first,
    )
    bus = LocalBus()
    async with open_storage(settings, is_prepared=True) as storage, asyncio.TaskGroup() as group:
        linking = group.create_task(Link(bus, settings.data_dir / SOCKET, QUESTIONS).run())
        await run_api(
            settings, entrance, bus, storage.database, stop, on_ready=lambda link: ready(link, is_settled=True)
        )
        linking.cancel()


async def _exchange(told: Instructions, stop: asyncio.Event, ready: Ready) -> None:
    from aether.compose.exchange import run_exchange  # noqa: PLC0415

    _loaded()
    await run_exchange(told.settings, stop, seed=told.seed, on_ready=lambda url: ready(url, is_settled=True))


WORK: dict[str, Callable[[Instructions, asyncio.Event, Ready], Coroutine[Any, Any, None]]] = {
    EXCHANGE: _exchange,
    NODE: _node,
    API: partial(_api, is_lane=False),
    STOPS: partial(_api, is_lane=True),
}


async def _run(name: str, descriptor: int) -> None:
    line = socket.socket(fileno=descriptor)
    reader, writer = await asyncio.open_connection(sock=line, limit=2**24)
    told = msgspec.json.decode(await reader.readline(), type=Instructions, dec_hook=decode_path)
    configure_logging(told.settings.log_level, as_json=told.settings.logs_json, process=name)
    stop = asyncio.Event()
    is_up = False

    def ready(said: str, *, is_settled: bool) -> None:
        nonlocal is_up
        is_up = True
        writer.write(msgspec.json.encode(Up(told=said, is_settled=is_settled)) + b"\n")

    def end() -> None:
        stop.set()
        if not is_up:
            work.cancel()

    async def follow_parent() -> None:
        with suppress(OSError):
            await reader.read()
        end()

    work = asyncio.ensure_future(WORK[name](told, stop, ready))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    following = asyncio.create_task(follow_parent())
    try:
        await work
    except asyncio.CancelledError:
        if is_up or not stop.is_set():
            raise
    finally:
        following.cancel()


def main() -> None:
    """Run a process to its end; an error ends it with that error's exit code.

    Once everything is closed the process ends at once: taking its memory apart piece by piece would take it a second.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    name, descriptor = sys.argv[1], int(sys.argv[2])
    with errors_told():
        asyncio.run(_run(name, descriptor))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
