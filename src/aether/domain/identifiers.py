"""Identifiers as distinct types: a client order id can never be passed where a venue's order id belongs."""

from typing import NewType

AccountId = NewType("AccountId", str)
"""Identifies an isolated account, such as `company`."""

VenueId = NewType("VenueId", str)
"""Identifies an exchange, such as `kraken` or `paper`."""

AssetCode = NewType("AssetCode", str)
"""A currency in Aether's own spelling: `BTC`, never `XBT` or `XXBT`."""

Symbol = NewType("Symbol", str)
"""A pair as traders write it, base before quote: `BTC/USD`."""

InstrumentId = NewType("InstrumentId", str)
"""A pair at a venue: `kraken:BTC/USD`."""

BalanceKey = NewType("BalanceKey", str)
"""An asset held at a venue: `kraken:USD`."""

ClientOrderId = NewType("ClientOrderId", str)
"""Our name for an order, `<account>-<number>`; deterministic, so that a lost order can be found again."""

VenueOrderId = NewType("VenueOrderId", str)
"""The venue's name for an order."""

TradeId = NewType("TradeId", str)
"""The venue's name for one execution; repeated reports of it are absorbed."""

StrategyName = NewType("StrategyName", str)
"""The name a strategy is registered under, such as `ema_cross`."""

Owner = NewType("Owner", str)
"""Who of an account a holding or an order belongs to: a strategy, a parent order, or its operators."""

OPERATOR = Owner("operator")
"""Coins that no strategy and no parent order at work owns: bought by hand, or by an order that nobody knows."""

DEPOSITS = Owner("deposits")
"""Coins that were moved in or booked in: nobody bought them here, so nothing protects or sells them by itself."""

FeedId = NewType("FeedId", str)
"""A source of market data; a recording's id holds its content hash."""


def instrument_id(venue: VenueId, symbol: Symbol) -> InstrumentId:
    """Return the id of `symbol` at `venue`."""
    return InstrumentId(f"{venue}:{symbol}")


def symbol_of(instrument: InstrumentId) -> Symbol:
    """Return the symbol in an instrument's id, whether its venue lists it or not."""
    return Symbol(instrument.partition(":")[2])


def foreign_id(venue_order_id: VenueOrderId) -> ClientOrderId:
    """Return the id under which an order that is not ours stands in the books."""
    return ClientOrderId(f"foreign-{venue_order_id}")


def balance_key(venue: VenueId, asset: AssetCode) -> BalanceKey:
    """Return the key under which the ledger keeps `asset` at `venue`."""
    return BalanceKey(f"{venue}:{asset}")


def client_order_id(account: AccountId, number: int) -> ClientOrderId:
    """Return the client order id of the account's order `number` (from 1)."""
    return ClientOrderId(f"{account}-{number}")


def strategy_owner(strategy: StrategyName) -> Owner:
    """Return the owner that a strategy of an account is."""
    return Owner(f"strategy:{strategy}")


def parent_owner(parent: str) -> Owner:
    """Return the owner that a parent order at work is."""
    return Owner(f"parent:{parent}")


def strategy_of(owner: Owner) -> StrategyName:
    """Return the strategy that an owner is, empty for any other owner."""
    kind, _, name = owner.partition(":")
    return StrategyName(name if kind == "strategy" else "")
