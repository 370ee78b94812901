"""Waiting for what is about to happen."""

import asyncio
from collections.abc import Callable
from typing import Any

PATIENCE_S = 30.0


async def until(met: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
    """Return once a condition holds. Raises TimeoutError."""

    async def wait() -> None:
        while not met():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(wait(), patience_s)
