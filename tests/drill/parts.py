"""The processes of the drill: an exchange that remembers, a PostgreSQL on a disk of its own, the platform."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from aether.store.embedded import EmbeddedServer

GONE = (ProcessLookupError, FileNotFoundError)
"""A process has ended already."""
COMMAND = [sys.executable, "-m", "aether.cli"]
PATIENCE_S = 90.0


class DrillError(Exception):
    """Something did not hold."""


def until(met: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until a condition holds, and return what it returned."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = met()
        if found:
            return found
        time.sleep(0.05)
    raise DrillError(f"{what} did not come within {patience_s:.0f} s")


class Part:
    """A process that is started, stopped in the middle, and killed."""

    def __init__(self, name: str, folder: Path, command: list[str], env: dict[str, str] | None = None) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = command
        self.env = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                self._command, stdout=stream, stderr=subprocess.STDOUT, env=self.env, start_new_session=True
            )

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End it, with all of its processes, as a power cut would."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def end(self) -> int:
        """End it as Ctrl-C does; return its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)


class ExchangePart(Part):
    """The local exchange with its rate limits, on ports that stay."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        kraken, binance, coinbase, admin = (str(p) for p in ports)
        arguments = ["--kraken-port", kraken, "--binance-port", binance, "--coinbase-port", coinbase]
        arguments += ["--admin-port", admin, "--memory", str(folder / "exchange")]
        super().__init__("exchange", folder, [*COMMAND, "serve", "exchange", *arguments])
        self.admin_url = f"http://127.0.0.1:{admin}"

    def start(self) -> None:
        super().start()
        until(self.answers, "the exchange")

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.admin_url}/state", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.admin_url}/state", timeout=20).json()
        return found

    def ledger(self, account: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.admin_url}/ledger", params={"account": account}, timeout=60).json()
        return found

    def trouble(self, **fields: Any) -> None:
        """Let things go wrong: rates of faults, `slow_s`."""
        httpx.post(f"{self.admin_url}/faults", json=fields, timeout=20)

    def cut(self) -> None:
        """Close every socket."""
        for name in ("kraken", "binance", "coinbase"):
            httpx.post(f"{self.admin_url}/venue", json={"exchange": name, "disconnect": True}, timeout=20)

    def open_orders(self, accounts: list[str]) -> int:
        state = self.state()
        return sum(v["accounts"].get(a, {}).get("open_orders", 0) for v in state.values() for a in accounts)


class DatabasePart:
    """A PostgreSQL whose disk can be filled."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._server = EmbeddedServer(disk / "postgresql")
        self.url = ""

    def start(self) -> None:
        self.url = self._server.start()

    def pids(self) -> list[int]:
        """Return the postmaster and its children, the postmaster first."""
        master = int((self._disk / "postgresql" / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return [master, *map(int, children)]

    def signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with suppress(*GONE):
                os.kill(pid, number)

    def kill_one(self, choose: Callable[[list[int]], int]) -> None:
        """Kill one process of the server: the server restarts all others by itself."""
        with suppress(*GONE):
            os.kill(choose(self.pids()[1:]), signal.SIGKILL)

    def kill_all(self) -> None:
        pids = self.pids()
        for pid in pids:
            with suppress(*GONE):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{p}").exists() for p in pids), "the end of the database")

    def ensure_running(self) -> None:
        def tried() -> bool:
            try:
                self._server.ensure_running()
            except Exception:  # noqa: BLE001  it is tried again
                return False
            return True

        until(tried, "the database")

    def fill(self) -> Path:
        """Fill the disk to its last byte."""
        ballast = self._disk / "ballast"
        with ballast.open("wb", buffering=0) as stream, suppress(OSError):
            while True:
                stream.write(b"\0" * 65_536)
        return ballast

    def stop(self) -> None:
        self._server.stop()


class PlatformPart(Part):
    """`aether up` on the exchange and the database, and its API as the machine's owner sees it."""

    def __init__(self, folder: Path, exchange: ExchangePart, database: DatabasePart) -> None:
        self.data_dir = folder / "data"
        arguments = ["up", "--market", "exchange", "--base-url", exchange.admin_url, "--port", "0"]
        command = [*COMMAND, *arguments, "--data-dir", str(self.data_dir)]
        super().__init__("platform", folder, command, {"AETHER_DATABASE_URL": database.url})
        self.http = httpx.Client(timeout=30)

    def start(self) -> None:
        before = self.log.read_text().count("#token=") if self.log.exists() else 0
        super().start()
        link = until(lambda: self._link(before), "the platform")
        url, _, token = link.partition("/#token=")
        self.http = httpx.Client(base_url=f"{url}/api/v1", timeout=30)
        signed = self.http.post("/session/token", json={"token": token})
        if signed.status_code != 204:
            raise DrillError(f"no session: {signed.text}")

    def _link(self, before: int) -> str:
        if self.has_ended():
            raise DrillError(f"the platform ended by itself:\n{self.log.read_text()[-3_000:]}")
        found = re.findall(r"(https?://\S+#token=\S+)", self.log.read_text())
        return found[-1] if len(found) > before else ""

    def accounts(self) -> list[dict[str, Any]]:
        """Return the accounts; none while the web interface is being started again."""
        try:
            found: list[dict[str, Any]] = self.http.get("/accounts").json()
        except httpx.TransportError:
            return []
        return found

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for something; the answer, or the reason why not."""
        try:
            answer = self.http.post(path, json=body)
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            return {"failed": str(error)}
        return told if answer.status_code < 300 else {"failed": told}

    def command(self, *arguments: str) -> str:
        """Run a command of the platform's own, as an operator would; return what it says."""
        command = [*COMMAND, *arguments, "--data-dir", str(self.data_dir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=self.env)
        if done.returncode:
            raise DrillError(f"{' '.join(arguments)} failed with {done.returncode}: {done.stderr[-500:]}")
        return done.stdout
