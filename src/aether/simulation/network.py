"""The network of a world: bytes between real HTTP clients and servers, late, cut off, or into the void.

A connection has two ends, each a transport for the protocol at it. What is written arrives after the latency that the
link has then; a byte never overtakes another. Ends can be cut (both sides hear of it), or go silent (nobody does).
"""

import asyncio
import contextvars
import random
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import BaseConnector

LATENCY_S = (0.001, 0.02)
HANGS_S = 10.0
"""How long a connection is tried that nobody answers."""
SERVER_WAITS_S = 0.05
"""How long an end hears of a cut after the other."""

AFTER_S = 1e-8
"""What is written later arrives later: timers of the same moment come in any order."""


class End(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: "Network", owner: str, context: contextvars.Context) -> None:
        super().__init__()
        self._network = network
        self.owner = owner
        self.other: End | None = None
        self.protocol: Any = None
        self._context = context
        """Whose it is: what arrives is for them."""
        self._is_closing = False
        self._arrives_s = 0.0
        self.is_silent = False
        """What is written here is lost, and nobody hears of it."""

    # What protocols ask of a transport.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Let bytes arrive at the other end, later."""
        if self._is_closing or self.is_silent or self.other is None:
            return
        loop = asyncio.get_running_loop()
        self._arrives_s = max(self._arrives_s + AFTER_S, loop.time() + self._network.latency(self))
        loop.call_at(self._arrives_s, self.other.receive, bytes(data), context=self.other._context)

    def receive(self, data: bytes) -> None:
        """Take what arrives."""
        if not self._is_closing and self.protocol is not None:
            self.protocol.data_received(data)

    def writelines(self, list_of_data: Any) -> None:
        """Write all of them."""
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self._is_closing

    def close(self) -> None:
        """Close this end; the other hears of it once it has all that was sent."""
        self._end(None)

    def abort(self) -> None:
        """Cut the connection."""
        self._end(ConnectionResetError("cut"))

    def _end(self, error: Exception | None) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self._network.ends.pop(self, None)
        loop = asyncio.get_running_loop()
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            loop.call_soon(protocol.connection_lost, error, context=self._context)
        if self.other is not None and not self.is_silent:
            at = max(self._arrives_s + AFTER_S, loop.time() + self._network.latency(self))
            loop.call_at(at, self.other.hear_end, context=self.other._context)

    def hear_end(self) -> None:
        """Hear that the other end is closed."""
        if self._is_closing:
            return
        protocol = self.protocol
        if protocol is not None and protocol.eof_received():
            return
        self._end(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return an address."""
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def set_protocol(self, protocol: Any) -> None:
        """Talk to another protocol from now on."""
        self.protocol = protocol

    def get_protocol(self) -> Any:
        """Return whom it talks to."""
        return self.protocol

    def get_write_buffer_size(self) -> int:
        """Nothing waits here."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits here."""

    def pause_reading(self) -> None:
        """Go on: protocols keep what they have not looked at."""

    def resume_reading(self) -> None:
        """Go on."""

    def is_reading(self) -> bool:
        """It always is."""
        return True


class Network:
    """All connections of a world.

    Attributes:
        away: hosts that nobody reaches.
        slow_s: added to each way, by host.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  a world to be repeated exactly
        self.ends: dict[End, str] = {}
        self.away: set[str] = set()
        self.slow_s: dict[str, float] = {}
        self.lonely: set[str] = set()
        """Owners who reach nobody."""
        self._servers: dict[str, Callable[[], Any]] = {}
        self._context = contextvars.Context()
        """Of the servers: they live in the world's time."""

    def listen(self, host: str, factory: Callable[[], Any]) -> None:
        """Let a server's protocols answer at a host."""
        self._servers[host] = factory
        self._context = contextvars.copy_context()

    def latency(self, end: End) -> float:
        """Return how long a byte takes now."""
        return self.random.uniform(*LATENCY_S) + self.slow_s.get(self.ends.get(end, ""), 0.0)

    async def connect(self, owner: str, host: str, protocol: Any) -> End:
        """Connect a client's protocol with a host. Raises ConnectionRefusedError, or hangs as a lost packet does."""
        await asyncio.sleep(self.random.uniform(*LATENCY_S))
        if host in self.away or host not in self._servers:
            raise ConnectionRefusedError(f"nobody answers at {host}")
        if owner in self.lonely:
            await asyncio.sleep(HANGS_S)
            raise ConnectionRefusedError(f"no way to {host}")
        server = self._context.copy()
        ours, theirs = End(self, owner, contextvars.copy_context()), End(self, f"server {host}", server)
        ours.other, theirs.other = theirs, ours
        self.ends[ours] = self.ends[theirs] = host
        ours.protocol = protocol
        server.run(self._answer, theirs, host)
        protocol.connection_made(ours)
        return ours

    def _answer(self, end: End, host: str) -> None:
        end.protocol = self._servers[host]()
        end.protocol.connection_made(end)

    def leave_alone(self, owner: str) -> None:
        """Let an owner reach nobody any more, and its connections die without anybody hearing of it."""
        self.lonely.add(owner)
        for end in self.ends:
            if end.owner == owner and end.other is not None:
                end.is_silent = end.other.is_silent = True

    def cut(self, host: str = "", owner: str = "") -> None:
        """Cut the connections of a host or an owner; everybody hears of it."""
        for end, at in list(self.ends.items()):
            if at == host or end.owner == owner:
                end.abort()

    def silence(self, host: str) -> None:
        """Let the present connections of a host die without anybody hearing of it."""
        for end, at in self.ends.items():
            if at == host:
                end.is_silent = True

    def die(self, owner: str) -> None:
        """Let a process be gone: what it still writes is lost, and its connections end."""
        for end in [e for e in self.ends if e.owner == owner]:
            other = end.other
            end.is_silent = True
            end.abort()
            if other is not None:
                asyncio.get_running_loop().call_later(SERVER_WAITS_S, other.hear_end, context=other._context)


class Connector(BaseConnector):
    """Gives an `aiohttp.ClientSession` connections of a simulated network."""

    def __init__(self, network: Network, owner: str) -> None:
        super().__init__(limit=0)
        self._network = network
        self._owner = owner

    async def _create_connection(self, req: ClientRequest, *_: Any) -> ResponseHandler:
        host = req.url.host or ""
        protocol: ResponseHandler = self._factory()
        try:
            await self._network.connect(self._owner, host, protocol)
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        return protocol
