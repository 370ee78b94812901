"""What an account says and does on a long day of stops, breaks and sales, line by line (R4, R5, R10).

The record lies in `said.txt`: who means to change a line of it sees all that changes with it, and writes it anew with

    AETHER_WRITE_SAID=1 pytest tests/unit/test_said.py
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from aether.domain.accounts import Limits
from aether.domain.commands import CancelAll, CancelOrder, Command, RaiseAlert, SubmitOrder
from aether.domain.events import (
    BalanceBooked,
    BalanceReported,
    BreakAssigned,
    CancelRejected,
    EngineFaulted,
    Event,
    KillSwitchEngaged,
    KillSwitchReleased,
    LimitsChanged,
    OrderCanceled,
    OrderFilled,
    SafeModeEngaged,
    SafeModeReleased,
    Timer,
    TradingResumed,
    VenueReleased,
    VenueStopped,
    encode_event,
)
from aether.domain.identifiers import AssetCode, ClientOrderId, TradeId, VenueId, VenueOrderId
from aether.domain.orders import Liquidity
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.strategy import Enter
from tests.desk import BTC, ETH, SECOND, START, Desk, account, submitted

RECORD = Path(__file__).with_name("said.txt")
PAPER = VenueId("paper")
COIN = 10**8


class Day:
    """A desk whose every step is written down."""

    def __init__(self, **config: Any) -> None:
        self.desk = Desk(config=account(**config))
        self.lines: list[str] = []
        self.desk.changes()
        self.quote(50_000)

    def quote(self, price: float, *, after_s: float = 1) -> None:
        self.note(f"quote {price:g}", self.desk.quote(str(price - 0.01), str(price + 0.01), after_s=after_s))

    def tell(self, make: Callable[[int], Event], *, after_s: float = 1) -> list[Command]:
        self.desk.now += round(after_s * SECOND)
        event = make(self.desk.now)
        commands = self.desk.tell(event)
        self.note(type(event).__name__, commands)
        return commands

    def note(self, what: str, commands: list[Command]) -> None:
        """Write down what a step gave: alerts, orders, cancels; the stops, breaks and worth that it left."""
        state = self.desk.engine.state
        self.lines.append(f"{(self.desk.now - START) / SECOND:g} s: {what}")
        for command in commands:
            match command:
                case RaiseAlert():
                    at_s = (command.ts_ns - START) / SECOND
                    self.lines.append(f"    {command.severity} {command.code} at {at_s:g} s: {command.message}")
                case SubmitOrder():
                    r = command.order.request
                    self.lines.append(f"    sends {r.id}: {r.side} {r.size} {r.type} {r.time_in_force} {r.purpose}")
                    self.lines.append(f"      for {r.owner}, strategy {r.strategy!r}")
                case CancelOrder():
                    self.lines.append(f"    cancels {command.order_id}")
                case CancelAll():
                    self.lines.append("    cancels all")
        for stop, s in state.stops.items():
            since_s, asked_s = (s.since_ns - START) / SECOND, (s.asked_ns - START) / SECOND if s.asked_ns else 0
            self.lines.append(f"    {stop} since {since_s:g} s by {s.actor!r}, asked {asked_s:g} s: {s.reason}")
        for venue, s in state.stopped_venues.items():
            self.lines.append(
                f"    {venue} stopped since {(s.since_ns - START) / SECOND:g} s by {s.actor!r}: {s.reason}"
            )
        changes = self.desk.changes()
        for name, found in changes.breaks.items():
            told = msgspec.to_builtins(found)
            told["since_ns"], told["seen_ns"] = ((t - START) // SECOND for t in (found.since_ns, found.seen_ns))
            self.lines.append(f"    break {name}: {told}")
        self.lines += [f"    cleared {name}: {why}" for name, why in changes.cleared.items()]
        self.lines += [f"    worth {p.nav} of {p.capital}" for p in changes.equity]
        risk = state.risk
        worth = f"day {risk.day_start_nav}, peak {risk.peak_nav}, slack {risk.slack}, fees {risk.fees_today}"
        self.lines.append(f"    {worth}")

    def buy(self, *, limit: float | None = None) -> ClientOrderId:
        commands = self.desk.want(Enter(instrument=BTC.id, limit_price=limit))
        self.note("the strategy enters", commands)
        return submitted(commands)[0].id

    def fill(self, order_id: str, size: int | None = None) -> None:
        self.desk.commands.clear()
        self.desk.fill(self.desk.order(order_id).request, size)
        self.note("fill", self.desk.commands)

    def cancel(self, order_id: str, reason: str) -> list[Command]:
        return self.tell(lambda t: OrderCanceled(ts_ns=t, order_id=ClientOrderId(order_id), reason=reason))


def stops() -> list[str]:
    """Every stop, entered and left, with an order open and a position held."""
    day = Day()
    order = day.buy(limit=49_900)
    day.tell(lambda t: SafeModeEngaged(ts_ns=t, reason="storm", actor="ada"))
    day.tell(lambda t: SafeModeEngaged(ts_ns=t, reason="still storm", actor="bob"))
    day.tell(lambda t: SafeModeReleased(ts_ns=t, reason="calm", actor="ada"))
    day.tell(lambda t: SafeModeEngaged(ts_ns=t, reason="again", actor="bob"))
    day.tell(lambda t: SafeModeReleased(ts_ns=t, reason="calm again", actor="bob"))
    day.tell(lambda t: VenueStopped(ts_ns=t - SECOND, venue=PAPER, reason="odd", actor="ada"))
    day.tell(lambda t: VenueStopped(ts_ns=t, venue=PAPER, reason="odder", actor="bob"))
    day.tell(lambda t: CancelRejected(ts_ns=t, order_id=order, reason="busy"))
    day.tell(lambda t: Timer(ts_ns=t))
    day.tell(lambda t: VenueReleased(ts_ns=t, venue=PAPER, reason="mended", actor="ada"))
    day.tell(lambda t: CancelRejected(ts_ns=t, order_id=order, reason="busy"))
    day.tell(lambda t: Timer(ts_ns=t))
    day.tell(lambda t: VenueReleased(ts_ns=t, venue=PAPER, reason="twice", actor="ada"))
    day.cancel(order, "as asked")
    order = day.buy(limit=49_800)
    day.tell(lambda t: KillSwitchEngaged(ts_ns=t - SECOND, reason="drill", actor="ada"))
    day.tell(lambda t: CancelRejected(ts_ns=t, order_id=order, reason="busy"))
    day.tell(lambda t: Timer(ts_ns=t))
    day.tell(lambda t: KillSwitchEngaged(ts_ns=t, reason="again", actor="bob"))
    day.cancel(order, "as asked")
    day.tell(lambda t: KillSwitchReleased(ts_ns=t, reason="over", actor="ada"))
    day.tell(lambda t: EngineFaulted(ts_ns=t, event=encode_event(Timer(ts_ns=t)).decode(), error="division by zero"))
    day.tell(lambda t: TradingResumed(ts_ns=t, reason="looked at it", actor="ada"))
    return day.lines


def flattening() -> list[str]:
    """A position is sold in pieces, against refusals, across a stop of its venue, until only dust is left."""
    day = Day()
    day.fill(day.buy())
    day.tell(lambda t: VenueStopped(ts_ns=t, venue=PAPER, reason="odd", actor="ada"))
    day.tell(lambda t: KillSwitchEngaged(ts_ns=t, reason="all out", actor="ada", flatten=True))
    day.tell(lambda t: Timer(ts_ns=t))
    day.tell(lambda t: VenueReleased(ts_ns=t, venue=PAPER, reason="mended", actor="ada"))
    (sale,) = submitted(day.tell(lambda t: Timer(ts_ns=t)))
    day.tell(lambda t: Timer(ts_ns=t))
    day.cancel(sale.id, "Insufficient balance")
    for after_s in (0.5, 0.5, 1, 2):
        if sent := submitted(day.tell(lambda t: Timer(ts_ns=t), after_s=after_s)):
            sale = sent[0]
            break
    day.fill(sale.id, sale.size // 2)
    (rest,) = submitted(day.cancel(sale.id, "no more depth"))
    day.fill(rest.id, rest.size - 1_000)
    day.cancel(rest.id, "no more depth")
    day.quote(50_000)
    day.tell(lambda t: Timer(ts_ns=t))
    day.tell(lambda t: KillSwitchEngaged(ts_ns=t, reason="again", actor="ada", flatten=True))
    day.tell(lambda t: KillSwitchReleased(ts_ns=t, reason="over", actor="ada"))
    return day.lines


def breaks() -> list[str]:
    """Differences are found, renewed, taken on, told of as they grow old, booked in parts, and cleared."""
    day = Day()
    usd, eth = BTC.quote_key, ETH.base_key
    total = 100_000 * AMOUNT_SCALE
    day.tell(lambda t: BalanceReported(ts_ns=t, key=usd, total=total - 5 * AMOUNT_SCALE))
    day.tell(lambda t: BalanceReported(ts_ns=t, key=usd, total=total - 5 * AMOUNT_SCALE))
    day.tell(lambda t: BalanceReported(ts_ns=t, key=usd, total=total - 7 * AMOUNT_SCALE))
    day.tell(lambda t: BalanceReported(ts_ns=t, key=eth, total=COIN))
    day.tell(lambda t: BreakAssigned(ts_ns=t, name=f"balance|{usd}", owner="bob", actor="ada"))
    day.tell(lambda t: BreakAssigned(ts_ns=t, name="balance|none", owner="bob", actor="ada"))
    for after_s in (54.5, 0.5, 4, 535, 6, 3_000, 3_600, 6 * 3_600, 24 * 3_600, 24 * 3_600):
        day.tell(lambda t: Timer(ts_ns=t), after_s=after_s)
    for amount in (-3, -4):
        day.tell(
            lambda t, amount=amount: BalanceBooked(  # type: ignore[misc]
                ts_ns=t, venue=PAPER, asset=AssetCode("USD"), amount=amount * AMOUNT_SCALE, reason="a fee", actor="ada"
            )
        )
    day.tell(lambda t: BalanceReported(ts_ns=t, key=eth, total=0))
    stranger = OrderFilled(
        ts_ns=day.desk.now,
        order_id=ClientOrderId("desk-77"),
        venue_order_id=VenueOrderId("V77"),
        trade_id=TradeId("T77"),
        price=5_000_000,
        size=COIN // 100,
        fee=0,
        fee_asset=AssetCode("USD"),
        liquidity=Liquidity.TAKER,
        instrument=BTC.id,
    )
    day.tell(lambda t: msgspec.structs.replace(stranger, ts_ns=t))
    day.tell(lambda t: TradingResumed(ts_ns=t, reason="known", actor="ada"))
    return day.lines


def losses() -> list[str]:
    """A fall to a limit, a person who lets go on, another day, and limits that are drawn closer."""
    day = Day(limits=Limits(max_daily_loss_bps=150))
    day.fill(day.buy())
    for price in (49_000, 48_500, 45_000, 44_000, 43_500, 40_000, 44_000):
        day.quote(price)
    day.tell(lambda t: TradingResumed(ts_ns=t, reason="looked at it", actor="ada"))
    day.quote(44_100)
    day.quote(44_000, after_s=24 * 3_600)
    day.quote(43_900, after_s=61)
    day.quote(44_500)
    tight = Limits(max_daily_loss_bps=1_000, max_drawdown_bps=30)
    day.tell(lambda t: LimitsChanged(ts_ns=t, limits=tight, actor="ada"))
    for price in (44_400, 44_200, 42_500):
        day.quote(price)
    return day.lines


def test_what_an_account_says_and_does_is_as_it_was_agreed() -> None:
    told = []
    for scene in (stops, flattening, breaks, losses):
        told += [f"# {scene.__doc__}", *scene(), ""]
    found = "\n".join(told)
    if os.environ.get("AETHER_WRITE_SAID"):
        RECORD.write_text(found)
    assert found.splitlines() == RECORD.read_text().splitlines()
