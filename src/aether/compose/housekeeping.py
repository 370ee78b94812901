"""Pieces of work that a process does again and again beside its main job."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from aether.domain.errors import AetherError
from aether.store.database import CONNECTION_ERRORS
from aether.telemetry import Trouble, logger

_log = logger("platform")


async def mind(event: str, every_s: float, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Do a piece of housekeeping again and again; a failure is told once and tried again."""
    trouble = Trouble(_log, event)
    while True:
        try:
            await work()
            trouble.over()
        except (AetherError, *CONNECTION_ERRORS, SQLAlchemyError, TimeoutError) as error:
            trouble.tell(error)
        await asyncio.sleep(every_s)
