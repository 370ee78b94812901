"""The lease on a market's accounts, as a node holds it.

    await lease.take()       ours, or whose it is
    lease.is_held            whether orders may leave now
    await lease.keep()       renews it until it is lost

The database's clock decides who owns the accounts; the node counts from before it asked, by its own steady clock, and
stops sending a little before the time is over. Without an answer nothing is lost but time: as long as nobody else took
the lease, it is renewed late. Everything durable names the epoch, so that what a node writes after another took over is
refused; what it sends late is refused by the venue, by the order's own deadline.
"""

import asyncio
from math import inf

from aether.clock import monotonic_s
from aether.domain.errors import FencedError
from aether.node.ports import Store, Writer
from aether.store.leases import Claim, Held, fenced
from aether.telemetry import Trouble, logger

LEASE_S = 5.0
"""How long a lease lasts unless it is renewed: what a take-over waits for at most."""
RENEW_EVERY_S = 1.0
MARGIN_S = 0.5
"""So long before its end nothing is sent any more: clocks run at different rates, a bit."""
ANSWERS_WITHIN_S = 2.0

_log = logger("lease")


class Lease:
    """The lease on the accounts of one market.

    Args:
        log: the market's.
        holder: names this platform, over restarts: it takes its own lease again at once.
    """

    def __init__(self, store: Store, log: str, holder: str) -> None:
        self.log = log
        self.holder = holder
        self.held: Held | None = None
        """The lease that is ours, as far as we know."""
        self._store = store
        self._until_s = -inf
        self._writer: Writer | None = None
        self._unreachable = Trouble(_log, "lease_not_renewed")

    @property
    def epoch(self) -> int:
        """The epoch that is ours, 0 while none is."""
        return self.held.epoch if self.held else 0

    @property
    def is_held(self) -> bool:
        """Whether nobody else can own the accounts now: orders may leave."""
        return self.left_s() > 0

    def left_s(self) -> float:
        """Return for how long nobody else can own the accounts; not above 0 when somebody can."""
        return self._until_s - monotonic_s() if self.held is not None else -inf

    async def take(self) -> Claim:
        """Ask for the lease; return whose it is.

        Raises:
            DatabaseUnavailableError, ...: when the database does not answer.
        """
        asked_s = monotonic_s()
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                claim = await (await self._connected()).take_lease(self.log, self.holder, LEASE_S)
        except BaseException:
            self._cut()
            raise
        if claim.is_taken:
            self.held = Held(self.log, claim.epoch)
            self._until_s = asked_s + LEASE_S - MARGIN_S
            _log.info("lease_taken", log=self.log, epoch=claim.epoch, holder=claim.holder)
        return claim

    async def keep(self) -> None:
        """Renew the lease again and again. Raises FencedError when another node has taken it."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            try:
                await self._renew()
            except FencedError:
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, it is tried again: nobody else would
                self._cut()
                self._unreachable.tell(error)
            else:
                self._unreachable.over()

    async def _renew(self) -> None:
        assert self.held is not None, "it was taken"
        asked_s = monotonic_s()
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            is_ours = await (await self._connected()).renew_lease(self.held, LEASE_S)
        if not is_ours:
            raise self.lost("the lease was taken by another node")
        self._until_s = asked_s + LEASE_S - MARGIN_S

    def lost(self, reason: str) -> FencedError:
        """Know that the accounts are another's; return the error that says so."""
        self._until_s = -inf
        return fenced(reason)

    async def give_back(self) -> None:
        """End the lease, so that the next need not wait for it."""
        held, self.held, self._until_s = self.held, None, -inf
        self._cut()
        try:
            if held is not None:
                async with asyncio.timeout(ANSWERS_WITHIN_S):
                    await (await self._connected()).give_back_lease(held)
        except Exception as error:  # noqa: BLE001  the next waits for its end then
            _log.warning("lease_not_given_back", reason=str(error) or type(error).__name__)
        finally:
            self._cut()

    async def _connected(self) -> Writer:
        if self._writer is None or self._writer.is_closed:
            self._writer = await self._store.writer()
        return self._writer

    def _cut(self) -> None:
        if self._writer is not None:
            self._writer.terminate()
            self._writer = None
