"""A venue's REST API over real HTTP: signs, waits for the rate limits, sends, classes failures, reads all pages.

The retry policies, by name: `READS` are sent again after a failure in which nothing happened; a trading request is
never sent twice. A trading request whose answer is lost is an unknown outcome, which only a query resolves
(`session.py`).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import aiohttp
import msgspec
from yarl import URL

from aether.clock import running_s
from aether.domain.errors import Failure, InvalidValueError, VenueError, WithdrawingKeyError
from aether.domain.identifiers import AssetCode
from aether.venues.actions import (
    PRIVATE,
    TRADING,
    Action,
    Balances,
    ClosedOrders,
    Depth,
    Fates,
    Fills,
    GetOrder,
    KeyPermissions,
    Markets,
    Permissions,
    Request,
    ServerTime,
    StreamToken,
)
from aether.venues.keystate import KeyState
from aether.venues.limits import LIMITS, Costs, VenueLimits, share_of
from aether.venues.messages import Balance, BookSnapshot, OrderUpdate, Pair, Unread
from aether.venues.protocol import Credentials, Response, VenueProtocol, decoded, refuse
from aether.venues.rows import ROW_ERRORS, understood, why_unread
from aether.venues.wire import MAX_MESSAGE_BYTES, MalformedError

REQUEST_TIMEOUT_S = 10.0
MEASURED_AGAIN_S = 5.0
"""A venue's clock that was measured so recently is not measured again because a time stamp was refused."""
MEASURED_WITHIN_S = 5.0
"""What was refused waits so long for the venue's clock, and no longer: it may be the cancel of everything."""
MOVED_S = 0.5
CHECKED_AGAIN_S = 0.25
"""While an order waits for its turn, it is looked at so often whether it should still go."""
LONGEST_SLEEP_S = 60.0
T = TypeVar("T")
MAX_PAGES = 200


class RetryPolicy(NamedTuple):
    """How often, and after how many seconds at first, a read is sent again; each wait doubles, with jitter."""

    attempts: int
    first_wait_s: float


READS = RetryPolicy(attempts=4, first_wait_s=0.2)
_SAFE_TO_REPEAT = (Failure.RETRYABLE, Failure.UNKNOWN_OUTCOME, Failure.RATE_LIMIT, Failure.VENUE_DOWN)
_FIRST_BLOCK_S = {Failure.RATE_LIMIT: 1.0, Failure.LOCKOUT: 60.0}
"""How long nothing is sent after the venue said that it was too much, where it does not say for how long: the first
time. Kraken's guide "Errors" says of a lockout "typically a few minutes", and that asking on makes it longer."""


class Permit(Protocol):
    """Whether an action may still go. What it raises, `call` raises: nothing was sent then."""

    def check(self) -> float:
        """Return for how many seconds the venue may still take the action."""
        ...

    def use(self) -> float:
        """The same, and the action leaves now."""
        ...


