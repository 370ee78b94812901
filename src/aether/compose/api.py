"""The API process: HTTP, web socket and identity. It trades nothing; the node is reached over the bus alone."""

import asyncio
import contextlib
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvicorn
from fastapi import FastAPI

from aether.api.app import create_app, stop_app
from aether.api.connections import LimitedSocket, Places, limited
from aether.api.guard import is_trusted
from aether.api.local import LocalAccess
from aether.api.ports import Context
from aether.api.session import first_link
from aether.bus.local import LocalBus
from aether.clock import wall_ns
from aether.compose.checkpoints import checkpoint_folder, keep_checkpoint
from aether.compose.control import Addresses, addresses_of, control_plane, openid
from aether.compose.directory import BRAKE_FOLDER
from aether.compose.guards import findings
from aether.compose.health import PlatformHealth
from aether.compose.housekeeping import mind
from aether.compose.keys import key_encryption
from aether.compose.past import Past
from aether.compose.processes import read_processes
from aether.compose.stops import BusStops
from aether.config import Settings
from aether.control.access import PLATFORM
from aether.control.audit import entry_of
from aether.control.plane import ControlPlane
from aether.control.sealing import Sealer
from aether.domain.errors import AetherError
from aether.store.announcements import Announcements
from aether.store.control_schema import CONTROL_CHANNEL
from aether.store.database import Database
from aether.store.patience import DATABASE_AWAY, within
from aether.strategies import catalogue
from aether.telemetry import INSECURE, SECRETS_DUE, logger
from aether.venues.registry import PROTOCOLS

CHECKPOINT_EVERY_S = 300.0
GUARD_EVERY_S = 5.0
RETIRE_EVERY_S = 600.0
LAST_CHECKPOINT_S = 4.0
UI_FOLDER = Path(__file__).parent.parent / "api" / "ui"
ACCEPTED_AT_ONCE = 100
"""The loop takes so many connections in one turn: those that get no place are closed before the next."""
MAX_FRAME_BYTES = 4_096
"""Of what a page sends over its web socket, which nobody reads."""

_log = logger("api")


@dataclass(frozen=True)
class Entrance:
    """Where the API listens, and who may come in by the terminal.

    Attributes:
        url: how browsers reach the web interface.
        stop_url: how they reach the process of stops.
        access: of the machine's owner.
        kind: of the market, as production's checks know it.
        addresses: of venues, where they are not their own.
        is_lane: it is the process of stops itself.
        is_first: the platform begins; a process that is started again leaves the link alone that was printed.
    """

    listener: socket.socket
    url: str
    access: LocalAccess
    kind: str
    addresses: Addresses
    stop_url: str = ""
    is_lane: bool = False
    is_first: bool = True


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the process ends it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run_api(
    settings: Settings,
    entrance: Entrance,
    bus: LocalBus,
    database: Database,
    stop: asyncio.Event,
    *,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until `stop` is set.

    Args:
        on_ready: called once it serves, with the link with which the owner begins.

    Raises:
        KeyServiceError, InvalidValueError, ...: when it cannot start.
    """
    sealer = Sealer(key_encryption(settings))
    addresses = {**addresses_of(settings), **entrance.addresses}
    control = await control_plane(settings, database, sealer, entrance.url, addresses)
    announcements = Announcements(database.control, CONTROL_CHANNEL)
    health = PlatformHealth(bus)
    context = Context(
        database=database,
        bus=bus,
        catalogue=catalogue(),
        health=health,
        ui=UI_FOLDER,
        control=control,
        stops=BusStops(bus, settings.data_dir / BRAKE_FOLDER),
        past=Past(settings.data_dir),
        processes=lambda: read_processes(settings.data_dir),
        venues=tuple(PROTOCOLS),
        public_url=entrance.url,
        stop_url=entrance.stop_url,
        stop_command=shlex.join(
            [str(Path(sys.executable).with_name("aether")), "kill", "engage", "--data-dir", str(settings.data_dir)]
        ),
        is_lane=entrance.is_lane,
        trusted_proxies=settings.trusted_proxies,
        is_production=settings.is_production,
        oidc=openid(settings, entrance.url),
    )
    places = Places(lambda address: is_trusted(address, settings.trusted_proxies))
    server = _Server(
        uvicorn.Config(
            (stop_app if entrance.is_lane else create_app)(context, entrance.access),
            http=limited(places),
            backlog=ACCEPTED_AT_ONCE,
            log_level="error",
            access_log=False,
            ws=LimitedSocket,
            ws_max_size=MAX_FRAME_BYTES,
            timeout_graceful_shutdown=2,
            server_header=False,
            proxy_headers=False,
        )
    )

    async def checkpoint() -> None:
        await _checkpoint(settings, control)

    async def watch() -> None:
        await _watch(settings, database, entrance.kind, control, health)

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[entrance.listener]))
        minding = [
            group.create_task(announcements.run()),
            group.create_task(control.roster.follow(announcements.changed)),
        ]
        if not entrance.is_lane:
            minding += [
                group.create_task(mind("checkpoint_not_written", CHECKPOINT_EVERY_S, checkpoint)),
                group.create_task(mind("not_watched", GUARD_EVERY_S, watch)),
                group.create_task(mind("keys_not_retired", RETIRE_EVERY_S, control.encryption_key.retire)),
            ]
        while not (server.started or serving.done()):  # noqa: ASYNC110  uvicorn offers no event
            await asyncio.sleep(0.01)
        begins = entrance.is_first and not entrance.is_lane
        on_ready(await _link(context, entrance.access) if begins else "")
        stopping = group.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        for task in (*minding, stopping):
            task.cancel()
    if not entrance.is_lane:
        try:
            await within(LAST_CHECKPOINT_S, checkpoint())
        except DATABASE_AWAY as error:
            _log.warning("checkpoint_not_written", reason=f"{type(error).__name__}: {error}")


async def _link(context: Context, access: LocalAccess) -> str:
    """Return where the owner begins: a link that works once, or the page where people sign in."""
    try:
        link = await first_link(context, access)
    except (AetherError, *DATABASE_AWAY):
        return context.public_url
    return f"{context.public_url}/#{'token' if link.kind == 'session' else 'invitation'}={link.token}"


async def _checkpoint(settings: Settings, control: ControlPlane) -> None:
    now = wall_ns()
    signed = await control.audit.checkpoint(now)
    await asyncio.to_thread(keep_checkpoint, checkpoint_folder(settings), now, msgspec.json.encode(signed))


async def _watch(
    settings: Settings, database: Database, market: str, control: ControlPlane, health: PlatformHealth
) -> None:
    """Look for insecure settings and keys that are due, and say so when that changes."""
    SECRETS_DUE.set(await control.secrets.due_count())
    await control.approvals.close_interrupted()
    await control.throttle.forget(wall_ns())
    if not settings.is_production:
        return
    found = await findings(settings, database, market)
    bad = [f for f in found if f.problem]
    for finding in found:
        INSECURE.labels(finding.check).set(1 if finding.problem else 0)
    for finding in bad:
        if finding not in health.insecure:
            _log.error("insecure_setting", check=finding.check, problem=finding.problem, remedy=finding.remedy)
            entry = entry_of(PLATFORM, "guards.alert", "failed", target=finding.check, reason=finding.problem)
            await control.audit.note(entry, wall_ns())
    health.insecure = bad


def schema_app() -> FastAPI:
    """Return the API without anything behind it, to read its OpenAPI schema from."""
    return create_app(None, LocalAccess("", None))
