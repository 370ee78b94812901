"""Comparing an account with its venue: open orders, executions, balances, and what only one of the two knows."""

import asyncio
from collections.abc import Callable

from aether.domain.commands import Severity
from aether.domain.events import BalanceReported, OrderAdopted, VenueNoted, VenueReport
from aether.domain.identifiers import AssetCode, BalanceKey, ClientOrderId, InstrumentId, VenueOrderId, balance_key
from aether.domain.orders import OrderRequest
from aether.domain.scaled import amount_of_size, format_amount
from aether.telemetry import FOREIGN_ORDERS, logger
from aether.venues.actions import Balances, ClosedOrders, Fills, OpenOrders
from aether.venues.client import VenueClient
from aether.venues.messages import Balance, Execution, OrderUpdate, Unread
from aether.venues.profile import CancelScope
from aether.venues.reconciliation import Held, Ids, Remembered, foreign_fill, foreign_request
from aether.venues.tracker import Tracker

_log = logger("session")

UNKNOWN_AGE_S = 7 * 86_400.0
"""How old a foreign order may be whose age the venue does not tell."""
UNREAD_KEPT = 1_000
OVERLAP_S = 60.0
"""Executions are read again from so long before the last comparison: clocks differ."""


class Comparison:
    """What one account's session at a venue knows of the venue's truth.

    Args:
        put: takes what the account is told.
    """

    def __init__(self, client: VenueClient, tracker: Tracker, put: Callable[[VenueReport], None]) -> None:
        self.held = Held()
        self.takes: Callable[[InstrumentId], bool] = lambda _: False
        """Asked of a foreign order's pair: whether the account takes it up."""
        self._client = client
        self._protocol = client.protocol
        self._clock = client.clock
        self._tracker = tracker
        self._put = put
        self._comparing = asyncio.Lock()
        self._ids: Ids | None = None
        self._remembered: Remembered | None = None
        self._told_highest = 0
        self._told_foreign: set[VenueOrderId] = set()
        self._told_unread: set[str] = set()
        self._misses = self._made_up = 0
        """How often the venue said something that was not understood, and how often of it all was read again since."""
        client.on_unread = self._tell_unread

    @property
    def account(self) -> str:
        """Whose session it is, empty before it has begun."""
        return self._remembered.account if self._remembered else ""

    def begin(self, remembered: Remembered) -> None:
        """Go on from what the account's books hold."""
        self._remembered = remembered
        self._ids = Ids(remembered, self._protocol.wire_id)

    def given(self, order_id: ClientOrderId) -> None:
        """Hear that the account gives an order id out."""
        if self._ids is not None:
            self._ids.given(order_id)

    def balances(self) -> dict[BalanceKey, int]:
        """Return what the venue said last of what is held."""
        venue = self._protocol.venue
        return {balance_key(venue, AssetCode(asset)): total for asset, total in self.held.totals.items()}

    def miss(self) -> None:
        """Hear that the venue said something that was not understood: it may have been an execution."""
        self._misses += 1

    @property
    def has_missed(self) -> bool:
        """Whether executions are to be read again, whatever is held."""
        return self._misses > self._made_up

    def _tell_unread(self, rows: list[Unread]) -> None:
        """Tell people of rows that were not understood, each once."""
        news = [row for row in rows if f"{row.what} {row.text}" not in self._told_unread]
        self._told_unread |= {f"{row.what} {row.text}" for row in news}
        if len(self._told_unread) > UNREAD_KEPT:
            self._told_unread = {f"{row.what} {row.text}" for row in news}
        if news:
            first, more = news[0], f" and {len(news) - 1} more" if len(news) > 1 else ""
            told = (
                f"{self._protocol.venue} sent a row that is not understood ({first.what}; {first.reason}){more}: "
                f"{first.text}. Everything else was used; look at it at the venue"
            )
            self.note(Severity.WARNING, "not_understood", told)

    def tell_foreign_fills(self) -> None:
        """Report executions of orders that are not ours."""
        for execution in self._tracker.take_foreign_fills():
            self._note_id(execution.client_id)
            self._put(foreign_fill(execution))

    def balance(self, balance: Balance, told_s: float) -> None:
        """Take in a balance as it was at `told_s`."""
        key = balance_key(self._protocol.venue, AssetCode(balance.asset))
        if self.held.told(balance, told_s):
            self._put(BalanceReported(ts_ns=balance.ts_ns or int(told_s * 1e9), key=key, total=balance.total))

    async def compare(self) -> None:
        """Bring every open order, execution and balance to what the venue says.

        Raises:
            VenueError: when the venue cannot be asked.
        """
        async with self._comparing:
            asked_s = self._clock()
            self.listed(await self._client.call(OpenOrders()), asked_s)
            if self._remembered is not None and not self.held.settled_s:
                await self._catch_up(self._remembered)
            await self.read_balances()
            totals, misses = dict(self.held.totals), self._misses
            if self.held.settled_s and (self.has_missed or self.held.have_moved()):
                await self._read_all_fills(self.held.settled_s - OVERLAP_S)
            self._made_up = misses
            self.held.settle(asked_s, totals)
            self.tell_foreign_fills()
            await self._take_up()

    async def take_up(self) -> None:
        """Make foreign orders the account's own, where it takes them. Raises VenueError."""
        async with self._comparing:
            await self._take_up()

    async def _take_up(self) -> None:
        for number, update in list(self._tracker.foreign.items()):
            request = self._taken(update)
            if request is not None and self.held.settled_s:
                executions = await self._read_fills_of(update)
                if number in self._tracker.foreign and self.takes(update.instrument):
                    self._adopt(request, number, executions)

    def _taken(self, update: OrderUpdate) -> OrderRequest | None:
        """Return a foreign order as the account takes it up, None when it does not, or too little is known of it."""
        return foreign_request(update) if self.takes(update.instrument) else None

    async def _read_fills_of(self, update: OrderUpdate) -> list[Execution]:
        """Read a foreign order's executions; those that the books cannot have are told as a stranger's first."""
        if not update.filled:
            return []
        symbol = self._protocol.listings.of(update.instrument).instrument.symbol
        since_s = update.created_ns / 1e9 or self._clock() - UNKNOWN_AGE_S
        action = Fills(symbol=symbol, since_s=max(1, int(since_s - OVERLAP_S)), venue_order_id=update.venue_order_id)
        read: list[Execution] = await self._client.call(action)
        own = [e for e in read if e.venue_order_id == update.venue_order_id]
        for execution in own:
            if execution.ts_ns / 1e9 >= self.held.settled_s + self._client.clock_offset_s - OVERLAP_S:
                self._tracker.executed(execution, self._clock())
        self.tell_foreign_fills()
        return own

    def _adopt(self, request: OrderRequest, number: VenueOrderId, executions: list[Execution]) -> None:
        """Make an order the account's own, unless it was over before that: then its executions are a stranger's."""
        now_s = self._clock()
        self.tell_foreign_fills()
        if sum(e.size for e in executions) >= request.size:
            del self._tracker.foreign[number]
            return
        known = self._tracker.adopt(request, number, executions, now_s)
        instrument = self._protocol.listings.of(request.instrument).instrument
        self._put(
            OrderAdopted(
                ts_ns=int(now_s * 1e9),
                request=request,
                venue_order_id=number,
                filled=sum(e.size for e in known),
                filled_notional=sum(instrument.notional(e.price, e.size) for e in known),
                trade_ids=tuple(sorted(e.trade_id for e in known)),
            )
        )

    async def _catch_up(self, remembered: Remembered) -> None:
        """Read what happened since the books end, and whether the venue knows order ids that they do not."""
        since_s = remembered.since_ns / 1e9 - OVERLAP_S
        for symbol in self._symbols():
            ended: list[OrderUpdate] = await self._client.call(
                ClosedOrders(symbol=symbol, since_s=max(1, int(since_s)))
            )
            for update in ended:
                self._note_id(update.client_id)
        await self._read_all_fills(since_s)
        self.tell_foreign_fills()
        self._tell_ahead()

    def _note_id(self, wire_id: ClientOrderId) -> None:
        if self._ids is not None:
            self._ids.seen(wire_id)

    def _tell_ahead(self) -> None:
        """Say once that the venue knows later order ids than the books."""
        highest = self._ids.highest if self._ids else 0
        if highest > self._told_highest:
            self._told_highest = highest
            told = (
                f"{self._protocol.venue} knows order {highest} of this account, the books do not: they are the older. "
                "Orders go on above it; compare positions before you resume"
            )
            self.note(Severity.CRITICAL, "books_behind", told, next_order=highest + 1)

    def listed(self, updates: list[OrderUpdate], asked_s: float, *, is_of_stop: bool = False) -> None:
        """Bring orders to the venue's list of open ones; name those that are not ours."""
        self._tracker.listed(updates, asked_s, self._clock(), is_of_stop=is_of_stop)
        for number, update in self._tracker.foreign.items():
            self._note_id(update.client_id)
            if number not in self._told_foreign and self._taken(update) is None:
                self._told_foreign.add(number)
                self.note(Severity.WARNING, "foreign_order", self._describe(update))
        FOREIGN_ORDERS.labels(self.account, self._protocol.venue).set(len(self._tracker.foreign))
        if self.held.settled_s:
            self._tell_ahead()

    def _describe(self, update: OrderUpdate) -> str:
        what = f"{update.side or 'an order'}"
        if not update.unread:
            instrument = self._protocol.listings.of(update.instrument).instrument
            what += f" {format_amount(amount_of_size(update.size, instrument.size_decimals))}"
        what += f" of {update.instrument}" + (f", not understood: {update.unread}" if update.unread else "")
        return f"{self._protocol.venue} works order {update.venue_order_id} ({what}), which this account did not place"

    async def read_balances(self) -> None:
        """Read what is held. Raises VenueError."""
        asked_s = self._clock()
        read: list[Balance] = await self._client.call(Balances())
        for balance in read:
            self.balance(balance, asked_s)

    async def _read_all_fills(self, since_s: float) -> None:
        """Read every execution since a time; those that are known change nothing."""
        for symbol in self._symbols():
            for execution in await self._client.call(Fills(symbol=symbol, since_s=max(1, int(since_s)))):
                self._tracker.executed(execution, self._clock())

    def _symbols(self) -> list[str]:
        """Return what to ask executions of: everything at once, or pair by pair where the venue wants that."""
        if self._protocol.profile.cancel_scope is not CancelScope.SYMBOL:
            return [""]
        instruments = {t.request.instrument for t in self._tracker.orders.values()}
        if self._remembered is not None:
            instruments |= set(self._remembered.instruments)
        listed = self._protocol.listings
        return sorted(listed.of(i).instrument.symbol for i in instruments if listed.has(i))

    def note(self, severity: Severity, code: str, text: str, *, next_order: int = 0) -> None:
        """Tell people something, through the account."""
        _log.warning(code, venue=self._protocol.venue, reason=text)
        now_ns = int(self._clock() * 1e9)
        self._put(VenueNoted(ts_ns=now_ns, severity=severity, code=code, text=text, next_order=next_order))