class VenueClient:
    """One account's (or the public's) way to a venue.

    Args:
        credentials: None for public data only.
        state_folder: where nonce and rate limits are shared with other processes; None for this process alone.
        clock: seconds since 1970; must not jump.
        random_source: jitter of waits.
        limits: the rate limits of this account's tier; by default the venue's usual ones.
    """

    def __init__(
        self,
        protocol: VenueProtocol,
        http: aiohttp.ClientSession,
        *,
        credentials: Credentials | None = None,
        state_folder: Path | None = None,
        clock: Callable[[], float] = running_s,
        random_source: random.Random | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        limits: VenueLimits | None = None,
    ) -> None:
        self.protocol = protocol
        self.credentials = credentials
        self.clock_offset_s = 0.0
        """How far the venue's clock is ahead of ours."""
        self.http = http
        self.on_unread: Callable[[list[Unread]], None] = lambda _rows: None
        """Hears of rows that were not understood; the answer has the others."""
        self.on_answer: Callable[[Action, Response], None] = lambda _action, _response: None
        """Sees what each action was answered."""
        self.on_depth: Callable[[bytes], None] = lambda _body: None
        """Sees the payload of every book fetched, for recorders."""
        self.clock = clock
        self.random = random_source or random.Random()  # noqa: S311  jitter
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._state_folder = state_folder
        key = credentials.key if credentials else f"public.{protocol.venue}"
        self.key_state = KeyState(state_folder, key, clock)
        self._limits: VenueLimits = limits or LIMITS[protocol.venue]()
        self._in_order = asyncio.Lock()
        self._measuring = asyncio.Lock()
        self._measured_s = 0.0

    def use_key(self, credentials: Credentials) -> None:
        """Sign with another key from now on; it has nonces and rate limits of its own."""
        self.credentials = credentials
        self.key_state = KeyState(self._state_folder, credentials.key, self.clock)

    def now_ms(self) -> int:
        """Return the venue's time as far as it has been measured."""
        return int((self.clock() + self.clock_offset_s) * 1000)

    async def call(self, action: Action, *, order_age_s: float = 1e9, permit: Permit | None = None) -> Any:
        """Carry out an action and return its result, see `protocol.py`.

        Args:
            order_age_s: of the order that is canceled or amended: some venues charge young ones more.
            permit: asked while the action waits, and right before it is sent.

        Raises:
            VenueError: classed by what may be done next.
            UnsupportedError: when the venue does not offer it.
        """
        if isinstance(action, TRADING):
            return await self.in_time(lambda: self._once(action, order_age_s, permit))
        wait_s = READS.first_wait_s
        for attempt in range(READS.attempts):
            try:
                if not isinstance(action, PRIVATE):
                    return await self._once(action, order_age_s, permit)
                return await self.in_time(lambda: self._once(action, order_age_s, permit))
            except VenueError as error:
                if error.failure not in _SAFE_TO_REPEAT or attempt == READS.attempts - 1:
                    if error.failure is Failure.UNKNOWN_OUTCOME:
                        raise refuse(self.protocol.venue, Failure.VENUE_DOWN, error.message) from error
                    raise
                told_s = min(error.retry_after_s, LONGEST_SLEEP_S)  # the limits know how long it really is
                await asyncio.sleep(max(told_s, wait_s * (0.5 + self.random.random())))
                wait_s *= 2
        raise AssertionError("the loop returns or raises")

    async def in_time(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something signed with the venue's time; once more when it was refused and the venue's clock has moved."""
        signed_with = self.clock_offset_s
        try:
            return await work()
        except VenueError as error:
            if error.failure not in (Failure.CLOCK, Failure.AUTH) or not await self._has_moved(signed_with):
                raise
        return await work()

    async def _has_moved(self, signed_with: float) -> bool:
        """Measure the venue's clock, unless that was just done; return whether it differs from what was signed with."""
        async with self._measuring:
            if abs(self.clock() - self._measured_s) > MEASURED_AGAIN_S:
                with suppress(VenueError, TimeoutError):
                    async with asyncio.timeout(MEASURED_WITHIN_S):
                        await self.measure_clock()
        return abs(self.clock_offset_s - signed_with) > MOVED_S

    async def _once(self, action: Action, order_age_s: float, permit: Permit | None = None) -> Any:
        action = self._by_venue_time(action)
        requests = self.protocol.requests(action)
        costs = await self.admit(action, requests, order_age_s, permit)
        found: Any = None
        for request in requests:
            response, result = await self._ask(action, request, costs, permit)
            if isinstance(result, list):
                result += await self._other_pages(action, request, response)
            found = result if found is None else found + result
            if isinstance(action, GetOrder) and found:
                break
        if isinstance(found, list):
            found = understood(self.protocol.venue, found, self.on_unread)
        if isinstance(action, GetOrder):
            return self._only_order(found)
        return summed(found) if isinstance(action, Balances) else found

    def _by_venue_time(self, action: Action) -> Action:
        """Return a question about the past in the venue's time."""
        if not isinstance(action, Fills | ClosedOrders | Fates) or not action.since_s:
            return action
        return msgspec.structs.replace(action, since_s=max(1, int(action.since_s + self.clock_offset_s)))

    async def _ask(
        self, action: Action, request: Request, costs: Costs, permit: Permit | None = None
    ) -> tuple[Response, Any]:
        """Send one request of an action; return the response and what it means, or raise the VenueError that it is."""
        response = await self._exchange(action, request, permit)
        self.on_answer(action, response)
        self.key_state.told(self._limits.told(response.headers))
        if isinstance(action, Depth) and response.status == 200:
            self.on_depth(response.body)
        try:
            return response, decoded(self.protocol, action, response)
        except VenueError as error:
            if error.failure in _FIRST_BLOCK_S:
                self.key_state.block(costs, error.retry_after_s, _FIRST_BLOCK_S[error.failure])
            if error.failure is Failure.VENUE_DOWN and isinstance(action, TRADING):
                raise refuse(self.protocol.venue, Failure.UNKNOWN_OUTCOME, error.message) from error
            raise
        except MalformedError as error:
            failure = Failure.UNKNOWN_OUTCOME if isinstance(action, TRADING) else Failure.RETRYABLE
            raise refuse(self.protocol.venue, failure, f"an answer that cannot be read ({error})") from error

    async def admit(
        self, action: Action, requests: list[Request], order_age_s: float = 1e9, permit: Permit | None = None
    ) -> Costs:
        """Wait until the rate limits let an action go, charge them, and return what was charged.

        What must not go any more waits no longer, and takes no room.
        """
        costs = self._limits.costs(action, requests, order_age_s)
        while True:
            left_s = min(permit.check(), CHECKED_AGAIN_S) if permit is not None else LONGEST_SLEEP_S
            wait_s = self.key_state.acquire(costs, share_of(action))
            if wait_s <= 0:
                return costs
            await asyncio.sleep(min(wait_s, left_s))

    async def _other_pages(self, action: Action, request: Request, response: Response) -> list[Any]:
        """Return the rows that follow those of a first page."""
        found: list[Any] = []
        for _ in range(MAX_PAGES):
            try:
                following = self.protocol.next_page(action, request, response)
            except ROW_ERRORS as error:
                lost = Unread(what="page", reason=why_unread(error), text=f"after {len(found)} rows of {action}")
                return [*found, lost]
            if following is None:
                break
            request, costs = following, await self.admit(action, [following])
            response, page = await self._ask(action, request, costs)
            found += page
        return found

    def _only_order(self, found: list[OrderUpdate]) -> OrderUpdate:
        if not found:
            raise refuse(self.protocol.venue, Failure.NOT_FOUND, "no such order")
        return max(found, key=lambda update: update.created_ns)

    async def _exchange(self, action: Action, request: Request, permit: Permit | None) -> Response:
        if not isinstance(action, PRIVATE):
            return await self._send(action, request)
        credentials = self.credentials
        if credentials is None:
            raise InvalidValueError(
                f"{type(action).__name__} needs a key of {self.protocol.venue}.", remedy="Give one with --key-file."
            )
        async with self._in_order if self.protocol.profile.ordered_nonce else nullcontext():
            if permit is not None:
                left_ms = max(1, int(permit.use() * 1000))
                request.deadline_ms = min(request.deadline_ms, left_ms)
            nonce = self.key_state.next_nonce()
            signed = self.protocol.sign(request, credentials, nonce=nonce, now_ms=self.now_ms())
            return await self._send(action, signed)

    async def _send(self, action: Action, request: Request) -> Response:
        venue = self.protocol.venue
        lost = Failure.UNKNOWN_OUTCOME if isinstance(action, TRADING) else Failure.RETRYABLE
        url = self.protocol.urls.rest + request.path
        try:
            async with self.http.request(
                request.method,
                _exact_url(url),
                data=request.body.encode() if request.body else None,
                headers=request.headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as answer:
                body = await answer.content.read(MAX_MESSAGE_BYTES + 1)
                while not answer.content.at_eof() and len(body) <= MAX_MESSAGE_BYTES:
                    body += await answer.content.read(MAX_MESSAGE_BYTES)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Response(status=answer.status, headers=headers, body=body)
        except aiohttp.ClientConnectorError as error:
            raise unreachable(venue, url, str(error.os_error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise refuse(venue, lost, f"{reason} ({request.method} {request.path.partition('?')[0]})") from error

    # What every user of a venue starts with.

    async def load_markets(self) -> None:
        """List all pairs of the venue."""
        self._list(await self.call(Markets()))

    def _list(self, pairs: list[Pair]) -> None:
        listings = self.protocol.listings
        for pair in pairs:
            listings.add_in_scale(pair.native, pair.instrument)
            if pair.told_as:
                listings.told_as[pair.native] = pair.told_as

    async def pairs(self, symbols: Sequence[str]) -> list[Pair]:
        """Return how the venue lists some pairs now, without those that it does not list any more; they are listed so
        from now on."""
        try:
            found: list[Pair] = await self.call(Markets(symbols=tuple(symbols)))
        except VenueError as error:
            if error.failure not in (Failure.REJECTED, Failure.NOT_FOUND):
                raise
            found = await self.call(Markets())  # one of them is gone, which refuses all
        wanted = set(symbols)
        pairs = [pair for pair in found if pair.instrument.symbol in wanted]
        self._list(pairs)
        return pairs

    async def measure_clock(self) -> float:
        """Measure how far the venue's clock is ahead of ours, seconds, and sign with its time from now on.

        A difference that the venue's own clock cannot show is taken for none.
        """
        self._measured_s = before = self.clock()
        server_ns = await self.call(ServerTime())
        after = self.clock()
        offset_s = server_ns / 1e9 - (before + after) / 2
        self.clock_offset_s = offset_s if abs(offset_s) > self.protocol.profile.clock_step_s else 0.0
        return self.clock_offset_s

    async def check_key(self) -> KeyPermissions:
        """Return what the key may do.

        Raises:
            WithdrawingKeyError: when it may withdraw.
            VenueError: when it is not valid, or may not trade.
        """
        permissions: KeyPermissions = await self.call(Permissions())
        if permissions.can_withdraw:
            raise WithdrawingKeyError(
                f"This key of {self.protocol.venue} may withdraw money.",
                remedy="Make a key that may read and trade only, and delete this one.",
            )
        if permissions.can_trade is False:
            raise refuse(self.protocol.venue, Failure.AUTH, "the key may not trade")
        return permissions

    async def stream_token(self) -> str:
        """Return the token of the private socket, empty where the venue has none."""
        if not self.protocol.profile.needs_token:
            return ""
        return str(await self.call(StreamToken()))

    async def depth(self, symbol: str, levels: int = 1000) -> BookSnapshot:
        """Return a book over REST."""
        snapshot: BookSnapshot = await self.call(Depth(symbol=symbol, levels=levels))
        return snapshot


def summed(balances: list[Balance]) -> list[Balance]:
    """Return one balance an asset: a venue may keep an asset in several places."""
    found: dict[AssetCode, Balance] = {}
    for one in balances:
        known = found.get(one.asset)
        free = one.free if known is None or -1 in (known.free, one.free) else known.free + one.free
        total = one.total if known is None else known.total + one.total
        found[one.asset] = Balance(ts_ns=one.ts_ns, asset=one.asset, total=total, free=free)
    return list(found.values())


def _exact_url(url: str) -> URL:
    """Return a URL that the client sends as it is: a signature covers its exact text."""
    return URL(url, encoded=True)


def unreachable(venue: str, url: str, reason: str) -> VenueError:
    """Return the error of a venue that cannot be reached."""
    host = url.split("/", 3)[2]
    return VenueError(
        f"{venue.capitalize()} cannot be reached at {host}: {reason}.",
        remedy="Check the connection and the proxy; without one, use the local exchange: aether up --market exchange.",
        failure=Failure.VENUE_DOWN,
    )


def with_urls(protocol: VenueProtocol, base_url: str = "", ws_url: str = "") -> VenueProtocol:
    """Return the protocol with other addresses: a sandbox, or the local exchange.

    Args:
        ws_url: of all sockets; public and private ones of the local exchange share one.
    """
    urls = protocol.urls
    if base_url:
        urls = msgspec.structs.replace(urls, rest=base_url.rstrip("/"))
    if ws_url:
        private = ws_url.replace("/stream", "/ws-api/v3") if protocol.venue == "binance" else ws_url
        urls = msgspec.structs.replace(urls, public=ws_url, private=private)
    protocol.urls = urls
    return protocol
