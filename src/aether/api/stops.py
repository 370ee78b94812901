"""The kill switch: what the API serves in its own process of stops as well, see `stop_app`."""

from typing import Annotated

from fastapi import APIRouter

from aether.api.guard import Granted, allow, note_refusal
from aether.api.models import KillRequest, KillResult
from aether.api.operators import apply
from aether.control.access import ACTIONS
from aether.domain.errors import RefusedError
from aether.domain.events import KillSwitchEngaged
from aether.store.patience import DATABASE_AWAY, within
from aether.telemetry import logger

router = APIRouter(tags=["operators"])

_log = logger("stops")

PAPERWORK_S = 6.0
"""The database has so long to record a kill; the stop itself has happened before."""
PAPERWORK_AWAY_S = 1.0
"""The same, when it did not even say who asks."""

FLATTEN = ACTIONS["kill.flatten"]

Engage = Annotated[Granted, allow("kill.engage")]


@router.post("/kill-switch/engage")
async def engage_all(body: KillRequest, granted: Engage) -> KillResult:
    """Refuse new orders of all accounts and cancel all open ones; with `flatten`, sell every position too."""
    return await _engage(body, granted)


@router.post("/accounts/{account}/kill-switch/engage")
async def engage(account: str, body: KillRequest, granted: Engage) -> KillResult:
    """Refuse new orders of an account and cancel all open ones; with `flatten`, sell every position too."""
    return await _engage(body, granted)


async def _engage(body: KillRequest, granted: Granted) -> KillResult:
    """Pull the brake, which waits for nothing, then do the paperwork, for which nobody has to wait."""
    stops, who = granted.context.stops, granted.caller.name
    if body.flatten and not granted.caller.may(FLATTEN, granted.account):
        refused = RefusedError(
            f"{who} may stop, and not {FLATTEN.meaning}.",
            remedy="Stop without selling, or use a token with kill.flatten.",
        )
        await note_refusal(granted.context, granted.caller, FLATTEN, granted.account, "kill-switch/engage", refused)
        raise refused
    stopped = await stops.pull(granted.account, body.reason, who, flatten=body.flatten)
    event = KillSwitchEngaged(ts_ns=0, reason=body.reason, actor=who, flatten=body.flatten)
    try:
        limit_s = PAPERWORK_AWAY_S if granted.is_database_away else PAPERWORK_S
        result = await within(limit_s, apply(granted, event, body.reason))
    except DATABASE_AWAY as error:
        _log.error("kill_not_recorded", account_id=granted.account, reason=f"{type(error).__name__}: {error}")
        result = KillResult(applied=False, recorded=False)
    result.stopped = stopped
    result.unconfirmed = await stops.unconfirmed(granted.account)
    return result
