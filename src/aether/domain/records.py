"""What the engine notes down about its own doing: fills with their result, verdicts of the risk gate, equity points.

These are read by people (tables, charts, reports); the journal can rebuild every one of them.
"""

from enum import StrEnum

import msgspec

from aether.domain.identifiers import (
    AssetCode,
    ClientOrderId,
    InstrumentId,
    Owner,
    StrategyName,
    TradeId,
    VenueId,
)
from aether.domain.orders import Liquidity, Purpose, Side


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution as booked.

    Attributes:
        ts_ns: when we had the report; `venue_ns`: when the venue executed it, 0 where it does not say.
        notional, fee, realized: ledger amounts of the quote asset; `realized` is before fees and 0 for plain buys.
            A fee in another asset counts here with its worth.
        fee_asset, fee_amount: the fee as charged, a ledger amount of that asset; negative for a rebate.
        owner: whose holding it changed.
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
    venue_ns: int = 0
    fee_asset: AssetCode = AssetCode("")
    fee_amount: int = 0
    owner: Owner = Owner("")


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Money or coins that came in or went out, or that an operator booked; ledger amounts.

    Attributes:
        kind: `capital`, no profit or loss, or `booking`, which is.
        value: its worth in the account's currency when it was booked.
    """

    ts_ns: int
    kind: str
    venue: VenueId
    asset: AssetCode
    amount: int
    value: int
    reference: str
    reason: str
    actor: str


class BreakKind(StrEnum):
    """In which way our books and a venue's differ."""

    BALANCE = "balance"
    """The venue holds another amount."""
    OVERDRAFT = "overdraft"
    """More was spent than the books held."""
    IMPOSSIBLE = "impossible"
    """It reported of an order what no venue can mean."""
    STRANGER = "stranger"
    """It reported on an order that the account does not know."""


class Break(msgspec.Struct, kw_only=True):
    """A difference between our books and a venue's. It blocks entries, never exits or cancels.

    Attributes:
        name: what it is called: its kind and its subject, a balance or an order.
        amount: what a booking would have to add to our books, a ledger amount; 0 where it is no amount.
        evidence: what was found, for people.
        since_ns, seen_ns: when it was first and last found; `times`: how often.
        owner: who has taken it on.
        reminded: how often people were told of its age.
    """

    kind: BreakKind
    subject: str
    amount: int
    evidence: str
    since_ns: int
    seen_ns: int
    times: int = 1
    owner: str = ""
    reminded: int = 0

    @property
    def name(self) -> str:
        """The break's name, unique in its account."""
        return f"{self.kind}|{self.subject}"


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
        realized: profit and loss of closed trades, bookings and rounding so far, before fees.
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
