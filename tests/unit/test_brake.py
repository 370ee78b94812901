"""The brake's files: kept until the journal has them, told by pull, never in each other's way (R4; what attackers
found)."""

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from aether.domain.events import KillSwitchEngaged
from aether.domain.identifiers import AccountId
from aether.node import brake, pulls
from aether.node.brake import Brake
from aether.node.pulls import EVERY_ACCOUNT, Pull
from tests.waiting import until

A, B = AccountId("a"), AccountId("b")


class Account:
    """An account that counts what is asked of it."""

    def __init__(self) -> None:
        self.stops = 0
        self.journaled: list[KillSwitchEngaged] = []
        self.left: list[str] = []

    def stop(self) -> None:
        self.stops += 1

    def journal(self, event: KillSwitchEngaged) -> None:
        self.journaled.append(event)

    def unconfirmed(self) -> list[str]:
        return self.left


class Node:
    """A brake at work on two accounts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.accounts = {A: Account(), B: Account()}
        self.others: list[Pull] = []
        self.reaches_others = True
        self.brake = Brake(folder, lambda: self.accounts, self.stop_others)
        self.task: asyncio.Task[None] | None = None

    async def stop_others(self, pull: Pull) -> bool:
        if self.reaches_others:
            self.others.append(pull)
        return self.reaches_others

    async def __aenter__(self) -> "Node":
        self.task = asyncio.create_task(self.brake.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])

    def names(self) -> list[str]:
        return sorted(name for name, _ in pulls.read(self.folder))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brake, "LOOK_EVERY_S", 0.005)
    monkeypatch.setattr(brake, "AGAIN_S", 0.01)
    monkeypatch.setattr(brake, "JOURNAL_AFTER_S", 0.02)


def pull(**fields: Any) -> Pull:
    return Pull(reason="a test", actor="ada", **fields)


async def test_whoever_pulled_is_told_of_that_pull_alone(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        first, second = pull(id="1"), pull(id="2")
        pulls.write(tmp_path, "a", first)
        await until(lambda: pulls.told(tmp_path, "1"))
        assert pulls.told(tmp_path, "2") is None
        node.brake.journaled(A, first.event())
        await until(lambda: (pulls.told(tmp_path, "1") or {})["a"].is_journaled)
        node.accounts[A].left = ["kraken: 3 orders"]
        pulls.write(tmp_path, "a", second)
        await until(lambda: pulls.told(tmp_path, "2"))
        assert (pulls.told(tmp_path, "2") or {})["a"].unconfirmed == ["kraken: 3 orders"]
        assert node.accounts[A].stops == 2


async def test_a_second_pull_stops_again_also_what_never_journals(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        pulls.write(tmp_path, "a", pull(id="1"))
        await until(lambda: node.accounts[A].stops == 1)
        pulls.write(tmp_path, "a", pull(id="2"))
        await until(lambda: node.accounts[A].stops == 2)


async def test_a_flatten_is_not_done_by_a_plain_kill(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        node.brake.pull(A, pull(id="1"))
        node.brake.pull(A, pull(id="2", flatten=True))
        node.brake.journaled(A, pull(id="1").event())
        await until(lambda: any(e.flatten for e in node.accounts[A].journaled))
        assert node.names() == ["a"]
        node.brake.journaled(A, pull(id="2", flatten=True).event())
        await until(lambda: not node.names())


async def test_an_earlier_stop_journals_no_later_one(tmp_path: Path) -> None:
    """It took the newest stop along, with its file: a release that followed was meant for the earlier one (attack)."""
    async with Node(tmp_path) as node:
        pulls.write(tmp_path, "a", pull(id="2"))
        await until(lambda: node.accounts[A].stops)
        assert not node.brake.journaled(A, pull(id="1").event())
        assert not node.brake.journaled(A, KillSwitchEngaged(ts_ns=0, reason="a test", actor="ada"))
        await until(lambda: [e.pull for e in node.accounts[A].journaled] == ["2"])
        assert node.names() == ["a"]
        assert node.brake.journaled(A, node.accounts[A].journaled[0])
        await until(lambda: not node.names())


async def test_a_file_for_all_stays_until_each_account_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the pull of everything is not forgotten; room is made, and it is kept."""
    written = pulls.write
    full = True

    def write(folder: Path, account: str, what: Pull) -> Pull:
        if full and account != EVERY_ACCOUNT:
            raise OSError(28, "No space left on device")
        return written(folder, account, what)

    monkeypatch.setattr(pulls, "write", write)
    async with Node(tmp_path) as node:
        pulls.write(tmp_path, EVERY_ACCOUNT, pull(id="1"))
        await until(lambda: node.accounts[A].stops and node.accounts[B].stops)
        await asyncio.sleep(0.1)
        assert node.names() == [EVERY_ACCOUNT]
        full = False
        await until(lambda: node.names() == ["a", "b"])
        assert node.accounts[A].stops == node.accounts[B].stops == 1


