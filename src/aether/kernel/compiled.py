"""Marks functions of numbers to be compiled, by `aether.compiling`, when they are first needed.

A module with such functions holds all that they are made of: what was compiled is kept by the content of the module.
"""

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

COMPILED_FOR = "__compiled_for__"
"""Where the signature stands."""


def compiled(signature: str) -> Callable[[F], F]:
    """Return a decorator that has a function compiled for a signature, in numba's words."""

    def mark(function: F) -> F:
        setattr(function, COMPILED_FOR, signature)
        return function

    return mark
