"""The platform's processes, as the one that started them says in the data directory."""

from pathlib import Path

import msgspec

from aether.bus.topics import ProcessState
from aether.control.private import write_private

FILE = "processes.json"


def write_processes(data_dir: Path, states: list[ProcessState]) -> None:
    """Say how the processes are."""
    write_private(data_dir / FILE, states)


def read_processes(data_dir: Path) -> list[ProcessState]:
    """Return the processes of a running platform as they were told last; none when nothing is told."""
    try:
        return msgspec.json.decode((data_dir / FILE).read_bytes(), type=list[ProcessState])
    except (OSError, msgspec.MsgspecError):
        return []


def forget_processes(data_dir: Path) -> None:
    """Take back what was said: the platform has ended."""
    (data_dir / FILE).unlink(missing_ok=True)
