"""Files for their owner only."""

import os
from pathlib import Path

import msgspec


def write_private(file: Path, content: object) -> None:
    """Write a file whole, as JSON, for its owner only. Raises OSError; the file is as it was then."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(msgspec.json.encode(content))
    draft.rename(file)
