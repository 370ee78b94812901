"""`aether up`: starts the platform's processes, starts them again when they end, and ends them in order.

The processes are the node, which trades, the API, where strangers knock, one for stops alone, so that no crowd at the
API's door stands before the kill switch, and the local exchange where that is the market. Each is started with
everything that it has to know over a socket of its own (`Instructions`), says over it that it is up, and ends when the
socket closes: it never outlives the platform. That they are up is a wanted state: whatever ends one, it is started
again, later each time. A node that keeps ending is stopped at its venues first: its next start finds the brake pulled.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from aether.bus.topics import ProcessState
from aether.clock import monotonic_s, wall_ns
from aether.compose.choice import MarketChoice
from aether.compose.directory import BRAKE_FOLDER
from aether.compose.instructions import API, EXCHANGE, NODE, STOPS, Instructions, Up
from aether.compose.platform import Ground, Started, ground
from aether.compose.processes import write_processes
from aether.config import Settings
from aether.domain.errors import DatabaseUnavailableError, DataDirectoryError, FencedError, UncleanEndError
from aether.node import pulls
from aether.node.pulls import EVERY_ACCOUNT, Pull
from aether.telemetry import logger

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
STEADY_S = 60.0
"""A process that was up for so long begins again with the first pause."""
CRASHES, CRASHES_WITHIN_S = 3, 600.0
"""A node that has ended so often within that time is stopped."""
NO_CRASH = (DatabaseUnavailableError.exit_code, FencedError.exit_code)
"""What a node ends with that has no fault of its own: it waits for its database, or stands by for another node."""
NEXT_AFTER_S = 6.0
"""One that takes long to end keeps the next, and the node at last, waiting no longer."""
ENDS_WITHIN_S = 60.0
"""A process that does not end when asked to is killed after so long."""

_log = logger("supervisor")


@dataclass
class _Part:
    """A process of the platform."""

    name: str
    process: asyncio.subprocess.Process | None = None
    state: str = "starting"
    since_ns: int = 0
    restarts: int = 0
    told: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """What it said when it was up first."""
    is_settled: bool = False
    """Its work has begun once: from now on it is started again."""
    is_due_to_end: bool = False
    """It was told to end, to be started again: that is no crash."""

    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None


class _EndedError(Exception):
    """A process ended before its work began, having said why, or is done."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Supervisor:
    """Keeps the processes of a platform up.

    Args:
        found: what they stand on.
        exit_when_done: the platform ends when the node has.
    """

    def __init__(
        self, settings: Settings, choice: MarketChoice, found: Ground, *, seed: int, exit_when_done: bool
    ) -> None:
        self._settings = settings
        self._choice = choice
        self._ground = found
        self._seed = seed
        self._exit_when_done = exit_when_done
        stops = [_Part(STOPS, is_settled=True)] if found.stop_url else []  # it comes last: the platform works without
        self._exchange = _Part(EXCHANGE) if choice.needs_exchange else None
        self._node = _Part(NODE)
        self._parts = [_Part(API), *stops, self._node, *([self._exchange] if self._exchange else [])]
        self._crashes: list[float] = []
        self._stop = asyncio.Event()
        self._is_ending = False
        self._began_ns = wall_ns()

    async def run(self, on_started: Callable[[Started], None]) -> int:
        """Keep the processes up until a signal; return the exit code of the platform.

        Raises:
            DataDirectoryError: when it was ended since its data directory is gone.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        keeping = [asyncio.create_task(self._keep(part)) for part in self._parts]
        telling = asyncio.create_task(self._tell_started(on_started))
        stopping = asyncio.create_task(self._stop.wait())
        watching = asyncio.create_task(self._ground.directory.lost(self._ground.lock))
        await asyncio.wait({*keeping, stopping, watching}, return_when=asyncio.FIRST_COMPLETED)
        self._is_ending = True
        is_lost = watching.done()
        watching.cancel()
        telling.cancel()
        stopping.cancel()
        ending = []
        for part in self._parts:
            ending.append(asyncio.create_task(self._end(part)))
            await asyncio.wait(ending, timeout=NEXT_AFTER_S)
        codes = list(await asyncio.gather(*ending))
        for task in keeping:
            task.cancel()
        ended = await asyncio.gather(*keeping, return_exceptions=True)
        codes += [await self._end(part) for part in self._parts if part.is_running()]
        for result in ended:
            if isinstance(result, Exception) and not isinstance(result, _EndedError):
                raise result
        if is_lost:
            raise DataDirectoryError(
                f"The data directory {self._settings.data_dir} was deleted or moved while the platform ran.",
                remedy="Look for open orders at the venues, put the directory back or restore its backup, start again.",
            )
        first = [result.code for result in ended if isinstance(result, _EndedError)]
        return next((code for code in (*first, *codes) if code), 0)

    async def _tell_started(self, on_started: Callable[[Started], None]) -> None:
        on_started(Started(await self._node.told, await self._parts[0].told))

    async def _keep(self, part: _Part) -> None:
        """Start a process, and again whenever it ends. Raises _EndedError when its work never began, or is done."""
        pause_s = FIRST_PAUSE_S
        if part.name == STOPS:
            await asyncio.wait([p.told for p in self._parts if p is not part])  # trading begins sooner without it
        while True:
            if part is self._node and self._exchange:
                await self._exchange.told
            began_s = monotonic_s()
            try:
                code = await self._run_once(part)
            except OSError as error:
                if not part.is_settled:
                    raise
                _log.error("process_not_started", process=part.name, reason=str(error))
                code = DatabaseUnavailableError.exit_code if part.name == NODE else 1
            if self._is_ending:
                return
            if part.is_due_to_end:
                part.is_due_to_end = False
                part.restarts += 1
                continue
            is_done = part.name == NODE and self._exit_when_done
            if is_done or (not part.is_settled and code != FencedError.exit_code):
                raise _EndedError(code if code >= 0 else 128 - code)
            if monotonic_s() - began_s > STEADY_S:
                pause_s = FIRST_PAUSE_S
            _log.error("process_ended", process=part.name, code=code, again_in_s=pause_s)
            if part is self._exchange:
                self._end_node_after_exchange(part)
            if part.name == NODE and code not in NO_CRASH:
                await self._note_crash()
            await asyncio.sleep(pause_s)
            if self._is_ending:
                return
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            part.restarts += 1

    def _end_node_after_exchange(self, exchange: _Part) -> None:
        """Let the node begin anew once the exchange is back: its accounts there are gone."""
        if exchange.told.done():
            exchange.told = asyncio.get_running_loop().create_future()
        node = self._node
        if node.process is not None and node.is_running():
            node.is_due_to_end = True
            with suppress(ProcessLookupError):
                node.process.terminate()

    async def _run_once(self, part: _Part) -> int:
        """Run a process to its end; return its exit code, negative for a signal's."""
        listeners = {API: self._ground.listener, STOPS: self._ground.stop_listener}
        listener = listeners[part.name].fileno() if part.name in listeners else -1
        ours, theirs = socket.socketpair()
        with theirs:
            kept = [theirs.fileno(), self._ground.lock, *([listener] if listener >= 0 else [])]
            command = [sys.executable, "-P", "-m", "aether.cli.part", part.name, str(theirs.fileno())]
            # A Ctrl-C goes to every process of a terminal; the child has no say in it before it has imported itself.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                part.process = await asyncio.create_subprocess_exec(*command, pass_fds=kept)
            except OSError:
                ours.close()
                raise
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        reader, line = await asyncio.open_connection(sock=ours)
        self._note(part, "starting")
        listening = asyncio.create_task(self._listen(part, reader))
        instructions = Instructions(
            settings=self._settings,
            choice=self._choice_now(),
            seed=self._seed,
            exit_when_done=self._exit_when_done,
            is_first=not part.told.done(),
            listener=listener,
            url=self._ground.url,
            stop_url=self._ground.stop_url,
            link_secret=self._ground.link_secret,
        )
        with suppress(OSError):
            line.write(msgspec.json.encode(instructions, enc_hook=str) + b"\n")
            await line.drain()
        code = await part.process.wait()
        listening.cancel()
        line.close()
        self._note(part, "down")
        return code

    def _choice_now(self) -> MarketChoice:
        """Return the market, with the address of the exchange when it is up."""
        if self._exchange is None or not self._exchange.told.done():
            return self._choice
        return msgspec.structs.replace(self._choice, base_url=self._exchange.told.result())

    async def _listen(self, part: _Part, reader: asyncio.StreamReader) -> None:
        """Take what a process says."""
        with suppress(OSError, ValueError, msgspec.MsgspecError):
            while line := await reader.readline():
                up = msgspec.json.decode(line, type=Up)
                if not part.told.done():
                    part.told.set_result(up.told)
                part.is_settled |= up.is_settled
                self._note(part, "up")

    def _note(self, part: _Part, state: str) -> None:
        part.state, part.since_ns = state, wall_ns()
        own = ProcessState(name="aether up", pid=os.getpid(), state="up", restarts=0, since_ns=self._began_ns)
        states = [
            ProcessState(
                name=p.name,
                pid=p.process.pid if p.process and p.is_running() else 0,
                state=p.state,
                restarts=p.restarts,
                since_ns=p.since_ns,
            )
            for p in self._parts
        ]
        try:
            write_processes(self._settings.data_dir, [own, *states])
        except OSError as error:
            _log.warning("processes_not_told", reason=str(error))

    async def _note_crash(self) -> None:
        """Count an end of the node; pull the brake when there are too many."""
        now = monotonic_s()
        self._crashes = [at for at in self._crashes if now - at < CRASHES_WITHIN_S] + [now]
        if len(self._crashes) < CRASHES:
            return
        self._crashes.clear()
        reason = f"the trading process ended {CRASHES} times within {CRASHES_WITHIN_S / 60:.0f} minutes"
        _log.error("brake_pulled", reason=reason)
        pull = Pull(reason=reason, actor="platform")
        try:
            await asyncio.to_thread(pulls.write, self._settings.data_dir / BRAKE_FOLDER, EVERY_ACCOUNT, pull)
        except OSError as error:
            _log.error("brake_not_kept", reason=str(error))

    async def _end(self, part: _Part) -> int:
        """End a process as it should, or kill it when it does not; return its exit code."""
        if part.process is None or not part.is_running():
            return 0
        with suppress(ProcessLookupError):
            part.process.terminate()
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                code = await part.process.wait()
                is_harmless = part.name != NODE or code == -signal.SIGTERM
                by_signal = 0 if is_harmless else UncleanEndError.exit_code
                return by_signal if code < 0 else code
        except TimeoutError:
            _log.error("process_killed", process=part.name, reason=f"it did not end within {ENDS_WITHIN_S:.0f} s")
            with suppress(ProcessLookupError):
                part.process.kill()
            await part.process.wait()
            return UncleanEndError.exit_code


async def run_supervised(
    settings: Settings,
    choice: MarketChoice,
    *,
    seed: int = 1,
    exit_when_done: bool = False,
    on_started: Callable[[Started], None],
) -> int:
    """Run the platform in processes of its own until interrupted (or the recording is done); return its exit code.

    A code other than 0 was explained by the process that ended with it.

    Raises:
        AetherError: as `ground` does.
    """
    async with ground(settings, choice.kind) as found:
        supervisor = Supervisor(settings, choice, found, seed=seed, exit_when_done=exit_when_done)
        return await supervisor.run(on_started)
