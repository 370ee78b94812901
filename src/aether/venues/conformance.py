"""Whether a venue does what its adapter believes: a named suite against any address, and a report of what came back.

It is what a firm runs before its first real order: against the local exchange, against a sandbox, and, with a cap and a
person's word, against the real venue with a little money. Each case asks one thing of the venue and holds the answer to
what the adapter relies on. Nothing but the suite's own orders is touched; what it placed it takes back, also when it is
interrupted or an answer is lost, and what it bought it sells. The cases are in `conformance_cases`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import ROUND_UP, Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from aether.clock import monotonic_s, wall_s
from aether.domain.errors import AetherError, Failure, UnsupportedError, VenueError
from aether.domain.identifiers import ClientOrderId, VenueOrderId
from aether.domain.instruments import Instrument
from aether.domain.orders import OrderType, Side, TimeInForce
from aether.domain.scaled import AMOUNT_DECIMALS, AMOUNT_SCALE, format_amount, round_down, round_up
from aether.venues.actions import (
    Action,
    Cancel,
    DeadManSwitch,
    Fills,
    GetOrder,
    OpenOrders,
    Permissions,
    StreamToken,
    Submit,
    Ticker,
)
from aether.venues.client import VenueClient
from aether.venues.messages import Execution, OrderUpdate
from aether.venues.protocol import Response

SETTLES_WITHIN_S, LOOK_S = 15.0, 0.3
TAKEN_BACK_WITHIN_S = 180.0
DEADLINE_MS = 8_000
"""An order that comes later is refused by the venue: one that is not there after `SETTLES_WITHIN_S` never comes."""
FAR_BPS = 1_500
"""How far below the market orders rest: far enough not to trade, near enough for venues that bound prices."""
WORTH_MORE = Decimal("1.2")
"""Above the venue's least worth, since prices move."""
SHOWN = 400
SOLD_WITHIN_S, LONGEST_WAIT_S = 120.0, 15.0
"""How long what was bought is tried to be sold, ever less often: through a maintenance of a minute or two."""


class Verdict(StrEnum):
    """What became of a case."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_OFFERED = "not offered"
    NOT_RUN = "not run"


class UnexpectedError(Exception):
    """The venue does otherwise than the adapter believes; `str` says what."""


class NotRunError(Exception):
    """A case would touch what is not the suite's; `str` says why."""


class Result(NamedTuple):
    """What a case came to.

    Attributes:
        told: what came back, in words.
        evidence: what was asked and what the venue answered, in its own text.
    """

    name: str
    asks: str
    verdict: Verdict
    told: str
    ms: int
    evidence: tuple[str, ...]


