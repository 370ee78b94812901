"""Connections: how many there may be, and how long one may take over its request.

Who opens connections and sends nothing, or half a request, takes no place from anybody: where all places are taken, the
connection that has waited longest for its request gives way to the newcomer. A head, a body and the reading of an
answer have their time; one that takes longer is closed. A connection that asked too much is not read for a while: what
it goes on to ask costs us nothing. A web socket that says more than any page has to say is closed before it is read.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from aether.control.throttle import network_of
from aether.telemetry import TURNED_AWAY

HEAD_S = 10.0
"""A request's head is whole by then, counted from when it could begin."""
BODY_S = 20.0
"""A request's body is whole by then, counted from the end of its head."""
READ_S = 30.0
"""An answer that does not fit into the socket's buffers is read on by then."""
REST_S = 2.0
"""So long is a connection left alone that asked too much; not one of a proxy's, which others come in by."""
SOCKET_BYTES = 16 * 1024
"""What a web socket may say at once: the names of all topics that a page may follow, several times over."""
SOCKET_BYTES_PER_S = 1024
"""What it may say from then on."""
PER_ADDRESS = 100
TOTAL = 600
"""Below the 1,024 files that a process may usually hold."""

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Places:
    """The connections that are open, by address.

    Args:
        is_proxy: whether an address is a proxy's that we trust: it speaks for many, and only the total counts.
        per_address: so many connections may one address hold.
        total: so many may all hold together.
    """

    def __init__(self, is_proxy: Callable[[str], bool], per_address: int = PER_ADDRESS, total: int = TOTAL) -> None:
        self.is_proxy = is_proxy
        self._per_address = per_address
        self._total = total
        self._held: dict[asyncio.Transport, str] = {}
        self._of_address: Counter[str] = Counter()
        self._sockets: set[asyncio.Transport] = set()
        """Those that became web sockets, whose end nobody tells us."""
        self._waiting: dict[LimitedHttp, None] = {}
        """Those without a whole request, the longest at it first."""

    def enter(self, connection: "LimitedHttp", address: str) -> bool:
        """Give a connection a place; return whether there is one, if need be that of one that only waits."""
        is_proxy = self.is_proxy(address)
        address = network_of(address)
        is_full = not is_proxy and self._of_address[address] >= self._per_address
        if is_full and not self._make_room(address):
            return False
        if len(self._held) >= self._total and not self._make_room(None):
            return False
        self._held[connection.transport] = address
        self._of_address[address] += 1
        return True

    def leave(self, transport: asyncio.Transport) -> None:
        """Give a place back."""
        self._sockets.discard(transport)
        address = self._held.pop(transport, None)
        if address is not None:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]

    def is_socket(self, transport: asyncio.Transport) -> None:
        """Hear that a connection became a web socket."""
        self._sockets.add(transport)

    def waits(self, connection: "LimitedHttp", *, does: bool) -> None:
        """Hear whether a connection waits for its request."""
        if does:
            self._waiting.setdefault(connection)
        else:
            self._waiting.pop(connection, None)

    def _make_room(self, address: str | None) -> bool:
        """Close the connection of an address, or of any, that has waited longest; return whether there is room now."""
        if self._sweep(address):
            return True
        for connection in self._waiting:
            is_read = not connection.transport.get_write_buffer_size()
            if is_read and address in (None, self._held.get(connection.transport)):
                TURNED_AWAY.labels("connections").inc()
                self.leave(connection.transport)
                connection.give_way()
                return True
        return False

    def _sweep(self, address: str | None) -> bool:
        """Take the places of web sockets that have ended; return whether there were any of this address."""
        ended = [t for t in self._sockets if t.is_closing() and address in (None, self._held.get(t))]
        for transport in ended:
            self.leave(transport)
        return bool(ended)

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._held)


class LimitedHttp(H11Protocol):
    """uvicorn's protocol with limits; `limited` gives a class its places."""

    places: Places

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or say that there is none."""
        super().connection_made(transport)
        self._deadline: asyncio.TimerHandle | None = None
        self._watched: object = None
        self._reading: asyncio.TimerHandle | None = None
        self._is_socket = False
        address = self.client[0] if self.client else ""
        self._is_of_proxy = self.places.is_proxy(address)
        if not self.places.enter(self, address):
            TURNED_AWAY.labels("connections").inc()
            transport.write(_FULL)
            transport.close()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what arrives; the deadline follows what is still to come."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request; where the last was one too many, only after a rest."""
        if self.scope["state"].get("asked_too_much") and not self._is_of_proxy and not self.transport.is_closing():
            self.flow.pause_reading()
            self._deadline = self.loop.call_later(REST_S, self._go_on)
            self.places.waits(self, does=True)
        else:
            self._go_on()

    def _go_on(self) -> None:
        self._let_be()
        super().on_response_complete()
        self._watch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Let go of the connection: the web socket has its own ways, and keeps the place."""
        self._is_socket = True
        self.places.is_socket(self.transport)
        self._let_be()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._let_be()
        self._is_read()
        self.places.leave(self.transport)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give the reader of an answer a time."""
        super().pause_writing()
        self._reading = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The reader goes on."""
        super().resume_writing()
        self._is_read()

    def _is_read(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def give_way(self) -> None:
        """Close a connection whose request has not come."""
        self._let_be()
        if self.transport.is_closing():
            return
        is_within_head = self.conn.our_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if is_within_head or self.conn.our_state is h11.SEND_RESPONSE:
            self.transport.write(_TOO_SLOW)
        self.transport.close()

    def _watch(self) -> None:
        """Set the deadline of what the client has still to send."""
        state = self.conn.their_state
        if self._is_socket or state is self._watched:
            return
        self._let_be()
        self._watched = state
        limit_s = {h11.IDLE: HEAD_S, h11.SEND_BODY: BODY_S}.get(state)
        if limit_s is not None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(limit_s, self.give_way)
            self.places.waits(self, does=True)

    def _let_be(self) -> None:
        self.places.waits(self, does=False)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class LimitedSocket(WebSocketsSansIOProtocol):
    """uvicorn's web socket with a bound to what it is told.

    Bytes are counted, not messages: thousands of the smallest frames, of pings too, fit into one read, and to take them
    apart would hold up everybody.
    """

    _left = float(SOCKET_BYTES)
    _at = 0.0

    def data_received(self, data: bytes) -> None:
        """Take what arrives; close where it is too much."""
        if self.handshake_initiated:
            now = self.loop.time()
            self._left = min(SOCKET_BYTES, self._left + (now - self._at) * SOCKET_BYTES_PER_S) - len(data)
            self._at = now
            if self._left < 0:
                TURNED_AWAY.labels("sockets").inc()
                self.transport.abort()
                return
        super().data_received(data)


def limited(places: Places) -> type[LimitedHttp]:
    """Return the protocol class of a server with these places."""
    return type("LimitedHttp", (LimitedHttp,), {"places": places})
