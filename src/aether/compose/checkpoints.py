"""Checkpoints of the audit trail, kept outside the database."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from aether.config import Settings

if TYPE_CHECKING:
    pass

CHECKPOINTS = "checkpoints"


def keep_checkpoint(folder: Path, ts_ns: int, document: bytes) -> Path:
    """Write a checkpoint outside the database; a file is never changed afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{ts_ns}.json"
    with contextlib.suppress(FileExistsError), path.open("xb") as stream:
        stream.write(document)
    return path


def checkpoint_folder(settings: Settings) -> Path:
    """Return where checkpoints are kept besides the database."""
    return Path(settings.checkpoint_dir) if settings.checkpoint_dir else settings.data_dir / CHECKPOINTS
