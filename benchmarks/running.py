"""A platform as `aether up` starts it, for benchmarks."""

import os
import re
import subprocess
import sys
from collections import deque
from pathlib import Path
from threading import Thread

COMMAND = [sys.executable, "-m", "aether.cli"]


def up(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str, str]:
    """Start a platform; return it, its address and the secret that signs in."""
    process = subprocess.Popen(
        [*COMMAND, "up", *options, "--port", "0", "--data-dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    link = next(m for line in process.stdout if (m := re.search(r"(http\S+)/#token=(\S+)", line)))
    Thread(target=deque, args=(process.stdout, 0), daemon=True).start()  # a pipe that nobody empties holds it up
    return process, link[1], link[2]
