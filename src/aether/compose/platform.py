"""Starting the platform: what has to hold before any process trades or listens, and all of it in one process.

`aether up` runs the node and the API as processes of their own (`aether.compose.supervisor`); in one process they run
for debugging and for tests, on the same bus and by the same code.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aether.api.local import LocalAccess
from aether.bus.local import LocalBus
from aether.bus.topics import ProcessState
from aether.clock import wall_ns
from aether.compose.addresses import local_url_of, public_url_of, stop_url_of
from aether.compose.control import findings, guard_facts
from aether.compose.directory import DataDirectory
from aether.compose.markets import Market, MarketChoice
from aether.compose.processes import forget_processes, write_processes
from aether.compose.storage import Storage, open_storage
from aether.config import Settings
from aether.control.guards import find_all, refuse_insecure
from aether.control.private import write_private
from aether.domain.errors import InvalidValueError, PortInUseError

if TYPE_CHECKING:
    from aether.compose.trading import Built

ACCESS_FILE = "local-access.json"


@dataclass(frozen=True)
class Started:
    """What a platform says once it serves: the market, and the link with which the owner begins, if any."""

    market: str
    link: str


@dataclass(frozen=True)
class Ground:
    """What processes of a platform stand on.

    Attributes:
        lock: descriptor that holds the data directory while any process has it.
        link_secret: with which the terminal asks for links.
    """

    directory: DataDirectory
    lock: int
    listener: socket.socket
    stop_listener: socket.socket
    url: str
    stop_url: str
    storage: Storage
    link_secret: str

    @property
    def access_file(self) -> Path:
        """Where hashes of the owner's sessions are kept."""
        return self.directory.path / ACCESS_FILE


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises PortInUseError, InvalidValueError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol must be told: asyncio switches Nagle's delay (40 ms a request) off only where it is.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortInUseError(
                f"Port {port} of {host} is {'taken' if error.errno == errno.EADDRINUSE else 'not allowed'}.",
                remedy="Stop what listens there, or choose another --port.",
            ) from error
        raise InvalidValueError(
            f"The web interface cannot listen on {host!r}: {error.strerror or error}.",
            remedy="Give an address of this machine with --host, like 127.0.0.1.",
        ) from error
    return listener


@contextlib.asynccontextmanager
async def ground(settings: Settings, kind: str) -> AsyncIterator[Ground]:
    """Hold the data directory, listen, and have the database ready, while the context is open.

    Raises:
        InsecureSettingError, DataDirectoryError, PortInUseError, DatabaseUnavailableError, ...: when the platform
        cannot start; nothing has changed then.
    """
    directory = DataDirectory(settings.data_dir)
    if settings.is_production:
        refuse_insecure(find_all(await guard_facts(settings, None, kind, {})))
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(directory.owned())
        listener = stack.enter_context(contextlib.closing(_bind(settings.host, settings.port)))
        stop_listener = stack.enter_context(contextlib.closing(_bind(settings.host, settings.stop_port)))
        url = public_url_of(settings, listener.getsockname()[1])
        stop_url = stop_url_of(settings, stop_listener.getsockname()[1])
        async with open_storage(settings) as storage:
            if settings.is_production:
                refuse_insecure(await findings(settings, storage.database, kind))
            link_secret = secrets.token_urlsafe(32)
            made = Ground(directory, lock, listener, stop_listener, url, stop_url, storage, link_secret)
            made.access_file.unlink(missing_ok=True)
            stack.callback(lambda: directory.running.unlink(missing_ok=True))
            stack.callback(lambda: forget_processes(directory.path))
            told = {
                "url": url,
                "local": local_url_of(*listener.getsockname()[:2]),
                "pid": os.getpid(),
                "link_secret": made.link_secret,
            }
            write_private(directory.running, told)
            yield made


async def run_in_one_process(
    settings: Settings,
    choice: MarketChoice,
    market: Market,
    *,
    seed: int = 1,
    exit_when_done: bool = False,
    on_started: Callable[[Started], None],
) -> None:
    """Run node and API in this process until interrupted (or the recording is done).

    Raises:
        AetherError: as `ground`, `run_node` and `run_api` do.
    """
    from aether.compose.api import Entrance, run_api  # noqa: PLC0415  `aether up` itself needs neither
    from aether.compose.exchange import serving_exchange  # noqa: PLC0415
    from aether.compose.node import run_node  # noqa: PLC0415

    async with ground(settings, choice.kind) as made, contextlib.AsyncExitStack() as stack:
        if choice.needs_exchange:
            served = await stack.enter_async_context(serving_exchange(made.storage.database, seed))
            market = replace(market, base_url=served)
        bus = LocalBus()
        node_stop, api_stop, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        entrance = Entrance(
            made.listener,
            made.url,
            LocalAccess(made.link_secret, made.access_file),
            choice.kind,
            choice.addresses,
        )
        built = asyncio.get_running_loop().create_future()
        state = ProcessState(name="all in one", pid=os.getpid(), state="up", restarts=0, since_ns=wall_ns())
        write_processes(settings.data_dir, [state])

        def on_built(told: "Built") -> None:
            built.set_result(told.offer.name)

        async def serve_once_built() -> None:
            name = await built
            await run_api(
                settings,
                entrance,
                bus,
                made.storage.database,
                api_stop,
                on_ready=lambda link: on_started(Started(name, link)),
            )

        async with asyncio.TaskGroup() as group:
            trading = group.create_task(
                run_node(
                    settings,
                    market,
                    bus,
                    made.storage,
                    node_stop,
                    seed=seed,
                    begins_stopped=settings.is_production,
                    exit_when_done=exit_when_done,
                    on_built=on_built,
                )
            )
            serving = group.create_task(serve_once_built())
            stopping = group.create_task(stop.wait())
            await asyncio.wait({trading, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            api_stop.set()
            if not built.done():
                serving.cancel()
            await asyncio.wait({serving})
            node_stop.set()
