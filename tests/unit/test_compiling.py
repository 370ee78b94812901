"""Compiled code that is kept is never another's, and whatever is wrong with it keeps no process from going on."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from numba.core import config

from aether import compiling
from aether.compiling import SEAL, build, entry

SOURCE = """
from enum import IntEnum
from aether.kernel.compiled import compiled

FACTOR = 2


class Kind(IntEnum):
    ONE = 1
    TWO = 2


@compiled("int64(int64)")
def inner(value):
    return FACTOR * value


@compiled("int64(int64)")
def outer(value):
    return inner(value) * 10 + Kind.ONE
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "kept"))
    file = tmp_path / "rules.py"
    write(file, SOURCE)
    return file


def write(file: Path, source: str) -> None:
    """Write a module always with the same time, as an image is built."""
    file.write_text(source)
    os.utime(file, (1_000_000_000, 1_000_000_000))


def imported(file: Path) -> ModuleType:
    """Import a module anew, as another process does."""
    spec = importlib.util.spec_from_file_location("rules", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile(file.read_text(), file, "exec"), module.__dict__)  # without a .pyc, which would be told by its time
    return module


def started(file: Path) -> tuple[int, bool]:
    """Return what a new process computes of 21, and whether it had to compile."""
    module = imported(file)
    build(module)
    assert entry(module.outer)(21) == module.outer(21)
    return module.outer(21), not module.outer.stats.cache_hits


def folders(file: Path) -> list[Path]:
    return sorted((file.parent / "kept").iterdir())


def test_what_was_compiled_is_read_the_next_time(file: Path) -> None:
    assert started(file) == (421, True)
    assert started(file) == (421, False)
    assert len(folders(file)) == 1


def _emptied(kept: Path) -> None:
    kept.write_bytes(b"")


def _cut(kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:60])


def _flipped(kept: Path) -> None:
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)


def _deleted(kept: Path) -> None:
    kept.unlink()


def _made_a_folder(kept: Path) -> None:
    kept.unlink()
    kept.mkdir()


@pytest.mark.parametrize("which", [SEAL, "*outer*.nbi", "*inner*.nbc"])
@pytest.mark.parametrize("damage", [_emptied, _cut, _flipped, _deleted, _made_a_folder])
def test_what_is_damaged_is_compiled_anew(file: Path, which: str, damage: Callable[[Path], None]) -> None:
    """Found by attack: no process started with it, and one bit more or less was run."""
    started(file)
    (kept,) = folders(file)[0].rglob(which)
    damage(kept)
    assert started(file) == (421, True)
    assert started(file) == (421, False)


@pytest.mark.parametrize(("was", "becomes", "found"), [("FACTOR = 2", "FACTOR = 3", 631), ("ONE = 1", "ONE = 7", 427)])
def test_what_was_compiled_of_other_constants_is_not_used(file: Path, was: str, becomes: str, found: int) -> None:
    """Found by attack: after an upgrade prices were read as what they were before, without a word."""
    started(file)
    write(file, SOURCE.replace(was, becomes))
    assert started(file) == (found, True)
    assert started(file) == (found, False)
    assert len(folders(file)) == 1, "that of the old version is taken away"


def test_a_process_that_was_upgraded_under_itself_keeps_nothing_for_the_new_one(file: Path) -> None:
    before = imported(file)
    write(file, SOURCE.replace("FACTOR = 2", "FACTOR = 3"))
    build(before)
    assert before.outer(21) == 421
    assert started(file)[0] == 631
    assert started(file) == (631, False)


def test_a_process_that_is_killed_while_it_keeps_leaves_nothing_to_be_used(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_folders: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compiling, "_seal", killed)
    with pytest.raises(KeyboardInterrupt):
        started(file)
    monkeypatch.undo()
    monkeypatch.setattr(config, "CACHE_DIR", str(file.parent / "kept"))
    write(file, SOURCE.replace("FACTOR = 2", "FACTOR = 3"))
    assert started(file) == (631, True)
    assert started(file) == (631, False)


def test_where_nothing_can_be_kept_each_process_compiles(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only image, a full disk."""
    (file.parent / "full").write_text("no folder")
    monkeypatch.setattr(config, "CACHE_DIR", str(file.parent / "full"))
    assert started(file) == (421, True)
    assert started(file) == (421, True)


def test_a_disk_that_is_full_in_the_middle(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_files: Path) -> dict[str, str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiling, "_sums", full)
    assert started(file) == (421, True)
    assert folders(file) == [], "what could not be finished takes no room"
    monkeypatch.undo()


def test_a_second_build_does_nothing(file: Path) -> None:
    module = imported(file)
    build(module)
    before = module.outer
    build(module)
    assert module.outer is before
    assert before.py_func(21) == 421, "the plain function, over the compiled one that it calls"
