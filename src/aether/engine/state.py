"""Everything that an account is at a moment, as plain data: what a snapshot holds and a state hash covers."""

from typing import Any

import msgspec

from aether.domain.accounts import AccountConfig
from aether.domain.identifiers import ClientOrderId, InstrumentId, Owner, StrategyName, VenueId
from aether.domain.instruments import Instrument, TradingState
from aether.domain.orders import Order, OrderRequest
from aether.domain.parents import Parent, ParentId
from aether.domain.records import Break
from aether.engine.exits import ExitPlan
from aether.engine.ledger import Ledger
from aether.engine.stops import Stop, Stopped
from aether.kernel.sizing import PRIOR_VARIANCE_PER_S

CLOSED_ORDERS_KEPT = 512
"""Closed orders kept in memory to absorb late reports; older ones live on in the journal and the database."""
DENIED_ORDERS_KEPT = 64
"""Orders that the gate denied, kept to be looked at; no venue knows them."""
TRADES_REMEMBERED = 4_096
"""Executions of orders that are not kept any more, remembered so that none is booked twice."""
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_S


class MarketState(msgspec.Struct):
    """The latest that is known of an instrument's market; prices in price units, 0 where unknown.

    Book, trade and bar have times of their own: a book that fell silent is not made young by trades.

    Attributes:
        kept_mid: the mid of a book that was taken back, to value by until there is news.
        bids, asks: the depth last told, best first, as (price, size).
        book_ns, trade_ns, bar_ns: from when each is known, 0 for never; never later than the account's own clock.
        trouble: why the book cannot be relied on now, empty when it can.
        allows: what the venue allows in it; `allows_detail` in the venue's words.
        watched: the mark with which losses were looked at last.
    """

    bid: int = 0
    ask: int = 0
    last: int = 0
    close: int = 0
    book_ns: int = 0
    trade_ns: int = 0
    bar_ns: int = 0
    trouble: str = ""
    watched: int = 0
    kept_mid: int = 0
    bids: tuple[tuple[int, int], ...] = ()
    asks: tuple[tuple[int, int], ...] = ()
    variance_per_s: float = PRIOR_VARIANCE_PER_S
    allows: TradingState = TradingState.ONLINE
    allows_detail: str = ""

    @property
    def mid(self) -> int:
        """The middle of the book, 0 where one side is missing; of the last one while the book is taken back."""
        return (self.bid + self.ask) // 2 if self.bid and self.ask else self.kept_mid

    @property
    def in_the_way(self) -> str:
        """What keeps an account from trading it, in words; empty while nothing does."""
        if self.allows is not TradingState.ONLINE:
            return f"{self.allows.words}: {self.allows.means}"
        return self.trouble

    @property
    def half_spread(self) -> int:
        """Half the distance between bid and ask, 0 where one side is missing."""
        return (self.ask - self.bid) // 2 if self.bid and self.ask else 0

    @property
    def is_crossed(self) -> bool:
        """Whether the book is impossible to trade on."""
        return bool(self.bid and self.ask and self.bid >= self.ask)


class RiskState(msgspec.Struct):
    """The memory of the risk gate.

    Attributes:
        day: the UTC day that `day_start_nav` and `fees_today` belong to.
        order_times: when orders left in the last minute.
        repeats: when each strategy and instrument sent its latest orders.
        throttled: strategies and instruments stopped by the repeated-order throttle.
        cool_until: by instrument, no entry before this time.
        fees_today: their worth in the account's currency, whatever asset they were charged in.
        day_volume: notional traded by day number, for the fee tier.
        capital: worth of what was paid in less what was taken out.
        slack: what marks may still take from NAV before a loss limit has to be looked at closely again.
    """

    day: int = -1
    day_start_nav: int = 0
    peak_nav: int = 0
    fees_today: int = 0
    capital: int = 0
    slack: int = 0
    order_times: list[int] = msgspec.field(default_factory=list)
    repeats: dict[str, list[int]] = msgspec.field(default_factory=dict)
    throttled: dict[str, int] = msgspec.field(default_factory=dict)
    cool_until: dict[InstrumentId, int] = msgspec.field(default_factory=dict)
    day_volume: dict[int, int] = msgspec.field(default_factory=dict)


class Held(msgspec.Struct, frozen=True):
    """An entry that waits for a person: not an order yet, nothing is locked for it.

    Attributes:
        notional: its worth when it was asked for, a ledger amount.
        decision_price: the mid then, price units.
    """

    request: OrderRequest
    notional: int
    since_ns: int
    until_ns: int
    decision_price: int = 0


