"""Everything that an account is at a moment, as plain data: what a snapshot holds and a state hash covers."""

from typing import Any

import msgspec

from aether.domain.accounts import AccountConfig
from aether.domain.identifiers import ClientOrderId, InstrumentId, StrategyName
from aether.domain.instruments import Instrument
from aether.domain.orders import Order, OrderRequest
from aether.domain.parents import Parent, ParentId
from aether.engine.exits import ExitPlan
from aether.engine.ledger import Ledger
from aether.engine.sizing import PRIOR_VARIANCE_PER_S

CLOSED_ORDERS_KEPT = 512
"""Closed orders kept in memory to absorb late reports; older ones live on in the journal and the database."""


class MarketState(msgspec.Struct):
    """The latest that is known of an instrument's market; prices in price units, 0 where unknown.

    Attributes:
        bids, asks: the depth last told, best first, as (price, size).
    """

    bid: int = 0
    ask: int = 0
    last: int = 0
    ts_ns: int = 0
    close: int = 0
    bids: tuple[tuple[int, int], ...] = ()
    asks: tuple[tuple[int, int], ...] = ()
    variance_per_s: float = PRIOR_VARIANCE_PER_S

    @property
    def mark(self) -> int:
        """The price that positions are valued at: the mid where both sides are quoted, else the last trade."""
        if self.bid and self.ask:
            return (self.bid + self.ask) // 2
        return self.last

    @property
    def sellable(self) -> int:
        """The price at which a small amount could be sold now."""
        return self.bid or self.last

    @property
    def is_crossed(self) -> bool:
        """Whether the book is impossible to trade on."""
        return bool(self.bid and self.ask and self.bid >= self.ask)


class RiskState(msgspec.Struct):
    """The memory of the risk gate.

    Attributes:
        kill_reason: why the kill switch is engaged; empty when it is not.
        flatten: sell everything while the kill switch is engaged.
        halt_reason: why the account halted itself; empty when it has not.
        loss_reason: why entries stopped after a loss; empty when they have not.
        order_times: when orders left in the last minute.
        repeats: when each strategy and instrument sent its latest orders.
        throttled: strategies and instruments stopped by the repeated-order throttle.
        cool_until: by instrument, no entry before this time.
        fees_today: ledger amount of the account's currency.
        day_volume: notional traded by day number, for the fee tier.
    """

    kill_reason: str = ""
    flatten: bool = False
    halt_reason: str = ""
    loss_reason: str = ""
    day: int = -1
    day_start_nav: int = 0
    peak_nav: int = 0
    fees_today: int = 0
    order_times: list[int] = msgspec.field(default_factory=list)
    repeats: dict[str, list[int]] = msgspec.field(default_factory=dict)
    throttled: dict[str, int] = msgspec.field(default_factory=dict)
    cool_until: dict[InstrumentId, int] = msgspec.field(default_factory=dict)
    day_volume: dict[int, int] = msgspec.field(default_factory=dict)


class Held(msgspec.Struct, frozen=True):
    """An entry that waits for a person: not an order yet, nothing is locked for it.

    Attributes:
        notional: its worth when it was asked for, a ledger amount.
    """

    request: OrderRequest
    notional: int
    since_ns: int
    until_ns: int


class AccountState(msgspec.Struct):
    """One account. `config` is None only before `AccountOpened`."""

    config: AccountConfig | None = None
    now_ns: int = 0
    sample: int = -1
    next_order: int = 1
    instruments: dict[InstrumentId, Instrument] = msgspec.field(default_factory=dict)
    market: dict[InstrumentId, MarketState] = msgspec.field(default_factory=dict)
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    open_orders: dict[ClientOrderId, Order] = msgspec.field(default_factory=dict)
    closed_orders: dict[ClientOrderId, Order] = msgspec.field(default_factory=dict)
    exits: dict[InstrumentId, ExitPlan] = msgspec.field(default_factory=dict)
    risk: RiskState = msgspec.field(default_factory=RiskState)
    disabled: dict[StrategyName, str] = msgspec.field(default_factory=dict)
    parents: dict[ParentId, Parent] = msgspec.field(default_factory=dict)
    closed_parents: dict[ParentId, Parent] = msgspec.field(default_factory=dict)
    held: dict[int, Held] = msgspec.field(default_factory=dict)
    next_held: int = 1
    strategy_states: dict[str, Any] = msgspec.field(default_factory=dict)
