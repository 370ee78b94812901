"""The life cycle of an order, as one table.

What arrives about an order is first reduced to a trigger (`Trigger`), then looked up with the order's state. A pair
that stands in the table is normal, however odd its timing: venues acknowledge after they fill, fill after they cancel,
and say things twice. Such reports are absorbed; the state that they lead to is often the one the order is in.

A pair that does not stand in the table is what no venue can mean: a fill of an order that the gate denied, a rejection
of one that has traded, more executed than was asked for. The fact is booked all the same, whole, and the order goes
where the fact puts it (`judge`); but our picture and the venue's differ in a way that no rule can mend, so it becomes a
break with the evidence, and the account halts: no entries, open orders taken back, exits go on.

Reading the table by column:

* `ACCEPT` is a late acknowledgement anywhere after the first fill or the end; it changes nothing there.
* `FILL_PART` and `FILL_WHOLE` count also after a cancel or expiry: the venue matched before it took the order off.
* `CANCEL` and `EXPIRE` after the end are duplicates.
* `REJECT` is final and only possible while nothing has traded; some venues acknowledge receipt before they reject. One
  of an order that has traded ends it as a cancel does: the venue works it no more.
* `CANCEL`, `EXPIRE` and `CANCEL_REFUSED` after a rejection answer a cancel that crossed it.
* `CANCEL_REFUSED` returns a pending cancel to where it was; `CANCEL_REFUSED_PART` when part of it had traded.
"""

from enum import Enum, auto

from aether.domain.orders import Order, OrderState


class Trigger(Enum):
    """What can happen to an order."""

    APPROVE = auto()
    DENY = auto()
    ACCEPT = auto()
    REJECT = auto()
    FILL_PART = auto()
    FILL_WHOLE = auto()
    REQUEST_CANCEL = auto()
    CANCEL = auto()
    CANCEL_REFUSED = auto()
    CANCEL_REFUSED_PART = auto()
    EXPIRE = auto()


_S = OrderState
_T = Trigger

