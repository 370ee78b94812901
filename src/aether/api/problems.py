"""Errors as RFC 9457 problems: one shape for everything that goes wrong, one table of which error is which status."""

import math

from fastapi.responses import JSONResponse

from aether.api.connections import REST_S
from aether.api.models import Problem
from aether.api.statuses import status_of
from aether.control.proofs import ProofRefusedError
from aether.domain import errors

MEDIA_TYPE = "application/problem+json"


def problem(
    status: int, title: str, detail: str, remedy: str = "", headers: dict[str, str] | None = None, **more: str
) -> JSONResponse:
    """Return a problem."""
    body = Problem(title=title, status=status, detail=as_text(detail), remedy=as_text(remedy), **more)
    return JSONResponse(body.model_dump(), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def as_text(told: str) -> str:
    """Return what can be sent: halves of characters, which JSON lets in, are written out."""
    return told.encode("utf-8", "backslashreplace").decode()


def problem_of(error: errors.AetherError) -> JSONResponse:
    """Return the problem that an error is."""
    status = status_of(error)
    headers = {}
    if isinstance(error, errors.TooManyAttemptsError):
        headers["Retry-After"] = str(math.ceil(max(REST_S, error.retry_after_s)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    more = {"action": error.action, "payload_hash": error.payload_hash} if isinstance(error, ProofRefusedError) else {}
    title = type(error).__name__.removesuffix("Error")
    return problem(status, title, error.message, error.remedy, headers, **more)
