"""Stands for an account that could not be brought back: its books are unknown, so it is kept stopped at its venues."""

from collections.abc import Collection

from aether.clock import wall_ns
from aether.domain.events import KillSwitchEngaged, VenueReport
from aether.domain.identifiers import AccountId, BalanceKey, ClientOrderId, InstrumentId, VenueId
from aether.node.lease import Lease
from aether.node.ports import Venue
from aether.telemetry import logger
from aether.venues.reconciliation import Remembered

_log = logger("bystander")


class Bystander:
    """An account without books (`aether.node.ports.LiveAccount`, `aether.node.brake.Stoppable`).

    Everything of it at its venues is canceled, since nobody minds it; what the venues report meanwhile is found again
    when its books are.
    """

    def __init__(self, account: AccountId, venue: Venue, lease: Lease) -> None:
        self.account = account
        self._lease = lease
        self._venue = venue

    async def run_venue(self) -> None:
        """Keep the account's venues empty, until canceled."""
        self._venue.stop()
        try:
            await self._venue.run(self)
        except Exception as error:  # noqa: BLE001  the task's outermost edge
            _log.error("bystander_failed", account_id=self.account, reason=f"{type(error).__name__}: {error}")

    def fence(self) -> None:
        """Touch nothing any more: another process owns the account."""
        self._venue.fence()

    def stop(self) -> None:
        """Cancel everything once more, and see that it is gone."""
        self._venue.stop()

    def journal(self, event: KillSwitchEngaged) -> None:
        """Do nothing: there is no journal to write to; the brake's file keeps it."""

    def unconfirmed(self) -> list[str]:
        """Return what the stop still waits for."""
        return self._venue.unconfirmed()

    def remembered(self, venue: VenueId, unsent: Collection[ClientOrderId]) -> Remembered:  # noqa: ARG002  a port
        """Return that nothing is known, and that nothing may be open."""
        return Remembered(account=self.account, next_order=1, since_ns=wall_ns(), is_stopped=True)

    def dead_man_s(self) -> int:
        """Return never: everything is canceled at once."""
        return 0

    def booked_balances(self) -> dict[BalanceKey, int]:
        """Return nothing."""
        return {}

    def now_ns(self) -> int:
        """Return the machine's time."""
        return wall_ns()

    def report(self, report: VenueReport) -> None:
        """Let it go: the venue tells again."""

    def owned_s(self) -> float:
        """Return for how long nobody else can own the account."""
        return self._lease.left_s()

    async def taken(self) -> bool:
        """Return that nothing may be opened."""
        return False

    def wants_empty(self, venue: VenueId) -> bool:  # noqa: ARG002  a port
        """Return that nothing may be open."""
        return True

    def takes_foreign(self, instrument: InstrumentId) -> bool:  # noqa: ARG002  a port
        """Return that nothing is taken up."""
        return False

    def still(self) -> None:
        """Say that everything is gone."""
        _log.warning("stop_confirmed", account_id=self.account)
