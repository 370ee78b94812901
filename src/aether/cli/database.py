"""Asking the database from a command."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from aether.compose.storage import open_storage
from aether.config import Settings
from aether.store.database import Role, Scope

T = TypeVar("T")


def with_database(settings: Settings, work: Callable[[Scope], Coroutine[Any, Any, T]], role: Role = Role.DESK) -> T:
    """Return what `work` returns of the database of the settings, in a role."""

    async def inner() -> T:
        async with open_storage(settings) as storage:
            return await work(Scope(storage.database, role))

    return asyncio.run(inner())
