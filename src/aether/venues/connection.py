"""A venue's socket kept open: connects, subscribes, pings, counts what cannot be read, and comes back after a loss.

Back-off doubles with jitter and starts anew once a connection has lasted. Silence longer than the venue's heartbeat
allows counts as a loss. Whoever reads gets `Connected` first and after each return: what was known before is then old.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import aiohttp
import msgspec

from aether.clock import monotonic_s
from aether.domain.errors import Failure, VenueError
from aether.telemetry import logger
from aether.venues.messages import Acknowledged, Message, SequenceGap, Unrecognized
from aether.venues.protocol import VenueProtocol, refuse
from aether.venues.stream import Stream
from aether.venues.wire import MAX_MESSAGE_BYTES

_log = logger("connection")

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 30.0
LASTED_S = 30.0
"""A connection that stood so long resets the back-off."""
CONNECT_TIMEOUT_S = 10.0
SILENCE_S = 30.0
PING_EVERY_S = 10.0
FRAME_QUEUE = 65_536


class Connected(msgspec.Struct):
    """The socket is open and subscribed; `number` counts from 1."""

    number: int


class Disconnected(msgspec.Struct):
    """The socket was lost; another follows after `wait_s`."""

    reason: str
    wait_s: float


class Connection:
    """One socket that is always being kept open.

    Args:
        opening: returns the texts to send once connected; called anew for each connection (tokens expire).
        on_raw: sees every payload as received, for recorders.
    """

    def __init__(
        self,
        protocol: VenueProtocol,
        http: aiohttp.ClientSession,
        url: str,
        *,
        make_stream: Callable[[], Stream],
        opening: Callable[[Stream], Awaitable[list[str]]],
        silence_s: float = SILENCE_S,
        on_raw: Callable[[bytes], None] | None = None,
        random_source: random.Random | None = None,
    ) -> None:
        self.url = url
        self.unrecognized: Counter[str] = Counter()
        """How many messages could not be read, by kind."""
        self.connects = 0
        self._protocol = protocol
        self._http = http
        self._make_stream = make_stream
        self._opening = opening
        self._silence_s = silence_s
        self._on_raw = on_raw
        self._random = random_source or random.Random()  # noqa: S311  jitter
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._waiting: dict[int, asyncio.Future[Acknowledged]] = {}
        self._next_request = 1_000

    @property
    def is_open(self) -> bool:
        """Whether texts can be sent now."""
        return self._socket is not None and not self._socket.closed

    async def messages(self) -> AsyncIterator[Message | Connected | Disconnected]:
        """Yield what arrives, for ever."""
        wait_s = FIRST_WAIT_S
        while True:
            started = monotonic_s()
            reason = "closed by the venue"
            try:
                async for message in self._one_connection():
                    yield message
                    if isinstance(message, SequenceGap):
                        reason = f"messages {message.expected} to {message.received - 1} were lost"
                        break
            except VenueError as error:
                reason = error.message
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = str(error) or type(error).__name__
            finally:
                await self._drop()
            if monotonic_s() - started > LASTED_S:
                wait_s = FIRST_WAIT_S
            pause_s = wait_s * (0.5 + self._random.random())
            _log.warning("disconnected", venue=self._protocol.venue, url=self.url, reason=reason, wait_s=pause_s)
            yield Disconnected(reason=reason, wait_s=pause_s)
            await asyncio.sleep(pause_s)
            wait_s = min(LONGEST_WAIT_S, wait_s * 2)

    async def request(self, make_text: Callable[[int], str], timeout_s: float) -> Acknowledged:
        """Send a request and return its answer.

        Args:
            make_text: writes the request with the id that it is given.

        Raises:
            VenueError: VENUE_DOWN when it was not sent; UNKNOWN_OUTCOME when it was and no answer came.
        """
        venue = self._protocol.venue
        socket = self._socket
        if socket is None or socket.closed:
            raise refuse(venue, Failure.VENUE_DOWN, "the socket is not open")
        self._next_request += 1
        number = self._next_request
        answer: asyncio.Future[Acknowledged] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            await socket.send_str(make_text(number))
            async with asyncio.timeout(timeout_s):
                return await answer
        except (aiohttp.ClientError, TimeoutError, OSError, ConnectionError) as error:
            raise refuse(venue, Failure.UNKNOWN_OUTCOME, f"no answer on the socket ({type(error).__name__})") from error
        finally:
            self._waiting.pop(number, None)

    async def send(self, texts: list[str]) -> None:
        """Send texts that need no answer; none when the socket is away, since reconnecting subscribes anew."""
        socket = self._socket
        if socket is not None and not socket.closed:
            with suppress(aiohttp.ClientError, ConnectionError):
                for text in texts:
                    await socket.send_str(text)

    async def settle(self, timeout_s: float) -> None:
        """Wait until every request has its answer, for at most `timeout_s`."""
        waiting = [answer for answer in self._waiting.values() if not answer.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=timeout_s)

    async def close(self) -> None:
        """Let go of the present socket; `messages` then connects again, to what is wanted by then."""
        if self._socket is not None:
            await self._socket.close()

    async def _one_connection(self) -> AsyncIterator[Message | Connected]:
        stream = self._make_stream()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            self._socket = await self._http.ws_connect(
                self.url, max_msg_size=MAX_MESSAGE_BYTES, autoping=True, heartbeat=PING_EVERY_S
            )
        for text in await self._opening(stream):
            await self._socket.send_str(text)
        self.connects += 1
        yield Connected(number=self.connects)
        pinged = monotonic_s()
        while True:
            try:
                frame = await self._socket.receive(timeout=min(self._silence_s, PING_EVERY_S))
            except TimeoutError:
                if stream.tells_heartbeats and monotonic_s() - pinged > self._silence_s:
                    raise
                await self._ping(stream)
                continue
            if frame.type is aiohttp.WSMsgType.TEXT or frame.type is aiohttp.WSMsgType.BINARY:
                payload = frame.data.encode() if isinstance(frame.data, str) else bytes(frame.data)
                pinged = monotonic_s()
                if self._on_raw:
                    self._on_raw(payload)
                for message in stream.receive(payload):
                    self._settle(message)
                    yield message
            elif frame.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
                return
            elif frame.type is aiohttp.WSMsgType.ERROR:
                raise self._socket.exception() or OSError("the socket failed")

    async def _ping(self, stream: Stream) -> None:
        text = stream.ping()
        if text and self._socket is not None:
            await self._socket.send_str(text)

    def _settle(self, message: Message) -> None:
        if isinstance(message, Unrecognized):
            self._note(message)
        elif isinstance(message, Acknowledged) and message.request_id in self._waiting:
            answer = self._waiting[message.request_id]
            if not answer.done():
                answer.set_result(message)

    def _note(self, message: Unrecognized) -> None:
        self.unrecognized[message.kind] += 1
        if self.unrecognized[message.kind] == 1:
            _log.warning(
                "unrecognized",
                venue=self._protocol.venue,
                kind=message.kind,
                detail=message.detail,
                payload_sha256=message.digest,
            )

    async def _drop(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None and not socket.closed:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                await socket.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the socket was lost"))
        self._waiting.clear()
