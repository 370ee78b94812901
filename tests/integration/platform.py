"""A running platform in a process of its own, as a user starts it."""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "aether.cli"]
START_WITHIN_S = 60


def until(check: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come within {seconds:.0f} s")


@contextmanager
def hanging_database(data_dir: Path) -> Iterator[None]:
    """Stop every process of the embedded server in the middle of its work."""
    master = int((data_dir / "postgresql" / "postmaster.pid").read_text().splitlines()[0])
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    pids = [master, *map(int, children)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class Platform:
    """`aether up` on a data directory; `env` adds to the environment."""

    def __init__(self, data_dir: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self._process = subprocess.Popen(
            [*COMMAND, "up", "--data-dir", str(data_dir), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._looked_at = 0
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()

    def _hear(self) -> None:
        """Take what it says: a pipe that nobody empties would hold it up."""
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in self._process.stdout:
                self._lines.append(line)

    @property
    def pid(self) -> int:
        """The process that keeps the others up."""
        return self._process.pid

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return its processes by name, as they are told in the data directory."""
        told = json.loads((self.data_dir / "processes.json").read_text())
        return {process["name"]: process for process in told}

    def kill_part(self, name: str) -> int:
        """End one of its processes as a fault would; return what its number was."""
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def pid_of(self, name: str) -> int:
        """Return the number of one of its processes; never 0, which would mean the tests themselves."""
        pid = int(self.processes()[name]["pid"])
        assert pid > 0, f"{name} does not run"
        return pid

    def wait_for_part(self, name: str, *, other_than: int) -> int:
        """Wait until a process is up again; return its number."""

        def pid() -> int:
            found = self.processes()[name]
            return int(found["pid"]) if found["state"] == "up" and found["pid"] != other_than else 0

        return int(until(pid, f"{name}, up again"))

    def hold_files(self, most: int) -> None:
        """Let the process where strangers knock hold no more files than that."""
        pid = self.pid_of("api")
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))

    def link(self) -> str:
        """Wait until it serves; return the link that signs in."""
        return self._said(r"(https?://\S+#(?:token|invitation)=\S+)")

    def wait_for_url(self) -> str:
        """Wait until it serves people who are set up; return its address."""
        return self._said(r"Open\s+(https?://[^\s#]+)")

    def _said(self, pattern: str) -> str:
        """Wait for a line; return the group in it."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            is_over = not self._hearing.is_alive()
            for line in self._lines[self._looked_at :]:
                self._looked_at += 1
                if found := re.search(pattern, line):
                    return found[1]
            if is_over:
                break
            time.sleep(0.02)
        raise AssertionError("it did not say so: " + "".join(self._lines))

    def kill(self) -> None:
        """End it, with all of its processes, as a power cut would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._close()

    def close(self) -> None:
        """Kill it if it has not ended: what a failed test left."""
        if not self.has_ended():
            self.kill()

    def stop(self) -> int:
        """End it as Ctrl-C does; return its exit code."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(60)
        if code:
            self._hearing.join(5)
            print("".join(self._lines))  # noqa: T201  pytest shows it with the failure
        self._close()
        return code

    def wait(self) -> int:
        """Return its exit code once it ends by itself."""
        return self.end()[0]

    def end(self) -> tuple[int, str]:
        """Return its exit code once it ends by itself, and what it said."""
        code = self._process.wait(120)
        self._hearing.join(5)
        self._close()
        return code, "".join(self._lines)

    def has_ended(self) -> bool:
        """Return whether it has ended."""
        return self._process.poll() is not None

    def _close(self) -> None:
        assert self._process.stdout is not None
        self._hearing.join(1)
        if not self._hearing.is_alive():  # a server that outlives its platform holds the pipe
            self._process.stdout.close()


def aether(*arguments: str, data_dir: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    where: Sequence[str] = ("--data-dir", str(data_dir)) if data_dir else ()
    return subprocess.run([*COMMAND, *arguments, *where], capture_output=True, text=True, timeout=120, check=False)


def vouched(data_dir: Path, email: str) -> str:
    """Return the token that the machine's owner hands over to somebody who is invited."""
    done = aether("users", "vouch", email, data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().partition("#invitation=")[2]


def aether_json(*arguments: str, data_dir: Path) -> object:
    """Run a command with `--json` and return what it says."""
    done = aether(*arguments, "--json", data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
