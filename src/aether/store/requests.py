"""Writing operators' requests, and seeing whether they were applied. `node/requests.py` reads them."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.clock import wall_ns
from aether.domain.errors import ConflictError
from aether.domain.events import OperatorEvent
from aether.domain.identifiers import AccountId
from aether.store.database import Scope
from aether.store.schema import REQUEST_CHANNEL, operator_requests

POLL_S = 0.02


class Pending(NamedTuple):
    """A request that waits for its account; `event` in its JSON form."""

    id: int
    account: AccountId
    event: Any


async def submit(scope: Scope, accounts: Sequence[AccountId], event: OperatorEvent) -> list[int]:
    """Ask for `event` in each account; return the ids of the requests. They are durable when this returns."""
    async with scope.begin() as connection:
        return await insert_requests(connection, accounts, event)


async def insert_requests(
    connection: AsyncConnection, accounts: Sequence[AccountId], event: OperatorEvent
) -> list[int]:
    """Ask for `event` in each account, in the transaction of `connection`; return the ids of the requests."""
    body = msgspec.to_builtins(event)
    rows = [{"account": a, "event": body, "requested_ns": wall_ns()} for a in accounts]
    if not rows:
        return []
    result = await connection.execute(sa.insert(operator_requests).returning(operator_requests.c.id), rows)
    await connection.execute(sa.text(f"NOTIFY {REQUEST_CHANNEL}"))
    return [row.id for row in result]


async def wait_applied(scope: Scope, ids: Sequence[int], timeout_s: float) -> bool:
    """Return whether all requests were applied within `timeout_s`.

    Raises:
        ConflictError: when an account refused one; what it refused has changed nothing.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    query = (
        sa.select(operator_requests.c.account, operator_requests.c.applied_seq, operator_requests.c.refusal)
        .where(operator_requests.c.id.in_(list(ids)))
        .order_by(operator_requests.c.id)
    )
    while True:
        rows = await scope.all(query)
        if all(row.applied_seq is not None for row in rows):
            refused = [f"{row.account}: {row.refusal}" for row in rows if row.refusal]
            if refused:
                raise ConflictError(
                    f"Refused by {'; '.join(refused)}.", remedy="What was refused has changed nothing; ask anew."
                )
            return True
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(POLL_S)
