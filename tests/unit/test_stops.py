"""A stop over the bus is taken, lies as a file, or is said to be lost: never confirmed in vain (R4, issue 11)."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aether.bus.local import LocalBus
from aether.compose.addresses import stop_url_of
from aether.compose.stops import BusStops, answer_stops
from aether.config import load_settings
from aether.domain.errors import InvalidValueError, NoAnswerError
from aether.domain.events import KillSwitchEngaged
from aether.domain.identifiers import AccountId
from aether.node import pulls
from aether.node.brake import Brake
from aether.node.pulls import Pull


class Account:
    """An account that can be stopped, and counts it."""

    def __init__(self) -> None:
        self.stops = 0

    def stop(self) -> None:
        self.stops += 1

    def journal(self, event: KillSwitchEngaged) -> None:
        pass

    def unconfirmed(self) -> list[str]:
        return []


ALL = Pull(reason="all of it", actor="ada")


class Node:
    """A node whose accounts come one by one, as they are recovered."""

    def __init__(self, folder: Path) -> None:
        self.accounts: dict[AccountId, Account] = {AccountId("one"): Account()}
        self.is_ready = False
        self.stands_by_for = ""
        self.brake = Brake(folder, self._found)

    def _found(self) -> Mapping[AccountId, Account]:
        return self.accounts


async def test_a_stop_while_accounts_are_recovered_reaches_those_that_are_not_there_yet(tmp_path: Path) -> None:
    bus, node = LocalBus(), Node(tmp_path / "brake")
    answer_stops(bus, node)  # type: ignore[arg-type]
    stops = BusStops(bus, tmp_path / "brake")
    assert await stops.pull("*", ALL) == []
    assert await stops.pull("two", Pull(reason="this one", actor="ada", flatten=True)) == []
    assert node.accounts[AccountId("one")].stops == 1, "what is there is stopped at once"
    assert await stops.unconfirmed("two") != []
    two = node.accounts[AccountId("two")] = Account()
    node.brake.honour()
    node.is_ready = True
    assert two.stops >= 1, "as soon as it is recovered"
    assert any(pull.flatten for name, pull in pulls.read(tmp_path / "brake") if name == "two")
    assert await stops.pull("*", Pull(reason="again", actor="ada")) == ["one", "two"]


async def test_a_stop_that_nothing_took_is_no_confirmed_one(tmp_path: Path) -> None:
    bus = LocalBus()
    stops = BusStops(bus, tmp_path / "gone" / "brake")
    with pytest.raises(NoAnswerError, match="brake's file cannot be written") as lost:
        await stops.pull("*", ALL)
    assert "Cancel at the venues themselves" in lost.value.remedy


async def test_a_file_that_no_node_has_taken_is_waited_for_even_when_it_answers_again(tmp_path: Path) -> None:
    bus, node = LocalBus(), Node(tmp_path / "brake")
    stops = BusStops(bus, tmp_path / "brake")
    await stops.pull("one", ALL)
    node.is_ready = True
    answer_stops(bus, node)  # type: ignore[arg-type]
    assert "does not answer" in (await stops.unconfirmed("one"))[0]
    working = asyncio.create_task(node.brake.run())
    async with asyncio.timeout(20):
        while await stops.unconfirmed("one"):
            await asyncio.sleep(0.05)
    assert node.accounts[AccountId("one")].stops == 1
    working.cancel()


def test_the_process_of_stops_has_the_pages_host_or_no_page_reaches_it() -> None:
    def url(**settings: Any) -> str:
        return stop_url_of(load_settings({"data_dir": "/tmp/none", **settings}, {}), 4711)

    assert url() == "http://localhost:4711"
    assert url(public_url="https://desk.example.com") == ""
    both = {"public_url": "https://desk.example.com", "stop_url": "https://desk.example.com:8444/"}
    assert url(**both) == "https://desk.example.com:8444"
    with pytest.raises(InvalidValueError, match="another host name"):
        url(**{**both, "stop_url": "https://stop.example.com"})
