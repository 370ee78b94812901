"""What floods at the doors cost: the kill switch and the node's latency under each, against quiet minutes of the same run.

A platform as `aether up` starts it trades on the local exchange. Each flood comes from a process of its own, with the
least claim on the processor, as strangers on other machines would have none. A kill is measured as a person's machine
would: from the request to an answer that nothing is left to be confirmed. Phases alternate: quiet, flood, quiet, flood;
figures are of all phases of a kind together, since a single 99th percentile moves threefold from one quiet phase to the
next.
"""

import asyncio
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.running import COMMAND, up

ROUNDS = 3
PHASE_S = 12.0
KILLS = 8
STRANGERS = 50
"""Addresses that a flood comes from."""
API = "/api/v1"
TICKS = "aether_tick_to_decision_seconds_bucket"

SIGN_IN = b'{"email":"nobody@example.com","password":"a wrong password of some length"}'
FLOODS = {
    "350 connections with wrong passwords": (350, b"POST /api/v1/session", SIGN_IN, False),
    "60 connections that probe": (60, b"GET /readyz", b"", False),
    "1,100 requests sent by half": (1_100, b"POST /api/v1/session", SIGN_IN, True),
}
"""Connections, the request's line and body, and whether it is never ended."""


async def _flood(url: str, name: str) -> None:
    """Knock until ended."""
    where = urlsplit(url)
    count, line, body, is_half = FLOODS[name]
    head = line + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    request = head % len(body) + body
    sent = request[:-10] if is_half and body else request

    async def knock(number: int) -> None:
        address = f"127.0.1.{2 + number % STRANGERS}"
        while True:
            with suppress(OSError, EOFError, asyncio.LimitOverrunError):
                reader, writer = await asyncio.open_connection("127.0.0.1", where.port, local_addr=(address, 0))
                try:
                    while True:
                        writer.write(sent)
                        await writer.drain()
                        answer = await reader.readuntil(b"\r\n\r\n")
                        length = re.search(rb"content-length: (\d+)", answer)
                        await reader.readexactly(int(length[1]) if length else 0)
                finally:
                    writer.close()
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(knock(number))


def _ticks(http: httpx.Client) -> dict[float, int]:
    """Return how many events were decided on within each bound, seconds."""
    text = ""
    while TICKS not in text:
        with suppress(httpx.TransportError):  # a connection that gave way is made again
            text = http.get("/metrics").text
    found = re.findall(rf'{TICKS}{{le="([^"]+)"}} (\S+)', text)
    return {float(bound): round(float(count)) for bound, count in found}


@dataclass
class _Measured:
    """What was measured in phases of a kind, in seconds, and how many events were decided on within each bound."""

    by_page: list[float] = field(default_factory=list)
    by_command: list[float] = field(default_factory=list)
    ticks: Counter[float] = field(default_factory=Counter)

    def figures(self) -> tuple[float, float, float]:
        return median(self.by_page), median(self.by_command), _p99(self.ticks)


def _p99(found: Counter[float]) -> float:
    """Return the 99th percentile of cumulative counts by bound, within a bucket as if evenly spread, seconds."""
    counts = sorted(found.items())
    wanted = 0.99 * counts[-1][1]
    low, below = 0.0, 0
    for bound, count in counts:
        if count >= wanted:
            share = (wanted - below) / (count - below) if count > below else 0.0
            return low + share * ((bound if bound != float("inf") else low) - low)
        low, below = bound, count
    return low


class _Desk:
    """A platform with its owner signed in, who keeps one connection as a page does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process, self.url, secret = up(folder, "--market", "exchange")
        self.http = httpx.Client(base_url=self.url, timeout=60)
        self.http.post(f"{API}/session/token", json={"token": secret}).raise_for_status()
        self.stops = self.http.get(f"{API}/system").json()["stop_url"] + f"{API}/kill-switch/engage"
        while self.http.get("/readyz").status_code != 200:
            time.sleep(0.5)
        while any(p["state"] != "up" for p in self.http.get(f"{API}/system").json()["processes"]):
            time.sleep(0.5)  # the process of stops comes last

    def kill_by_api(self) -> float:
        """Stop all accounts as the page does; return how long it took until nothing was left to be confirmed."""
        began = perf_counter()
        while True:
            with suppress(httpx.TransportError):  # a connection that gave way is made again, as a browser does
                told: Any = self.http.post(self.stops, json={"reason": "measured"}).json()
                if not told["unconfirmed"]:
                    return perf_counter() - began

    def kill_by_command(self) -> float:
        """Stop all accounts from the terminal."""
        began = perf_counter()
        command = [*COMMAND, "kill", "engage", "--reason", "measured", "--data-dir", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return perf_counter() - began

    def end(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(120)


def _phase(desk: _Desk, flood: str, measured: _Measured) -> None:
    """Measure kills by page and by command, and from tick to decision, under a flood or in quiet."""
    flooding = None
    if flood:
        command = ["nice", "-n", "19", sys.executable, "-m", "benchmarks.floods", desk.url, flood]
        flooding = subprocess.Popen(command)
        time.sleep(2)
    try:
        before = _ticks(desk.http)
        began = perf_counter()
        for _ in range(KILLS):
            measured.by_page.append(desk.kill_by_api())
            time.sleep(0.5)
        measured.by_command.append(desk.kill_by_command())
        time.sleep(max(0.0, PHASE_S - (perf_counter() - began)))
        for bound, count in _ticks(desk.http).items():
            measured.ticks[bound] += count - before.get(bound, 0)
    finally:
        if flooding is not None:
            flooding.kill()
            flooding.wait()
            time.sleep(1)


def run() -> Iterable[tuple[str, str]]:
    """Yield each figure with its name."""
    quietly, loudly = _Measured(), {flood: _Measured() for flood in FLOODS}
    with tempfile.TemporaryDirectory() as folder:
        desk = _Desk(Path(folder) / "data")
        try:
            for flood, measured in [*loudly.items()] * ROUNDS:
                _phase(desk, "", quietly)
                _phase(desk, flood, measured)
        finally:
            desk.end()
    figures = ("kill switch by the page", "kill switch by command", "tick to decision p99")
    for flood, measured in loudly.items():
        for figure, quiet, loud in zip(figures, quietly.figures(), measured.figures(), strict=True):
            yield f"{figure}: {flood}, against quiet", f"{loud / quiet:.2f} ({quiet * 1e3:.1f} -> {loud * 1e3:.1f} ms)"


if __name__ == "__main__":
    asyncio.run(_flood(sys.argv[1], sys.argv[2]))
