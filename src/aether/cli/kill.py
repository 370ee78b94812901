"""Stopping from the command line of the platform's machine: by the brake's file first, then by the database.

The file needs neither the database nor the web interface; a running platform looks for it a few times a second, and
the next start honours it. The database is given a few seconds to record who stopped what and why, and to tell how
accounts stand.
"""

import asyncio
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import typer

from aether.cli.console import out, print_json, settings_of, table
from aether.cli.options import AsJson, DataDir, Reason, Url, reason_text
from aether.clock import monotonic_s
from aether.compose.directory import BRAKE_FOLDER, is_held
from aether.config import Settings
from aether.domain.errors import AetherError, DatabaseUnavailableError, DataDirectoryError, UnknownNameError
from aether.domain.identifiers import AccountId
from aether.node import pulls
from aether.node.pulls import EVERY_ACCOUNT, Pull, Status
from aether.venues.wire import plain_text

PAPERWORK_S = 8.0
CONFIRM_WITHIN_S = 10.0
LOOK_EVERY_S = 0.05
ACCOUNT = re.compile(r"[A-Za-z0-9._-]{1,64}")
T = TypeVar("T")


app = typer.Typer(help="Stop trading, and let it go on.", no_args_is_help=True, add_completion=False)

KillAccount = Annotated[str, typer.Option("--account", help="One account, or `all`.")]


