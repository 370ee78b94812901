"""What the engine asks for. Commands leave the house only after the event that caused them is durable."""

from enum import StrEnum

import msgspec

from aether.domain.identifiers import ClientOrderId, InstrumentId
from aether.domain.orders import OrderRequest


class ApprovedOrder(msgspec.Struct, frozen=True):
    """An order that has passed the risk gate. Only `engine/risk.py` makes one (a test holds that), and a venue takes
    nothing else."""

    request: OrderRequest


class SubmitOrder(msgspec.Struct, frozen=True, tag=True):
    """Send the order to its venue."""

    ts_ns: int
    order: ApprovedOrder


class CancelOrder(msgspec.Struct, frozen=True, tag=True):
    """Cancel one open order."""

    ts_ns: int
    order_id: ClientOrderId
    instrument: InstrumentId


class CancelAll(msgspec.Struct, frozen=True, tag=True):
    """Cancel every open order of the account at its venues."""

    ts_ns: int


class Severity(StrEnum):
    """How urgent an alert is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class RaiseAlert(msgspec.Struct, frozen=True, tag=True):
    """Tell a person."""

    ts_ns: int
    severity: Severity
    code: str
    message: str


Command = SubmitOrder | CancelOrder | CancelAll | RaiseAlert
