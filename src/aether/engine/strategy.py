"""The port that strategies fill.

A strategy is a typed parameter struct with bounds, a small state per instrument, and a pure step function that looks at
one bar and the account and answers with intents. It sizes nothing and sends nothing: the engine sizes, protects, and
asks the risk gate. A file in `aether/strategies` that defines `STRATEGY` is a strategy; nothing else has to be touched.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from aether.domain.errors import InvalidValueError, UnknownNameError
from aether.domain.identifiers import InstrumentId, StrategyName


class BarValues(msgspec.Struct, frozen=True):
    """A bar in plain floats, as indicators want it; `volume` in base units."""

    instrument: InstrumentId
    ts_ns: int
    interval_s: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class AccountView(Protocol):
    """What a strategy may know of its account."""

    @property
    def basket(self) -> tuple[InstrumentId, ...]:
        """The instruments that the strategy trades."""
        ...

    def weight(self, instrument: InstrumentId) -> float:
        """Share of NAV held in `instrument`, 0 to 1."""
        ...

    def is_flat(self, instrument: InstrumentId) -> bool:
        """Whether less than one tradable lot is held."""
        ...

    def has_open_order(self, instrument: InstrumentId) -> bool:
        """Whether an order of this account is working on `instrument`."""
        ...

    def volatility(self, instrument: InstrumentId) -> float:
        """Yearly volatility of `instrument`, a fraction."""
        ...


class Enter(msgspec.Struct, frozen=True, kw_only=True):
    """Open a position from flat. The engine sizes it and attaches protective exits.

    Attributes:
        strength: conviction, 0 to 1; scales the size.
        limit_price: None to take the market.
        post_only: rest in the book or be refused; needs a limit price.
    """

    instrument: InstrumentId
    strength: float = 1.0
    limit_price: float | None = None
    post_only: bool = False


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """Sell the whole position at the market and take back entries that still work."""

    instrument: InstrumentId


class Rebalance(msgspec.Struct, frozen=True, kw_only=True):
    """Trade the difference between what is held and `weight` of NAV."""

    instrument: InstrumentId
    weight: float


class Withdraw(msgspec.Struct, frozen=True, kw_only=True):
    """Cancel entries that still work on `instrument`."""

    instrument: InstrumentId


Intent = Enter | Exit | Rebalance | Withdraw

P = TypeVar("P", bound=msgspec.Struct)
S = TypeVar("S", bound=msgspec.Struct)


class StrategyDefinition(msgspec.Struct, Generic[P, S], frozen=True, kw_only=True):
    """A strategy as the engine and the user see it.

    Attributes:
        name: what users write.
        summary: one sentence.
        params: its parameter struct; every field has a default, bounds and a description.
        state: its state struct, one per instrument; constructed without arguments.
        on_bar: the pure step: (params, state, bar, account) to intents; it may change `state` only.
    """

    name: str
    summary: str
    params: type[P]
    state: type[S]
    on_bar: Callable[[P, S, BarValues, AccountView], Sequence[Intent]]


Catalogue = Mapping[StrategyName, StrategyDefinition[Any, Any]]


def find_strategy(catalogue: Catalogue, name: str) -> StrategyDefinition[Any, Any]:
    """Return the strategy called `name`. Raises UnknownNameError naming those that exist."""
    found = catalogue.get(StrategyName(name))
    if found is None:
        raise UnknownNameError(
            f"There is no strategy {name!r}.", remedy=f"Choose one of: {', '.join(sorted(catalogue))}."
        )
    return found


def parse_params(
    definition: StrategyDefinition[P, S], values: Mapping[str, float | int | str | bool], *, strict: bool = True
) -> P:
    """Return the parameter struct for `values`, defaults filled in.

    Args:
        strict: False to convert text from a command line, such as "20" for 20.

    Raises:
        InvalidValueError: on an unknown name, a wrong type or a value out of bounds.
    """
    fields = {f.name for f in msgspec.structs.fields(definition.params)}
    unknown = sorted(set(values) - fields)
    if unknown:
        raise InvalidValueError(
            f"Strategy {definition.name} has no parameter {unknown[0]!r}.",
            remedy=f"Its parameters are: {', '.join(sorted(fields))}.",
        )
    try:
        return msgspec.convert(dict(values), definition.params, strict=strict)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`")
        given = f"{name}={values[name]}" if name in values else ", ".join(f"{k}={v}" for k, v in values.items())
        raise InvalidValueError(
            f"Strategy {definition.name} does not take {given}: {reason[0].lower()}{reason[1:]}.",
            remedy=f"See the bounds with: aether strategies {definition.name}.",
        ) from error


def describe_parameters(definition: StrategyDefinition[Any, Any]) -> list[dict[str, Any]]:
    """Return name, default, description and bounds of each parameter of a strategy."""
    schema = msgspec.json.schema(definition.params)
    properties = next(iter(schema["$defs"].values()))["properties"]
    bounds = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    return [
        {
            "name": name,
            "default": p["default"],
            "description": p.get("description", ""),
            "bounds": {b: p[b] for b in bounds if b in p},
        }
        for name, p in properties.items()
    ]
