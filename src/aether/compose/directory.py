"""The data directory: everything of one machine."""

import asyncio
import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from aether.domain.errors import DataDirectoryError

LOCK_FILE = "aether.lock"
BRAKE_FOLDER = "brake"
IDENTITY_FILE = "identity"
LOOK_EVERY_S = 2.0
LOOKS, LOOK_S = 5, 0.02


class DataDirectory:
    """Everything of one machine, used by one running platform at a time.

    Args:
        path: made when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe = path / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise DataDirectoryError(
                f"The data directory {path} cannot be written: {error.strerror}.",
                remedy="Choose another one with --data-dir, or correct its permissions.",
            ) from error

    @property
    def database(self) -> Path:
        """Where the embedded server keeps its files."""
        return self.path / "postgresql"

    @property
    def runs(self) -> Path:
        """Where back-tests are kept."""
        return self.path / "backtests"

    @property
    def running(self) -> Path:
        """What a running platform says of itself, for the command line; for its owner only."""
        return running_file(self.path)

    def identity(self) -> str:
        """Return what tells this directory from every other, made at the first use."""
        file = self.path / IDENTITY_FILE
        with contextlib.suppress(FileNotFoundError):
            if known := file.read_text().strip():
                return known
        made, draft = secrets.token_hex(4), file.with_suffix(".new")
        with draft.open("w") as written:
            written.write(made)
            written.flush()
            os.fsync(written.fileno())
        draft.rename(file)
        return made

    def forget_identity(self) -> None:
        """Be another directory than the one that has the same identity: one of the two is a copy."""
        (self.path / IDENTITY_FILE).unlink(missing_ok=True)

    @contextlib.contextmanager
    def owned(self) -> Iterator[int]:
        """Hold the directory while the context is open, or a process that inherits the descriptor runs.

        Raises:
            DataDirectoryError: when another process holds it.
        """
        file = self.path / LOCK_FILE
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                _take(descriptor)
            except BlockingIOError as error:
                owner = os.read(descriptor, 32).decode() or "unknown"
                raise DataDirectoryError(
                    f"The data directory {self.path} is used by the process {owner}.",
                    remedy="Stop it first, or choose another --data-dir.",
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield descriptor
        finally:
            os.close(descriptor)

    async def lost(self, lock: int) -> None:
        """Return when the directory was deleted or moved: another platform could be started in its place then.

        Args:
            lock: as `owned` gave it.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                if not os.path.samestat(os.fstat(lock), (self.path / LOCK_FILE).stat()):
                    return
            except FileNotFoundError:
                return
            except OSError:
                continue


def running_file(path: Path) -> Path:
    """Return where a platform that runs in a data directory says so."""
    return path / "running.json"


def _take(descriptor: int) -> None:
    """Take the lock; who only looks whether it is held has it for a moment. Raises BlockingIOError."""
    for _ in range(LOOKS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LOOK_S)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: Path) -> bool:
    """Return whether a platform runs on a data directory."""
    try:
        descriptor = os.open(path / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
