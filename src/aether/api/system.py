"""The service itself: version, health, strategies; probes and metrics for machines."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from aether import __version__
from aether.api.forms import schema_of
from aether.api.guard import Granted, allow
from aether.api.models import Check, Process, Strategy, StrategyParameter, System
from aether.api.ports import Context
from aether.bus.topics import METRICS
from aether.control.access import ACTIONS, Caller, CallerKind
from aether.domain.errors import NoAnswerError, RefusedError
from aether.engine.strategy import describe_parameters
from aether.telemetry import API_REGISTRY, NODE_UP, metrics_text

router = APIRouter(tags=["system"])
probes = APIRouter(tags=["probes"])

Reads = Annotated[Granted, allow("platform.read")]


def _checks(context: Context) -> list[Check]:
    found = context.health.readiness()
    return [Check(name=r.name, ok=r.ok, detail=r.detail, needed=r.is_needed) for r in found]


def _without_details(checks: list[Check]) -> list[Check]:
    return [c.model_copy(update={"detail": ""}) for c in checks]


def _can_work(checks: list[Check]) -> bool:
    return all(c.ok for c in checks if c.needed)


def system_of(context: Context, caller: Caller) -> System:
    """Return how the platform is; details to who may know of the whole firm."""
    checks = _checks(context)
    processes = [Process.model_validate(p, from_attributes=True) for p in context.processes()]
    if not (caller.kind is CallerKind.LOCAL or caller.may(ACTIONS["metrics.read"])):
        checks = _without_details(checks)
        processes = [p.model_copy(update={"pid": 0}) for p in processes]
    return System(
        version=__version__,
        market=context.offer().name if context.feed else "",
        ready=_can_work(checks),
        feed=context.feed or "",
        venues=list(context.venues),
        checks=checks,
        processes=processes,
        stop_url=context.stop_url,
        stop_command=context.stop_command,
    )


@router.get("/system")
async def get_system(granted: Reads) -> System:
    """Return the version, the market and the state of each dependency; details to who may know of the whole firm."""
    return system_of(granted.context, granted.caller)


@router.get("/strategies")
async def list_strategies(granted: Reads) -> list[Strategy]:
    """Return the strategies that accounts may run, with their parameters and bounds."""
    context = granted.context
    return [
        Strategy(
            name=d.name,
            summary=d.summary,
            parameters=[StrategyParameter.model_validate(p) for p in describe_parameters(d)],
            parameters_schema=schema_of(d.params),
        )
        for d in context.catalogue.values()
    ]


@probes.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process is alive."""
    return {"status": "alive"}


@probes.get("/readyz", responses={503: {"model": list[Check]}})
async def readyz(request: Request, response: Response) -> list[Check]:
    """Say whether the service can do its work: database, accounts, market data, journal lag; 503 when it cannot.

    A venue of several that is not as it should be is told beside them.

    In production without details, since anybody may ask.
    """
    checks = _checks(request.app.state.context)
    if request.app.state.context.is_production:
        checks = _without_details(checks)
    response.status_code = 200 if _can_work(checks) else 503
    return checks


@probes.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return the metrics of all processes in the Prometheus text format; in production to those who may read them."""
    context: Context = request.app.state.context
    if context.is_production and not request.state.caller.may(ACTIONS["metrics.read"]):
        raise RefusedError("The metrics are not yours to read.", remedy="Use a service's token with metrics.read.")
    try:
        trading = str(await context.bus.ask(METRICS, {}))
    except NoAnswerError:
        trading = ""
    NODE_UP.set(1 if trading else 0)
    own = metrics_text(API_REGISTRY).decode()
    return Response(trading + own, media_type="text/plain; version=0.0.4; charset=utf-8")
