"""The brake's files: pulls that lie in the data directory until they are journaled, and how far each of them is.

Whoever may write into the folder may stop accounts, by hand if need be: what cannot be read stops as well. Files are
whole and on disk when they are written, belong to the platform also when root wrote them, and are changed by one
process at a time.
"""

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from aether.clock import wall_ns
from aether.domain.events import KillSwitchEngaged
from aether.venues.wire import plain_text

SUFFIX = ".brake"
STATUS = "status.json"
LONGEST_FILE = 64 * 1024
EVERY_ACCOUNT = "all"
"""Stands for all accounts, where one could be named."""


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
        return KillSwitchEngaged(ts_ns=0, reason=self.reason, actor=self.actor, flatten=self.flatten, pull=self.id)

    def on_top_of(self, before: "Pull | None") -> "Pull":
        """Return this pull with what an earlier one, not journaled yet, asks for as well."""
        return msgspec.structs.replace(self, flatten=True) if before is not None and before.flatten else self


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How far a pull is with one account.

    Attributes:
        unconfirmed: what it waits for at the venues; empty once their lists were seen to be empty.
        is_journaled: the kill switch is in the account's journal.
    """

    unconfirmed: list[str]
    is_journaled: bool


class _Lying(msgspec.Struct):
    """A pull as it lies in a file; one that was written by hand has no id."""

    reason: str
    actor: str
    flatten: bool = False
    id: str = ""


_UNREADABLE = (OSError, ValueError, RecursionError, msgspec.MsgspecError)
"""What a file in the folder can be besides a pull: anything."""

Told = dict[str, dict[str, Status]]
"""Pulls by id, each with its accounts."""


def write(folder: Path, account: str, pull: Pull) -> Pull:
    """Keep a pull as a file, whole and on disk when this returns; one that lies there adds what it asks for.

    Returns:
        What lies there now: an empty file where the disk has no room for more, which stops without saying why.

    Raises:
        OSError: also when there is no data directory around the folder; nothing is left behind then.
    """
    folder.mkdir(exist_ok=True, mode=0o700)
    _give(folder, folder.parent)
    with _alone(folder):
        whole = pull.on_top_of(read_one(folder, account))
        file = folder / f"{account}{SUFFIX}"
        try:
            _put(file, msgspec.json.encode(whole))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            file.touch(mode=0o600)
            _give(file, folder.parent)
            return read_one(folder, account) or whole
    return whole


def remove(folder: Path, account: str, pull_id: str) -> None:
    """Take a pull's file away, unless another pull lies there by now. Raises OSError."""
    with suppress(FileNotFoundError), _alone(folder):
        lying = read_one(folder, account)
        if lying is None or lying.id != pull_id:
            return
        file = folder / f"{account}{SUFFIX}"
        try:
            file.unlink()
        except OSError:
            file.rename(folder / f"{account}.done-{wall_ns()}")


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
        made = f"{_ascii(file.name)} of {file.lstat().st_mtime_ns}"
    except OSError:
        return None
    try:
        lying = msgspec.json.decode(_content(file), type=_Lying)
    except _UNREADABLE:
        return Pull(reason=f"the file {_ascii(file.name)}", actor="a file", id=made)
    return Pull(
        reason=plain_text(lying.reason),
        actor=plain_text(lying.actor),
        flatten=lying.flatten,
        id=_ascii(lying.id) if lying.id else made,
    )


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _content(file: Path) -> bytes:
    """Return what a file begins with; one that would keep its reader waiting has nothing in it. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(LONGEST_FILE) or b""


def tell(folder: Path, status: Mapping[str, Mapping[str, Status]]) -> None:
    """Write how far the pulls are."""
    with suppress(OSError):
        _put(folder / STATUS, msgspec.json.encode(status))


def all_told(folder: Path) -> Told:
    """Return how far the pulls are, as the node told last; nothing when it has not."""
    try:
        return msgspec.json.decode((folder / STATUS).read_bytes(), type=Told)
    except _UNREADABLE:
        return {}


def told(folder: Path, pull_id: str) -> dict[str, Status] | None:
    """Return how far a pull is with each of its accounts; None when the node has not taken it."""
    return all_told(folder).get(pull_id)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the folder's files. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _put(file: Path, content: bytes) -> None:
    """Write a file whole, for its owner only, on disk when this returns. Raises OSError; nothing is left then."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        _give(draft, file.parent)
        draft.rename(file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _give(made: Path, like: Path) -> None:
    """Give what root made to whom `like` belongs: a stop by root is the platform's to read and to take away."""
    owner = like.stat()
    if os.geteuid() == 0 and made.stat().st_uid != owner.st_uid:
        os.chown(made, owner.st_uid, owner.st_gid)
