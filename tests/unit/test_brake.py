"""The brake's files: kept until the journal has them, told by pull, never in each other's way (R4; what attackers
found)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aether.domain.events import KillSwitchEngaged
from aether.domain.identifiers import AccountId
from aether.node import brake
from aether.node.brake import EVERY_ACCOUNT, Brake, Pull
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
        self.brake = Brake(folder, lambda: self.accounts)
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Node":
        self.task = asyncio.create_task(self.brake.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])

    def names(self) -> list[str]:
        return sorted(name for name, _ in brake.read(self.folder))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brake, "LOOK_EVERY_S", 0.005)
    monkeypatch.setattr(brake, "KEEP_AGAIN_S", 0.01)
    monkeypatch.setattr(brake, "JOURNAL_AFTER_S", 0.02)


def pull(**fields: Any) -> Pull:
    return Pull(reason="a test", actor="ada", **fields)


async def test_whoever_pulled_is_told_of_that_pull_alone(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        first, second = pull(id="1"), pull(id="2")
        brake.write(tmp_path, "a", first)
        await until(lambda: brake.told(tmp_path, "1"))
        assert brake.told(tmp_path, "2") is None
        node.brake.journaled(A, first.event())
        await until(lambda: (brake.told(tmp_path, "1") or {})["a"].is_journaled)
        node.accounts[A].left = ["kraken: 3 orders"]
        brake.write(tmp_path, "a", second)
        await until(lambda: brake.told(tmp_path, "2"))
        assert (brake.told(tmp_path, "2") or {})["a"].unconfirmed == ["kraken: 3 orders"]
        assert node.accounts[A].stops == 2


async def test_a_second_pull_stops_again_also_what_never_journals(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        brake.write(tmp_path, "a", pull(id="1"))
        await until(lambda: node.accounts[A].stops == 1)
        brake.write(tmp_path, "a", pull(id="2"))
        await until(lambda: node.accounts[A].stops == 2)


async def test_a_flatten_is_not_done_by_a_plain_kill(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        node.brake.pull(A, pull(id="1"))
        node.brake.pull(A, pull(id="2", flatten=True))
        node.brake.journaled(A, pull().event())
        await until(lambda: any(e.flatten for e in node.accounts[A].journaled))
        assert node.names() == ["a"]
        node.brake.journaled(A, pull(flatten=True).event())
        await until(lambda: not node.names())


async def test_a_file_for_all_stays_until_each_account_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the pull of everything is not forgotten; room is made, and it is kept."""
    written = brake.write
    full = True

    def write(folder: Path, account: str, what: Pull) -> None:
        if full and account != EVERY_ACCOUNT:
            raise OSError(28, "No space left on device")
        written(folder, account, what)

    monkeypatch.setattr(brake, "write", write)
    async with Node(tmp_path) as node:
        brake.write(tmp_path, EVERY_ACCOUNT, pull(id="1"))
        await until(lambda: node.accounts[A].stops and node.accounts[B].stops)
        await asyncio.sleep(0.1)
        assert node.names() == [EVERY_ACCOUNT]
        full = False
        await until(lambda: node.names() == ["a", "b"])
        assert node.accounts[A].stops == node.accounts[B].stops == 1


async def test_what_cannot_be_read_stops_as_well_and_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.brake").mkdir()
    brake.write(tmp_path, "b", pull(id="1"))
    node = Node(tmp_path)
    node.brake.honour()
    assert node.accounts[A].stops == node.accounts[B].stops == 1
    async with node:
        await asyncio.sleep(0.05)
        assert node.accounts[A].stops == 1


async def test_a_pull_of_an_unknown_account_is_told_as_such(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        brake.write(tmp_path, "nobody", pull(id="1"))
        await until(lambda: brake.told(tmp_path, "1") == {})
        assert node.accounts[A].stops == 0


async def test_a_later_pull_is_not_taken_away_with_an_earlier_one(tmp_path: Path) -> None:
    brake.write(tmp_path, "a", pull(id="2"))
    brake.remove(tmp_path, "a", "1")
    assert [name for name, _ in brake.read(tmp_path)] == ["a"]
    brake.remove(tmp_path, "a", "2")
    assert not brake.read(tmp_path)
