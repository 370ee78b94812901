"""Stopping from the command line of the platform's machine: by the brake's file first, then by the database.

The file needs neither the database nor the web interface; a running platform looks for it a few times a second, and
the next start honours it. The database is given a few seconds to record who stopped what and why.
"""

import asyncio
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from aether.cli.console import out
from aether.clock import monotonic_s, wall_ns
from aether.compose.directory import DataDirectory
from aether.compose.storage import open_storage
from aether.compose.trading import BRAKE_FOLDER
from aether.config import Settings
from aether.control.access import EVERYWHERE, Caller, CallerKind
from aether.control.plane import Operators
from aether.domain.errors import AetherError, DatabaseUnavailableError, UnknownNameError
from aether.domain.identifiers import AccountId
from aether.node import brake
from aether.node.brake import EVERY_ACCOUNT, Pull, Status
from aether.store import queries

PAPERWORK_S = 8.0
CONFIRM_WITHIN_S = 10.0
LOOK_EVERY_S = 0.05
ACCOUNT = re.compile(r"[A-Za-z0-9._-]{1,64}")


class _Paperwork(threading.Thread):
    """Records a stop in the database; a database that hangs keeps nobody waiting for it."""

    def __init__(self, settings: Settings, account: str, pull: Pull) -> None:
        super().__init__(daemon=True)
        self.targets: list[AccountId] = []
        self.error: Exception | None = None
        self._settings = settings
        self._account = account
        self._pull = pull

    def run(self) -> None:
        """Record it, or note why not."""
        try:
            asyncio.run(self._record())
        except Exception as error:  # noqa: BLE001  told by whoever waits
            self.error = error

    async def _record(self) -> None:
        who = Caller(kind=CallerKind.LOCAL, id="local", name=self._pull.actor)
        async with open_storage(self._settings) as storage:
            operators = Operators(storage.database, wall_ns)
            if self._account != EVERY_ACCOUNT:
                await queries.get_account(storage.database.desk, self._account)
            where = EVERYWHERE if self._account == EVERY_ACCOUNT else self._account
            await operators.submit(who, "kill.engage", where, self._pull.event(), self._pull.reason)
            self.targets = await operators.targets(where)


def engage(settings: Settings, account: str, pull: Pull) -> None:
    """Stop an account, or all, and say what has come of it.

    Raises:
        UnknownNameError: when there is no such account; nothing was stopped then.
        DatabaseUnavailableError: when neither the file nor the database took it.
    """
    if not ACCOUNT.fullmatch(account):
        raise _unknown(account)
    folder = settings.data_dir / BRAKE_FOLDER
    is_running = is_alive(DataDirectory(settings.data_dir))
    unkept = ""
    try:
        brake.write(folder, account, pull)
    except OSError as error:
        unkept = f"{error.strerror or error} ({folder})"
    deadline = monotonic_s() + PAPERWORK_S
    paperwork = _Paperwork(settings, account, pull)
    paperwork.start()
    status = _watch(folder, pull, paperwork) if is_running and not unkept else None
    if status:
        _say_stopped(status)
    paperwork.join(max(0.0, deadline - monotonic_s()))
    if isinstance(paperwork.error, UnknownNameError) or (status is not None and not status):
        brake.remove(folder, account, pull.id)
        raise paperwork.error if isinstance(paperwork.error, UnknownNameError) else _unknown(account)
    is_recorded = bool(paperwork.targets)
    if unkept and not is_recorded:
        raise DatabaseUnavailableError(
            f"Nothing was stopped: the brake's file cannot be written: {unkept}, and the database did not take it.",
            remedy="Cancel at the venues themselves; then make room on the disk.",
        )
    if is_recorded and not is_running:
        brake.remove(folder, account, pull.id)
    if not status:
        _say_kept(paperwork, is_running=is_running)
    if not is_recorded:
        why = paperwork.error.message if isinstance(paperwork.error, AetherError) else paperwork.error
        out.print(f"Not recorded yet: {why or 'the database does not answer'}", highlight=False, markup=False)
    if paperwork.is_alive():
        sys.stdout.flush()
        os._exit(0)


def _unknown(account: str) -> UnknownNameError:
    return UnknownNameError(f"There is no account {account!r}.", remedy="aether accounts list shows them.")


def is_alive(directory: DataDirectory) -> bool:
    """Return whether the platform that last said that it runs here still does."""
    try:
        told = msgspec.json.decode(directory.running.read_bytes(), type=dict[str, Any])
        return Path(f"/proc/{int(told['pid'])}").exists()
    except (OSError, msgspec.DecodeError, KeyError, ValueError):
        return False


def _watch(folder: Path, pull: Pull, paperwork: _Paperwork) -> dict[str, Status] | None:
    """Return how far the platform is with this pull, once the venues' lists were seen to be empty or time is up.

    None when it has not taken it.
    """
    deadline = monotonic_s() + CONFIRM_WITHIN_S
    found: dict[str, Status] | None = None
    while monotonic_s() < deadline and not isinstance(paperwork.error, UnknownNameError):
        found = brake.told(folder, pull.id)
        if found is not None and not any(s.unconfirmed for s in found.values()):
            break
        time.sleep(LOOK_EVERY_S)
    return found


def _say_stopped(status: dict[str, Status]) -> None:
    out.print(f"Kill switch engaged: {', '.join(status)}", highlight=False)
    left = [f"{account} {told}" for account, s in status.items() for told in s.unconfirmed]
    if not left:
        out.print("Every venue's list of open orders is empty.")
    for told in left:
        out.print(f"Still waiting for {told}; the platform goes on until it is gone.", highlight=False)


def _say_kept(paperwork: _Paperwork, *, is_running: bool) -> None:
    if is_running:
        out.print(
            "The platform has not answered; nothing is known of its orders. If they must go now, cancel at the venues."
        )
    elif paperwork.targets:
        names = ", ".join(paperwork.targets)
        out.print(f"Recorded for {names}; no node runs:")
        out.print("it takes effect before anything else at the next start.")
    else:
        out.print("No node runs; orders that work at a venue stay there until the next start,")
        out.print("which honours the brake before anything else.")
