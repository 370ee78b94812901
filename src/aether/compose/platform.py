"""Starting the platform: what has to hold before any process trades or listens, and all of it in one process.

`aether up` runs the node and the API as processes of their own (`aether.compose.supervisor`); in one process they run
for debugging and for tests, on the same bus and by the same code.
"""

import contextlib
import errno
import os
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aether.compose.addresses import local_url_of, public_url_of, stop_url_of
from aether.compose.directory import DataDirectory
from aether.compose.guards import findings, guard_facts
from aether.compose.processes import forget_processes
from aether.compose.storage import Storage, open_storage
from aether.config import Settings
from aether.control.guards import find_all, refuse_insecure
from aether.control.private import write_private
from aether.domain.errors import InvalidValueError, PortInUseError

if TYPE_CHECKING:
    pass

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
