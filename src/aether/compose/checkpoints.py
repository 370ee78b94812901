"""Checkpoints of the audit trail, kept outside the database."""

import contextlib
import os
from pathlib import Path

from aether.config import Settings

CHECKPOINTS = "checkpoints"


def keep_checkpoint(folder: Path, ts_ns: int, document: bytes) -> Path:
    """Write a checkpoint outside the database; a file is never changed afterwards."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{ts_ns}.json"
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(document)
    return path


def checkpoint_folder(settings: Settings) -> Path:
    """Return where checkpoints are kept besides the database."""
    return Path(settings.checkpoint_dir) if settings.checkpoint_dir else settings.data_dir / CHECKPOINTS
