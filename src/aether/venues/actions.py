"""What we ask of venues, in one vocabulary: the input of every codec. Sizes and prices are exact decimal text.

A capability that a venue lacks is refused by its codec with `UnsupportedError`; nothing is silently weakened.
"""

import msgspec

from aether.domain.identifiers import ClientOrderId, VenueOrderId
from aether.domain.orders import OrderType, Side, TimeInForce


class _Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Markets(_Action, frozen=True, kw_only=True):
    """Spot instruments with their rules: all, or those of some symbols; a venue refuses one that it does not list."""

    symbols: tuple[str, ...] = ()


class ServerTime(_Action, frozen=True):
    """The venue's clock."""


class SystemStatus(_Action, frozen=True):
    """What the venue allows now."""


class Ticker(_Action, frozen=True, kw_only=True):
    """Best bid and ask of a pair."""

    symbol: str


class Depth(_Action, frozen=True, kw_only=True):
    """The book of a pair to so many levels."""

    symbol: str
    levels: int = 100


class RecentTrades(_Action, frozen=True, kw_only=True):
    """The latest public trades of a pair."""

    symbol: str
    limit: int = 100


class Candles(_Action, frozen=True, kw_only=True):
    """Bars of a pair from a time on."""

    symbol: str
    interval_s: int = 60
    since_s: int = 0
    until_s: int = 0


class Balances(_Action, frozen=True):
    """Everything held."""


class Fees(_Action, frozen=True, kw_only=True):
    """The account's fee rates for a pair."""

    symbol: str


class Permissions(_Action, frozen=True):
    """What the key may do."""


class StreamToken(_Action, frozen=True):
    """A token for the private socket."""


class OpenOrders(_Action, frozen=True, kw_only=True):
    """Orders that still work, of one pair or of all."""

    symbol: str = ""


class ClosedOrders(_Action, frozen=True, kw_only=True):
    """Orders that have ended since a time."""

    symbol: str = ""
    since_s: int = 0


class GetOrder(_Action, frozen=True, kw_only=True):
    """One order, by our id or the venue's."""

    symbol: str
    client_order_id: ClientOrderId = ClientOrderId("")
    venue_order_id: VenueOrderId = VenueOrderId("")


class Fates(_Action, frozen=True, kw_only=True):
    """How many orders stand, those with the venue's ids and those of ours that were decided since a time, at one price.

    A venue offers it for as many as its protocol's `fates_at_once`; the answer is a list, of others too.
    """

    venue_order_ids: tuple[VenueOrderId, ...] = ()
    since_s: int = 0


class Fills(_Action, frozen=True, kw_only=True):
    """Our executions since a time, of one pair (Binance wants one) or of all."""

    symbol: str = ""
    since_s: int = 0
    venue_order_id: VenueOrderId = VenueOrderId("")


class Submit(_Action, frozen=True, kw_only=True):
    """Place an order.

    Attributes:
        size: of the base asset.
        trail: distance of a trailing stop from the best price, in price.
        display_size: the visible part of an iceberg order.
        expire_s: when a GTD order ends, seconds since 1970.
        deadline_ms: the venue must refuse the order when it arrives later than so many milliseconds after it was made.
    """

    symbol: str
    side: Side
    type: OrderType
    size: str
    price: str = ""
    trigger_price: str = ""
    trail: str = ""
    display_size: str = ""
    time_in_force: TimeInForce | None = None
    post_only: bool = False
    expire_s: int = 0
    client_order_id: ClientOrderId = ClientOrderId("")
    deadline_ms: int = 0


class SubmitBatch(_Action, frozen=True, kw_only=True):
    """Place several orders of one pair in one request."""

    orders: tuple[Submit, ...]


class Amend(_Action, frozen=True, kw_only=True):
    """Change size or price of an open order; an empty field stays as it is.

    Attributes:
        post_only: whether the order is; Kraken takes it for one that is not unless it is told again.
    """

    symbol: str
    client_order_id: ClientOrderId = ClientOrderId("")
    venue_order_id: VenueOrderId = VenueOrderId("")
    size: str = ""
    price: str = ""
    post_only: bool = False


class Cancel(_Action, frozen=True, kw_only=True):
    """Cancel one open order."""

    symbol: str
    client_order_id: ClientOrderId = ClientOrderId("")
    venue_order_id: VenueOrderId = VenueOrderId("")


class CancelAllOrders(_Action, frozen=True, kw_only=True):
    """Cancel every open order, of one pair or of all; a venue may want the ids or the pair."""

    symbol: str = ""
    venue_order_ids: tuple[VenueOrderId, ...] = ()


class DeadManSwitch(_Action, frozen=True, kw_only=True):
    """Have the venue cancel all orders unless told again within so many seconds; 0 switches it off."""

    timeout_s: int


Action = (
    Markets
    | ServerTime
    | SystemStatus
    | Ticker
    | Depth
    | RecentTrades
    | Candles
    | Balances
    | Fees
    | Permissions
    | StreamToken
    | OpenOrders
    | ClosedOrders
    | GetOrder
    | Fates
    | Fills
    | Submit
    | SubmitBatch
    | Amend
    | Cancel
    | CancelAllOrders
    | DeadManSwitch
)

ACTIONS: dict[str, type[_Action]] = {
    "markets": Markets,
    "time": ServerTime,
    "status": SystemStatus,
    "ticker": Ticker,
    "book": Depth,
    "trades": RecentTrades,
    "candles": Candles,
    "balances": Balances,
    "fees": Fees,
    "permissions": Permissions,
    "stream_token": StreamToken,
    "open_orders": OpenOrders,
    "closed_orders": ClosedOrders,
    "order": GetOrder,
    "fates": Fates,
    "fills": Fills,
    "submit": Submit,
    "submit_batch": SubmitBatch,
    "amend": Amend,
    "cancel": Cancel,
    "cancel_all": CancelAllOrders,
    "dead_man_switch": DeadManSwitch,
}
"""Actions by the name that `aether venue encode` takes."""

TRADING = (Submit, SubmitBatch, Amend, Cancel, CancelAllOrders, DeadManSwitch)
PRIVATE = (*TRADING, Balances, Fees, Permissions, StreamToken, OpenOrders, ClosedOrders, GetOrder, Fates, Fills)
CANCELS = (Cancel, CancelAllOrders)
"""These go before everything else in a rate limit's queue."""


class Request(msgspec.Struct, kw_only=True):
    """An HTTP request as it goes out.

    Attributes:
        path: with its query string.
        weight: what it costs in the venue's rate limit.
        deadline_ms: the venue must refuse it so long after it was signed; 0 for the venue's own rule.
    """

    method: str
    path: str
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: str = ""
    weight: int = 1
    deadline_ms: int = 0


class KeyPermissions(msgspec.Struct, kw_only=True, frozen=True):
    """What a key may do; None where the venue does not tell before it is tried."""

    can_trade: bool | None
    can_withdraw: bool | None
    detail: str = ""


class FeeRates(msgspec.Struct, kw_only=True, frozen=True):
    """The rates that the account pays now, parts per million, and its 30-day volume in USD where told."""

    maker_ppm: int
    taker_ppm: int
    volume_30d: str = ""
