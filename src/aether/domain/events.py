"""What the engine is told: market data, venue reports, operator decisions and the passing of time.

Every event carries `ts_ns`, nanoseconds since 1970-01-01 UTC; it is the only clock the engine has. Events are the
journal's content and are read years later: a tag or field, once released, is never renamed or reused, and a new field
has a default. `tests/unit/test_wire_format.py` holds the golden text of each.

`ts_ns` is when it happened, as its source says; `taken_ns` when the node took it up, 0 where the source's time is the
only one (a recording, a back-test). The engine lives by the latter where it is given, so that an event's own time can
neither make old data look fresh nor move the account's clock.
"""

from enum import StrEnum

import msgspec

from aether.domain.accounts import AccountConfig, Exits, Limits, Mode, Parameters, Reconciliation, Review, Sizing
from aether.domain.commands import Severity
from aether.domain.identifiers import (
    AssetCode,
    BalanceKey,
    ClientOrderId,
    InstrumentId,
    StrategyName,
    TradeId,
    VenueId,
    VenueOrderId,
)
from aether.domain.instruments import Instrument, TradingState
from aether.domain.orders import Liquidity, OrderRequest, Side
from aether.domain.parents import ParentId, ParentRequest


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    ts_ns: int
    taken_ns: int = 0


class _Report(_Event, frozen=True, kw_only=True):
    """`venue_ns` is the venue's own time of what it reports, 0 where it gives none; `ts_ns` when we had it."""

    venue_ns: int = 0


# Market data.


class Quote(_Event, frozen=True, kw_only=True):
    """Top of book. A missing side has price and size 0."""

    instrument: InstrumentId
    bid: int
    ask: int
    bid_size: int
    ask_size: int


class Trade(_Event, frozen=True, kw_only=True):
    """A public execution; `side` is the aggressor's, None where the source does not say; `trade_id` the venue's name
    for it."""

    instrument: InstrumentId
    price: int
    size: int
    side: Side | None = None
    trade_id: TradeId = TradeId("")


class BookUpdate(_Event, frozen=True, kw_only=True):
    """The top levels of the book, best first, as (price, size); replaces what was known."""

    instrument: InstrumentId
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


class Bar(_Event, frozen=True, kw_only=True):
    """Open, high, low, close and volume of the `interval_s` seconds that end at `ts_ns`; volume in size units.

    In an account's journal `failed` is what its strategy raised at the bar: a replay takes it from there, so that a
    mended strategy, or one that fails by chance, goes through the same history.
    """

    instrument: InstrumentId
    interval_s: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    failed: str = ""


class FeedInterrupted(_Event, frozen=True, kw_only=True):
    """What was known of an instrument's book cannot be relied on any more, until the next quote or book."""

    instrument: InstrumentId
    reason: str


class PairTold(_Event, frozen=True, kw_only=True):
    """What a venue says of a pair now: its rules for new orders, and what it allows in it."""

    instrument: InstrumentId
    definition: Instrument
    state: TradingState
    detail: str = ""


# Venue reports.


class OrderAccepted(_Report, frozen=True, kw_only=True):
    """The venue took the order."""

    order_id: ClientOrderId
    venue_order_id: VenueOrderId


class RejectedBy(StrEnum):
    """Why an order was not taken."""

    ANSWER = "answer"
    """The venue heard it and said no."""
    FAILURE = "failure"
    """The venue was not there for it, answered nothing, or would not hear the account."""
    US = "us"
    """It was not sent, for reasons of this side."""


class OrderRejected(_Report, frozen=True, kw_only=True):
    """The venue refused the order, or it never reached one; `by` says whose doing that was."""

    order_id: ClientOrderId
    reason: str
    by: RejectedBy = RejectedBy.ANSWER


class OrderFilled(_Report, frozen=True, kw_only=True):
    """One execution. `fee` is a ledger amount of `fee_asset`, negative for a rebate.

    `instrument` and `side` say what was traded, so that an execution of an order that the account no longer knows can
    be booked as well; older journals leave them out.
    """

    order_id: ClientOrderId
    venue_order_id: VenueOrderId
    trade_id: TradeId
    price: int
    size: int
    fee: int
    fee_asset: AssetCode
    liquidity: Liquidity
    instrument: InstrumentId = InstrumentId("")
    side: Side | None = None


class OrderCanceled(_Report, frozen=True, kw_only=True):
    """The rest of the order was canceled."""

    order_id: ClientOrderId
    reason: str = ""


class OrderExpired(_Report, frozen=True, kw_only=True):
    """The rest of the order lapsed by its time in force."""

    order_id: ClientOrderId
    reason: str = ""


class CancelRejected(_Report, frozen=True, kw_only=True):
    """The venue could not cancel the order, most often because it had just closed."""

    order_id: ClientOrderId
    reason: str


class OrderAdopted(_Report, frozen=True, kw_only=True):
    """An order that the account did not place works at the venue, and the account's settings let it take it up.

    Attributes:
        request: as the venue tells it, under an id made of the venue's number.
        filled, filled_notional: what had traded before; nothing of it is booked again.
        trade_ids: the executions behind that.
    """

    request: OrderRequest
    venue_order_id: VenueOrderId
    filled: int = 0
    filled_notional: int = 0
    trade_ids: tuple[TradeId, ...] = ()


