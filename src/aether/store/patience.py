"""Waiting for the database no longer than one can."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from aether.domain.errors import DatabaseUnavailableError
from aether.store.database import CONNECTION_ERRORS

T = TypeVar("T")

DATABASE_AWAY = (DatabaseUnavailableError, *CONNECTION_ERRORS, SQLAlchemyError, TimeoutError)
"""What a database that is away, or hangs, raises through `within`."""

_abandoned: set[asyncio.Task[Any]] = set()


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, if it does so in time; otherwise leave it to itself.

    It is not waited for: canceling a query of a database that hangs may hang as well.

    Raises:
        TimeoutError: when it does not.
    """
    task = asyncio.create_task(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if done:
        return task.result()
    _abandoned.add(task)
    task.add_done_callback(_let_go)
    task.cancel()
    raise TimeoutError


def _let_go(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()
