"""Live updates over one web socket: accounts' worth, what changed, new bars; newest first wins.

Messages are JSON objects with a `type`. A page that falls behind is told to reload what it shows instead of being sent
the past.
"""

import asyncio
from contextlib import suppress

import msgspec
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from aether.api.auth import may_stream
from aether.api.ports import Context

router = APIRouter()

SEND_TIMEOUT_S = 10.0
POLICY_VIOLATION = 1008

_encode = msgspec.json.Encoder().encode


@router.websocket("/stream")
async def stream(socket: WebSocket) -> None:
    """Send what is published until the page goes away."""
    if not may_stream(socket):
        await socket.close(POLICY_VIOLATION)
        return
    await socket.accept()
    context: Context = socket.app.state.context
    async with asyncio.TaskGroup() as group:
        sender = group.create_task(_send(socket, context))
        with suppress(WebSocketDisconnect):
            while True:
                await socket.receive_text()
        sender.cancel()


async def _send(socket: WebSocket, context: Context) -> None:
    with context.bus.subscribe() as subscription:
        async for _, message in subscription:
            if subscription.lost:
                subscription.lost = 0
                await _send_one(socket, {"type": "reload"})
            if not await _send_one(socket, message):
                return


async def _send_one(socket: WebSocket, message: dict[str, object]) -> bool:
    try:
        await asyncio.wait_for(socket.send_text(_encode(message).decode()), SEND_TIMEOUT_S)
    except (WebSocketDisconnect, RuntimeError, TimeoutError):
        return False
    return True
