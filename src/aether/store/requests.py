"""Writing operators' requests, and seeing whether they were applied. `node/requests.py` reads them."""

import asyncio
from collections.abc import Sequence
from time import time_ns

import msgspec
import sqlalchemy as sa

from aether.domain.events import OperatorEvent
from aether.domain.identifiers import AccountId
from aether.store.database import Database
from aether.store.schema import REQUEST_CHANNEL, operator_requests

POLL_S = 0.02


async def submit(database: Database, accounts: Sequence[AccountId], event: OperatorEvent) -> list[int]:
    """Ask for `event` in each account; return the ids of the requests. They are durable when this returns."""
    body = msgspec.to_builtins(event)
    rows = [{"account": a, "event": body, "requested_ns": time_ns()} for a in accounts]
    async with database.engine.begin() as connection:
        result = await connection.execute(sa.insert(operator_requests).returning(operator_requests.c.id), rows)
        ids = [row.id for row in result]
        await connection.execute(sa.text(f"NOTIFY {REQUEST_CHANNEL}"))
    return ids


async def wait_applied(database: Database, ids: Sequence[int], timeout_s: float) -> bool:
    """Return whether all requests were applied within `timeout_s`."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    query = (
        sa.select(sa.func.count())
        .select_from(operator_requests)
        .where(operator_requests.c.id.in_(list(ids)), operator_requests.c.applied_seq.is_(None))
    )
    while True:
        async with database.engine.connect() as connection:
            if (await connection.execute(query)).scalar_one() == 0:
                return True
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(POLL_S)
