"""Idempotency keys: a write that is sent again with the same `Idempotency-Key` is answered as the first time.

Answers are kept for a day, per caller and what they may do; a refusal is not, since nothing was done. Routes whose
answers hold something secret take no keys: their answers are not kept. A stop takes none either: it may be repeated,
and waits for nothing.
"""

import hashlib
from collections.abc import MutableMapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aether.api.guard import PREFIX, STOP, UNSAFE
from aether.api.ports import Context
from aether.api.problems import problem
from aether.clock import wall_ns
from aether.control.access import Caller
from aether.store.control_schema import idempotency

HEADER = "idempotency-key"
KEPT_NS = 86_400 * 1_000_000_000
AT_WORK_NS = 60 * 1_000_000_000
"""A request that was not answered by then ended with its process."""
MAX_KEY = 100
NOT_KEPT = tuple(f"{PREFIX}/{part}" for part in ("session", "setup", "mfa", "me", "tokens", "users", "invitations"))


class Idempotency:
    """Keeps the answers of writes, as ASGI middleware behind `Authentication`."""

    def __init__(self, app: ASGIApp, context: Context | None) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or self._context is None or scope["method"] not in UNSAFE:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        key = request.headers.get(HEADER, "")
        caller: Caller | None = scope.get("state", {}).get("caller")
        if (
            not key
            or caller is None
            or not caller.id
            or scope["path"].startswith(NOT_KEPT)
            or scope["path"].endswith(STOP)
        ):
            await self._app(scope, receive, send)
            return
        if len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
            refusal = problem(422, "InvalidValue", "The Idempotency-Key is no short printable text.", "Send a UUID.")
            await refusal(scope, receive, send)
            return
        body = await request.body()
        target = f"{scope['method']} {request.url.path}?{request.url.query}\n".encode()
        roles = repr(sorted(caller.roles.items())).encode()
        wanted = hashlib.sha256(roles + target + body).hexdigest()
        kept = await self._claim(caller.id, key, wanted)
        if kept is not None:
            await self._repeat(kept, wanted, scope, receive, send)
            return
        await self._record(caller.id, key, body, scope, send)

    async def _claim(self, actor: str, key: str, wanted: str) -> Any:
        """Take the key for a request; return the row that has it already."""
        assert self._context is not None
        now = wall_ns()
        row = {"actor": actor, "key": key, "request": wanted, "status": 0, "body": b"", "created_ns": now}
        async with self._context.database.control.begin() as connection:
            left_behind = sa.and_(idempotency.c.status == 0, idempotency.c.created_ns < now - AT_WORK_NS)
            stale = sa.or_(idempotency.c.created_ns < now - KEPT_NS, left_behind)
            await connection.execute(sa.delete(idempotency).where(stale))
            done = await connection.execute(insert(idempotency).values(row).on_conflict_do_nothing())
            if done.rowcount == 1:
                return None
            query = sa.select(idempotency).where(idempotency.c.actor == actor, idempotency.c.key == key)
            return (await connection.execute(query)).one_or_none()

    async def _repeat(self, kept: Any, wanted: str, scope: Scope, receive: Receive, send: Send) -> None:
        if kept.request != wanted:
            answer = problem(422, "InvalidValue", "This Idempotency-Key belongs to another request.", "Send a new one.")
            await answer(scope, receive, send)
        elif not kept.status:
            answer = problem(409, "Conflict", "The first request with this key is still at work.", "Ask again soon.")
            await answer(scope, receive, send)
        else:
            headers = [(b"content-type", b"application/json"), (b"idempotency-replayed", b"true")]
            await send({"type": "http.response.start", "status": kept.status, "headers": headers})
            await send({"type": "http.response.body", "body": bytes(kept.body)})

    async def _record(self, actor: str, key: str, body: bytes, scope: Scope, send: Send) -> None:
        """Carry the request out and keep its answer, unless it was refused: then nothing was done."""
        assert self._context is not None
        status, parts = 500, []

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def watch(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, replay, watch)
        finally:
            mine = sa.and_(idempotency.c.actor == actor, idempotency.c.key == key)
            statement: sa.Update | sa.Delete = sa.delete(idempotency).where(mine)
            if status < 400:
                statement = sa.update(idempotency).where(mine).values(status=status, body=b"".join(parts))
            async with self._context.database.control.begin() as connection:
                await connection.execute(statement)
