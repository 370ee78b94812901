"""An account's venues beyond this process: commands go out through sessions, reports come back through the inbox.

While an account is recovered from its journal nothing is sent: what the engine asked for then was asked for before.
`run` takes up the orders that are open, has each session compare them with its venue, and lets commands out from then
on; an order that was journaled and never sent is found missing there and reported as rejected.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from time import monotonic
from typing import Any

from aether.domain.commands import CancelAll, CancelOrder, Command, SubmitOrder
from aether.domain.events import BalanceBooked, BalanceReported, CapitalMoved, Event, OrderRejected
from aether.domain.identifiers import BalanceKey, InstrumentId, VenueId
from aether.node.ports import LiveAccount
from aether.venues.session import ExecutionSession

ORDER_WAITS_S = 5.0
"""An order that could not be sent for so long was decided on another market."""
QUIET_S = 3.0
"""Balances are held against the books only when nothing was reported for so long: reports and balances travel apart."""

Connect = Callable[[Mapping[BalanceKey, int]], Awaitable[dict[VenueId, ExecutionSession]]]
"""Opens the account's sessions; is told what the books hold."""

Follow = Callable[[Mapping[VenueId, ExecutionSession]], Coroutine[Any, Any, None]]
"""Looks after open sessions until canceled."""


class LiveVenue:
    """The venues of one account (`aether.node.ports.Venue`).

    Args:
        connect: opens the sessions once the account is recovered.
        follow: replaces the sessions' keys while they are open.
    """

    def __init__(self, connect: Connect, follow: Follow | None = None) -> None:
        self._connect = connect
        self._follow = follow
        self._sessions: dict[VenueId, ExecutionSession] = {}
        self._waiting: list[tuple[float, Command]] = []
        self._is_running = False
        self._reported = monotonic()

    def feed(self, event: Event) -> Iterator[Event]:
        """Yield the event: reports come by themselves."""
        yield event

    def send(self, command: Command) -> None:
        """Send a command to its venue: nothing while the account is being recovered, later while sessions open."""
        if not self._sessions:
            if self._is_running:
                self._waiting.append((monotonic(), command))
            return
        if isinstance(command, SubmitOrder):
            request = command.order.request
            if session := _of(self._sessions, request.instrument):
                self._reported = monotonic()
                session.submit(request)
        elif isinstance(command, CancelOrder):
            if session := _of(self._sessions, command.instrument):
                session.cancel(command.order_id)
        elif isinstance(command, CancelAll):
            for session in self._sessions.values():
                session.cancel_all()

    def replay(self, event: Event) -> None:
        """Do nothing: the venue keeps its own memory."""

    def moved(self, event: CapitalMoved | BalanceBooked) -> None:
        """Do nothing: people book what the venue did."""

    def snapshot(self) -> bytes:
        """Return nothing: no state of the venue lives in this process."""
        return b""

    def reported_balances(self) -> dict[BalanceKey, int] | None:
        """Return the venues' balances, None while reports may still be on their way."""
        settled = monotonic() - self._reported > QUIET_S
        if not self._sessions or not settled or not all(s.ready.is_set() for s in self._sessions.values()):
            return None
        return {key: total for session in self._sessions.values() for key, total in session.balances.items()}

    async def run(self, account: LiveAccount) -> None:
        """Keep the sessions open and bring their reports to the account, until canceled."""
        self._is_running = True
        open_orders = account.open_orders()
        sessions = await self._connect(account.booked_balances())
        for order in open_orders:
            if session := _of(sessions, order.request.instrument):
                session.restore(order)
        async with asyncio.TaskGroup() as group:
            for session in sessions.values():
                group.create_task(session.run())
                group.create_task(self._pump(session, account))
            for session in sessions.values():
                await session.ready.wait()
            self._sessions = sessions
            if self._follow is not None:
                group.create_task(self._follow(sessions))
            waiting, self._waiting = self._waiting, []
            for since, command in waiting:
                self._send_late(since, command, account)

    def _send_late(self, since: float, command: Command, account: LiveAccount) -> None:
        """Send what waited for the sessions; an order that waited too long is not sent at all."""
        if isinstance(command, SubmitOrder) and monotonic() - since > ORDER_WAITS_S:
            order_id = command.order.request.id
            account.report(OrderRejected(ts_ns=0, order_id=order_id, reason="the venue was not open in time"))
        else:
            self.send(command)

    async def _pump(self, session: ExecutionSession, account: LiveAccount) -> None:
        while True:
            report = await session.reports.get()
            if not isinstance(report, BalanceReported):
                self._reported = monotonic()
                account.report(report)


def _of(sessions: Mapping[VenueId, ExecutionSession], instrument: InstrumentId) -> ExecutionSession | None:
    """Return the session at an instrument's venue."""
    return sessions.get(VenueId(instrument.partition(":")[0]))
