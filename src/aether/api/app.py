"""Putting the API together."""

from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import sqlalchemy as sa
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aether import __version__
from aether.api import (
    accounts,
    approvals,
    audit,
    capital,
    listings,
    market,
    operators,
    outcomes,
    own,
    secrets,
    session,
    settings,
    shadows,
    stops,
    stream,
    system,
    trading,
    users,
)
from aether.api.guard import PREFIX, Authentication
from aether.api.idempotency import Idempotency
from aether.api.local import LocalAccess
from aether.api.models import RULES, Problem
from aether.api.ports import Context
from aether.api.problems import MEDIA_TYPE, problem, problem_of
from aether.api.schema import openapi, operation_id
from aether.domain.errors import AetherError
from aether.store.database import CONNECTION_ERRORS
from aether.telemetry import logger

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
MAX_BODY_BYTES = 64 * 1024
SHOWN_INPUT = 80
COMPRESSED_FROM = 1_000
"""Bytes: what is smaller is not worth it."""

_log = logger("api")

ROUTERS = tuple(
    part.router
    for part in (
        accounts,
        approvals,
        audit,
        capital,
        listings,
        market,
        operators,
        outcomes,
        own,
        secrets,
        session,
        settings,
        shadows,
        stops,
        system,
        trading,
        users,
    )
)
"""One a context; all under `PREFIX`."""

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

PROBLEMS: dict[int | str, dict[str, object]] = {
    code: {"description": text, "model": Problem, "content": {MEDIA_TYPE: {}}}
    for code, text in (
        (400, "Not understood"),
        (401, "Nobody is signed in"),
        (403, "Not allowed, or a fresh proof of a second factor is needed"),
        (404, "No such thing, or not yours"),
        (405, "No such method"),
        (409, "Something else was there first"),
        (411, "The length of the body must be told"),
        (413, "Too large"),
        (422, "Not valid"),
        (429, "Too many requests"),
        (503, "Something that this needs is away"),
    )
}


def create_app(context: Context | None, access: LocalAccess) -> FastAPI:
    """Return the API.

    Args:
        context: what the routes work on; None only to read the schema from.
    """
    app = _bare(context, access, is_lane=False)
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX, responses=PROBLEMS)
    app.include_router(system.probes)
    app.include_router(stream.router, prefix=PREFIX)
    if context is not None and (context.ui / "index.html").is_file():
        _serve_ui(app, context)
    return app


def stop_app(context: Context, access: LocalAccess) -> FastAPI:
    """Return what the process of stops serves: the kill switch, for sessions of the platform's own page.

    The roster alone says who asks: nothing that a stranger sends makes it look anything up.
    """
    app = _bare(context, access, is_lane=True)
    app.include_router(stops.router, prefix=PREFIX, responses=PROBLEMS)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[context.public_url],
        allow_methods=["POST"],
        allow_headers=["content-type"],
        allow_credentials=True,
    )
    return app


