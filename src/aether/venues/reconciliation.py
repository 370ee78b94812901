"""What a venue knows and the books do not: pure rules, venue reports in, words and reports out.

What holds, whatever order things arrive in:

* a balance that was asked for earlier never replaces one that was told later;
* a balance that moved although no execution was seen since the one before has an unknown cause: executions are read;
* an order id of this account that the books have not given out yet shows that the books are older than the venue: a
  restored back-up. Numbers go on above the highest one that the venue knows, and the account halts until a person has
  looked;
* an execution of an order that is not ours is booked under an id made of the venue's own numbers, so that it is booked
  once, however often it is read.
"""

from collections.abc import Callable
from functools import cached_property

import msgspec

from aether.domain.events import OrderFilled
from aether.domain.identifiers import AccountId, ClientOrderId, InstrumentId, client_order_id, foreign_id
from aether.domain.orders import Order, OrderRequest, OrderType, Purpose, Side, TimeInForce
from aether.venues.messages import Balance, Execution, OrderUpdate, fill_report

AHEAD = 4_096
"""Order ids of this account, not given out yet, that are looked for at a venue."""


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What an account's books hold when its session at a venue begins.

    Attributes:
        next_order: the number of the next order.
        since_ns: when the books end: what a venue did later, nobody has heard of.
        instruments: traded at the venue.
        orders: open ones, and the latest that are over.
        is_stopped: nothing may be open.
    """

    account: AccountId
    next_order: int
    since_ns: int
    instruments: tuple[InstrumentId, ...] = ()
    orders: tuple[Order, ...] = ()
    is_stopped: bool = False


class Ids:
    """Order ids of this account that the books have not given out, as the venue writes them."""

    def __init__(self, remembered: Remembered, wire_id: Callable[[ClientOrderId], ClientOrderId]) -> None:
        self.highest = 0
        """The highest number that the venue knows and the books do not; 0 while there is none."""
        self._account, self._first = remembered.account, remembered.next_order
        self._given: set[ClientOrderId] = set()
        self._wire_id = wire_id

    def seen(self, wire_id: ClientOrderId) -> None:
        """Note an id that the venue knows."""
        if wire_id and wire_id not in self._given:
            self.highest = max(self.highest, self._numbers.get(wire_id, 0))

    def given(self, order_id: ClientOrderId) -> None:
        """Note that the account gives out an id from now on."""
        self._given.add(self._wire_id(order_id))

    @cached_property
    def _numbers(self) -> dict[ClientOrderId, int]:
        """The numbers of ids, made when a venue first knows one that is not ours: it takes a while."""
        numbers = range(self._first, self._first + AHEAD)
        return {self._wire_id(client_order_id(self._account, n)): n for n in numbers}


class Held:
    """What a venue says is held, and up to when every move of it is explained."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        """By asset, as told last."""
        self.settled_s = 0.0
        """Up to when every move is explained."""
        self._settled: dict[str, int] = {}
        self._told_s: dict[str, float] = {}

    def told(self, balance: Balance, told_s: float) -> bool:
        """Take in a balance as it was at `told_s`; return whether it is news."""
        asset = balance.asset
        if told_s < self._told_s.get(asset, 0.0):
            return False
        self._told_s[asset] = told_s
        is_news = self.totals.get(asset) != balance.total
        self.totals[asset] = balance.total
        return is_news

    def have_moved(self) -> bool:
        """Return whether something is held that was not when everything was explained last."""
        return self.totals != self._settled

    def settle(self, asked_s: float, totals: dict[str, int]) -> None:
        """Note that all executions before `asked_s` are known, and all that led to `totals`."""
        self.settled_s = asked_s
        self._settled = totals


def foreign_fill(execution: Execution) -> OrderFilled:
    """Return the report of an execution of an order that the books do not know."""
    order_id = foreign_id(execution.venue_order_id)
    return fill_report(execution, order_id, execution.instrument, execution.side)


def foreign_request(update: OrderUpdate) -> OrderRequest | None:
    """Return an order that is not ours as one of the account's; None when the venue does not say enough of it."""
    is_known = update.type is not None or update.limit_price
    if update.unread or update.side is None or update.size <= 0 or not is_known:
        return None
    return OrderRequest(
        id=foreign_id(update.venue_order_id),
        instrument=update.instrument,
        side=update.side,
        type=update.type or OrderType.LIMIT,
        size=update.size,
        limit_price=update.limit_price,
        time_in_force=update.time_in_force or TimeInForce.GTC,
        purpose=Purpose.ENTRY if update.side is Side.BUY else Purpose.EXIT,
    )
