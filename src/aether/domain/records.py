"""What the engine notes down about its own doing: fills with their result, verdicts of the risk gate, equity points.

These are read by people (tables, charts, reports); the journal can rebuild every one of them.
"""

import msgspec

from aether.domain.identifiers import ClientOrderId, InstrumentId, StrategyName, TradeId
from aether.domain.orders import Liquidity, Purpose, Side


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution as booked.

    Attributes:
        notional, fee, realized: ledger amounts of the quote asset; `realized` is before fees and 0 for buys.
    """

    ts_ns: int
    order_id: ClientOrderId
    trade_id: TradeId
    instrument: InstrumentId
    side: Side
    price: int
    size: int
    notional: int
    fee: int
    realized: int
    liquidity: Liquidity
    purpose: Purpose
    strategy: StrategyName


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for a denial: the check that failed, what it found and what it allows."""

    check: str
    value: str
    limit: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the risk gate said about one order; approved when there is no breach."""

    ts_ns: int
    order_id: ClientOrderId
    instrument: InstrumentId
    breaches: tuple[Breach, ...]

    @property
    def approved(self) -> bool:
        """Whether the order may be sent."""
        return not self.breaches

    @property
    def reason(self) -> str:
        """All breaches in one line."""
        return "; ".join(f"{b.check}: {b.value}, allowed {b.limit}" for b in self.breaches)


class EquityPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The account's worth at a moment; ledger amounts of its currency.

    Attributes:
        nav: cash plus positions at the mark.
        exposure: positions at the mark.
        realized: profit and loss of closed trades so far, before fees.
        fees: fees paid so far.
        capital: money paid in less money taken out.
    """

    ts_ns: int
    nav: int
    cash: int
    exposure: int
    realized: int
    fees: int
    capital: int
