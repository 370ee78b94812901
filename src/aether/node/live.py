"""An account's venues beyond this process: commands go out through sessions, reports come back through the inbox.

While an account is recovered from its journal nothing is sent. `run` opens each venue on its own, as soon as it has a
key: a venue that is never up keeps nothing from the others. A session begins with what the books hold (`Remembered`):
open orders are taken up and asked for, those that were to be canceled are canceled, and where the account is stopped
the venue's list is emptied. Nothing new leaves before the venue has been compared and the account has taken what that
showed; an entry that was decided before never leaves.

`stop` is the brake's way in: it asks neither the engine nor the database.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any

from aether.clock import monotonic_s
from aether.domain.commands import CancelAll, CancelOrder, Command, SubmitOrder
from aether.domain.events import BalanceBooked, BalanceReported, CapitalMoved, Event, OrderRejected, RejectedBy
from aether.domain.identifiers import BalanceKey, InstrumentId, VenueId
from aether.node.brake import until_empty
from aether.node.ports import LiveAccount
from aether.telemetry import logger
from aether.venues.session import ExecutionSession
from aether.venues.tracker import STOPPED

_log = logger("live")

ORDER_WAITS_S = 5.0
"""An order that could not be sent for so long was decided on another market."""
QUIET_S = 3.0
"""Balances are held against the books only when nothing was reported for so long: reports and balances travel apart."""

Connect = Callable[[Mapping[BalanceKey, int]], Mapping[VenueId, Awaitable[ExecutionSession]]]
"""Opens the account's sessions, each in its own time; is told what the books hold."""

Follow = Callable[[Mapping[VenueId, ExecutionSession]], Coroutine[Any, Any, None]]
"""Looks after open sessions until canceled; finds new ones in the mapping."""


