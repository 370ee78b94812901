"""What venues tell us, in one vocabulary: the output of every codec.

Public trades, quotes and bars are the domain's own events. Prices and sizes are integers of the instrument's precision;
fees and balances are ledger amounts.
"""

from typing import NamedTuple

import msgspec

from aether.domain.errors import Failure
from aether.domain.events import Bar, OrderFilled, Quote, Trade
from aether.domain.identifiers import AssetCode, ClientOrderId, InstrumentId, TradeId, VenueOrderId
from aether.domain.instruments import Instrument, TradingState
from aether.domain.orders import Liquidity, OrderState, OrderType, Side, TimeInForce

Level = tuple[int, int]
"""Price and size; size 0 in an update takes the level out."""


class BookSnapshot(msgspec.Struct, kw_only=True, gc=False):
    """The whole book to the depth subscribed to.

    Attributes:
        sequence: the venue's number of the last change it holds, 0 where it gives none.
        checksum: what the venue computes over its top levels; None where it gives none.
    """

    instrument: InstrumentId
    ts_ns: int
    bids: list[Level]
    asks: list[Level]
    sequence: int = 0
    checksum: int | None = None


class BookDelta(msgspec.Struct, kw_only=True, gc=False):
    """Levels that changed.

    Attributes:
        first, last: the venue's numbers of the changes in it; `first` is 0 where they do not count this book's changes
            one by one.
    """

    instrument: InstrumentId
    ts_ns: int
    bids: list[Level]
    asks: list[Level]
    first: int = 0
    last: int = 0
    checksum: int | None = None


class BarProgress(msgspec.Struct, kw_only=True, gc=False):
    """A bar as far as it has come: it is over when the next one has begun, and told as a `Bar` then."""

    bar: Bar


class Pair(NamedTuple):
    """A pair as the venue lists it: by the venue's name, with its rules, and what may be done in it now.

    Attributes:
        told_as: the name under which its market data come, where that is another pair's.
    """

    native: str
    instrument: Instrument
    state: TradingState = TradingState.ONLINE
    detail: str = ""
    told_as: str = ""


class VenueStatus(msgspec.Struct, kw_only=True):
    """What the venue allows now."""

    ts_ns: int
    state: TradingState
    detail: str = ""


class InstrumentStatus(msgspec.Struct, kw_only=True):
    """What a pair allows now."""

    instrument: InstrumentId
    ts_ns: int
    state: TradingState


class Heartbeat(msgspec.Struct, kw_only=True):
    """The connection is alive."""

    ts_ns: int = 0


class SequenceGap(msgspec.Struct, kw_only=True):
    """Messages of this connection were lost: every book built from it is to be fetched anew."""

    expected: int
    received: int


class OrderUpdate(msgspec.Struct, kw_only=True):
    """How an order stands at the venue.

    Attributes:
        client_id: empty for orders that were not ours.
        filled: size executed so far; -1 where the message does not say.
        average_price: of what has traded, 0 where the message does not say.
        unread: why the row is not understood, empty when it is. What else is said then is not to be relied on, but the
            ids: it can be counted, asked for and canceled. `instrument` has the venue's own name of a pair that is not
            listed.
    """

    ts_ns: int
    instrument: InstrumentId
    client_id: ClientOrderId
    venue_order_id: VenueOrderId
    state: OrderState
    filled: int = -1
    reason: str = ""
    side: Side | None = None
    type: OrderType | None = None
    time_in_force: TimeInForce | None = None
    size: int = 0
    limit_price: int = 0
    average_price: int = 0
    created_ns: int = 0
    unread: str = ""


class Execution(msgspec.Struct, kw_only=True):
    """One trade of our own. `fee` is a ledger amount of `fee_asset`."""

    ts_ns: int
    instrument: InstrumentId
    client_id: ClientOrderId
    venue_order_id: VenueOrderId
    trade_id: TradeId
    side: Side
    price: int
    size: int
    fee: int
    fee_asset: AssetCode
    liquidity: Liquidity


def fill_report(execution: Execution, order_id: ClientOrderId, instrument: InstrumentId, side: Side) -> OrderFilled:
    """Return what an account is told of an execution, of the order that it is booked under."""
    return OrderFilled(
        ts_ns=execution.ts_ns,
        order_id=order_id,
        venue_order_id=execution.venue_order_id,
        trade_id=execution.trade_id,
        price=execution.price,
        size=execution.size,
        fee=execution.fee,
        fee_asset=execution.fee_asset,
        liquidity=execution.liquidity,
        instrument=instrument,
        side=side,
    )


class Balance(msgspec.Struct, kw_only=True):
    """A balance at the venue, ledger amounts: everything held, and the part that is free; -1 where not told."""

    ts_ns: int
    asset: AssetCode
    total: int
    free: int = -1


class Placed(NamedTuple):
    """What became of one order of a batch: its number at the venue, or why it was not taken."""

    venue_order_id: VenueOrderId
    reason: str = ""


class Acknowledged(msgspec.Struct, kw_only=True):
    """The answer to a request on a socket.

    Attributes:
        request_id: as sent; 0 for a message that answers none.
        failure: None when the request was carried out.
        reason: the venue's own text.
    """

    request_id: int
    failure: Failure | None = None
    reason: str = ""
    venue_order_id: VenueOrderId = VenueOrderId("")
    client_id: ClientOrderId = ClientOrderId("")
    result: bytes = b""


class Subscribed(msgspec.Struct, kw_only=True):
    """A subscription was confirmed."""

    channel: str
    symbol: str = ""


class Unread(msgspec.Struct, kw_only=True):
    """A row of an answer that is not understood: the others are good all the same.

    Attributes:
        what: the row should have been: `execution`, `balance`, `bar`.
        reason: what is wrong with it.
        text: the row as the venue wrote it, cut.
    """

    what: str
    reason: str
    text: str


class Unrecognized(msgspec.Struct, kw_only=True):
    """A message, or a part of one, that the codec does not know: counted, never fatal."""

    kind: str
    detail: str
    digest: str


Message = (
    Trade
    | Quote
    | Bar
    | BarProgress
    | BookSnapshot
    | BookDelta
    | VenueStatus
    | InstrumentStatus
    | Heartbeat
    | SequenceGap
    | OrderUpdate
    | Execution
    | Balance
    | Acknowledged
    | Subscribed
    | Unrecognized
)
