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
from aether.telemetry import logger

_log = logger("past")

WITHIN_S = 60.0
WAITS_S = 20.0


class Past:
    """Replays accounts, one at a time, and one for each who asks: a replay takes a processor for seconds.

    Args:
        data_dir: of the platform.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._turn = asyncio.Semaphore(1)
        self._asking: set[str] = set()

    async def __call__(self, who: str, account: AccountId, at_ns: int) -> dict[str, Any]:
        """Return an account as the screen shows it, as it was at `at_ns`. Canceled, it leaves no process behind.

        Raises:
            InvalidValueError: when it had not been opened by then, or its past does not prove; it says which.
            NoAnswerError: when others are looked at, or it takes too long.
        """
        if who in self._asking:
            raise NoAnswerError("A past that you asked for is being looked at.", remedy="Wait for it.")
        self._asking.add(who)
        try:
            try:
                async with asyncio.timeout(WAITS_S):
                    await self._turn.acquire()
            except TimeoutError as error:
                raise NoAnswerError(
                    "The pasts that others asked for are being looked at.", remedy="Try again soon."
                ) from error
            try:
                return await self._replayed(account, at_ns)
            finally:
                self._turn.release()
        finally:
            self._asking.discard(who)

    async def _replayed(self, account: AccountId, at_ns: int) -> dict[str, Any]:
        when = f"{at_ns // 1_000_000_000}.{at_ns % 1_000_000_000:09}"
        command = ("journal", "state", "--account", account, "--at", when, "--json", "--data-dir", str(self._data_dir))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "aether.cli",
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
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
            if not said.startswith("Error:"):
                _log.error("past_not_shown", account_id=account, code=process.returncode, said=said[-2_000:])
                raise NoAnswerError(f"{account} could not be replayed now.", remedy="Try again; the log says why.")
            raise InvalidValueError(" ".join(said.removeprefix("Error:").split()), remedy=" ".join(remedy.split()))
        found: dict[str, Any] = json.loads(told)
        del found["market"], found["state"]
        return found | {"unconfirmed": []}
