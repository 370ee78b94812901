"""Live updates over one web socket: a page names the topics that it follows (`aether.api.live`).

Every message is a `LiveMessage`. Each topic counts what it sends from 1; a page that misses one subscribes again and is
sent the whole state. A beat goes out each second whatever else works, with the platform's time and how old its accounts
are: a page that hears none for three seconds knows nothing any more. A session that ends takes its sockets along, and
an open socket is no use of a session: one that nobody touches ends all the same.
"""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from aether.api.guard import identify, identify_by_roster
from aether.api.live import DESK, Stored, ages_ms, desk_of, difference, encode, system_state
from aether.api.local import LocalAccess
from aether.api.ports import Context
from aether.clock import monotonic_s, wall_ns
from aether.control.access import Caller
from aether.domain.errors import NoAnswerError, UnknownNameError
from aether.store.patience import DATABASE_AWAY, within

router = APIRouter()

SEND_TIMEOUT_S = 10.0
CHECK_EVERY_S = 3.0
CHECK_WITHIN_S = 2.0
BEAT_EVERY_S = 1.0
LOOK_EVERY_S = 0.25
"""Between two looks for what has changed: a page is not sent more often."""
READ_EVERY_S = 0.5
"""The same for topics whose state is in the database."""
READ_WITHIN_S = 3.0
MOST_OPEN = 10
"""Of one caller; the oldest gives way to another."""
MOST_TOPICS = 100
POLICY_VIOLATION, GOING_AWAY = 1008, 1001


class _Asked(msgspec.Struct):
    """What a page sends: topics that it wants to follow from their present state on, and those that it does not."""

    subscribe: list[str] = msgspec.field(default_factory=list)
    unsubscribe: list[str] = msgspec.field(default_factory=list)


class _Followed(msgspec.Struct):
    """A topic as a page knows it."""

    seq: int = 0
    state: Mapping[str, Any] | None = None


_decode = msgspec.json.Decoder(_Asked).decode


class _Page:
    """One page and what it follows."""

    def __init__(self, socket: WebSocket, caller: Caller, stored: Stored) -> None:
        self._socket = socket
        self._context: Context = socket.app.state.context
        self._caller = caller
        self._stored = stored
        self._followed: dict[str, _Followed] = {}
        self._alone = asyncio.Lock()
        self._beats = 0
        self._closed: Collection[str] = ()

    async def listen(self) -> None:
        """Hear which topics the page follows, until it goes away; what is no such message is not heard."""
        with suppress(WebSocketDisconnect, RuntimeError):
            while (message := await self._socket.receive())["type"] != "websocket.disconnect":
                with suppress(msgspec.MsgspecError, TypeError):
                    asked = _decode(message.get("text") or "")
                    for topic in asked.unsubscribe:
                        self._followed.pop(topic, None)
                    for topic in asked.subscribe:
                        if len(self._followed) < MOST_TOPICS:
                            self._followed[topic] = _Followed()

    async def tell(self) -> None:
        """Send beats, and what the node tells as it changes."""
        system: Mapping[str, Any] = {}
        due_s = monotonic_s()
        while True:
            if is_due := monotonic_s() >= due_s:
                due_s = max(due_s + BEAT_EVERY_S, monotonic_s())
                system = system_state(self._context, self._caller)
            if DESK in self._followed:
                await self._send_change(DESK, desk_of(self._context, self._caller, system, self._closed))
            if is_due:
                await self._beat()  # behind what it tells the age of
            await asyncio.sleep(LOOK_EVERY_S)

    async def tell_stored(self) -> None:
        """Send what is in the database as it changes; while that does not answer, nothing changes."""
        while True:
            with suppress(*DATABASE_AWAY):
                self._closed = await within(READ_WITHIN_S, self._stored.closed())
            for topic in [t for t in self._followed if t != DESK]:
                with suppress(*DATABASE_AWAY, NoAnswerError):
                    try:
                        state = await within(READ_WITHIN_S, self._stored.state(topic, self._caller))
                    except UnknownNameError:
                        state = None
                    if state is None:
                        self._followed.pop(topic, None)
                        await self._send({"topic": topic, "seq": 1, "ts_ns": wall_ns(), "kind": "refused", "data": {}})
                    else:
                        await self._send_change(topic, state)
            await asyncio.sleep(READ_EVERY_S)

    async def check(self, access: LocalAccess) -> None:
        """Return once the page's session has ended.

        While the database does not answer, the roster says who may look.
        """
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            known = identify_by_roster(self._socket, self._context, access, self._caller)
            try:
                work = identify(self._socket, self._context, access, self._caller, is_use=False)
                found = await within(CHECK_WITHIN_S, work)
            except DATABASE_AWAY:
                if known is not None or not self._context.control.roster.is_good:
                    continue
                return
            if found is None:
                return
            self._caller = found

    async def _beat(self) -> None:
        self._beats += 1
        data = {"ages_ms": ages_ms(self._context.bus, self._caller)}
        await self._send({"topic": "", "seq": self._beats, "ts_ns": wall_ns(), "kind": "beat", "data": data})

    async def _send_change(self, topic: str, state: Mapping[str, Any]) -> None:
        followed = self._followed.get(topic)
        if followed is None:
            return
        is_first = followed.state is None
        data = state if followed.state is None else difference(followed.state, state)
        if not data and not is_first:
            return
        followed.seq, followed.state = followed.seq + 1, state
        kind = "snapshot" if is_first else "delta"
        await self._send({"topic": topic, "seq": followed.seq, "ts_ns": wall_ns(), "kind": kind, "data": data})

    async def _send(self, message: Mapping[str, Any]) -> None:
        async with self._alone, asyncio.timeout(SEND_TIMEOUT_S):
            await self._socket.send_text(encode(message))


@router.websocket("/stream")
async def stream(socket: WebSocket) -> None:
    """Send what the page follows until it goes away or its session ends."""
    caller: Caller = socket.state.caller
    state = socket.app.state
    await socket.accept()
    open_ones = state.streams.setdefault((caller.kind, caller.id), [])
    if len(open_ones) >= MOST_OPEN:
        with suppress(WebSocketDisconnect, RuntimeError):
            await open_ones.pop(0).close(POLICY_VIOLATION)
    open_ones.append(socket)
    if state.stored is None:
        state.stored = Stored(state.context)
    page = _Page(socket, caller, state.stored)
    checking = asyncio.create_task(page.check(state.access))
    work = {checking, *(asyncio.create_task(w) for w in (page.listen(), page.tell(), page.tell_stored()))}
    await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    has_ended = checking.done()
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    if socket in open_ones:
        open_ones.remove(socket)
    if not open_ones:
        state.streams.pop((caller.kind, caller.id), None)
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(POLICY_VIOLATION if has_ended else GOING_AWAY)  # a page that hears nothing more must know
