"""Live updates over one web socket: accounts' worth, what changed, new bars; newest first wins.

Messages are JSON objects with a `type`. A caller gets what is about accounts that they may read. A page that falls
behind is told to reload what it shows instead of being sent the past. A session that ends takes its sockets along, and
an open socket is no use of a session: one that nobody touches ends all the same. What a page sends is not read.
"""

import asyncio
from contextlib import suppress

import msgspec
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from aether.api.guard import identify
from aether.api.local import LocalAccess
from aether.api.ports import Context
from aether.bus.topics import INTERNAL
from aether.clock import monotonic_s
from aether.control.access import ACTIONS, Caller

router = APIRouter()

SEND_TIMEOUT_S = 10.0
CHECK_EVERY_S = 3.0
MOST_OPEN = 10
"""Of one caller; the oldest gives way to another."""
POLICY_VIOLATION, GOING_AWAY = 1008, 1001
READS = ACTIONS["accounts.read"]

_encode = msgspec.json.Encoder().encode


@router.websocket("/stream")
async def stream(socket: WebSocket) -> None:
    """Send what is published until the page goes away or its session ends."""
    caller: Caller = socket.state.caller
    await socket.accept()
    open_ones = socket.app.state.streams.setdefault((caller.kind, caller.id), [])
    if len(open_ones) >= MOST_OPEN:
        with suppress(WebSocketDisconnect, RuntimeError):
            await open_ones.pop(0).close(POLICY_VIOLATION)
    open_ones.append(socket)
    listening = asyncio.create_task(_listen(socket))
    sending = asyncio.create_task(_send(socket, caller))
    await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
    for task in (listening, sending):
        task.cancel()
    await asyncio.gather(listening, sending, return_exceptions=True)
    if socket in open_ones:
        open_ones.remove(socket)
    if not open_ones:
        socket.app.state.streams.pop((caller.kind, caller.id), None)
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(GOING_AWAY)  # a page that no longer hears anything must know


async def _listen(socket: WebSocket) -> None:
    """Wait until the page goes away."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass


async def _send(socket: WebSocket, caller: Caller) -> None:
    context: Context = socket.app.state.context
    access: LocalAccess = socket.app.state.access
    checked = monotonic_s()
    with context.bus.subscribe() as subscription:
        async for topic, message in subscription:
            if monotonic_s() - checked > CHECK_EVERY_S:
                found = await identify(socket, context, access, caller, is_use=False)
                if found is None:
                    await socket.close(POLICY_VIOLATION)
                    return
                caller, checked = found, monotonic_s()
            if topic.startswith(INTERNAL):
                continue
            if subscription.lost:
                subscription.lost = 0
                await _send_one(socket, {"type": "reload"})
            account = message.get("account")
            if account is not None and not caller.may(READS, account):
                continue
            if not await _send_one(socket, message):
                return


async def _send_one(socket: WebSocket, message: dict[str, object]) -> bool:
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await socket.send_text(_encode(message).decode())
    except (WebSocketDisconnect, RuntimeError, TimeoutError):
        return False
    return True
