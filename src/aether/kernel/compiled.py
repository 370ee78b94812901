"""How functions of numbers are compiled: when they are first needed, and kept on disk between runs.

`compiled` writes down with which types a function is called, `build` compiles all of a module's such functions. Nobody
who does not need them loads the compiler, which is large. Compiling takes seconds, reading what was compiled a tenth of
one. Where nothing can be kept (a read-only image without `NUMBA_CACHE_DIR`, a full disk), or what was kept is damaged,
each process compiles for itself.

What is kept is told stale by the module's own file alone. So a module that is compiled holds all that its functions are
made of: its constants, and what it has generated itself (`intrinsics`).
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_SIGNATURE = "__compiled_for__"


def compiled(signature: str) -> Callable[[F], F]:
    """Return a decorator that has a function compiled for a signature, in numba's words, by `build`."""

    def mark(function: F) -> F:
        setattr(function, _SIGNATURE, signature)
        return function

    return mark


def build(module: dict[str, Any]) -> None:
    """Compile the functions of a module's namespace that are marked so, in the order in which they stand there.

    A second time it does nothing. The plain functions stay reachable as `py_func`. A module's function `intrinsics`
    returns by their names what it generates the code of itself.
    """
    marked = [name for name, value in module.items() if hasattr(value, _SIGNATURE) and not hasattr(value, "py_func")]
    if not marked:
        return
    import numba  # noqa: PLC0415  see above

    module.update(module["intrinsics"]() if "intrinsics" in module else {})
    types = {"BYTES": numba.types.Bytes(numba.uint8, 1, "C", readonly=True), **vars(numba.types)}
    for name in marked:
        function = module[name]
        signature = eval(getattr(function, _SIGNATURE), types)  # noqa: S307  written in the module itself
        try:
            module[name] = numba.njit(signature, cache=True)(function)
        except Exception:  # noqa: BLE001  whatever is wrong with what was kept, or with keeping it
            with suppress(Exception):
                kept: Any = numba.njit(cache=True)(function)
                kept._cache.flush()  # so that the next start keeps it again
            module[name] = numba.njit(signature)(function)


def entry(function: F) -> F:
    """Return a compiled function without the compiler's look at the types it is called with: the caller warrants
    them."""
    (made,) = function.overloads.values()  # type: ignore[attr-defined]
    return made.entry_point  # type: ignore[no-any-return]