class Retry(msgspec.Struct):
    """Attempts at something that was refused: how often in a row, and not again before when."""

    refusals: int = 0
    retry_ns: int = 0
    shortfalls: int = 0


class Breaker(msgspec.Struct):
    """How a venue has dealt with the account's orders; there is none while it fails none.

    Attributes:
        outcomes: when orders were answered of late, and whether the venue failed; oldest first.
        opened_ns: since when it gets no entries, or since one last tried it; 0 while it gets them.
        first: the first number of an order that was sent since; what came of earlier ones is no news.
        reason: why it was opened.
    """

    outcomes: list[tuple[int, bool]] = msgspec.field(default_factory=list)
    opened_ns: int = 0
    first: int = 0
    reason: str = ""


class AccountState(msgspec.Struct):
    """One account. `config` is None only before `AccountOpened`.

    Attributes:
        exits: the protection of each owner's holding, by instrument.
        stopped_venues: where no order goes, whatever else goes on.
        flattening: what flattening met, by instrument.
        trades: executions booked on orders that are not kept any more, as `order|trade`.
        told: when a refusal of each kind was last told, so that a flood of one is told once a minute.
        unbooked: venue reports that the engine could not apply, in their journal form; they are booked when a person
            resumes.
    """

    config: AccountConfig | None = None
    now_ns: int = 0
    sample: int = -1
    next_order: int = 1
    instruments: dict[InstrumentId, Instrument] = msgspec.field(default_factory=dict)
    market: dict[InstrumentId, MarketState] = msgspec.field(default_factory=dict)
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    open_orders: dict[ClientOrderId, Order] = msgspec.field(default_factory=dict)
    closed_orders: dict[ClientOrderId, Order] = msgspec.field(default_factory=dict)
    denied_orders: dict[ClientOrderId, Order] = msgspec.field(default_factory=dict)
    trades: dict[str, None] = msgspec.field(default_factory=dict)
    exits: dict[InstrumentId, dict[Owner, ExitPlan]] = msgspec.field(default_factory=dict)
    stops: dict[Stop, Stopped] = msgspec.field(default_factory=dict)
    stopped_venues: dict[VenueId, Stopped] = msgspec.field(default_factory=dict)
    breakers: dict[VenueId, Breaker] = msgspec.field(default_factory=dict)
    breaks: dict[str, Break] = msgspec.field(default_factory=dict)
    flattening: dict[InstrumentId, Retry] = msgspec.field(default_factory=dict)
    risk: RiskState = msgspec.field(default_factory=RiskState)
    disabled: dict[StrategyName, str] = msgspec.field(default_factory=dict)
    parents: dict[ParentId, Parent] = msgspec.field(default_factory=dict)
    closed_parents: dict[ParentId, Parent] = msgspec.field(default_factory=dict)
    held: dict[int, Held] = msgspec.field(default_factory=dict)
    next_held: int = 1
    told: dict[str, int] = msgspec.field(default_factory=dict)
    unbooked: list[str] = msgspec.field(default_factory=list)
    strategy_states: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def own(self) -> AccountConfig:
        """The configuration of an open account."""
        assert self.config is not None, "AccountOpened has not been applied"
        return self.config


def encode_state(state: AccountState) -> bytes:
    """Return the state as JSON: whole numbers of any size, and the strategies' own states beside it.

    Strategies' states are MessagePack, which keeps every float (JSON has no NaN); one with whole numbers beyond 64 bits
    is JSON.
    """
    states = {key: _encode_strategy(value) for key, value in state.strategy_states.items()}
    return msgspec.json.encode(msgspec.structs.replace(state, strategy_states=states))


def decode_state(snapshot: bytes) -> AccountState:
    """Return what `encode_state` wrote. Raises msgspec.DecodeError or ValidationError on anything else."""
    state = _decoder.decode(snapshot)
    state.strategy_states = {key: _decode_strategy(value) for key, value in state.strategy_states.items()}
    return state


_decoder = msgspec.json.Decoder(AccountState)


def _encode_strategy(value: Any) -> list[str]:
    try:
        return ["msgpack", msgspec.msgpack.encode(value).hex()]
    except OverflowError:
        return ["json", msgspec.json.encode(value).hex()]


def _decode_strategy(value: list[str]) -> Any:
    kind, text = value
    decode = msgspec.msgpack.decode if kind == "msgpack" else msgspec.json.decode
    return decode(bytes.fromhex(text))
