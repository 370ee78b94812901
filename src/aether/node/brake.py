"""The brake: stops accounts at their venues with nothing else at work: no engine, journal, database, bus or API.

Pulling it does three things, in this order: each venue of the account lets no order out any more and is told to cancel
everything, until its own list is seen to be empty; a file is written and synced to disk, which the next start honours;
and the kill switch is journaled as soon as that can be. The file stays until it is.

A pull may come as a call (the API in this process), or as a file that somebody wrote (the command line, or a hand):
the folder is looked at a few times a second.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from aether.domain.events import KillSwitchEngaged
from aether.domain.identifiers import AccountId
from aether.telemetry import logger

EVERY_ACCOUNT = "all"
LOOK_EVERY_S = 0.2
JOURNAL_AFTER_S = 2.0
"""A pull whose request in the database has not been taken after so long is journaled without one."""
SUFFIX = ".brake"
STATUS = "status.json"

_log = logger("brake")


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """Why an account was stopped, by whom, and whether everything is to be sold as well."""

    reason: str
    actor: str
    flatten: bool = False

    def event(self) -> KillSwitchEngaged:
        """Return the event that journals it."""
        return KillSwitchEngaged(ts_ns=0, reason=self.reason, actor=self.actor, flatten=self.flatten)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How far the stop of an account is, for whoever pulled the brake by a file.

    Attributes:
        unconfirmed: what it waits for at the venues; empty once their lists were seen to be empty.
        is_journaled: the kill switch is in the account's journal.
    """

    unconfirmed: list[str]
    is_journaled: bool


class Stoppable(Protocol):
    """An account as the brake knows it: at work, failed, or left out."""

    def stop(self) -> None:
        """Stop the account's orders at their venues at once."""
        ...

    def journal(self, event: KillSwitchEngaged) -> None:
        """Have the account take the kill switch when it can; one that works no more ignores it."""
        ...

    def unconfirmed(self) -> list[str]:
        """Return what the stop still waits for, in words; nothing when every venue's list was seen to be empty."""
        ...


