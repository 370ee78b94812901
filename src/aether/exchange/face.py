"""What the three faces share: keys, sockets with bounded queues and faults, and answers that get lost.

Nothing here knows a venue's messages.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from aether.exchange.faults import Faults
from aether.exchange.venue import Listener, Market, Refusal, Refused, Venue

SOCKET_QUEUE = 20_000
"""Messages that wait for a slow reader; then its socket is closed, as venues do."""


@dataclass
class ApiKey:
    """A key of an account.

    Attributes:
        secret: as the venue gives it out; for asymmetric keys the public key (PEM).
        nonce: the last one seen.
    """

    name: str
    account: str
    secret: str
    can_trade: bool = True
    can_withdraw: bool = False
    nonce: int = 0
    calls: deque[float] = field(default_factory=deque)
    counter: float = 0.0
    counter_s: float = 0.0


class Socket:
    """One client's socket: messages are queued and sent in order, unless a fault says otherwise."""

    def __init__(self, response: web.WebSocketResponse, faults: Faults) -> None:
        self.response = response
        self.subscriptions: dict[Any, Any] = {}
        self.key: ApiKey | None = None
        self.sequence = -1
        self.private_sequence: dict[str, int] = {}
        self._faults = faults
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._held: str | None = None

    def send(self, text: str, *, faulty: bool = True) -> None:
        """Queue a message.

        Args:
            faulty: whether this message may be lost, doubled or reordered.
        """
        if self._queue.qsize() > SOCKET_QUEUE:
            self._queue.put_nowait(None)
            return
        faults = self._faults
        if faulty and (faults.rates or faults.pending):
            if faults.happens("skip_message"):
                return
            if faults.happens("reorder_message") and self._held is None:
                self._held = text
                return
            if faults.happens("duplicate_message"):
                self._queue.put_nowait(text)
            if faults.happens("disconnect"):
                self._queue.put_nowait(None)
        self._queue.put_nowait(text)
        if self._held is not None:
            self._queue.put_nowait(self._held)
            self._held = None

    def answer(self, text: str) -> None:
        """Queue the answer to a trading request: lost with the socket, late, or as it should be."""
        if self._faults.happens("lose_response"):
            self.close()
        elif self._faults.happens("slow_response"):
            asyncio.get_running_loop().call_later(self._faults.slow_s, self._queue.put_nowait, text)
        else:
            self._queue.put_nowait(text)

    def close(self) -> None:
        """Close the socket after what is queued."""
        self._queue.put_nowait(None)

    async def pump(self) -> None:
        """Send what is queued until the socket ends."""
        while (text := await self._queue.get()) is not None:
            await self.response.send_str(text)
        await self.response.close()


class Face(Listener):
    """One venue's protocol in front of an exchange.

    Args:
        enforce_limits: count requests as the venue does, and refuse what is too much.
    """

    def __init__(self, venue: Venue, faults: Faults, *, enforce_limits: bool = True) -> None:
        self.venue = venue
        self.faults = faults
        self.enforce_limits = enforce_limits
        self.keys: dict[str, ApiKey] = {}
        self.sockets: dict[Socket, None] = {}
        """In the order in which they came."""
        venue.listener = self
        self._flushing = False
        self._late: set[asyncio.Task[None]] = set()
        self.start()

    def start(self) -> None:
        """Set up what the face itself remembers."""

    def now_ns(self) -> int:
        """Return the exchange's time, skewed if a fault says so."""
        return self.venue.clock() + self.faults.skew_ms * 1_000_000

    def add_key(self, key: ApiKey) -> None:
        """Let a key in."""
        self.keys[key.name] = key
        self.venue.account(key.account)

    def build(self, app: web.Application) -> None:
        """Add the routes."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what has changed since the last flush; called soon after a change, or at the venue's own pace."""

    def beat(self, tenth: int) -> None:
        """Send what the venue sends at a pace of its own; called every tenth of a second with a running number."""

    def on_book(self, market: Market) -> None:
        """Have the changes sent once the present work is done."""
        if not self._flushing:
            self._flushing = True
            try:
                asyncio.get_running_loop().call_soon(self._flush_once)
            except RuntimeError:
                self._flushing = False

    def on_retick(self, market: Market, factor: int) -> None:
        """Send what has changed so far."""
        self.flush()

    def _flush_once(self) -> None:
        self._flushing = False
        self.flush()

    async def serve_socket(
        self, request: web.Request, on_text: Callable[[Socket, str], Awaitable[None]], opened: Callable[[Socket], None]
    ) -> web.WebSocketResponse:
        """Serve one socket until it ends."""
        response = web.WebSocketResponse(heartbeat=30, max_msg_size=4 * 2**20)
        await response.prepare(request)
        socket = Socket(response, self.faults)
        self.sockets[socket] = None
        pump = asyncio.create_task(socket.pump())
        try:
            opened(socket)
            async for message in response:
                if message.type is WSMsgType.TEXT:
                    await on_text(socket, message.data)
        finally:
            self.sockets.pop(socket, None)
            pump.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await pump
        return response

    def hear_late(self, work: Coroutine[Any, Any, None]) -> None:
        """Look at a socket's message late; what is sent after it overtakes it."""

        async def late() -> None:
            await asyncio.sleep(self.faults.slow_s)
            with suppress(ConnectionError):
                await work

        task = asyncio.create_task(late())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def answer(self, request: web.Request, work: Callable[[], Any], *, faulty: bool) -> web.StreamResponse:
        """Carry out a request and answer it, unless a fault intervenes.

        Args:
            work: returns the status and the JSON-ready answer; carries the request out.
        """
        faults = self.faults
        active = faulty and bool(faults.rates or faults.pending)
        if active and faults.happens("lose_request"):
            return self._drop(request)
        if active and faults.happens("slow_request"):
            await asyncio.sleep(faults.slow_s)
        status, body, headers = work()
        if active and faults.happens("lose_response"):
            return self._drop(request)
        if active and faults.happens("slow_response"):
            await asyncio.sleep(faults.slow_s)
        return web.Response(
            status=status, body=msgspec.json.encode(body), content_type="application/json", headers=headers
        )

    @staticmethod
    def _drop(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("dropped by a fault")

    def disconnect_all(self) -> None:
        """Close every socket, as a venue does before maintenance."""
        for socket in list(self.sockets):
            socket.close()


def units(text: object, decimals: int, reason: Refusal) -> int:
    """Return decimal text in units of 10^-`decimals`.

    Raises:
        Refused: with `reason` when it is no number or too fine.
    """
    try:
        number = Decimal(str(text)).scaleb(decimals)
        if number != number.to_integral_value() or not number.is_finite() or abs(number) > 10**24 or "_" in str(text):
            raise Refused(reason, str(text))
        return int(number)
    except InvalidOperation as error:
        raise Refused(reason, str(text)) from error


def number(text: str) -> msgspec.Raw:
    """Return decimal text as a JSON number."""
    return msgspec.Raw(text.encode())


def base36(value: int, width: int) -> str:
    """Return a number in upper-case base 36."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    text = ""
    while value:
        value, rest = divmod(value, 36)
        text = digits[rest] + text
    return text.rjust(width, "0")


def from_base36(text: str) -> int:
    """Return the number of base-36 text, 0 when it is none."""
    try:
        return int(text, 36)
    except ValueError:
        return 0


__all__ = ["ApiKey", "Face", "Refused", "Socket", "base36", "from_base36", "number", "units"]
