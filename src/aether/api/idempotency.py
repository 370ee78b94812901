"""Idempotency keys: a write that is sent again with the same `Idempotency-Key` is answered as the first time.

Answers are kept for a day, per caller and what they may do; a refusal is not, since nothing was done. Of routes whose
answers hold something secret only the fact is kept. A request whose process ended before it was answered is told of as
interrupted when it had done something (`aether.control.sessions.hold` marks it in the same transaction), and may be
sent again when it had not. A stop takes no key: it may be repeated, and waits for nothing; so does whoever is nobody
yet. `GET /outcomes/{key}` says what came of a request.
"""

import hashlib
import re
from collections.abc import MutableMapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aether.api.guard import PREFIX, STOP, UNSAFE
from aether.api.models import KEY
from aether.api.ports import Context
from aether.api.problems import problem
from aether.clock import wall_ns
from aether.control.access import Caller
from aether.store.control_schema import idempotency

HEADER = "idempotency-key"
KEPT_NS = 86_400 * 1_000_000_000
AT_WORK_NS = 60 * 1_000_000_000
"""A request that was not answered by then ended with its process."""
NOBODY_YET = (f"{PREFIX}/session", f"{PREFIX}/setup")
NOT_KEPT = tuple(f"{PREFIX}/{part}" for part in ("session", "setup", "mfa", "me", "tokens", "users", "invitations"))
"""Answers that may hold something secret begin so."""

INTERRUPTED = (
    "This request was carried out, as far as it came: the platform ended before it was answered.",
    "Look at what it did before you ask for anything else; with a new key it is done again.",
)
DONE = ("This request was carried out already; its answer may be secret and is not kept.", "Look at what is there.")


def standing(caller: Caller) -> str:
    """Return a digest of what a caller may do: an answer is for whoever may do what they might when they asked."""
    return hashlib.sha256(repr(sorted(caller.roles.items())).encode()).hexdigest()


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
            or scope["path"].startswith(NOBODY_YET)
            or STOP.search(scope["path"])
        ):
            await self._app(scope, receive, send)
            return
        if not re.fullmatch(KEY, key):
            told = "The Idempotency-Key is not 1 to 100 letters, digits and . _ : - behind a letter or digit."
            refusal = problem(422, "InvalidValue", told, "Send a UUID.")
            await refusal(scope, receive, send)
            return
        body = await request.body()
        target = f"{scope['method']} {request.url.path}?{request.url.query}\n".encode()
        wanted = f"{standing(caller)} {hashlib.sha256(target + body).hexdigest()}"
        now = wall_ns()
        kept = await self._claim(caller.id, key, wanted, now)
        if kept is not None:
            await self._repeat(kept, wanted, scope, receive, send)
            return
        scope["state"]["caller"] = msgspec.structs.replace(caller, claim=(key, now))
        await self._record(caller.id, key, now, body, scope, send)

    async def _claim(self, actor: str, key: str, wanted: str, now: int) -> Any:
        """Take the key for a request; return the row that has it already."""
        assert self._context is not None
        row = {"actor": actor, "key": key, "request": wanted, "status": 0, "body": b"", "created_ns": now}
        async with self._context.database.control.begin() as connection:
            without_answer = sa.and_(idempotency.c.status == 0, idempotency.c.has_acted.is_(False))
            left_behind = sa.and_(without_answer, idempotency.c.created_ns < now - AT_WORK_NS)
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
        elif not kept.status and kept.created_ns > wall_ns() - AT_WORK_NS:
            answer = problem(409, "StillAtWork", "The first request with this key is still at work.", "Ask again soon.")
            await answer(scope, receive, send)
        elif not kept.status:
            await problem(409, "Interrupted", *INTERRUPTED)(scope, receive, send)
        elif scope["path"].startswith(NOT_KEPT):
            await problem(409, "DoneAlready", *DONE)(scope, receive, send)
        else:
            headers = [(b"content-type", b"application/json"), (b"idempotency-replayed", b"true")]
            await send({"type": "http.response.start", "status": kept.status, "headers": headers})
            await send({"type": "http.response.body", "body": bytes(kept.body)})

    async def _record(self, actor: str, key: str, claimed_ns: int, body: bytes, scope: Scope, send: Send) -> None:
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
            await self._keep(
                actor, key, claimed_ns, status, b"" if scope["path"].startswith(NOT_KEPT) else b"".join(parts)
            )

    async def _keep(self, actor: str, key: str, claimed_ns: int, status: int, body: bytes) -> None:
        """Keep an answer; a refusal frees the key, unless something had been done before it."""
        assert self._context is not None
        mine = sa.and_(idempotency.c.actor == actor, idempotency.c.key == key, idempotency.c.created_ns == claimed_ns)
        async with self._context.database.control.begin() as connection:
            if status >= 400:
                untouched = sa.and_(mine, idempotency.c.has_acted.is_(False))
                done = await connection.execute(sa.delete(idempotency).where(untouched))
                if done.rowcount:
                    return
            await connection.execute(sa.update(idempotency).where(mine).values(status=status, body=body))
