"""The built-in strategies, one file each.

A module here that defines `STRATEGY` is found by `catalogue()`; adding one is adding a file. See
`docs/how-to/add-a-strategy.md`.
"""

import importlib
import pkgutil
from types import MappingProxyType
from typing import Any

from aether.domain.identifiers import StrategyName
from aether.engine.strategy import Catalogue, StrategyDefinition


def catalogue() -> Catalogue:
    """Return every strategy in this folder by name."""
    found: dict[StrategyName, StrategyDefinition[Any, Any]] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        definition = importlib.import_module(f"{__name__}.{module.name}").STRATEGY
        assert isinstance(definition, StrategyDefinition)
        found[StrategyName(definition.name)] = definition
    return MappingProxyType(found)
