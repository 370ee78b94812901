"""The brake: stops accounts at their venues with nothing else at work: no engine, journal, database, bus or API.

Pulling it does three things, in this order: each venue of the account lets no order out any more and is told to cancel
everything, until its own list is seen to be empty; a file is written and synced to disk, which the next start honours;
and the kill switch is journaled as soon as that can be. The file stays until it is, and is written again until it could
be.

A pull may come as a call (the API in this process), or as a file that somebody wrote (the command line, or a hand):
the folder is looked at a few times a second. Each pull has an id, so that a second one is a second one, and whoever
pulled is told of no other.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from aether.clock import wall_ns
from aether.domain.events import KillSwitchEngaged
from aether.domain.identifiers import AccountId
from aether.telemetry import logger

EVERY_ACCOUNT = "all"
LOOK_EVERY_S = 0.2
JOURNAL_AFTER_S = 2.0
"""A pull whose request in the database has not been taken after so long is journaled without one."""
KEEP_AGAIN_S = 1.0
EMPTY_WITHIN_S, EMPTY_LOOK_S = 30.0, 0.2
PULLS_TOLD = 50
SUFFIX = ".brake"
STATUS = "status.json"

_log = logger("brake")


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """Why an account was stopped, by whom, and whether everything is to be sold as well.

    Attributes:
        id: tells one pull from another.
    """

    reason: str
    actor: str
    flatten: bool = False
    id: str = msgspec.field(default_factory=lambda: f"{os.getpid()}-{wall_ns()}")

    def event(self) -> KillSwitchEngaged:
        """Return the event that journals it."""
        return KillSwitchEngaged(ts_ns=0, reason=self.reason, actor=self.actor, flatten=self.flatten)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How far a pull is with one account.

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


class _Pulled(msgspec.Struct):
    """An account that is stopped and whose journal does not say so yet.

    Attributes:
        since_s: when it was pulled, by the loop's clock.
        is_asked: its journal was asked to take it.
        is_kept: its file is on the disk.
    """

    pull: Pull
    since_s: float
    is_asked: bool = False
    is_kept: bool = False


class Brake:
    """The brake of the accounts of one node.

    Args:
        folder: where pulls are kept until they are journaled.
        accounts: returns every account whose venues are this node's to touch, whatever its state.
    """

    def __init__(self, folder: Path, accounts: Callable[[], Mapping[AccountId, Stoppable]]) -> None:
        self._folder = folder
        self._accounts = accounts
        self._pulled: dict[AccountId, _Pulled] = {}
        self._handled: set[tuple[str, str]] = set()
        """Files by name and pull that have been acted on."""
        self._alls: set[str] = set()
        """Pulls of every account whose own file is still there."""
        self._told: dict[str, dict[AccountId, bool]] = {}
        """Pulls since the start: their accounts, and whether the journal of each has it."""
        self._written: dict[str, dict[str, Status]] | None = None
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="brake")
        """Files are written and taken away in the order in which that was asked."""

    def pull(self, account: str, pull: Pull) -> list[AccountId]:
        """Stop an account, or all with `EVERY_ACCOUNT`, now; return those that were stopped.

        The file follows in a thread: a disk that hangs delays no venue.
        """
        names = self._stop(account, pull, is_kept=False)
        self._keep()
        return names

    def _stop(self, account: str, pull: Pull, *, is_kept: bool) -> list[AccountId]:
        meant = self._meant(account)
        names = list(meant)
        self._told[pull.id] = dict.fromkeys(names, False)
        while len(self._told) > PULLS_TOLD:
            del self._told[next(iter(self._told))]
        for name, one in meant.items():
            self._pulled[name] = _Pulled(pull, asyncio.get_running_loop().time(), is_kept=is_kept)
            self._handled.add((name, pull.id))
            _log.error("brake_pulled", account_id=name, reason=pull.reason, actor=pull.actor)
            one.stop()
        return names

    def _meant(self, account: str) -> dict[AccountId, Stoppable]:
        """Return the account of a name, or every one with `EVERY_ACCOUNT`."""
        return {a: one for a, one in self._accounts().items() if account in (a, EVERY_ACCOUNT)}

    def unconfirmed(self, account: str) -> list[str]:
        """Return what stops of an account, or of all, still wait for."""
        return [f"{name} {told}" for name, one in self._meant(account).items() for told in one.unconfirmed()]

    def journaled(self, account: AccountId, event: KillSwitchEngaged) -> None:
        """Hear that a kill switch is in an account's journal: the file has done its work, unless it asks for more."""
        found = self._pulled.get(account)
        if found is None or (found.pull.flatten and not event.flatten):
            return
        del self._pulled[account]
        for accounts in self._told.values():
            if account in accounts:
                accounts[account] = True
        self._disk.submit(self._remove, account, found.pull.id)

    def honour(self) -> None:
        """Stop what files say, before anything trades: called at the start, and by `run`. Raises OSError."""
        for name, pull in read(self._folder):
            if (name, pull.id) in self._handled:
                continue
            self._handled.add((name, pull.id))
            if name == EVERY_ACCOUNT:
                self._alls.add(pull.id)
            self._stop(name, pull, is_kept=name != EVERY_ACCOUNT)

    async def run(self) -> None:
        """Look for pulls and journal them, until canceled."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept_s = 0.0
        while True:
            try:
                self.honour()
            except OSError as error:
                _log.warning("brake_not_read", reason=str(error))
            now = asyncio.get_running_loop().time()
            known = self._accounts()
            for account, found in list(self._pulled.items()):
                if not found.is_asked and now - found.since_s > JOURNAL_AFTER_S and account in known:
                    found.is_asked = True
                    known[account].journal(found.pull.event())
            if now - kept_s > KEEP_AGAIN_S:
                kept_s = now
                self._keep()
            self._tell(known)
            await asyncio.sleep(LOOK_EVERY_S)

    def _keep(self) -> None:
        """Have every pull that is not on the disk written there; a file for all goes once each account has its own."""
        missing = [(name, found) for name, found in self._pulled.items() if not found.is_kept]
        if missing or self._alls:
            self._disk.submit(self._write, missing, list(self._alls))

    def _write(self, missing: list[tuple[AccountId, _Pulled]], alls: list[str]) -> None:
        for name, found in missing:
            if found.is_kept or self._pulled.get(name) is not found:
                continue
            try:
                lying = read_one(self._folder, name)
                if lying is not None and (name, lying.id) not in self._handled:
                    return
                write(self._folder, name, found.pull)
                found.is_kept = True
            except OSError as error:
                _log.error("brake_not_kept", account_id=name, reason=str(error))
                return
        for pull_id in alls:
            if self._remove(EVERY_ACCOUNT, pull_id):
                self._alls.discard(pull_id)

    def _remove(self, name: str, pull_id: str) -> bool:
        try:
            remove(self._folder, name, pull_id)
        except OSError as error:
            _log.error("brake_not_removed", account_id=name, reason=str(error))
            return False
        return True

    def _tell(self, known: Mapping[AccountId, Stoppable]) -> None:
        """Say how far the pulls are, where that has changed."""
        status: dict[str, dict[str, Status]] = {
            pull: {
                account: Status(unconfirmed=known[account].unconfirmed(), is_journaled=is_journaled)
                for account, is_journaled in accounts.items()
                if account in known
            }
            for pull, accounts in self._told.items()
        }
        if status != self._written:
            self._written = status
            self._disk.submit(tell, self._folder, status)


async def until_empty(unconfirmed: Callable[[], list[str]]) -> None:
    """Wait, not for ever, until stops wait for nothing more: before something ends that would mind them."""
    with suppress(TimeoutError):
        async with asyncio.timeout(EMPTY_WITHIN_S):
            while unconfirmed():  # noqa: ASYNC110  told by no event
                await asyncio.sleep(EMPTY_LOOK_S)


def write(folder: Path, account: str, pull: Pull) -> None:
    """Keep a pull as a file, whole and on disk when this returns. Raises OSError; nothing is left behind then."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / f"{account}{SUFFIX}"
    draft = folder / f".{account}.{os.getpid()}.draft"
    try:
        with draft.open("wb") as stream:
            stream.write(msgspec.json.encode(pull))
            stream.flush()
            os.fsync(stream.fileno())
        draft.rename(file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def tell(folder: Path, status: Mapping[str, Mapping[str, Status]]) -> None:
    """Write how far the pulls are."""
    with suppress(OSError):
        draft = folder / f".{STATUS}"
        draft.write_bytes(msgspec.json.encode(status))
        draft.rename(folder / STATUS)


def told(folder: Path, pull_id: str) -> dict[str, Status] | None:
    """Return how far a pull is with each of its accounts, as the node told last; None when it has not taken it."""
    try:
        found = msgspec.json.decode((folder / STATUS).read_bytes(), type=dict[str, dict[str, Status]])
    except (OSError, msgspec.DecodeError):
        return None
    return found.get(pull_id)


def read(folder: Path) -> Iterable[tuple[str, Pull]]:
    """Return the pulls that lie in the folder; what cannot be read stops as well, whatever it is. Raises OSError."""
    try:
        files = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []
    names = [file.removesuffix(SUFFIX) for file in files]
    return [(name, pull) for name in names if (pull := read_one(folder, name)) is not None]


def read_one(folder: Path, account: str) -> Pull | None:
    """Return the pull that lies under a name, None when there is none; what cannot be read is one as well."""
    file = folder / f"{account}{SUFFIX}"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Pull)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError):
        with suppress(OSError):
            made = f"{file.name} of {file.lstat().st_mtime_ns}"
            return Pull(reason=f"the file {file.name}", actor="a file", id=made)
    return None


def remove(folder: Path, account: str, pull_id: str) -> None:
    """Take a pull's file away, unless another pull lies there by now. Raises OSError."""
    lying = read_one(folder, account)
    if lying is not None and lying.id == pull_id:
        (folder / f"{account}{SUFFIX}").unlink(missing_ok=True)