class BalanceReported(_Report, frozen=True, kw_only=True):
    """The venue's own view of a balance: everything held, free or locked, as a ledger amount."""

    key: BalanceKey
    total: int


class VenueNoted(_Report, frozen=True, kw_only=True):
    """What the venue's side of the house found and people should know: a foreign order, a wish not fulfilled.

    Attributes:
        code: what it is, for machines.
        next_order: where the venue knows order ids that the books have not given out, the first that is free.
    """

    severity: Severity
    code: str
    text: str
    next_order: int = 0


# Operator decisions.


class AccountOpened(_Event, frozen=True, kw_only=True):
    """The first event of every journal."""

    config: AccountConfig


class InstrumentListed(_Event, frozen=True, kw_only=True):
    """An instrument may be traded from now on, by these rules; listing it again replaces the rules."""

    definition: Instrument


class CapitalMoved(_Event, frozen=True, kw_only=True):
    """Money or coins came in (positive) or went out (negative): a ledger amount. It is no profit or loss.

    Attributes:
        value: what the coins cost in the account's currency, a ledger amount; None for the amount itself (currency), or
            for its worth at the mark when it is booked.
        reference: the venue's or bank's name for the transfer.
    """

    venue: VenueId
    asset: AssetCode
    amount: int
    value: int | None = None
    reference: str = ""
    reason: str = ""
    actor: str = ""


class BalanceBooked(_Event, frozen=True, kw_only=True):
    """An operator books what the venue did and the books do not know: interest, an airdrop, a fee, a correction.

    It is profit or loss, unlike capital. `amount` is a ledger amount, negative for what is gone.
    """

    venue: VenueId
    asset: AssetCode
    amount: int
    reason: str
    actor: str
    reference: str = ""


class BreakAssigned(_Event, frozen=True, kw_only=True):
    """Somebody takes a break on: a difference between our books and a venue's."""

    name: str
    owner: str
    actor: str


class SafeModeEngaged(_Event, frozen=True, kw_only=True):
    """Exits only, until an operator leaves it."""

    reason: str
    actor: str


class SafeModeReleased(_Event, frozen=True, kw_only=True):
    """Entries are allowed again as far as nothing else stops them."""

    reason: str
    actor: str


class KillSwitchEngaged(_Event, frozen=True, kw_only=True):
    """Refuse new orders and cancel all open ones; with `flatten`, sell every position too.

    Attributes:
        pull: the brake's pull that it journals; empty when there was none.
    """

    reason: str
    actor: str
    flatten: bool = False
    pull: str = ""


class KillSwitchReleased(_Event, frozen=True, kw_only=True):
    """New orders are allowed again.

    Attributes:
        engaged_ns: of the last kill that whoever asked knew of: one engaged since is not released; 0 for any.
    """

    reason: str
    actor: str
    engaged_ns: int = 0

    def is_for(self, kill_ns: int) -> bool:
        """Return whether it releases a kill that was engaged at `kill_ns`."""
        return not 0 < self.engaged_ns < kill_ns


class VenueStopped(_Event, frozen=True, kw_only=True):
    """Refuse new orders at one venue and cancel all that are open there; the account's other venues go on."""

    venue: VenueId
    reason: str
    actor: str


class VenueReleased(_Event, frozen=True, kw_only=True):
    """New orders are allowed at a venue again.

    Attributes:
        stopped_ns: of the last stop that whoever asked knew of: one since then is not released; 0 for any.
    """

    venue: VenueId
    reason: str
    actor: str
    stopped_ns: int = 0


class LimitsChanged(_Event, frozen=True, kw_only=True):
    """The account's limits from now on."""

    limits: Limits
    actor: str


class AccountConfigured(_Event, frozen=True, kw_only=True):
    """The account's settings from now on; `version` is their number in its configuration history.

    Attributes:
        strategies: parameters by strategy; a strategy that is left out keeps its own.
    """

    version: int
    limits: Limits
    sizing: Sizing
    exits: Exits
    review: Review
    actor: str
    reconciliation: Reconciliation = Reconciliation()
    strategies: dict[StrategyName, Parameters] = {}


class IntentDecided(_Event, frozen=True, kw_only=True):
    """A person has looked at an entry that waited for review; an approved one goes before the risk gate."""

    number: int
    approved: bool
    reason: str
    actor: str


class ModeChanged(_Event, frozen=True, kw_only=True):
    """The account's mode from now on."""

    mode: Mode
    actor: str


class TradingResumed(_Event, frozen=True, kw_only=True):
    """An operator has looked at a halt, a loss or drawdown stop, or a throttled strategy, and lets trading go on."""

    reason: str
    actor: str


class StrategyEnabled(_Event, frozen=True, kw_only=True):
    """Switch one strategy's entries on or off."""

    strategy: StrategyName
    enabled: bool
    actor: str