class Brake:
    """The brake of the accounts of one node.

    Args:
        folder: where pulls are kept until they are journaled.
        accounts: returns every account of the node, whatever its state.
    """

    def __init__(self, folder: Path, accounts: Callable[[], Mapping[AccountId, Stoppable]]) -> None:
        self._folder = folder
        self._accounts = accounts
        self._pulled: dict[AccountId, Pull] = {}
        self._since: dict[AccountId, float] = {}
        self._removing: set[str] = set()
        self._stopped: dict[AccountId, bool] = {}
        """Accounts that were stopped since the start, and whether their journal says so."""
        self._told: dict[str, Status] = {}
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="brake")
        """Files are written and taken away in the order in which that was asked."""

    def pull(self, account: str, pull: Pull) -> list[AccountId]:
        """Stop an account, or all with `EVERY_ACCOUNT`, now; return those that were stopped.

        The file follows in a thread: a disk that hangs delays no venue.
        """
        known = self._accounts()
        names = list(known) if account == EVERY_ACCOUNT else [a for a in known if a == account]
        for name in names:
            self._stop(name, known[name], pull)
        self._disk.submit(self._keep, names, pull)
        return names

    def pulled(self, account: AccountId) -> Pull | None:
        """Return why an account is stopped, None when it is not or the journal says so by now."""
        return self._pulled.get(account)

    def unconfirmed(self, account: str) -> list[str]:
        """Return what stops of an account, or of all, still wait for."""
        known = self._accounts()
        names = list(known) if account == EVERY_ACCOUNT else [a for a in known if a == account]
        return [f"{name} {told}" for name in names for told in known[name].unconfirmed()]

    def journaled(self, account: AccountId) -> None:
        """Hear that the kill switch of an account is in its journal: the file has done its work."""
        if self._pulled.pop(account, None) is not None:
            self._stopped[account] = True
            self._since.pop(account, None)
            self._removing.add(account)
            self._disk.submit(self._remove, account)

    def honour(self) -> None:
        """Stop what files say, before anything trades: called at the start, and by `run`. Raises OSError."""
        known = self._accounts()
        for name, pull in read(self._folder):
            if name in self._removing:
                continue
            if name == EVERY_ACCOUNT:
                self._removing.add(name)
                self.pull(name, pull)
                self._disk.submit(self._remove, name)
            elif (account := AccountId(name)) in known and account not in self._pulled:
                self._stop(account, known[account], pull)

    async def run(self) -> None:
        """Look for pulls and journal them, until canceled."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            try:
                self.honour()
            except OSError as error:
                _log.warning("brake_not_read", reason=str(error))
            now = asyncio.get_running_loop().time()
            known = self._accounts()
            for account, pull in list(self._pulled.items()):
                if now - self._since[account] > JOURNAL_AFTER_S and account in known:
                    self._since[account] = float("inf")
                    known[account].journal(pull.event())
            self._tell(known)
            await asyncio.sleep(LOOK_EVERY_S)

    def _tell(self, known: Mapping[AccountId, Stoppable]) -> None:
        """Say how far the stops are, where that has changed."""
        status: dict[str, Status] = {
            account: Status(unconfirmed=known[account].unconfirmed(), is_journaled=journaled)
            for account, journaled in self._stopped.items()
            if account in known
        }
        if status != self._told:
            self._told = status
            self._disk.submit(tell, self._folder, status)

    def _stop(self, name: AccountId, account: Stoppable, pull: Pull) -> None:
        self._pulled[name], self._stopped[name] = pull, False
        self._since[name] = asyncio.get_running_loop().time()
        _log.error("brake_pulled", account_id=name, reason=pull.reason, actor=pull.actor)
        account.stop()

    def _keep(self, names: list[AccountId], pull: Pull) -> None:
        for name in names:
            try:
                write(self._folder, name, pull)
            except OSError as error:
                _log.error("brake_not_kept", account_id=name, reason=str(error))

    def _remove(self, name: str) -> None:
        try:
            remove(self._folder, name)
        except OSError as error:
            _log.error("brake_not_removed", account_id=name, reason=str(error))
            return
        self._removing.discard(name)


def write(folder: Path, account: str, pull: Pull) -> None:
    """Keep a pull as a file, whole and on disk when this returns. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / f"{account}{SUFFIX}"
    draft = folder / f".{account}.{os.getpid()}.draft"
    with draft.open("wb") as stream:
        stream.write(msgspec.json.encode(pull))
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(file)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def tell(folder: Path, status: Mapping[str, Status]) -> None:
    """Write how far the stops are."""
    with suppress(OSError):
        draft = folder / f".{STATUS}"
        draft.write_bytes(msgspec.json.encode(status))
        draft.rename(folder / STATUS)


def told(folder: Path) -> dict[str, Status]:
    """Return how far the stops are, as the node told last; nothing when it has not."""
    try:
        return msgspec.json.decode((folder / STATUS).read_bytes(), type=dict[str, Status])
    except (OSError, msgspec.DecodeError):
        return {}


def read(folder: Path) -> Iterable[tuple[str, Pull]]:
    """Return the pulls that lie in the folder; a file that cannot be read stops as well. Raises OSError."""
    found = []
    with suppress(FileNotFoundError):
        for file in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                pull = msgspec.json.decode(file.read_bytes(), type=Pull)
            except msgspec.DecodeError:
                pull = Pull(reason=f"the file {file.name}", actor="a file")
            except FileNotFoundError:
                continue
            found.append((file.name.removesuffix(SUFFIX), pull))
    return found


def lies(folder: Path, account: str) -> bool:
    """Return whether a pull lies in the folder that has not been dealt with."""
    return (folder / f"{account}{SUFFIX}").is_file()


def remove(folder: Path, account: str) -> None:
    """Take a pull's file away."""
    (folder / f"{account}{SUFFIX}").unlink(missing_ok=True)
