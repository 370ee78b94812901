"""Operators' requests reach their account once each, in whatever order they are committed (O2)."""

import sqlalchemy as sa

from aether.domain.events import KillSwitchEngaged, KillSwitchReleased, OperatorEvent
from aether.domain.identifiers import AccountId
from aether.node.inbox import Inbox
from aether.node.requests import RequestReader
from aether.store.database import Database
from aether.store.node_store import NodeStore
from aether.store.requests import insert_requests, submit
from aether.store.schema import operator_requests

DESK = AccountId("desk")


class Taker:
    """What a reader needs of a shard."""

    def __init__(self) -> None:
        self.inbox = Inbox()

    async def taken(self) -> list[tuple[str, int]]:
        """Return what came since the last call."""
        found = await self.inbox.take(100) if len(self.inbox) else []
        return [(type(i.event).__name__, i.request_id) for i in found]


def engaged(reason: str = "drill") -> OperatorEvent:
    return KillSwitchEngaged(ts_ns=0, reason=reason, actor="ada")


async def test_a_request_that_is_committed_after_a_later_one_is_not_lost(database: Database) -> None:
    """One of 120 kill requests was never applied: the reader skipped ids below the last that it had seen."""
    desk = Taker()
    reader = RequestReader(NodeStore(database.node), {DESK: desk})  # type: ignore[dict-item]
    async with database.control.begin() as slow:
        (first,) = await insert_requests(slow, [DESK], engaged())
        release: OperatorEvent = KillSwitchReleased(ts_ns=0, reason="over", actor="bob")
        (second,) = await submit(database.control, [DESK], release)
        assert first < second
        await reader.fetch()
        assert await desk.taken() == [("KillSwitchReleased", second)]
    await reader.fetch()
    assert await desk.taken() == [("KillSwitchEngaged", first)]
    await reader.fetch()
    assert await desk.taken() == [], "once each, also while they are not applied yet"


async def test_what_was_applied_is_forgotten(database: Database) -> None:
    desk = Taker()
    reader = RequestReader(NodeStore(database.node), {DESK: desk})  # type: ignore[dict-item]
    ids = [i for n in range(20) for i in await submit(database.control, [DESK], engaged(f"drill {n}"))]
    await reader.fetch()
    assert [i for _, i in await desk.taken()] == ids
    async with database.node.begin() as connection:
        await connection.execute(sa.update(operator_requests).values(applied_seq=7))
    await reader.fetch()
    assert (await desk.taken(), reader._given) == ([], set())