class Suite:
    """The cases at one venue.

    Args:
        client: with markets loaded; with credentials for what needs a key.
        symbol: the pair that everything is tried on.
        most: what may be spent at most, of the quote asset; 0 for nothing: only what reads is run then.
    """

    def __init__(self, client: VenueClient, symbol: str, most: Decimal) -> None:
        self.client = client
        self.symbol = symbol
        self.most = most
        self.instrument: Instrument = next(
            li.instrument for li in client.protocol.listings.values() if li.instrument.symbol == symbol
        )
        self._run = f"{int(wall_s()) % 1_000_000:06d}"
        self._number = 0
        self._at_once = 0
        """What the orders of the present case may cost together, a ledger amount."""
        self._evidence: list[str] = []
        self.own: dict[ClientOrderId, VenueOrderId] = {}
        """What was sent, from before it was: without the venue's number while there is no answer."""
        self._lost: set[ClientOrderId] = set()
        """Those without an answer that never arrived."""
        self.free = -1
        """What the account has free of the quote asset, a ledger amount; -1 before it was asked."""
        self.is_armed = False
        """The dead-man switch was armed by the suite."""
        self.began_s = int(wall_s()) - 60
        self._ended: dict[ClientOrderId, list[Execution]] = {}
        """What each order that is over traded, all of it."""
        client.on_answer = self._note

    async def one(self, name: str, asks: str, case: "Case", within_s: float) -> Result:
        """Run one case."""
        began, self._evidence, self._at_once = monotonic_s(), [], 0
        try:
            async with asyncio.timeout(within_s):
                told, verdict = await case(self), Verdict.PASSED
        except UnsupportedError as error:
            told, verdict = error.message, Verdict.NOT_OFFERED
        except NotRunError as error:
            told, verdict = str(error), Verdict.NOT_RUN
        except TimeoutError:
            told, verdict = f"no end within {within_s:.0f} s", Verdict.FAILED
        except (UnexpectedError, AetherError) as error:
            told, verdict = str(error), Verdict.FAILED
        return Result(name, asks, verdict, told, round((monotonic_s() - began) * 1000), tuple(self._evidence))

    def _note(self, action: Action, response: Response) -> None:
        asked = {k: str(v) for k, v in msgspec.structs.asdict(action).items() if v}
        body = (
            "(kept back)" if isinstance(action, StreamToken | Permissions) else response.body.decode("utf-8", "replace")
        )
        shown = body if len(body) <= SHOWN else f"{body[:SHOWN]}… ({len(body)} characters)"
        self._evidence.append(f"{type(action).__name__} {asked} -> HTTP {response.status} {shown}")

    @property
    def last_answer(self) -> str:
        """What was asked and answered last, in the venue's own text."""
        return self._evidence[-1] if self._evidence else "nothing was answered"

    # What cases are made of.

    def need(self, holds: object, otherwise: str) -> None:
        """Fail the case unless something holds."""
        if not holds:
            raise UnexpectedError(otherwise)

    async def price(self, bps: int) -> int:
        """Return a price so many basis points from the best bid, on the venue's ticks."""
        quote = await self.client.call(Ticker(symbol=self.symbol))
        self.need(quote.bid > 0, "there is no bid to price by")
        return max(self.instrument.tick, round_down(quote.bid * (10_000 + bps) // 10_000, self.instrument.tick))

    def size(self, price: int) -> int:
        """Return the least size that the venue takes at a price. Raises NotRunError where it costs too much."""
        instrument = self.instrument
        worth = int(Decimal(instrument.min_notional) * WORTH_MORE)
        unit = instrument.notional(price, 10**instrument.size_decimals)
        wanted = Decimal(worth) * 10**instrument.size_decimals / unit
        least = max(instrument.min_size, int(wanted.to_integral_value(ROUND_UP)))
        size = round_up(least, instrument.lot)
        self.afford(price, size)
        return size

    def afford(self, price: int, size: int) -> None:
        """Raise NotRunError when an order and those of the case that are at work cost more than may be spent."""
        at_once = self._at_once + self.instrument.notional(price, size)
        if at_once > self.most * AMOUNT_SCALE:
            raise NotRunError(f"the least orders cost {format_amount(at_once)} at once, {self.most} may be spent")
        if 0 <= self.free < at_once:
            told = f"{format_amount(self.free)} {self.instrument.quote} are free"
            raise NotRunError(f"the least orders cost {format_amount(at_once)} at once, {told}")

    def id(self) -> ClientOrderId:
        """Return an id of the suite's own for one more order."""
        self._number += 1
        return ClientOrderId(f"conf-{self._run}-{self._number}")

    def order(self, price: int, **changes: Any) -> Submit:
        """Return a limit order to buy the least size, under an id of the suite's own."""
        fields: dict[str, Any] = {
            "symbol": self.symbol,
            "side": Side.BUY,
            "type": OrderType.LIMIT,
            "size": self.instrument.size_text(self.size(price)),
            "price": self.instrument.price_text(price),
            "time_in_force": TimeInForce.GTC,
            "client_order_id": self.id(),
            "deadline_ms": DEADLINE_MS,
        }
        return Submit(**{**fields, **changes})

    def sale(self, size: int) -> Submit:
        """Return an order that sells at the market."""
        return Submit(
            symbol=self.symbol,
            side=Side.SELL,
            type=OrderType.MARKET,
            size=self.instrument.size_text(size),
            client_order_id=self.id(),
            deadline_ms=DEADLINE_MS,
        )

    async def place(self, order: Submit) -> VenueOrderId:
        """Place an order, and know it as the suite's own."""
        name = order.client_order_id
        self.own[name] = VenueOrderId("")
        try:
            number = self.own[name] = VenueOrderId(await self.client.call(order))
        except VenueError as error:
            if error.failure is not Failure.UNKNOWN_OUTCOME:  # there is no such order
                del self.own[name]
            raise
        return number

    def is_own(self, order: OrderUpdate) -> bool:
        """Return whether an order is the suite's, by the venue's number or by our id."""
        if order.venue_order_id and order.venue_order_id in self.own.values():
            return True
        return bool(order.client_id) and order.client_id in map(self.client.protocol.wire_id, self.own)

    async def refused(self, order: Submit, what: str, **right: str) -> str:
        """Return how the venue refuses an order; an order that it takes instead fails the case.

        Args:
            right: fields with which it takes the order: so it is refused for these alone, and not for want of money.
        """
        await self._taken(order, right)
        try:
            number = await self.place(order)
        except VenueError as error:
            self.need(
                error.failure is Failure.REJECTED, f"{what} was refused as {error.failure}, not as rejected: {error}"
            )
            return error.message
        raise UnexpectedError(f"{what} was taken, as {number}")

    async def ended(self, order: Submit, **right: Any) -> tuple[VenueOrderId, str]:
        """Place an order that ends at once; return its number, or how it was refused instead.

        Args:
            right: fields with which it rests: so it ends for these alone.
        """
        await self._taken(order, right)
        try:
            number = await self.place(order)
        except VenueError as error:
            self.need(error.failure is Failure.REJECTED, f"{error.failure}: {error.message}")
            return VenueOrderId(""), error.message
        await self.gone(number)
        return number, ""

    async def _taken(self, order: Submit, right: dict[str, Any]) -> None:
        """Fail the case unless the venue takes an order once it is put right; cancel it again."""
        control = msgspec.structs.replace(order, client_order_id=self.id(), **right)
        try:
            number = await self.place(control)
        except VenueError as error:
            raise UnexpectedError(f"put right ({', '.join(right)}), the order is refused as well: {error}") from error
        await self.client.call(Cancel(**self.by(control, number)))
        await self.gone(number)

    async def open_orders(self) -> list[OrderUpdate]:
        """Return the pair's open orders."""
        found: list[OrderUpdate] = await self.client.call(OpenOrders(symbol=self.symbol))
        return found

    async def until(self, holds: Callable[[], Awaitable[Any]], what: str, within_s: float = 0.0) -> Any:
        """Return what something comes to be, within a while."""
        within_s = within_s or SETTLES_WITHIN_S
        end = monotonic_s() + within_s
        while True:
            if found := await holds():
                return found
            if monotonic_s() > end:
                raise UnexpectedError(f"{what} did not come within {within_s:.0f} s")
            await asyncio.sleep(LOOK_S)

    async def rest(self) -> tuple[Submit, VenueOrderId]:
        """Place an order far below the market, and see it among the open ones."""
        price = await self.price(-FAR_BPS)
        order = self.order(price)
        self._at_once += self.instrument.notional(price, self.size(price))
        number = await self.place(order)

        async def seen() -> bool:
            return any(o.venue_order_id == number for o in await self.open_orders())

        await self.until(seen, "the order in the list of open ones")
        return order, number

    def by(self, order: Submit, number: VenueOrderId) -> dict[str, Any]:
        """Return how an order is named."""
        return {"symbol": self.symbol, "client_order_id": order.client_order_id, "venue_order_id": number}

    async def trade(self, order: Submit) -> list[Execution]:
        """Place an order that ends at once; return all of its executions."""
        number = await self.place(order)
        await self.until(self._ender(order.client_order_id, number), f"the end and the executions of {number}")
        return self._ended[order.client_order_id]

    def net(self, found: list[Execution]) -> int:
        """Return by how much executions changed the coins that are held, less fees in coins."""
        unit: int = 10 ** (AMOUNT_DECIMALS - self.instrument.size_decimals)
        fees = sum(-(-e.fee // unit) for e in found if e.fee_asset == self.instrument.base)
        return sum(e.size if e.side is Side.BUY else -e.size for e in found) - fees

    async def gone(self, number: VenueOrderId) -> None:
        """Wait until an order is not open any more."""

        async def is_gone() -> bool:
            return all(o.venue_order_id != number for o in await self.open_orders())

        await self.until(is_gone, "the order's end")

    async def alone(self) -> None:
        """Raise NotRunError when orders are open, of whatever pair, that are not the suite's."""
        others = [o for o in await self.client.call(OpenOrders()) if not self.is_own(o)]
        if others:
            raise NotRunError(f"{len(others)} orders of others are open, which this would cancel")

    # What ends every run.

    async def take_back(self) -> str:
        """Cancel what the suite placed until all of it has ended, sell what it bought and still holds, put off the
        dead-man switch.
        """
        if self.is_armed:
            await self.until(self._put_off, "the end of the dead-man switch", TAKEN_BACK_WITHIN_S)
        await self._settle()
        left = self._held()
        end, wait_s = monotonic_s() + SOLD_WITHIN_S, LOOK_S
        while left >= self.instrument.min_size:
            with suppress(VenueError):  # what became of it is asked next
                await self.place(self.sale(left))
            await self._settle()
            left = self._held()
            if left < self.instrument.min_size or monotonic_s() > end:
                break
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)  # in maintenance, perhaps
            await asyncio.sleep(wait_s)
        text = f"{self.instrument.size_text(left)} {self.instrument.base}"
        self.need(left < self.instrument.min_size, f"{text} of what was bought could not be sold")
        return f"no order is open, {text} of what was bought is left"

    def _bought(self) -> str:
        """Return what is known to be bought and not sold, in words."""
        left = self._held()
        return f"{self.instrument.size_text(left)} {self.instrument.base} were bought and not sold by what has ended"

    async def _put_off(self) -> bool:
        with suppress(VenueError):
            await self.client.call(DeadManSwitch(timeout_s=0))
            self.is_armed = False
        return not self.is_armed

    async def _settle(self) -> None:
        """Bring every order of the suite to its end, and learn what it traded. Raises UnexpectedError naming it."""
        patience_s = max(4 * SETTLES_WITHIN_S, SOLD_WITHIN_S) if self._held() else 4 * SETTLES_WITHIN_S
        for name, number in list(self.own.items()):
            if not number and name not in self._lost:
                told = (
                    f"what became of {name} (at the venue {self.client.protocol.wire_id(name)}), whose answer was lost"
                )
                await self.until(self._finder(name), f"{told}; {self._bought()}:", patience_s)
        for name, number in self.own.items():
            if number and name not in self._ended:
                await self.until(
                    self._ender(name, number), f"the end of {name} ({number}); {self._bought()}:", patience_s
                )

    def _finder(self, name: ClientOrderId) -> Callable[[], Awaitable[bool]]:
        """Return what looks for an order: it is there, or was not through all of its deadline and is refused now."""
        not_before = monotonic_s() + SETTLES_WITHIN_S

        async def look() -> bool:
            try:
                found = await self.client.call(GetOrder(symbol=self.symbol, client_order_id=name))
                self.own[name] = found.venue_order_id
            except VenueError as error:
                if error.failure is not Failure.NOT_FOUND or monotonic_s() < not_before:
                    return False
                self._lost.add(name)
            return True

        return look

    def _ender(self, name: ClientOrderId, number: VenueOrderId) -> Callable[[], Awaitable[bool]]:
        """Return what cancels an order until it has ended and all of its executions are told."""

        async def look() -> bool:
            with suppress(VenueError):  # asked again
                order = await self.client.call(GetOrder(symbol=self.symbol, venue_order_id=number))
                if order.state.is_open:
                    await self.client.call(Cancel(symbol=self.symbol, client_order_id=name, venue_order_id=number))
                    return False
                asked = Fills(symbol=self.symbol, since_s=self.began_s, venue_order_id=number)
                told = await self.client.call(asked) if order.filled > 0 else []
                found = [e for e in told if e.venue_order_id == number]
                if sum(e.size for e in found) == max(0, order.filled):
                    self._ended[name] = found
            return name in self._ended

        return look

    def _held(self) -> int:
        """Return what was bought more than sold, less fees in coins, in whole lots."""
        return max(0, round_down(sum(map(self.net, self._ended.values())), self.instrument.lot))


Case = Callable[[Suite], Awaitable[str]]


def report_of(venue: str, address: str, symbol: str, most: Decimal, results: list[Result], at: str) -> str:
    """Return the report as Markdown: each case, what was asked, what came back."""
    counts = ", ".join(f"{sum(r.verdict is v for r in results)} {v.value}" for v in Verdict)
    spent = f"at most {most} of the quote asset" if most else "nothing: reading only"
    lines = [
        f"# Conformance of {venue.capitalize()}",
        "",
        f"{at} UTC, {address}, {symbol}, {spent}. {counts}.",
        "",
        "| case | verdict | what came back | ms |",
        "| --- | --- | --- | --- |",
        *(f"| {r.name} | {r.verdict.value} | {_cell(r.told)} | {r.ms} |" for r in results),
    ]
    for result in results:
        lines += ["", f"## {result.name}: {result.verdict.value}", "", f"{result.asks}.", ""]
        lines += [f"    {line}" for line in result.evidence] or ["    (on the socket)"]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
