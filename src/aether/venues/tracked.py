"""An order between the account and the venue, and what may have to be asked about it."""

from enum import Enum, auto

import msgspec

from aether.domain.events import RejectedBy
from aether.domain.identifiers import ClientOrderId, TradeId, VenueOrderId
from aether.domain.orders import OrderRequest
from aether.venues.messages import OrderUpdate

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0


class Phase(Enum):
    """What is known of an order at the venue."""

    QUEUED = auto()
    """It has not left."""
    SENT = auto()
    """It left, and no answer says what became of it."""
    OPEN = auto()
    """The venue works it."""
    CLOSED = auto()
    """It is over, or never arrived."""


class Pause(msgspec.Struct):
    """When something is asked again: each wait is twice as long as the one before."""

    next_s: float = 0.0
    wait_s: float = FIRST_WAIT_S

    def back_off(self, now_s: float) -> None:
        """Let the next request wait, twice as long as the one before."""
        self.next_s = now_s + self.wait_s
        self.wait_s = min(LONGEST_WAIT_S, self.wait_s * 2)

    def hurry(self) -> None:
        """Let the next request go at once: something is known that was not."""
        self.next_s, self.wait_s = 0.0, FIRST_WAIT_S


class Tracked(Pause, kw_only=True):
    """An order as it stands between the account and the venue.

    Attributes:
        decided_s: when it was decided, seconds since 1970; its deadline counts from here.
        unwanted_s: since when it should be gone, 0 while it should work.
        told_filled: what the venue says has traded; more than `filled` while executions have not been read.
        ending: how the venue says it ended, while executions are still to be read.
        missed_s: since when the venue does not know it.
        short_s: since when its executions are less than what has traded.
        is_asked: a request about it is under way.
        is_lost: no answer said what became of it.
        is_doubted: the venue should be asked how it stands.
        is_adopted: somebody else placed it, and may change it: it ends when the venue says so.
    """

    request: OrderRequest
    wire_id: ClientOrderId
    decided_s: float
    phase: Phase = Phase.QUEUED
    venue_order_id: VenueOrderId = VenueOrderId("")
    unwanted_s: float = 0.0
    filled: int = 0
    told_filled: int = 0
    trades: set[TradeId] = msgspec.field(default_factory=set)
    ending: OrderUpdate | None = None
    opened_s: float = 0.0
    closed_s: float = 0.0
    missed_s: float = 0.0
    short_s: float = 0.0
    is_asked: bool = False
    is_lost: bool = False
    is_doubted: bool = False
    is_accepted: bool = False
    is_adopted: bool = False


class Send(msgspec.Struct, frozen=True):
    """Place the order; it is handed out once. Answer with `accepted`, `refused` or `lost`."""

    order: Tracked


class Withdraw(msgspec.Struct, frozen=True):
    """Cancel the order. Answer with `withdrawn` or `cancel_failed`."""

    order: Tracked


class LookUp(msgspec.Struct, frozen=True):
    """Ask how the order stands. Answer with `found`, `not_found` or `failed`."""

    order: Tracked


class ReadFills(msgspec.Struct, frozen=True):
    """Fetch the order's executions. Answer with `fills_read` or `failed`."""

    order: Tracked


class Sweep(msgspec.Struct, frozen=True):
    """Cancel everything: what is known to be open, and what the venue listed. Answer with `swept` or `failed`.

    Attributes:
        listed: what the venue's last list held that is not ours.
    """

    orders: tuple[Tracked, ...]
    listed: tuple[OrderUpdate, ...]


class ListOpen(msgspec.Struct, frozen=True):
    """List the open orders, of which a stop wants none. Answer with `listed` or `failed`."""


Ask = Send | Withdraw | LookUp | ReadFills | Sweep | ListOpen


class NotSentError(Exception):
    """An order must not leave any more; `str` says why.

    Args:
        by: whose doing that is.
    """

    def __init__(self, message: str, *, by: RejectedBy = RejectedBy.US) -> None:
        super().__init__(message)
        self.by = by