async def test_what_cannot_be_read_stops_as_well_and_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.brake").mkdir()
    pulls.write(tmp_path, "b", pull(id="1"))
    node = Node(tmp_path)
    node.brake.honour()
    assert node.accounts[A].stops == node.accounts[B].stops == 1
    async with node:
        await asyncio.sleep(0.05)
        assert node.accounts[A].stops == 1


async def test_a_pull_of_an_unknown_account_is_told_as_such(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        pulls.write(tmp_path, "nobody", pull(id="1"))
        await until(lambda: pulls.told(tmp_path, "1") == {})
        assert node.accounts[A].stops == 0


async def test_a_later_pull_is_not_taken_away_with_an_earlier_one(tmp_path: Path) -> None:
    pulls.write(tmp_path, "a", pull(id="2"))
    pulls.remove(tmp_path, "a", "1")
    assert [name for name, _ in pulls.read(tmp_path)] == ["a"]
    pulls.remove(tmp_path, "a", "2")
    assert not pulls.read(tmp_path)


async def test_a_file_for_all_stays_until_the_accounts_of_other_markets_were_asked(tmp_path: Path) -> None:
    """A node of one market is not all: with the database away, the file waits."""
    async with Node(tmp_path) as node:
        node.reaches_others = False
        pulls.write(tmp_path, EVERY_ACCOUNT, pull(id="1"))
        await until(lambda: node.names() == ["a", EVERY_ACCOUNT, "b"])
        for account in node.accounts:
            node.brake.journaled(account, pull(id="1").event())
        await until(lambda: node.names() == [EVERY_ACCOUNT])
        await asyncio.sleep(0.05)
        assert node.names() == [EVERY_ACCOUNT]
        node.reaches_others = True
        await until(lambda: not node.names())
        assert [other.id for other in node.others] == ["1"]


async def test_a_plain_kill_does_not_take_a_flatten_back_that_is_not_journaled(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        node.brake.pull(A, pull(id="1", flatten=True))
        node.brake.pull(A, pull(id="2"))
        await until(lambda: node.accounts[A].journaled)
        assert node.accounts[A].journaled[0].flatten
    pulls.write(tmp_path, "b", pull(id="3", flatten=True))
    pulls.write(tmp_path, "b", pull(id="4"))
    assert [(name, found.flatten) for name, found in pulls.read(tmp_path)] == [("a", True), ("b", True)]


async def test_a_flatten_by_hand_over_a_plain_file_is_kept_whole(tmp_path: Path) -> None:
    """Also where the file was written around us: what was asked before counts, on the disk as well."""
    async with Node(tmp_path) as node:
        node.brake.pull(A, pull(id="1", flatten=True))
        await until(lambda: node.names() == ["a"])
        (tmp_path / "a.brake").write_text('{"reason": "by hand", "actor": "eve", "id": "2"}')
        await until(lambda: node.accounts[A].stops == 2)
        await until(lambda: [(found.id, found.flatten) for _, found in pulls.read(tmp_path)] == [("2", True)])


async def test_what_cannot_be_read_stops_once_and_not_at_every_start(tmp_path: Path) -> None:
    (tmp_path / "a.brake").mkdir()
    (tmp_path / "a.brake" / "within").touch()
    async with Node(tmp_path) as node:
        await until(lambda: node.accounts[A].journaled)
        node.brake.journaled(A, node.accounts[A].journaled[0])
        await until(lambda: not node.names())
    again = Node(tmp_path)
    again.brake.honour()
    assert again.accounts[A].stops == 0


async def test_a_file_that_cannot_be_taken_away_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill that was released must not come back at the next start."""
    removed = pulls.remove

    def refuse(folder: Path, account: str, pull_id: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(pulls, "remove", refuse)
    async with Node(tmp_path) as node:
        node.brake.pull(A, pull(id="1"))
        await until(lambda: node.names() == ["a"])
        node.brake.journaled(A, pull(id="1").event())
        await asyncio.sleep(0.05)
        monkeypatch.setattr(pulls, "remove", removed)
        await until(lambda: not node.names())


def test_files_are_for_their_owner_only_and_need_a_data_directory(tmp_path: Path) -> None:
    pulls.write(tmp_path / "brake", "a", pull())
    pulls.tell(tmp_path / "brake", {})
    assert {stat.S_IMODE(f.stat().st_mode) for f in (tmp_path / "brake").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "brake").stat().st_mode) == 0o700
    with pytest.raises(FileNotFoundError):
        pulls.write(tmp_path / "mistyped" / "brake", "a", pull())
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_stop_by_root_is_the_platforms_to_read(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4711)
    pulls.write(tmp_path / "brake", "a", pull())
    assert {p.stat().st_uid for p in (tmp_path / "brake", tmp_path / "brake" / "a.brake")} == {4711}


ODD_FILES = {
    "no id": b'{"reason":"by hand","actor":"me"}',
    "no UTF-8": b'{"reason":"a\xff\xfe","actor":"me"}',
    "nested": b"[" * 100_000,
    "NUL": b'{"reason":"a\\u0000b","actor":"m\\u0000e","id":"\\ud800"}',
    "huge": b"[" + b"1," * 200_000,
    "empty": b"",
}


@pytest.mark.parametrize("content", ODD_FILES.values(), ids=ODD_FILES)
async def test_whatever_a_hand_writes_stops_once_and_is_journaled(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also found by a start, and told to whoever looks; the node works on."""
    monkeypatch.setattr(brake, "JOURNAL_AFTER_S", 0.05)
    (tmp_path / "a.brake").write_bytes(content)
    node = Node(tmp_path)
    node.brake.honour()
    async with node:
        await until(lambda: node.accounts[A].journaled)
        await asyncio.sleep(0.3)
        assert node.accounts[A].stops == len(node.accounts[A].journaled) == 1
        event = node.accounts[A].journaled[0]
        assert "\0" not in event.reason + event.actor
        assert len(pulls.all_told(tmp_path)) == 1
        node.brake.journaled(A, event)
        await until(lambda: not node.names())


async def test_a_file_that_would_keep_its_reader_waiting_stops_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.brake")
    node = Node(tmp_path)
    node.brake.honour()
    assert node.accounts[A].stops == 1


async def test_a_name_that_is_no_text_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.brake")).write_bytes(b"{}")
    async with Node(tmp_path):
        pulls.write(tmp_path, A, pull(id="1"))
        await until(lambda: pulls.told(tmp_path, "1"))


async def test_a_full_disk_takes_an_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no room for the reason, and a stop needs none; what is wanted besides is in memory until there is."""
    put, full = pulls._put, True

    def no_room(file: Path, content: bytes) -> None:
        if full and file.suffix == pulls.SUFFIX:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(file, content)

    monkeypatch.setattr(pulls, "_put", no_room)
    by_hand = pulls.write(tmp_path, B, pull(id="1"))
    assert (tmp_path / "b.brake").read_bytes() == b""
    async with Node(tmp_path) as node:
        await until(lambda: pulls.told(tmp_path, by_hand.id))
        node.brake.pull(A, pull(id="2", flatten=True))
        await until(lambda: node.names() == ["a", "b"])
        await asyncio.sleep(0.1)
        assert node.accounts[A].stops == node.accounts[B].stops == 1
        full = False
        await until(lambda: (found := pulls.read_one(tmp_path, A)) is not None and found.flatten)
        assert node.accounts[A].stops == 1
