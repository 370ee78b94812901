"""How functions of numbers are compiled: when they are first needed, and kept on disk between runs.

`compiled` writes down with which types a function is called, `build` compiles all of a module's such functions. Nobody
who does not need them loads the compiler, which is large. Compiling takes seconds, reading what was compiled a tenth of
one; where nothing can be kept (a read-only image without `NUMBA_CACHE_DIR`) each process compiles for itself.

What is kept is told stale by the module's own file alone. So a module that is compiled holds all that its functions are
made of, its constants too.

Functions that call each other many times a message pass plain memory (`memory_of`): references to arrays and bytes are
counted at each call, which costs more than what is done there. Nothing looks whether an index is inside.
"""

from collections.abc import Callable
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

    A second time it does nothing. The plain functions stay reachable as `py_func`.
    """
    marked = [name for name, value in module.items() if hasattr(value, _SIGNATURE) and not hasattr(value, "py_func")]
    if not marked:
        return
    import numba  # noqa: PLC0415  see above

    module.update({name: made for name, made in _intrinsics().items() if name in module})
    types = {"BYTES": numba.types.Bytes(numba.uint8, 1, "C", readonly=True), **vars(numba.types)}
    for name in marked:
        function = module[name]
        signature = eval(getattr(function, _SIGNATURE), types)  # noqa: S307  written in the module itself
        try:
            module[name] = numba.njit(signature, cache=True)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            module[name] = numba.njit(signature)(function)


def entry(function: F) -> F:
    """Return a compiled function without the compiler's look at the types it is called with: the caller warrants
    them."""
    (made,) = function.overloads.values()  # type: ignore[attr-defined]
    return made.entry_point  # type: ignore[no-any-return]


def memory_of(holder: Any) -> Any:
    """Return where the contents of bytes, or of a flat array, lie; the caller keeps the holder alive. Compiled only."""
    raise NotImplementedError


def word_at(memory: Any, at: int) -> int:
    """Return eight bytes of memory as one little-endian word. Compiled only."""
    raise NotImplementedError


def _intrinsics() -> dict[str, Any]:
    from llvmlite import ir  # noqa: PLC0415  see above
    from numba import int64, types  # noqa: PLC0415
    from numba.extending import intrinsic  # noqa: PLC0415

    pointer: Any = types.CPointer

    def address(_typing: Any, holder: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return context.make_helper(builder, signature.args[0], value=arguments[0]).data

        return pointer(holder.dtype)(holder), generate

    def word(_typing: Any, memory: Any, at: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            place = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), ir.IntType(64).as_pointer())
            return builder.load(place, align=1)

        return int64(memory, at), generate

    make: Any = intrinsic
    return {"memory_of": make(address), "word_at": make(word)}
