"""Orders as data: what is asked for, in which state it is, and why it exists.

The life cycle itself is the table in `engine/orders.py`; this module only names its states.
"""

from enum import StrEnum

import msgspec

from aether.domain.identifiers import (
    OPERATOR,
    ClientOrderId,
    InstrumentId,
    Owner,
    StrategyName,
    TradeId,
    VenueOrderId,
)


class Side(StrEnum):
    """Which way an order or trade goes."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """How an order is priced. Stop and take-profit orders become market or limit orders once triggered."""

    MARKET = "market"
    LIMIT = "limit"
    STOP_LOSS = "stop_loss"
    STOP_LOSS_LIMIT = "stop_loss_limit"
    TAKE_PROFIT = "take_profit"
    TAKE_PROFIT_LIMIT = "take_profit_limit"
    TRAILING_STOP = "trailing_stop"
    """A stop whose trigger follows the best price at a fixed distance."""

    @property
    def has_limit(self) -> bool:
        """Whether the order carries a limit price."""
        return self in _WITH_LIMIT

    @property
    def has_trigger(self) -> bool:
        """Whether the order waits for a trigger price."""
        return self in _WITH_TRIGGER

    @property
    def takes_profit(self) -> bool:
        """Whether it waits for the price to have moved its way, not against it."""
        return self in (OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT)


_WITH_LIMIT = frozenset({OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT})
_WITH_TRIGGER = frozenset(
    {
        OrderType.STOP_LOSS,
        OrderType.STOP_LOSS_LIMIT,
        OrderType.TAKE_PROFIT,
        OrderType.TAKE_PROFIT_LIMIT,
        OrderType.TRAILING_STOP,
    }
)


class TimeInForce(StrEnum):
    """How long an order lives."""

    GTC = "gtc"
    """Good till canceled."""
    IOC = "ioc"
    """Immediate or cancel: what cannot trade at once expires."""
    FOK = "fok"
    """Fill or kill: all at once or nothing."""
    GTD = "gtd"
    """Good till date: works until its expiry."""


class Liquidity(StrEnum):
    """Whether an execution rested in the book or took from it."""

    MAKER = "maker"
    TAKER = "taker"


class OrderState(StrEnum):
    """Where an order is in its life."""

    INITIALIZED = "initialized"
    """Built by the engine, not yet judged by the risk gate."""
    DENIED = "denied"
    """Refused by our own risk gate; it never left the house."""
    SUBMITTED = "submitted"
    """Approved and handed to the sender; the venue has not answered."""
    ACCEPTED = "accepted"
    """Working at the venue."""
    REJECTED = "rejected"
    """Refused by the venue."""
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    PENDING_CANCEL = "pending_cancel"
    """A cancel was sent; the venue has not confirmed it."""
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_open(self) -> bool:
        """Whether the order may still trade."""
        return self in OPEN_STATES


OPEN_STATES = frozenset(
    {OrderState.SUBMITTED, OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED, OrderState.PENDING_CANCEL}
)


class Purpose(StrEnum):
    """Why an order exists; the risk gate keeps exits possible when entries are blocked."""

    ENTRY = "entry"
    EXIT = "exit"
    REBALANCE = "rebalance"
    STOP = "stop"
    TAKE_PROFIT = "take_profit"
    TRAILING_STOP = "trailing_stop"
    FLATTEN = "flatten"
    ALGORITHM = "algorithm"
    """A child of a parent order."""


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it is asked for. Prices and sizes are in the instrument's units.

    Attributes:
        limit_price: 0 for orders without a limit.
        trigger_price: 0 for orders without a trigger; where a trailing stop begins.
        trail: distance at which a trailing stop follows the best price, in price units.
        display_size: the visible part of an iceberg order; 0 shows all of it.
        expire_ns: when a good-till-date order ends.
        parent: the parent order that it is a child of.
        owner: whose holding it buys for or sells from.
    """

    id: ClientOrderId
    instrument: InstrumentId
    side: Side
    type: OrderType
    size: int
    limit_price: int = 0
    trigger_price: int = 0
    trail: int = 0
    display_size: int = 0
    expire_ns: int = 0
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    purpose: Purpose = Purpose.ENTRY
    strategy: StrategyName = StrategyName("")
    parent: str = ""
    owner: Owner = OPERATOR

    @property
    def concerns_parent(self) -> bool:
        """Whether it is a parent's child, or a sale of what a parent bought."""
        return bool(self.parent) or self.owner.startswith("parent:")


class Order(msgspec.Struct, kw_only=True):
    """An order's record: the request and everything that has happened to it since.

    Attributes:
        filled: size executed so far.
        filled_notional: sum of the notionals of its fills, a ledger amount of the quote asset.
        fees: fees charged so far in the quote asset, a ledger amount.
        reserved: what the ledger still holds locked for it, a ledger amount (quote for buys, base for sells).
        decision_price: the mid when it was decided on: at the bar, or when its parent was asked for; price units.
        arrival_price: the mid when the risk gate took it on, for a child when it took on its parent; the yardstick of
            execution cost (Perold 1988).
        send_price, half_spread: the mid and half the spread when it was sent; price units.
        reason: why it was denied, rejected or closed; empty otherwise.
        number: its place in the account's own order; 0 where its id ends with it.
        asked_ns: when it was last asked to be canceled; 0 never.
    """

    request: OrderRequest
    state: OrderState
    created_ns: int
    updated_ns: int
    venue_order_id: VenueOrderId = VenueOrderId("")
    filled: int = 0
    filled_notional: int = 0
    fees: int = 0
    reserved: int = 0
    decision_price: int = 0
    arrival_price: int = 0
    send_price: int = 0
    half_spread: int = 0
    reason: str = ""
    trade_ids: list[TradeId] = msgspec.field(default_factory=list)
    number: int = 0
    asked_ns: int = 0

    @property
    def ordinal(self) -> int:
        """Its place in the account's own order, from 1."""
        return self.number or int(self.request.id.rpartition("-")[2])

    @property
    def remaining(self) -> int:
        """Size not executed yet; 0 when more was executed than asked for."""
        return max(0, self.request.size - self.filled)
