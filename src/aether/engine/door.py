"""What cannot be is refused at the door, with a reason, before anything changes.

This is for what a broken feed or a person's slip brings: prices of nothing, bars upside down, amounts beyond all money.
A venue's report is no such thing: it is a fact, and the desk books or questions it.
"""

from aether.domain.accounts import AccountConfig
from aether.domain.errors import InvalidValueError, UnknownNameError
from aether.domain.events import (
    AccountConfigured,
    AccountOpened,
    BalanceBooked,
    Bar,
    BookUpdate,
    CapitalMoved,
    Event,
    InstrumentListed,
    KillSwitchReleased,
    ParentOrderRequested,
    Quote,
    Trade,
    VenueReleased,
    VenueStopped,
)
from aether.domain.identifiers import balance_key
from aether.domain.scaled import format_amount
from aether.engine.state import AccountState
from aether.engine.stops import Stop
from aether.engine.strategy import Catalogue, find_strategy, parse_params
from aether.engine.valuation import instrument_of, mark

LARGEST_PRICE = 10**30
"""In price units."""
LARGEST_AMOUNT = 10**30
"""Ledger amounts and size units; 10^22 coins of 10^-8."""


def refusal(state: AccountState, event: Event, catalogue: Catalogue) -> str:
    """Return why an event cannot be applied, empty when it can."""
    match event:
        case Quote():
            prices = 0 <= event.bid <= LARGEST_PRICE and 0 <= event.ask <= LARGEST_PRICE
            fits = prices and 0 <= event.bid_size <= LARGEST_AMOUNT and 0 <= event.ask_size <= LARGEST_AMOUNT
            return "" if fits else f"quote of {event.instrument} at {event.bid} to {event.ask}"
        case Trade():
            fits = 0 < event.price <= LARGEST_PRICE and 0 <= event.size <= LARGEST_AMOUNT
            return "" if fits else f"trade of {event.instrument}: {event.size} at {event.price}"
        case BookUpdate():
            fits = all(price and _is_level(price, size) for price, size in (*event.bids, *event.asks))
            return "" if fits else f"book of {event.instrument} has a level of no price or size"
        case Bar():
            inside = 0 < event.low <= min(event.open, event.close) <= max(event.open, event.close) <= event.high
            fits = inside and event.high <= LARGEST_PRICE and event.interval_s > 0 and event.volume >= 0
            if fits:
                return ""
            told = f"{event.open}, {event.high}, {event.low}, {event.close}"
            return f"bar of {event.instrument}: open, high, low, close are {told}"
        case CapitalMoved() | BalanceBooked():
            return _amount(state, event)
        case ParentOrderRequested():
            request = event.request
            numbers = (request.amount, request.limit_price, request.display, request.profit_price, request.stop_price)
            fits = all(n <= LARGEST_AMOUNT for n in numbers)
            return "" if fits else f"parent order {request.id} has a number above {LARGEST_AMOUNT}"
        case KillSwitchReleased():
            kill = state.stops.get(Stop.KILL)
            if kill is None or event.is_for(kill.asked_ns):
                return ""
            return f"it was engaged again since that was asked for: {kill.reason}"
        case VenueStopped() | VenueReleased():
            return _venue(state, event)
        case InstrumentListed():
            return _listing(state, event)
        case AccountOpened() | AccountConfigured() if state.config is not None:
            return _settings(state.config, event, catalogue)
    return ""


def _venue(state: AccountState, event: VenueStopped | VenueReleased) -> str:
    venues = sorted({i.venue for i in state.instruments.values()})
    if event.venue not in venues:
        return f"{event.venue}, where the account trades nothing; it trades at {', '.join(venues)}"
    stopped = state.stopped_venues.get(event.venue)
    if isinstance(event, VenueReleased) and stopped and 0 < event.stopped_ns < stopped.asked_ns:
        return f"{event.venue} was stopped again since that was asked for: {stopped.reason}"
    return ""


def _settings(config: AccountConfig, event: AccountOpened | AccountConfigured, catalogue: Catalogue) -> str:
    """Return why an account cannot take settings: its strategies are others, or do not take such parameters."""
    if isinstance(event, AccountOpened):
        return "the account is open already"
    own = {s.strategy for s in config.strategies}
    for name, params in event.strategies.items():
        if name not in own:
            return f"settings of {name}, which is no strategy of the account"
        try:
            parse_params(find_strategy(catalogue, name), params)
        except (InvalidValueError, UnknownNameError) as error:
            return f"settings of {name}: {error}"
    return ""


def _is_level(price: int, size: int) -> bool:
    return 0 <= price <= LARGEST_PRICE and 0 <= size <= LARGEST_AMOUNT


def _amount(state: AccountState, event: CapitalMoved | BalanceBooked) -> str:
    value = event.value if isinstance(event, CapitalMoved) else None
    if event.amount == 0 or max(abs(event.amount), abs(value or 0)) > LARGEST_AMOUNT:
        return f"an amount of {event.amount} {event.asset}"
    if value is not None and (value > 0) != (event.amount > 0):
        return f"{event.amount} {event.asset} worth {value}: one comes in, the other goes out"
    venues = {i.venue for i in state.instruments.values()}
    if venues and event.venue not in venues:
        return f"{event.venue}, where the account trades nothing; it trades at {', '.join(sorted(venues))}"
    return _capital(state, event) if isinstance(event, CapitalMoved) else ""


def _capital(state: AccountState, event: CapitalMoved) -> str:
    """Return why capital cannot move so: more than is free goes out, or nobody says what coins are worth."""
    key = balance_key(event.venue, event.asset)
    balance = state.ledger.balances.get(key)
    free = balance.free if balance else 0
    if event.amount < 0 and free + event.amount < 0:
        return f"{format_amount(-event.amount)} {event.asset} cannot leave {event.venue}: {format_amount(free)} is free"
    if event.value is not None and event.asset == state.own.currency:
        return f"a value of {format_amount(event.value)} for {event.asset}, which is the account's currency"
    held_as = instrument_of(state, key)
    if event.value is None and held_as is not None and not mark(state, held_as.id).price:
        return f"{format_amount(event.amount)} {event.asset} without a value, and nothing has a price for it yet"
    return ""


def _listing(state: AccountState, event: InstrumentListed) -> str:
    """Return why an instrument cannot be listed again so: other decimals would change what is written down."""
    new = event.definition
    known = state.instruments.get(new.id)
    if known is None or (known.price_decimals, known.size_decimals) == (new.price_decimals, new.size_decimals):
        return ""
    return (
        f"{new.id} with {new.price_decimals} and {new.size_decimals} decimals: the account keeps its prices and sizes "
        f"in {known.price_decimals} and {known.size_decimals}"
    )
