"""Work that few may have done at a time, since it keeps processor and database busy for as long as it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from aether.api.problems import problem_of
from aether.domain.errors import TooManyAttemptsError

AGAIN_S = 5.0


class Turns:
    """So many may at once; whoever comes then is told to try again.

    Args:
        most: at once.
        told: why others have to wait.
    """

    def __init__(self, most: int, told: str) -> None:
        self._free = asyncio.Semaphore(most)
        self._told = told

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Have a turn. Raises TooManyAttemptsError when nobody else may."""
        if self._free.locked():
            raise TooManyAttemptsError(self._told, remedy="Try again.", retry_after_s=AGAIN_S)
        async with self._free:
            yield


class InTurn(StreamingResponse):
    """An answer that has its turn until the last of it was sent, or nobody reads on."""

    turns: Turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            async with self.turns.one():
                await super().__call__(scope, receive, send)
        except TooManyAttemptsError as error:
            await problem_of(error)(scope, receive, send)


def in_turn(turns: Turns, lines: AsyncIterator[bytes], media_type: str, **headers: str) -> InTurn:
    """Return an answer that has its turn."""
    made = InTurn(lines, media_type=media_type, headers=headers)
    made.turns = turns
    return made
