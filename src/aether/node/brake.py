"""The brake: stops accounts at their venues with nothing else at work: no engine, journal, database, bus or API.

Pulling it does three things, in this order: each venue of the account lets no order out any more and is told to cancel
everything, until its own list is seen to be empty; a file is written and synced to disk, which the next start honours
(`pulls.py`); and the kill switch is journaled as soon as that can be. The file stays until it is, and is written again
until it could be.

A pull may come as a call (the API in this process), or as a file that somebody wrote (the command line, or a hand):
the folder is looked at a few times a second. Each pull has an id, so that a second one is a second one, and whoever
pulled is told of no other. A file for all accounts means those of other markets too: they are asked through the
database, and the file stays until they are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from aether.domain.events import KillSwitchEngaged
from aether.domain.identifiers import AccountId
from aether.node import pulls
from aether.node.pulls import EVERY_ACCOUNT, Pull, Status
from aether.telemetry import logger

LOOK_EVERY_S = 0.2
JOURNAL_AFTER_S = 2.0
"""A pull whose request in the database has not been taken after so long is journaled without one."""
AGAIN_S = 1.0
"""What could not be written, taken away or asked for is tried again after so long."""
EMPTY_WITHIN_S, EMPTY_LOOK_S = 30.0, 0.2
PULLS_TOLD = 50

_log = logger("brake")


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
        stop_others: asks the accounts of other markets for a pull of all; returns whether that could be done.
    """

    def __init__(
        self,
        folder: Path,
        accounts: Callable[[], Mapping[AccountId, Stoppable]],
        stop_others: Callable[[Pull], Awaitable[bool]] | None = None,
    ) -> None:
        self._folder = folder
        self._accounts = accounts
        self._stop_others = stop_others or _no_others
        self._pulled: dict[AccountId, _Pulled] = {}
        self._handled: set[tuple[str, str]] = set()
        """Files by name and pull that have been acted on."""
        self._alls: dict[str, Pull] = {}
        """Pulls of every account that those of other markets have not been asked for."""
        self._done: set[tuple[str, str]] = set()
        """Files that have done their work and still lie there."""
        self._told: dict[str, dict[AccountId, bool]] = {}
        """Pulls since the start: their accounts, and whether the journal of each has it."""
        self._written: pulls.Told | None = None
        self._is_unreadable = ""
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="brake")
        """Files are written and taken away in the order in which that was asked."""

    def pull(self, account: str, pull: Pull) -> list[AccountId]:
        """Stop an account, or all with `EVERY_ACCOUNT`, now; return those that were stopped.

        The file follows in a thread: a disk that hangs delays no venue.
        """
        names = self._stop(account, pull, is_kept=False)
        self._tidy()
        return names

    def _stop(self, account: str, pull: Pull, *, is_kept: bool) -> list[AccountId]:
        meant = self._meant(account)
        self._told[pull.id] = dict.fromkeys(meant, False)
        while len(self._told) > PULLS_TOLD:
            del self._told[next(iter(self._told))]
        for name, one in meant.items():
            before = self._pulled.get(name)
            whole = pull.on_top_of(before.pull if before else None)
            self._pulled[name] = _Pulled(
                whole, asyncio.get_running_loop().time(), is_kept=is_kept and whole.flatten == pull.flatten
            )
            self._handled.add((name, pull.id))
            _log.error("brake_pulled", account_id=name, reason=pull.reason, actor=pull.actor)
            one.stop()
        return list(meant)

    def _meant(self, account: str) -> dict[AccountId, Stoppable]:
        """Return the account of a name, or every one with `EVERY_ACCOUNT`."""
        return {a: one for a, one in self._accounts().items() if account in (a, EVERY_ACCOUNT)}

    def unconfirmed(self, account: str) -> list[str]:
        """Return what stops of an account, or of all, still wait for."""
        return [f"{name} {told}" for name, one in self._meant(account).items() for told in one.unconfirmed()]

    def journaled(self, account: AccountId, event: KillSwitchEngaged) -> bool:
        """Hear that a kill switch is in an account's journal: the file of that pull has done its work.

        Returns:
            Whether nothing else waits to be journaled: until then the account stays stopped at its venues, whatever its
            journal says, since a release may follow that was meant for an earlier stop.
        """
        found = self._pulled.get(account)
        if found is None:
            return True
        if event.pull != found.pull.id or (found.pull.flatten and not event.flatten):
            return False
        del self._pulled[account]
        for accounts in self._told.values():
            if account in accounts:
                accounts[account] = True
        self._done.add((account, found.pull.id))
        self._tidy()
        return True

    def honour(self) -> None:
        """Stop what files say, before anything trades: called at the start, and by `run`. Raises OSError."""
        for name, pull in pulls.read(self._folder):
            if (name, pull.id) in self._handled:
                continue
            self._handled.add((name, pull.id))
            if name == EVERY_ACCOUNT:
                self._alls[pull.id] = pull
            self._stop(name, pull, is_kept=name != EVERY_ACCOUNT)

    async def run(self) -> None:
        """Look for pulls, keep and journal them, until canceled."""
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True, mode=0o700)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            group.create_task(self._keep())
            group.create_task(self._ask_others())

    async def _look(self) -> None:
        while True:
            self._look_once()
            now = asyncio.get_running_loop().time()
            known = self._accounts()
            for account, found in list(self._pulled.items()):
                if not found.is_asked and now - found.since_s > JOURNAL_AFTER_S and account in known:
                    found.is_asked = True
                    known[account].journal(found.pull.event())
            self._tell(known)
            await asyncio.sleep(LOOK_EVERY_S)

    def _look_once(self) -> None:
        unreadable = ""
        try:
            self.honour()
        except OSError as error:
            unreadable = str(error)
        if unreadable and unreadable != self._is_unreadable:
            _log.error("brake_not_read", reason=unreadable, remedy="let the platform's user own the folder")
        self._is_unreadable = unreadable

    async def _keep(self) -> None:
        while True:
            self._tidy()
            await asyncio.sleep(AGAIN_S)

    async def _ask_others(self) -> None:
        while True:
            for pull_id, pull in list(self._alls.items()):
                if await self._stop_others(pull):
                    del self._alls[pull_id]
                    self._done.add((EVERY_ACCOUNT, pull_id))
            await asyncio.sleep(AGAIN_S)

    def _tidy(self) -> None:
        """Have every pull that is not on the disk written there, and then those taken away that have done their work.

        A file for all goes once each account has its own.
        """
        missing = [(name, found) for name, found in self._pulled.items() if not found.is_kept]
        if missing or self._done:
            self._on_disk(self._write, missing, list(self._done))

    def _on_disk(self, work: Callable[..., None], *arguments: object) -> None:
        self._disk.submit(work, *arguments).add_done_callback(_tell_of)

    def _write(self, missing: list[tuple[AccountId, _Pulled]], done: list[tuple[str, str]]) -> None:
        is_whole = True
        for name, found in missing:
            if found.is_kept or self._pulled.get(name) is not found:
                continue
            try:
                lying = pulls.read_one(self._folder, name)
                if lying is not None and (name, lying.id) not in self._handled:
                    is_whole = False
                    continue
                kept = pulls.write(self._folder, name, found.pull)
                self._handled.add((name, kept.id))
                found.is_kept = kept == found.pull
                is_whole &= found.is_kept
            except OSError as error:
                is_whole = False
                _log.error("brake_not_kept", account_id=name, reason=str(error))
                break
        for file in done:
            if file[0] == EVERY_ACCOUNT and not is_whole:
                continue
            try:
                pulls.remove(self._folder, *file)
                self._done.discard(file)
            except OSError as error:
                _log.error("brake_not_removed", account_id=file[0], reason=str(error))

    def _tell(self, known: Mapping[AccountId, Stoppable]) -> None:
        """Say how far the pulls are, where that has changed."""
        status: pulls.Told = {
            pull: {
                account: Status(unconfirmed=known[account].unconfirmed(), is_journaled=is_journaled)
                for account, is_journaled in accounts.items()
                if account in known
            }
            for pull, accounts in self._told.items()
        }
        if status != self._written:
            self._written = status
            self._on_disk(pulls.tell, self._folder, status)


def _tell_of(done: Future[None]) -> None:
    if (error := done.exception()) is not None:
        _log.error("brake_not_on_disk", reason=f"{type(error).__name__}: {error}")


async def _no_others(_pull: Pull) -> bool:
    return True


async def until_empty(unconfirmed: Callable[[], list[str]]) -> None:
    """Wait, not for ever, until stops wait for nothing more: before something ends that would mind them."""
    with suppress(TimeoutError):
        async with asyncio.timeout(EMPTY_WITHIN_S):
            while unconfirmed():  # noqa: ASYNC110  told by no event
                await asyncio.sleep(EMPTY_LOOK_S)
