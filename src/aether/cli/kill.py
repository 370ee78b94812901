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

from aether.cli.console import out
from aether.clock import monotonic_s, wall_ns
from aether.compose.directory import DataDirectory
from aether.compose.storage import open_storage
from aether.compose.trading import BRAKE_FOLDER
from aether.config import Settings
from aether.control.access import EVERYWHERE, Caller, CallerKind
from aether.control.plane import Operators
from aether.domain.errors import AetherError, UnknownNameError
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
        OSError, AetherError: when neither the file nor the database could be written.
    """
    if not ACCOUNT.fullmatch(account):
        raise UnknownNameError(f"There is no account {account!r}.", remedy="aether account list shows them.")
    folder = settings.data_dir / BRAKE_FOLDER
    is_running = DataDirectory(settings.data_dir).running.is_file()
    brake.write(folder, account, pull)
    paperwork = _Paperwork(settings, account, pull)
    paperwork.start()
    deadline = monotonic_s() + PAPERWORK_S
    status = _watch(folder, account, paperwork) if is_running else {}
    if status:
        _say_stopped(status)
    paperwork.join(max(0.0, deadline - monotonic_s()))
    if isinstance(paperwork.error, UnknownNameError):
        brake.remove(folder, account)
        raise paperwork.error
    if paperwork.targets and not is_running:
        brake.remove(folder, account)
    if not status:
        _say_kept(paperwork, is_running=is_running)
    if not paperwork.targets:
        why = paperwork.error.message if isinstance(paperwork.error, AetherError) else paperwork.error
        out.print(f"Not recorded yet: {why or 'the database does not answer'}", highlight=False, markup=False)
    if paperwork.is_alive():
        sys.stdout.flush()
        os._exit(0)


def _watch(folder: Path, account: str, paperwork: _Paperwork) -> dict[str, Status]:
    """Return how far the running platform is, once every venue's list was seen to be empty or time is up."""
    deadline = monotonic_s() + CONFIRM_WITHIN_S
    found: dict[str, Status] = {}
    while monotonic_s() < deadline and not isinstance(paperwork.error, UnknownNameError):
        told = brake.told(folder)
        found = told if account == EVERY_ACCOUNT else {a: s for a, s in told.items() if a == account}
        is_taken = not brake.lies(folder, account) or any(not s.is_journaled for s in found.values())
        if found and is_taken and not any(s.unconfirmed for s in found.values()):
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
        out.print("The platform has not answered; its brake lies in the data directory and is found as soon as it can.")
    elif paperwork.targets:
        names = ", ".join(paperwork.targets)
        out.print(f"Recorded for {names}; no node runs, it takes effect before anything else at its start.")
    else:
        out.print("No node runs; the brake lies in the data directory: the next start honours it before anything else.")