@app.command("engage")
def kill_engage(
    reason: Reason,
    account: KillAccount = EVERY_ACCOUNT,
    flatten: Annotated[bool, typer.Option("--flatten", help="Sell every position too.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Refuse new orders and cancel all open ones."""
    actor = plain_text(f"command line, {os.environ.get('USER', f'uid {os.getuid()}')}")
    engage(settings_of(data_dir), account, Pull(reason=reason_text(reason), actor=actor, flatten=flatten))


@app.command("release")
def kill_release(reason: Reason, account: KillAccount = EVERY_ACCOUNT, data_dir: DataDir = None, url: Url = "") -> None:
    """Allow new orders again; needs a second factor and, in production, a second person."""
    from aether.cli.remote import ask  # noqa: PLC0415  a stop needs nobody to speak to

    path = "/kill-switch/release" if account == EVERY_ACCOUNT else f"/accounts/{account}/kill-switch/release"
    ask(settings_of(data_dir), url, path, {"reason": reason_text(reason)}, "Kill switch released", account)


@app.command("status")
def kill_status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the kill switch of each account, also while the database does not answer."""
    show_status(settings_of(data_dir), as_json=as_json)


class _Asking(threading.Thread, Generic[T]):
    """Something asked of the database; one that hangs keeps nobody waiting for it."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        super().__init__(daemon=True)
        self.result: T | None = None
        self.error: Exception | None = None
        self._work = work
        self.start()

    def run(self) -> None:
        """Ask, or note why not."""
        try:
            self.result = asyncio.run(self._work())
        except Exception as error:  # noqa: BLE001  told by whoever waits
            self.error = error

    def why_not(self) -> str:
        """Return why there is no result."""
        if self.error is None:
            return "the database does not answer"
        return self.error.message if isinstance(self.error, AetherError) else str(self.error)

    def leave(self) -> None:
        """End the process when the database still hangs: its threads would wait for it."""
        if self.is_alive():
            sys.stdout.flush()
            os._exit(0)


# Engage.


def engage(settings: Settings, account: str, pull: Pull) -> None:
    """Stop an account, or all, and say what has come of it.

    Raises:
        UnknownNameError: when there is no such account; nothing was stopped then.
        DataDirectoryError: when there is no platform's data directory here.
        DatabaseUnavailableError: when neither the file nor the database took it.
    """
    if not ACCOUNT.fullmatch(account):
        raise _unknown(account)
    _check_directory(settings)
    folder = settings.data_dir / BRAKE_FOLDER
    is_running = is_held(settings.data_dir)
    if not is_running:
        out.print(f"No platform runs in {settings.data_dir}.", highlight=False, markup=False, soft_wrap=True)
        out.print("If yours runs elsewhere, name its directory with --data-dir.")
    unkept, lying = "", pull
    try:
        lying = pulls.write(folder, account, pull)
    except OSError as error:
        unkept = f"{error.strerror or error} ({folder})"
    deadline = monotonic_s() + PAPERWORK_S
    paperwork = _Asking(lambda: _record(settings, account, pull))
    status = _watch(folder, lying, paperwork) if is_running and not unkept else None
    if status:
        _say_stopped(status)
    if pull.flatten and not lying.flatten:
        out.print("The disk is full: it stops, and nothing says yet that everything is to be sold. Make room, repeat.")
    paperwork.join(max(0.0, deadline - monotonic_s()))
    is_nobodys = status is not None and not status and not paperwork.result and account != EVERY_ACCOUNT
    if isinstance(paperwork.error, UnknownNameError) or is_nobodys:
        pulls.remove(folder, account, lying.id)
        raise paperwork.error if isinstance(paperwork.error, UnknownNameError) else _unknown(account)
    if unkept and not paperwork.result:
        raise DatabaseUnavailableError(
            f"Nothing was stopped: the brake's file cannot be written: {unkept}, and the database did not take it.",
            remedy=f"Let {folder} be a folder that this user may write to; until then stop with the button of the "
            "page, or cancel at the venues themselves.",
        )
    if status is not None and not status:
        out.print("The platform that runs here trades none of them: another market's are stopped at its next start.")
    elif not status:
        _say_kept(paperwork.result or [], is_running=is_running)
    if not paperwork.result:
        out.print(f"Not recorded yet: {paperwork.why_not()}", highlight=False, markup=False)
        if status:
            out.print("The platform writes it into the journal once the database is back.")
    paperwork.leave()


async def _record(settings: Settings, account: str, pull: Pull) -> list[AccountId]:
    from aether.cli import paperwork  # noqa: PLC0415  loaded beside the stop, never before it

    return await paperwork.record(settings, account, pull)


async def _standings(settings: Settings) -> dict[str, "Standing"]:
    from aether.cli import paperwork  # noqa: PLC0415

    return await paperwork.standings(settings)


def _unknown(account: str) -> UnknownNameError:
    return UnknownNameError(f"There is no account {account!r}.", remedy="`aether accounts` shows them.")


def _check_directory(settings: Settings) -> None:
    """Refuse a directory in which no platform ever ran: a mistyped one stops nobody. Raises DataDirectoryError."""
    if not settings.database_url and not (settings.data_dir / "postgresql").is_dir():
        raise DataDirectoryError(
            f"Nothing was stopped: no platform ever ran in {settings.data_dir}.",
            remedy="Name the data directory of the platform with --data-dir.",
        )


def _watch(folder: Path, pull: Pull, paperwork: _Asking[list[AccountId]]) -> dict[str, Status] | None:
    """Return how far the platform is with this pull, once the venues' lists were seen to be empty or time is up.

    None when it has not taken it.
    """
    deadline = monotonic_s() + CONFIRM_WITHIN_S
    found: dict[str, Status] | None = None
    while monotonic_s() < deadline and not isinstance(paperwork.error, UnknownNameError):
        found = pulls.told(folder, pull.id)
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


def _say_kept(recorded: list[AccountId], *, is_running: bool) -> None:
    if recorded:
        out.print(f"Recorded for {', '.join(recorded)}.", highlight=False)
    if is_running:
        out.print(
            "The platform has not answered; nothing is known of its orders. If they must go now, cancel at the venues."
        )
    elif recorded:
        out.print("No platform is known to run here; it takes effect before anything else at the next start.")
    else:
        out.print("No platform runs there; orders that work at a venue stay until the next start,")
        out.print("which honours the brake before anything else.")


# Status.


class Standing(msgspec.Struct):
    """How an account stands.

    Attributes:
        waits_for: what a stop of it still waits for.
    """

    account: str
    engaged: bool
    reason: str
    waits_for: list[str]


def show_status(settings: Settings, *, as_json: bool) -> None:
    """Show the kill switch of each account: as the database has it, and as the brake's files say beyond it."""
    asking = _Asking(lambda: _standings(settings))
    asking.join(PAPERWORK_S)
    found = asking.result or {}
    _add_files(settings.data_dir, found)
    if as_json:
        print_json([msgspec.to_builtins(s) for s in found.values()])
    else:
        rows = [(s.account, "ENGAGED" if s.engaged else "released", s.reason) for s in found.values()]
        empty = "No accounts yet." if asking.result is not None else "The brake's files name none."
        table("Kill switch", ("account*", "state*", "reason*"), rows, empty)
        for standing in found.values():
            for told in standing.waits_for:
                out.print(f"{standing.account} waits for {told}", highlight=False, markup=False)
        if asking.result is None:
            out.print(f"By the brake's files alone: {asking.why_not()}", highlight=False, markup=False)
    asking.leave()


def _add_files(data_dir: Path, found: dict[str, Standing]) -> None:
    folder = data_dir / BRAKE_FOLDER
    for status in pulls.all_told(folder).values() if is_held(data_dir) else ():
        for account, one in status.items():
            standing = found.setdefault(account, Standing(account, not one.is_journaled, "", []))
            standing.waits_for = list(one.unconfirmed)
    try:
        lying = list(pulls.read(folder))
    except OSError as error:
        out.print(f"The brake's files cannot be read: {error.strerror or error} ({folder})", highlight=False)
        lying = []
    for name, pull in lying:
        for account in list(found) if name == EVERY_ACCOUNT and found else [name]:
            standing = found.setdefault(account, Standing(account, engaged=True, reason=pull.reason, waits_for=[]))
            standing.engaged, standing.reason = True, pull.reason
            told = f"its journal (pulled by {pull.actor})"
            if told not in standing.waits_for:
                standing.waits_for.append(told)
