"""Rotated keys at work, over real sockets: one that a venue does not take keeps no later one away (S4)."""

import asyncio
from contextlib import suppress

import pytest

from aether.domain.identifiers import VenueId
from aether.domain.orders import OrderType
from aether.exchange.server import LocalExchange
from aether.node import keys
from aether.node.keys import follow_keys
from aether.venues.protocol import Credentials
from tests.contract.venue_desk import VENUES, local_exchange, trader_at
from tests.waiting import until


class Ring:
    """The keys of one account at one venue."""

    def __init__(self, first: Credentials) -> None:
        self.keys = {1: first}
        self.noted: list[int] = []
        self._news = asyncio.Event()

    def rotate(self, credentials: Credentials) -> None:
        self.keys[max(self.keys) + 1] = credentials
        self._news.set()

    async def version(self, _account: str, _venue: str) -> int:
        return max(self.keys)

    async def load(self, _account: str, _venue: str) -> tuple[int, Credentials]:
        return max(self.keys), self.keys[max(self.keys)]

    async def note_use(self, _account: str, _venue: str, version: int) -> None:
        self.noted.append(version)

    async def changed(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await self._news.wait()
        self._news.clear()


def given(local: LocalExchange, venue: str, account: str) -> Credentials:
    key, secret = local.open_account(venue, account, {})
    return Credentials(key=key, secret=secret)


@pytest.mark.parametrize("venue", VENUES)
async def test_a_key_that_does_not_work_keeps_no_later_one_away(venue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "WORKS_WITHIN_S", 0.2)
    async with local_exchange() as local, trader_at(local, venue) as one:
        first = one.client.credentials
        assert first is not None
        ring = Ring(first)
        sessions, versions = {VenueId(venue): one.session}, {VenueId(venue): 1}
        following = asyncio.create_task(follow_keys(ring, one.account, sessions, versions, ring.changed))
        await until(lambda: ring.noted == [1])
        withdrawn = given(local, venue, one.account)
        local.exchanges[venue].face.keys.pop(withdrawn.key)
        ring.rotate(withdrawn)
        await until(lambda: versions[VenueId(venue)] == 2)
        assert not one.session.ready.is_set()
        good = given(local, venue, one.account)
        local.exchanges[venue].face.keys.pop(first.key)
        ring.rotate(good)
        await until(lambda: ring.noted == [1, 3])
        assert one.session.ready.is_set(), "and only what works is noted as used"
        order = one.request("buy", OrderType.LIMIT, "0.01", limit_price="20000")
        one.session.submit(order)
        await until(lambda: len(one.exchange.venue.account(one.account).open) == 1)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