class ParentOrderRequested(_Event, frozen=True, kw_only=True):
    """Work a parent order by its algorithm."""

    request: ParentRequest
    actor: str


class ParentOrderCanceled(_Event, frozen=True, kw_only=True):
    """Stop working a parent order and cancel its children."""

    parent_id: ParentId
    actor: str
    reason: str = ""


# Time.


class Timer(_Event, frozen=True, kw_only=True):
    """Time has passed without other news."""


# The account's place in the market.


class MarketFollowed(_Event, frozen=True, kw_only=True):
    """The account takes the events of a market log from here on, those above a position; nothing of what is between
    that and where it was.

    Attributes:
        log: its name.
        after: the position.
    """

    log: str
    after: int


class MarketDelayed(_Event, frozen=True, kw_only=True):
    """The account is behind its market: what it takes next is older than the time that it is now.

    Attributes:
        through: events up to this position are taken together: bars and interruptions, and the last books; 0 for all.
    """

    through: int = 0


# The engine's own failure.


class EngineFaulted(_Event, frozen=True, kw_only=True):
    """The engine could not apply an event, left the state as it was, and the account stopped.

    It stands in the journal in the event's place, so that a replay stops there too.

    Attributes:
        event: the event's journal form.
        error: what went wrong.
    """

    event: str
    error: str


MarketEvent = Quote | Trade | BookUpdate | Bar | FeedInterrupted | PairTold
VenueReport = (
    OrderAccepted
    | OrderRejected
    | OrderFilled
    | OrderCanceled
    | OrderExpired
    | CancelRejected
    | OrderAdopted
    | BalanceReported
    | VenueNoted
)
OperatorEvent = (
    AccountOpened
    | InstrumentListed
    | CapitalMoved
    | BalanceBooked
    | BreakAssigned
    | SafeModeEngaged
    | SafeModeReleased
    | KillSwitchEngaged
    | KillSwitchReleased
    | VenueStopped
    | VenueReleased
    | LimitsChanged
    | AccountConfigured
    | IntentDecided
    | ModeChanged
    | TradingResumed
    | StrategyEnabled
    | ParentOrderRequested
    | ParentOrderCanceled
)
LogEvent = MarketEvent | Timer
"""What a market log holds."""
Event = LogEvent | VenueReport | OperatorEvent | MarketFollowed | MarketDelayed | EngineFaulted

MARKET_EVENTS = (Quote, Trade, BookUpdate, Bar, FeedInterrupted, PairTold)
LOG_EVENTS = (*MARKET_EVENTS, Timer)
VENUE_REPORTS = (
    OrderAccepted,
    OrderRejected,
    OrderFilled,
    OrderCanceled,
    OrderExpired,
    CancelRejected,
    OrderAdopted,
    BalanceReported,
    VenueNoted,
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_log_decoder: msgspec.json.Decoder[LogEvent] = msgspec.json.Decoder(LogEvent)


def encode_event(event: Event) -> bytes:
    """Return the journal form of an event: JSON with a `type` tag, fields in declared order, defaults left out."""
    return _encoder.encode(event)


def decode_event(payload: bytes) -> Event:
    """Return the event that `encode_event` wrote. Raises msgspec.DecodeError or ValidationError on anything else."""
    return _decoder.decode(payload)


def decode_logged(payload: bytes) -> LogEvent:
    """Return the event of a market log. Raises as `decode_event`, on events of other kinds too."""
    return _log_decoder.decode(payload)


def as_given(event: Event) -> Event:
    """Return what came in: the event itself, or the one that the engine could not apply."""
    return decode_event(event.event.encode()) if isinstance(event, EngineFaulted) else event


def as_taken(event: "LogEvent", now_ns: int) -> "LogEvent":
    """Return an event of the market log as an account takes it whose time is `now_ns`: that moves its clock only
    forward.
    """
    return msgspec.structs.replace(event, taken_ns=now_ns) if 0 < event.taken_ns < now_ns else event


def opening_events(
    config: AccountConfig,
    instruments: list[Instrument],
    cash: int,
    ts_ns: int,
    capital: tuple[tuple[VenueId, AssetCode, int], ...] = (),
) -> tuple[OperatorEvent, ...]:
    """Return the first events of an account's journal: opened, instruments listed, first capital paid in.

    Args:
        cash: ledger amount of the account's currency, in equal parts at the venues of the instruments.
        capital: amounts by venue and asset, in place of `cash`.
    """
    venues = sorted({i.venue for i in instruments})
    share, rest = divmod(cash, len(venues)) if venues else (0, 0)
    shares = [share + rest, *[share] * (len(venues) - 1)]
    paid_in = capital or tuple((v, config.currency, share) for v, share in zip(venues, shares, strict=False))
    return (
        AccountOpened(ts_ns=ts_ns, config=config),
        *(InstrumentListed(ts_ns=ts_ns, definition=i) for i in instruments),
        *(CapitalMoved(ts_ns=ts_ns, venue=v, asset=asset, amount=amount) for v, asset, amount in paid_in if amount),
    )