TRANSITIONS: dict[tuple[OrderState, Trigger], OrderState] = {
    (_S.INITIALIZED, _T.APPROVE): _S.SUBMITTED,
    (_S.INITIALIZED, _T.DENY): _S.DENIED,
    (_S.SUBMITTED, _T.ACCEPT): _S.ACCEPTED,
    (_S.SUBMITTED, _T.REJECT): _S.REJECTED,
    (_S.SUBMITTED, _T.FILL_PART): _S.PARTIALLY_FILLED,
    (_S.SUBMITTED, _T.FILL_WHOLE): _S.FILLED,
    (_S.SUBMITTED, _T.REQUEST_CANCEL): _S.PENDING_CANCEL,
    (_S.SUBMITTED, _T.CANCEL): _S.CANCELED,
    (_S.SUBMITTED, _T.CANCEL_REFUSED): _S.SUBMITTED,
    (_S.SUBMITTED, _T.EXPIRE): _S.EXPIRED,
    (_S.ACCEPTED, _T.ACCEPT): _S.ACCEPTED,
    (_S.ACCEPTED, _T.REJECT): _S.REJECTED,
    (_S.ACCEPTED, _T.FILL_PART): _S.PARTIALLY_FILLED,
    (_S.ACCEPTED, _T.FILL_WHOLE): _S.FILLED,
    (_S.ACCEPTED, _T.REQUEST_CANCEL): _S.PENDING_CANCEL,
    (_S.ACCEPTED, _T.CANCEL): _S.CANCELED,
    (_S.ACCEPTED, _T.CANCEL_REFUSED): _S.ACCEPTED,
    (_S.ACCEPTED, _T.EXPIRE): _S.EXPIRED,
    (_S.PARTIALLY_FILLED, _T.ACCEPT): _S.PARTIALLY_FILLED,
    (_S.PARTIALLY_FILLED, _T.FILL_PART): _S.PARTIALLY_FILLED,
    (_S.PARTIALLY_FILLED, _T.FILL_WHOLE): _S.FILLED,
    (_S.PARTIALLY_FILLED, _T.REQUEST_CANCEL): _S.PENDING_CANCEL,
    (_S.PARTIALLY_FILLED, _T.CANCEL): _S.CANCELED,
    (_S.PARTIALLY_FILLED, _T.CANCEL_REFUSED_PART): _S.PARTIALLY_FILLED,
    (_S.PARTIALLY_FILLED, _T.EXPIRE): _S.EXPIRED,
    (_S.PENDING_CANCEL, _T.ACCEPT): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, _T.REJECT): _S.REJECTED,
    (_S.PENDING_CANCEL, _T.FILL_PART): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, _T.FILL_WHOLE): _S.FILLED,
    (_S.PENDING_CANCEL, _T.REQUEST_CANCEL): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, _T.CANCEL): _S.CANCELED,
    (_S.PENDING_CANCEL, _T.CANCEL_REFUSED): _S.ACCEPTED,
    (_S.PENDING_CANCEL, _T.CANCEL_REFUSED_PART): _S.PARTIALLY_FILLED,
    (_S.PENDING_CANCEL, _T.EXPIRE): _S.EXPIRED,
    (_S.FILLED, _T.ACCEPT): _S.FILLED,
    (_S.FILLED, _T.CANCEL): _S.FILLED,
    (_S.FILLED, _T.CANCEL_REFUSED_PART): _S.FILLED,
    (_S.FILLED, _T.EXPIRE): _S.FILLED,
    (_S.CANCELED, _T.ACCEPT): _S.CANCELED,
    (_S.CANCELED, _T.FILL_PART): _S.CANCELED,
    (_S.CANCELED, _T.FILL_WHOLE): _S.FILLED,
    (_S.CANCELED, _T.CANCEL): _S.CANCELED,
    (_S.CANCELED, _T.CANCEL_REFUSED): _S.CANCELED,
    (_S.CANCELED, _T.CANCEL_REFUSED_PART): _S.CANCELED,
    (_S.CANCELED, _T.EXPIRE): _S.CANCELED,
    (_S.EXPIRED, _T.ACCEPT): _S.EXPIRED,
    (_S.EXPIRED, _T.FILL_PART): _S.EXPIRED,
    (_S.EXPIRED, _T.FILL_WHOLE): _S.FILLED,
    (_S.EXPIRED, _T.CANCEL): _S.EXPIRED,
    (_S.EXPIRED, _T.CANCEL_REFUSED): _S.EXPIRED,
    (_S.EXPIRED, _T.CANCEL_REFUSED_PART): _S.EXPIRED,
    (_S.EXPIRED, _T.EXPIRE): _S.EXPIRED,
    (_S.REJECTED, _T.ACCEPT): _S.REJECTED,
    (_S.REJECTED, _T.REJECT): _S.REJECTED,
    (_S.REJECTED, _T.CANCEL): _S.REJECTED,
    (_S.REJECTED, _T.CANCEL_REFUSED): _S.REJECTED,
    (_S.REJECTED, _T.EXPIRE): _S.REJECTED,
}


def judge(order: Order, trigger: Trigger) -> tuple[OrderState, str]:
    """Return the state that `trigger` leads `order` to, and why no venue can mean it; empty when one can."""
    state = TRANSITIONS.get((order.state, trigger))
    oddity = ""
    if state is None or (trigger is Trigger.REJECT and order.filled):
        oddity = (
            f"order {order.request.id} is {order.state} with {order.filled} of {order.request.size} filled and got "
            f"{trigger.name.lower()}"
        )
        ends = {Trigger.FILL_WHOLE: OrderState.FILLED}
        if order.state.is_open:
            ends[Trigger.REJECT] = OrderState.CANCELED
        state = ends.get(trigger, order.state)
    return state, oddity


def fill_trigger(order: Order, size: int) -> Trigger:
    """Return the trigger that an execution of `size` is for `order`; more than was left fills it too."""
    return Trigger.FILL_WHOLE if size >= order.remaining else Trigger.FILL_PART


def overfill(order: Order, size: int) -> str:
    """Return what is wrong with an execution of `size`, empty when so much was left."""
    if size <= order.remaining:
        return ""
    return f"order {order.request.id} has {order.remaining} left and got a fill of {size} size units"


def cancel_refused_trigger(order: Order) -> Trigger:
    """Return the trigger that a refused cancel is for `order`."""
    return Trigger.CANCEL_REFUSED_PART if order.filled else Trigger.CANCEL_REFUSED
