"""Compiles the functions that modules mark so (`kernel.compiled`), and keeps what was compiled between runs.

Compiling takes seconds, reading what was kept a tenth of one. A wrong piece of machine code would be wrong without a
word, so nothing kept is believed by its name or time: a folder belongs to one content (the functions, their constants,
the compiler, the processor), it appears whole or not at all, and the sum of each of its files is proven before it is
used. Whatever is wrong with it, or with keeping it (a full disk, a read-only image without `NUMBA_CACHE_DIR`), the
process compiles for itself.

Nobody who does not need compiled functions loads the compiler, which is large.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import EnumType
from pathlib import Path
from threading import Lock
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

import msgspec

from aether.domain.errors import words_of
from aether.kernel.compiled import COMPILED_FOR
from aether.telemetry import logger

F = TypeVar("F", bound=Callable[..., Any])

SEAL = "sums.json"
"""By the name of each file of a folder, its SHA-256; written last."""

_log = logger("compiling")
_building = Lock()


def build(module: ModuleType) -> None:
    """Compile the functions of a module that are marked so, in the order in which they stand there.

    A second time it does nothing. The plain functions stay reachable as `py_func`. A module's function `intrinsics`
    returns by their names what it generates the code of itself.
    """
    with _building:
        names = vars(module)
        plain = {name: value for name, value in names.items() if isinstance(value, FunctionType)}
        marked = {name: function for name, function in plain.items() if hasattr(function, COMPILED_FOR)}
        if not marked:
            return
        content = _content(module, marked)
        names.update(module.intrinsics() if "intrinsics" in names else {})
        folder = _base(module) / f"{module.__name__}-{content}"
        if _is_whole(folder) and _made(module, marked, folder):
            return
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        if _made(module, marked, fresh):
            _seal(fresh, folder)
            return
        shutil.rmtree(fresh, ignore_errors=True)
        _compile(module, marked, keep=False)


def entry(function: F) -> F:
    """Return a compiled function without the compiler's look at the types it is called with: the caller warrants
    them."""
    (made,) = function.overloads.values()  # type: ignore[attr-defined]
    return made.entry_point  # type: ignore[no-any-return]


def _compile(module: ModuleType, marked: dict[str, FunctionType], *, keep: bool) -> None:
    import numba  # noqa: PLC0415  see above

    types = {"BYTES": numba.types.Bytes(numba.uint8, 1, "C", readonly=True), **vars(numba.types)}
    vars(module).update(marked)
    for name, function in marked.items():
        signature = eval(getattr(function, COMPILED_FOR), types)  # noqa: S307  written in the module itself
        setattr(module, name, numba.njit(signature, cache=keep)(function))


def _made(module: ModuleType, marked: dict[str, FunctionType], folder: Path) -> bool:
    """Compile with what a folder keeps, and keep the rest there; return whether that could be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _kept_in(folder):
            _compile(module, marked, keep=True)
    except Exception as error:  # noqa: BLE001  whatever it is, it compiles without
        _log.warning("compiled_code_not_kept", module=module.__name__, folder=str(folder), reason=words_of(error))
        return False
    return True


def _config() -> Any:
    from numba.core import config  # noqa: PLC0415  see above

    return config


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    config = _config()
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before


def _base(module: ModuleType) -> Path:
    chosen = _config().CACHE_DIR
    return Path(chosen) if chosen else Path(module.__file__ or "").parent / "__pycache__"


def _content(module: ModuleType, marked: dict[str, FunctionType]) -> str:
    """Return a hash of what the compiled code is made of, as it was imported, of what it is made with, and for."""
    import llvmlite.binding  # noqa: PLC0415  see above
    import numba  # noqa: PLC0415

    parts: list[object] = [numba.__version__, llvmlite.__version__, _config().CPU_NAME, _config().CPU_FEATURES]
    parts += [llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()]
    named: set[str] = set()
    functions = {**marked, **({"intrinsics": module.intrinsics} if hasattr(module, "intrinsics") else {})}
    for name, function in functions.items():
        parts += [name, getattr(function, COMPILED_FOR, ""), *_code(function.__code__, named)]
    for name in sorted(named & set(vars(module)) - set(functions)):
        value = getattr(module, name)
        if isinstance(value, EnumType):
            parts += [name, [(member.name, member.value) for member in value]]  # type: ignore[var-annotated]
        elif isinstance(value, FunctionType):
            parts += [name, *_code(value.__code__, set())]
        else:
            parts += [name, value]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _code(code: CodeType, named: set[str]) -> Iterator[object]:
    named.update(code.co_names)
    yield from (code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_firstlineno)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant, named)
        else:
            yield constant


def _sums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _is_whole(folder: Path) -> bool:
    """Return whether a folder is as it was sealed; one that is not is taken away."""
    if not folder.exists():
        return False
    try:
        sums = msgspec.json.decode((folder / SEAL).read_bytes(), type=dict[str, str])
        if sums == _sums(folder):
            return True
        reason = "its files are not those that were kept"
    except (OSError, msgspec.DecodeError) as error:
        reason = words_of(error)
    _log.warning("compiled_code_damaged", folder=str(folder), reason=reason)
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _seal(fresh: Path, folder: Path) -> None:
    """Let a folder that is complete be found, and take away those of other contents."""
    try:
        (fresh / SEAL).write_bytes(msgspec.json.encode(_sums(fresh)))
        fresh.replace(folder)
    except OSError as error:
        if not folder.exists():  # by another process that was quicker, otherwise
            _log.warning("compiled_code_not_kept", folder=str(folder), reason=words_of(error))
        shutil.rmtree(fresh, ignore_errors=True)
        return
    stem = folder.name.rpartition("-")[0]
    for other in folder.parent.glob(f"{stem}-*"):
        if other != folder and "." not in other.name.rpartition("-")[2]:  # one that is being made has a number
            with suppress(OSError):
                shutil.rmtree(other)
