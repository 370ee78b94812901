"""Putting the API together."""

from collections.abc import Awaitable, Callable
from typing import cast

import sqlalchemy as sa
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from aether import __version__
from aether.api import accounts, market, operators, session, stream, system
from aether.api.auth import LOCAL_HOSTS, LocalAccess, require_session
from aether.api.models import Problem
from aether.api.ports import Context
from aether.domain.errors import AetherError, DatabaseUnavailableError, UnknownNameError
from aether.store.database import CONNECTION_ERRORS

PREFIX = "/api/v1"
MAX_BODY_BYTES = 64 * 1024

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}

PROBLEMS: dict[int | str, dict[str, object]] = {
    code: {"model": Problem, "content": {"application/problem+json": {}}}
    for code in (400, 401, 403, 404, 413, 422, 503)
}


def create_app(context: Context | None, access: LocalAccess) -> FastAPI:
    """Return the API.

    Args:
        context: what the routes work on; None only to read the schema from.
    """
    app = FastAPI(
        title="Aether", version=__version__, docs_url=None, redoc_url=None, openapi_url=f"{PREFIX}/openapi.json"
    )
    app.state.context = context
    app.state.access = access
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL_HOSTS])
    app.middleware("http")(_guard)
    app.add_exception_handler(AetherError, _on_aether_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(sa.exc.SQLAlchemyError, _on_database_error)
    for error in CONNECTION_ERRORS:
        app.add_exception_handler(error, _on_database_error)
    app.include_router(session.router, prefix=PREFIX, responses=PROBLEMS)
    for router in (accounts.router, market.router, operators.router, system.router):
        app.include_router(router, prefix=PREFIX, dependencies=[Depends(require_session)], responses=PROBLEMS)
    app.include_router(system.probes)
    app.include_router(stream.router, prefix=PREFIX)
    if context is not None and (context.ui / "index.html").is_file():
        _serve_ui(app, context)
    return app


def _serve_ui(app: FastAPI, context: Context) -> None:
    app.mount("/assets", StaticFiles(directory=context.ui / "assets"))

    @app.get("/{path:path}", include_in_schema=False)
    async def page(path: str) -> FileResponse:
        """Every other address is a page of the UI."""
        if path.startswith("api/"):
            raise HTTPException(404, "There is no such route.")
        icon = context.ui / "favicon.svg"
        return FileResponse(icon if path == "favicon.svg" else context.ui / "index.html")


async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse large bodies and add the security headers."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        response: Response = _problem(413, "Too large", f"The body is over {MAX_BODY_BYTES} bytes.")
    else:
        response = await call_next(request)
    for name, value in SECURITY_HEADERS.items():
        response.headers[name] = value
    if request.url.path.startswith(PREFIX):
        response.headers["Cache-Control"] = "no-store"
    return response


def _problem(status: int, title: str, detail: str, remedy: str = "") -> JSONResponse:
    body = Problem(title=title, status=status, detail=detail, remedy=remedy)
    return JSONResponse(body.model_dump(), status_code=status, media_type="application/problem+json")


async def _on_aether_error(_request: Request, error: Exception) -> Response:
    known = cast(AetherError, error)
    status = 404 if isinstance(known, UnknownNameError) else 503 if isinstance(known, DatabaseUnavailableError) else 422
    return _problem(status, type(known).__name__.removesuffix("Error"), known.message, known.remedy)


async def _on_http_error(_request: Request, error: Exception) -> Response:
    known = cast(HTTPException, error)
    return _problem(known.status_code, "Refused" if known.status_code in (401, 403) else "Error", str(known.detail))


async def _on_invalid(_request: Request, error: Exception) -> Response:
    first = cast(RequestValidationError, error).errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _problem(422, "Invalid", f"{where}: {first['msg']}.", "Correct the request.")


async def _on_database_error(_request: Request, error: Exception) -> Response:
    return _problem(
        503, "DatabaseUnavailable", f"The database is away ({type(error).__name__}).", "Trading is paused; try again."
    )
