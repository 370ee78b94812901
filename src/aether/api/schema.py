"""The OpenAPI schema: what FastAPI finds in the routes, with what it cannot see there."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from aether.api.guard import COOKIE
from aether.api.models import KEY, LiveMessage

REFERENCE = "#/components/schemas/{model}"
SECURITY = {
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "of a person who signed in"},
    "token": {"type": "http", "scheme": "bearer", "description": "of a service"},
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": KEY},
    "description": "a request that is sent again with the same key is answered as the first time, and done once",
}
WRITES = ("post", "put", "patch", "delete")


def operation_id(route: APIRoute) -> str:
    """Return the name of a route in generated clients: that of its function."""
    return route.name


def openapi(app: FastAPI) -> dict[str, Any]:
    """Return the schema, made once."""
    if not app.openapi_schema:
        app.openapi_schema = _made(app)
    return app.openapi_schema


def _made(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = found["components"]
    components["securitySchemes"] = SECURITY
    found["security"] = [{name: []} for name in SECURITY]
    _, live = models_json_schema([(LiveMessage, "serialization")], ref_template=REFERENCE)
    for name, model in live["$defs"].items():
        components["schemas"].setdefault(name, model)
    for operations in found["paths"].values():
        for method, operation in operations.items():
            if method in WRITES:
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    return found