class _FencedError(Exception):
    """Another process owns the account: ends the work of this one's sessions."""


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
        self._opening: set[VenueId] = set()
        self._waiting: dict[VenueId, list[SubmitOrder]] = {}
        self._account: LiveAccount | None = None
        self._reported = monotonic_s()
        self._is_braked = False
        self._stopped: set[VenueId] = set()
        self._fenced = asyncio.Event()

    # The engine's commands.

    def feed(self, event: Event) -> Iterator[Event]:
        """Yield the event: reports come by themselves."""
        yield event

    def send(self, command: Command) -> None:
        """Take a command: nothing while the account is being recovered; orders wait a while for their venue."""
        account = self._account
        if account is None or self._fenced.is_set():
            return
        if isinstance(command, SubmitOrder):
            self._submit(command, account)
        elif isinstance(command, CancelOrder):
            self._cancel(command, account)
        elif isinstance(command, CancelAll):
            self._stop_sessions()

    def _submit(self, command: SubmitOrder, account: LiveAccount) -> None:
        request = command.order.request
        self._reported = monotonic_s()
        if self._is_braked:
            _reject(command, "the brake is on", account)
            return
        venue = _venue_of(request.instrument)
        if venue in self._stopped:
            _reject(command, STOPPED, account)
            return
        session = self._sessions.get(venue)
        if session is not None:
            session.submit(request, _age_s(command, account))
            return
        self._waiting.setdefault(venue, []).append(command)
        asyncio.get_running_loop().call_later(ORDER_WAITS_S, self._give_up, command, account)

    def _cancel(self, command: CancelOrder, account: LiveAccount) -> None:
        """Cancel an order; one that waits for its venue never leaves."""
        venue = _venue_of(command.instrument)
        if session := self._sessions.get(venue):
            session.cancel(command.order_id)
            return
        waiting = self._waiting.get(venue, [])
        for submit in [w for w in waiting if w.order.request.id == command.order_id]:
            waiting.remove(submit)
            _reject(submit, STOPPED, account)

    def _give_up(self, command: SubmitOrder, account: LiveAccount) -> None:
        """Report an order whose venue was not there in time; it is never sent."""
        waiting = self._waiting.get(_venue_of(command.order.request.instrument), [])
        if command in waiting:
            waiting.remove(command)
            _reject(command, "the venue was not open in time", account, RejectedBy.FAILURE)

    def replay(self, event: Event) -> None:
        """Do nothing: the venue keeps its own memory."""

    def moved(self, event: CapitalMoved | BalanceBooked) -> None:
        """Do nothing: people book what the venue did."""

    def snapshot(self) -> bytes:
        """Return nothing: no state of the venue lives in this process."""
        return b""

    # The brake.

    def stop(self) -> None:
        """Let no order out until the engine itself has stopped, and cancel everything at every venue."""
        self._is_braked = True
        self._stop_sessions()

    def release(self) -> None:
        """Let orders out again that the engine gives."""
        self._is_braked = False

    def stop_at(self, venue: VenueId) -> None:
        """Let no order out to one venue until the engine releases it, and cancel everything there."""
        self._stopped.add(venue)
        self._reject_waiting(venue)
        if session := self._sessions.get(venue):
            session.stop()

    def release_at(self, venue: VenueId) -> None:
        """Let the engine's orders out to a venue again."""
        self._stopped.discard(venue)

    def left_at(self, venue: VenueId) -> str:
        """Return what a stop of one venue still waits for, in words."""
        if session := self._sessions.get(venue):
            return "" if session.is_still else session.left()
        return "no way to it yet"

    def fence(self) -> None:
        """Touch nothing any more: another process owns the account."""
        self._waiting.clear()
        self._opening.clear()
        self._sessions = {}
        self._fenced.set()

    def unconfirmed(self) -> list[str]:
        """Return the venues whose list of open orders is not yet seen to be empty after a stop, in words."""
        if self._account is None:
            return ["venues: not opened yet"]
        asked = [f"{venue}: {s.left()}" for venue, s in self._sessions.items() if not s.is_still]
        return asked + [f"{venue}: no way to it yet" for venue in sorted(self._opening)]

    def troubles(self) -> dict[VenueId, str]:
        """Return what keeps the account from each of its venues now, in words."""
        if self._account is None:
            return {}
        told = {
            venue: "not compared since the connection" for venue, s in self._sessions.items() if not s.ready.is_set()
        }
        return told | dict.fromkeys(self._opening, "no way to it yet")

    def _stop_sessions(self) -> None:
        for venue in list(self._waiting):
            self._reject_waiting(venue)
        for session in self._sessions.values():
            session.stop()

    def _reject_waiting(self, venue: VenueId) -> None:
        """Report the orders that wait for a venue; they are never sent."""
        waiting = self._waiting.get(venue, [])
        if self._account is not None:
            for command in waiting:
                _reject(command, STOPPED, self._account)
        waiting.clear()

    # Balances.

    def reported_balances(self) -> dict[BalanceKey, int] | None:
        """Return the venues' balances, None while reports may still be on their way."""
        settled = monotonic_s() - self._reported > QUIET_S
        if not settled or not any(s.ready.is_set() for s in self._sessions.values()):
            return None
        open_now = [s for s in self._sessions.values() if s.ready.is_set()]
        return {key: total for session in open_now for key, total in session.balances.items()}

    def tells_of(self, key: BalanceKey) -> bool:
        """Return whether `reported_balances` speaks for the venue of a balance."""
        session = self._sessions.get(_venue_of(key))
        return session is not None and session.ready.is_set()

    # Life.

    async def run(self, account: LiveAccount) -> None:
        """Keep the sessions open and bring their reports to the account, until canceled."""
        self._account = account
        openings = self._connect(account.booked_balances())
        self._opening = set(openings)
        work = [self._mind(venue, self._run_one(venue, opening, account)) for venue, opening in openings.items()]
        if self._follow is not None:
            work.append(self._follow(self._sessions))
        try:
            async with asyncio.TaskGroup() as group:
                for one in (*work, self._until_fenced()):
                    group.create_task(one)
        except* _FencedError:
            _log.error("venues_left", reason="another process owns the account")

    async def _mind(self, venue: VenueId, work: Coroutine[Any, Any, None]) -> None:
        """Do a venue's work; when it fails, empty every venue before the account ends with it.

        A session that has failed asks and cancels on: what works at its venue is gone when its list says so. One that
        never was stays among those to which there is no way.
        """
        try:
            await work
        except Exception as error:
            _log.error("venue_failed", venue=venue, reason=f"{type(error).__name__}: {error}")
            self.stop()
            await until_empty(self.unconfirmed)
            raise

    async def _until_fenced(self) -> None:
        await self._fenced.wait()
        raise _FencedError

    async def _run_one(self, venue: VenueId, opening: Awaitable[ExecutionSession], account: LiveAccount) -> None:
        session = await opening
        waiting = self._waiting.pop(venue, [])
        session.begin(account.remembered(venue, {c.order.request.id for c in waiting}))
        session.on_still, session.wants_empty = account.still, lambda: account.wants_empty(venue)
        session.comparison.takes, session.tracker.owned_s = account.takes_foreign, account.owned_s
        session.dead_man_s = account.dead_man_s
        if self._is_braked or venue in self._stopped:
            session.stop()
        self._sessions[venue] = session
        self._opening.discard(venue)
        for command in waiting:
            session.submit(command.order.request, _age_s(command, account))
        async with asyncio.TaskGroup() as group:
            group.create_task(session.run())
            group.create_task(self._pump(session, account))
            group.create_task(self._let_out(session, account))

    async def _let_out(self, session: ExecutionSession, account: LiveAccount) -> None:
        """Once the venue has been compared and the account has taken what that showed, let orders out."""
        await session.ready.wait()
        for key, total in session.balances.items():
            account.report(BalanceReported(ts_ns=0, key=key, total=total))
        session.allow(entries=await account.taken())

    async def _pump(self, session: ExecutionSession, account: LiveAccount) -> None:
        while True:
            report = await session.reports.get()
            if not isinstance(report, BalanceReported):
                self._reported = monotonic_s()
                account.report(report)


def _reject(command: SubmitOrder, reason: str, account: LiveAccount, by: RejectedBy = RejectedBy.US) -> None:
    account.report(OrderRejected(ts_ns=0, order_id=command.order.request.id, reason=reason, by=by))


def _age_s(command: SubmitOrder, account: LiveAccount) -> float:
    return max(0.0, (account.now_ns() - command.ts_ns) / 1e9)


def _venue_of(name: InstrumentId | BalanceKey) -> VenueId:
    return VenueId(name.partition(":")[0])
