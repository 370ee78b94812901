"""An account as it was at a time, for the page: a process of its own replays it, beside whatever the API does."""

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from aether.clock import utc_text
from aether.domain.errors import InvalidValueError, NoAnswerError
from aether.domain.identifiers import AccountId

WITHIN_S = 60.0
WAITS_S = 20.0


class Past:
    """Replays accounts, one at a time: a replay takes a processor for seconds.

    Args:
        data_dir: of the platform.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._turn = asyncio.Semaphore(1)

    async def __call__(self, account: AccountId, at_ns: int) -> dict[str, Any]:
        """Return an account as the screen shows it, as it was at `at_ns`.

        Raises:
            InvalidValueError: when it had not been opened by then, or its past does not prove; it says which.
            NoAnswerError: when others are looked at, or it takes too long.
        """
        try:
            async with asyncio.timeout(WAITS_S):
                await self._turn.acquire()
        except TimeoutError as error:
            raise NoAnswerError("The past of another account is being looked at.", remedy="Try again soon.") from error
        try:
            return await self._replayed(account, at_ns)
        finally:
            self._turn.release()

    async def _replayed(self, account: AccountId, at_ns: int) -> dict[str, Any]:
        when = f"{at_ns // 1_000_000_000}.{at_ns % 1_000_000_000:09}"
        command = ("journal", "state", "--account", account, "--at", when, "--json", "--data-dir", str(self._data_dir))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "aether.cli", *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(WITHIN_S):
                told, complaint = await process.communicate()
        except TimeoutError as error:
            raise NoAnswerError(
                f"{account} at {utc_text(at_ns)} was not worked out within {WITHIN_S:g} s.",
                remedy="Ask on the machine, with: aether journal state.",
            ) from error
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        if process.returncode:
            said, _, remedy = complaint.decode(errors="replace").partition("What to do:")
            raise InvalidValueError(
                " ".join(said.removeprefix("Error:").split()) or f"{account} could not be replayed.",
                remedy=" ".join(remedy.split()) or "Ask on the machine, with: aether journal state.",
            )
        found: dict[str, Any] = json.loads(told)
        del found["market"], found["state"]
        return found | {"unconfirmed": []}
