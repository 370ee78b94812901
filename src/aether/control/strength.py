"""Judging how easily a password is guessed, in a process of its own: `python -m aether.control.strength`.

The estimator takes many seconds for some passwords, and holds up everything else in its process meanwhile. Here it gets
a bounded time, one password after the other, and only so many may wait.
"""

import asyncio
import json
import resource
import signal
import sys
from contextlib import suppress
from typing import Any

from aether.domain.errors import InvalidValueError, TooManyAttemptsError

SCORED_LENGTH = 32
"""A password whose beginning is hard to guess is hard to guess."""
CPU_S, WITHIN_S = 3, 10.0
"""What the judging of one password may take: of the processor, and in all."""
MOST_WAITING = 8


class Judge:
    """Judges passwords, one at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def score(self, password: str, words: list[str]) -> tuple[int, str]:
        """Return zxcvbn's score of 0 to 4 and its warning.

        Args:
            words: that are easily guessed here.

        Raises:
            TooManyAttemptsError: when too many wait already.
            InvalidValueError: when it cannot be judged in time.
        """
        if self._waiting >= MOST_WAITING:
            raise TooManyAttemptsError("Many passwords are being judged.", remedy="Try again.", retry_after_s=WITHIN_S)
        self._waiting += 1
        try:
            async with self._turn:
                return await self._ask(password[:SCORED_LENGTH], words)
        finally:
            self._waiting -= 1

    async def _ask(self, password: str, words: list[str]) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", __name__, env={}, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(WITHIN_S):
                told, _ = await process.communicate(json.dumps([password, words]).encode())
        except TimeoutError:
            told = b""
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if not told:
            raise InvalidValueError(
                "The password cannot be judged in time.", remedy="Choose another; a few random words do well."
            )
        score, warning = json.loads(told)
        return int(score), str(warning)


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from zxcvbn import zxcvbn  # noqa: PLC0415  it counts towards the limit

    password, words = json.load(sys.stdin)
    found: dict[str, Any] = zxcvbn(password, user_inputs=words)
    json.dump([found["score"], found["feedback"]["warning"]], sys.stdout)


if __name__ == "__main__":
    _main()