def _bare(context: Context | None, access: LocalAccess, *, is_lane: bool) -> FastAPI:
    """Return an app without routes: who may come in, what is refused, how errors are told."""
    app = FastAPI(
        title="Aether",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        generate_unique_id_function=operation_id,
    )
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]
    app.state.context = context
    app.state.access = access
    app.state.streams = {}
    app.state.stored = None
    app.state.headers = _headers(context)
    if not is_lane:
        app.add_middleware(Idempotency, context=context)
        app.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_FROM)  # around it: answers are kept as they are
    app.add_middleware(Authentication, context=context, access=access, by_roster=is_lane)
    app.add_middleware(_Guard)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(context))
    app.add_exception_handler(AetherError, _on_aether_error)
    app.add_exception_handler(StarletteHTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(sa.exc.SQLAlchemyError, _on_database_error)
    app.add_exception_handler(Exception, _on_unexpected)
    for error in CONNECTION_ERRORS:
        app.add_exception_handler(error, _on_database_error)
    return app


def _headers(context: Context | None) -> dict[str, str]:
    """Return the headers that every answer has."""
    found = dict(SECURITY_HEADERS)
    build = context.ui / "build.txt" if context is not None else None
    if build is not None and build.is_file():
        found["X-Aether-Build"] = build.read_text().strip()
    if context is not None and context.stop_url:
        policy = found["Content-Security-Policy"]
        found["Content-Security-Policy"] = policy.replace(
            "connect-src 'self'", f"connect-src 'self' {context.stop_url}"
        )
    if context is not None and context.is_https:
        found["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"
    return found


def _hosts(context: Context | None) -> list[str]:
    public = urlsplit(context.public_url).hostname if context else None
    return [*LOCAL_HOSTS, *([public] if public else [])]


class _Assets(StaticFiles):
    """The page's parts: each is named by what is in it, so a browser keeps it for good."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a part."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def _serve_ui(app: FastAPI, context: Context) -> None:
    app.mount("/assets", _Assets(directory=context.ui / "assets"))

    @app.get("/{path:path}", include_in_schema=False)
    async def page(path: str) -> FileResponse:
        """Every other address is a page of the UI."""
        if path.startswith("api/"):
            raise HTTPException(404, "There is no such route.")
        icon = context.ui / "favicon.svg"
        found = icon if path == "favicon.svg" else context.ui / "index.html"
        return FileResponse(found, headers={"Cache-Control": "no-cache"})


class _Guard:
    """Refuses large bodies and adds the security headers, as ASGI middleware: one that leaves early is no error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope.setdefault("state", {})["asked_too_much"] = message["status"] == 429
                headers = MutableHeaders(scope=message)
                headers.update(scope["app"].state.headers)
                if scope["path"].startswith(PREFIX):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        given = Headers(scope=scope)
        length = given.get("content-length", "0")
        if "transfer-encoding" in given:
            refusal = problem(411, "LengthRequired", "The body's length is not told.", "Send Content-Length.")
            await refusal(scope, receive, guarded)
        elif not length.isdigit() or int(length) > MAX_BODY_BYTES:
            refusal = problem(413, "TooLarge", f"The body is over {MAX_BODY_BYTES} bytes.", "Send less.")
            await refusal(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)


async def _on_aether_error(_request: Request, error: Exception) -> Response:
    return problem_of(cast(AetherError, error))


async def _on_unexpected(request: Request, error: Exception) -> Response:
    """The last resort: what happened goes into the log, not to the caller."""
    _log.error("unexpected_error", path=request.url.path, exc_info=error)
    return problem(500, "Unexpected", "Something unexpected happened; it is in the platform's log.", "Try again.")


async def _on_http_error(_request: Request, error: Exception) -> Response:
    known = cast(StarletteHTTPException, error)
    return problem(known.status_code, "Refused" if known.status_code in (401, 403) else "Error", str(known.detail))


async def _on_invalid(_request: Request, error: Exception) -> Response:
    first = cast(RequestValidationError, error).errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    rule, remedy = RULES.get(first.get("ctx", {}).get("pattern", ""), ("", ""))
    if rule:
        given = repr(first["input"])
        shown = given if len(given) <= SHOWN_INPUT else f"{given[:SHOWN_INPUT]}..."
        return problem(422, "InvalidValue", f"{where} is {shown}: {rule}.", remedy)
    return problem(422, "InvalidValue", f"{where}: {first['msg']}.", "Correct the request.")


async def _on_database_error(_request: Request, error: Exception) -> Response:
    if isinstance(error, sa.exc.DBAPIError) and isinstance(getattr(error.orig, "__cause__", None), asyncpg.DataError):
        return problem(422, "InvalidValue", "A value holds what no text can.", "Leave control characters out.")
    if isinstance(error, sa.exc.IntegrityError):
        return problem(409, "Conflict", "Somebody did the same just now.", "Look at what is there, then try again.")
    return problem(
        503, "DatabaseUnavailable", f"The database is away ({type(error).__name__}).", "Trading is paused; try again."
    )
