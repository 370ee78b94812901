"""The kill switch: what the API serves in its own process of stops as well, see `stop_app`."""

import asyncio
from contextlib import suppress
from typing import Annotated

import msgspec
from fastapi import APIRouter

from aether.api.guard import Granted, allow, note_refusal
from aether.api.models import KillRequest, KillResult, ReasonRequest, VenueName, VenueStopResult
from aether.api.operators import ask, confirmed
from aether.bus.topics import STOP_VENUE
from aether.control.access import ACTIONS, EVERYWHERE
from aether.domain.errors import AetherError, NoAnswerError, RefusedError, UnknownNameError
from aether.domain.events import KillSwitchEngaged, VenueStopped
from aether.domain.identifiers import VenueId
from aether.node.pulls import Pull
from aether.store.patience import DATABASE_AWAY, within
from aether.telemetry import logger

router = APIRouter(tags=["operators"])

_log = logger("stops")

PAPERWORK_S = 6.0
"""The database has so long to record a kill; the stop itself has happened before."""
PAPERWORK_AWAY_S = 1.0
"""The same, when it did not even say who asks."""

RECORD_AGAIN_S = 1.0

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
    pull = Pull(reason=body.reason, actor=who, flatten=body.flatten)
    lost: NoAnswerError | None = None
    stopped: list[str] = []
    try:
        stopped = await stops.pull(granted.account, pull)
    except NoAnswerError as error:
        lost = error
    result = await _recorded(granted, pull.event(), body.reason)
    if lost is not None and not result.recorded:
        raise lost
    result.stopped = stopped
    result.unconfirmed = await stops.unconfirmed(granted.account) if lost is None else [lost.message]
    return result


async def _recorded(granted: Granted, event: KillSwitchEngaged, reason: str) -> KillResult:
    """Do the paperwork of a stop, as far as the database lets us."""
    try:
        limit_s = PAPERWORK_AWAY_S if granted.is_database_away else PAPERWORK_S
        ids = await within(limit_s, ask(granted, event, reason))
    except DATABASE_AWAY as error:
        _log.error("kill_not_recorded", account_id=granted.account, reason=f"{type(error).__name__}: {error}")
        return KillResult(applied=False, recorded=False)
    try:
        return await within(PAPERWORK_S, confirmed(granted, ids))
    except DATABASE_AWAY as error:
        _log.warning("kill_not_confirmed", account_id=granted.account, reason=f"{type(error).__name__}: {error}")
        return KillResult(applied=False)


@router.post("/accounts/{account}/venues/{venue}/stop")
async def stop_venue(account: str, venue: VenueName, body: ReasonRequest, granted: Engage) -> VenueStopResult:
    """Refuse new orders of an account at one venue and cancel all open ones there."""
    return await _stop_venue(granted, venue, body.reason)


@router.post("/venues/{venue}/stop")
async def stop_venue_of_all(venue: VenueName, body: ReasonRequest, granted: Engage) -> VenueStopResult:
    """Refuse new orders of all accounts at one venue and cancel all open ones there."""
    return await _stop_venue(granted, venue, body.reason)


async def _stop_venue(granted: Granted, venue: str, reason: str) -> VenueStopResult:
    """Have the trading process stop the venue, which waits for no database; then record it, so that it outlasts that.

    Where the trading process does not answer, the record is what it finds when it is back, before it trades.

    Raises:
        NoAnswerError: when neither the trading process nor the database takes it.
        UnknownNameError: when nobody trades there.
    """
    event = VenueStopped(ts_ns=0, venue=VenueId(venue), reason=reason, actor=granted.caller.name)
    told = {"account": granted.account, "event": msgspec.to_builtins(event), "journal": False}
    lost: NoAnswerError | None = None
    stopped: list[str] = []
    try:
        stopped = await granted.context.bus.ask(STOP_VENUE, told)
    except NoAnswerError as error:
        lost = error
    left = list(stopped) if lost is None else _last_told_at(granted, venue)
    if not left:
        raise lost or UnknownNameError(f"Nobody trades at {venue!r} here.", remedy="GET /system lists the venues.")
    try:
        await _record_venue(granted, event, left)
    except DATABASE_AWAY as error:
        _log.error("venue_stop_not_recorded", venue=venue, reason=f"{type(error).__name__}: {error}")
        if lost is not None:
            raise lost from error
        await granted.context.bus.ask(STOP_VENUE, {**told, "journal": True})
        recording = asyncio.create_task(_record_until_kept(granted, event, left))
        _recordings.add(recording)
        recording.add_done_callback(_recordings.discard)
        return VenueStopResult(stopped=stopped, recorded=False)
    return VenueStopResult(stopped=stopped)


_recordings: set[asyncio.Task[None]] = set()
"""Of stops that the database has not taken yet."""


def _last_told_at(granted: Granted, venue: str) -> list[str]:
    """Return the accounts that traded at a venue when the trading process told of them last."""
    told = granted.context.bus.latest("account.").values()
    return [
        a["id"]
        for a in told
        if granted.account in (EVERYWHERE, a["id"]) and any(v["venue"] == venue for v in a["venues"])
    ]


async def _record_venue(granted: Granted, event: VenueStopped, left: list[str]) -> None:
    """Record a stop for each account; what is recorded leaves the list. Raises whatever keeps the database away."""
    submit = granted.context.control.operators.submit
    while left:
        await within(PAPERWORK_S, submit(granted.caller, granted.action.name, left[0], event, event.reason))
        del left[0]


async def _record_until_kept(granted: Granted, event: VenueStopped, left: list[str]) -> None:
    """Record a stop once the database is back: the trading process that knows of it may have died by then."""
    try:
        while left:
            await asyncio.sleep(RECORD_AGAIN_S)
            with suppress(*DATABASE_AWAY):
                await _record_venue(granted, event, left)
    except AetherError as error:  # whoever asked may have left the firm by then
        _log.error("venue_stop_not_recorded", venue=event.venue, reason=error.message)
