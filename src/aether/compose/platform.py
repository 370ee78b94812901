"""Every role in one process: what `aether up` runs."""

import asyncio
import contextlib
import errno
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from aether.api.app import create_app
from aether.api.connections import Places, limited
from aether.api.guard import is_trusted
from aether.api.local import LocalAccess
from aether.api.ports import Context, Readiness
from aether.api.session import first_link
from aether.bus.local import LocalBus
from aether.clock import monotonic_s, wall_ns
from aether.compose.control import (
    addresses_of,
    checkpoint_folder,
    control_plane,
    guard_facts,
    keep_checkpoint,
    key_encryption,
    openid,
)
from aether.compose.directory import DataDirectory, write_private
from aether.compose.markets import Market, open_venues
from aether.compose.storage import open_storage
from aether.compose.trading import build_node, node_name, take_up_accounts
from aether.config import Settings
from aether.control.access import EVERYWHERE, PLATFORM
from aether.control.audit import entry_of
from aether.control.desk import PlanReader
from aether.control.guards import Finding, find_all, modes_of, refuse_insecure
from aether.control.plane import ControlPlane
from aether.control.sealing import Sealer
from aether.control.secrets import SecretReader
from aether.domain.errors import (
    AetherError,
    DatabaseUnavailableError,
    InvalidValueError,
    PortInUseError,
    SchemaVersionError,
    UncleanEndError,
)
from aether.domain.events import KillSwitchEngaged
from aether.domain.identifiers import AccountId
from aether.node.brake import EVERY_ACCOUNT, Brake
from aether.node.pulls import Pull
from aether.node.runtime import BEGINS_STOPPED, Node
from aether.store import queries
from aether.store.announcements import Announcements
from aether.store.control_schema import CONTROL_CHANNEL
from aether.store.database import CONNECTION_ERRORS, Database
from aether.store.patience import DATABASE_AWAY, within
from aether.strategies import catalogue
from aether.telemetry import INSECURE, SECRETS_DUE, logger
from aether.venues.registry import PROTOCOLS

STALE_MARKET_S = 10.0
LAG_LIMIT_EVENTS = 3_000
APPLY_EVERY_S = 1.0
CHECKPOINT_EVERY_S = 300.0
GUARD_EVERY_S = 5.0
LOOK_EVERY_S = 1.0
DATABASE_ANSWERS_S = 2.0
LOOKED_WITHIN_S = 10.0
"""A sign of life from the database that is older says nothing."""
TAKE_UP_AGAIN_S = 5.0
UI_FOLDER = Path(__file__).parent.parent / "api" / "ui"
ACCEPTED_AT_ONCE = 100
"""The loop takes so many connections in one turn: those that get no place are closed before the next."""
MAX_FRAME_BYTES = 4_096
"""Of what a page sends over its web socket, which nobody reads."""
LOCAL_ADDRESSES = ("127.0.0.1", "localhost", "::1")

_log = logger("platform")


class NodeHealth:
    """How a node in this process is (`aether.api.ports.Health`)."""

    def __init__(self, node: Node, database: Database, *, wall_clock: bool) -> None:
        self.insecure: list[Finding] = []
        self._node = node
        self._database = database
        self._wall_clock = wall_clock
        self._away = "not asked yet"
        self._asked_s = -inf

    async def look(self) -> None:
        """Ask the database for a sign of life; `readiness` tells what came of it, so that probes cost nothing."""
        try:
            await within(DATABASE_ANSWERS_S, self._database.ping())
            self._away = ""
        except DATABASE_AWAY as error:
            self._away = str(error) or f"it does not answer within {DATABASE_ANSWERS_S:g} s"
        self._asked_s = monotonic_s()

    def readiness(self) -> list[Readiness]:
        """Return database, accounts, market data, journal lag, and security when it is not as it should be."""
        checks = [self._database_check(), self._accounts_check(), self._market_check(), self._lag_check()]
        if self.insecure:
            checks.append(Readiness("security", False, "; ".join(f"{f.check}: {f.problem}" for f in self.insecure)))
        return checks

    def _database_check(self) -> Readiness:
        if self._node.committer.outage:
            return Readiness("database", False, f"trading is paused: {self._node.committer.outage}")
        if self._away:
            return Readiness("database", False, self._away)
        age_s = monotonic_s() - self._asked_s
        return Readiness("database", age_s < LOOKED_WITHIN_S, f"reachable {age_s:.0f} s ago")

    def _accounts_check(self) -> Readiness:
        failed = self._node.failures()
        if failed:
            return Readiness("accounts", False, "; ".join(f"{a}: {reason}" for a, reason in failed.items()))
        if not self._node.is_ready:
            return Readiness("accounts", False, "starting")
        return Readiness("accounts", True, f"{len(self._node.shards)} trading")

    def _market_check(self) -> Readiness:
        if self._node.feed_ended.is_set():
            return Readiness("market data", True, "the recording has ended")
        if not self._wall_clock:
            return Readiness("market data", True, "replaying")
        if not self._node.shards:
            return Readiness("market data", True, "no account wants any yet")
        markets = [m for s in self._node.shards.values() for m in s.engine.state.market.values()]
        newest = max((max(m.book_ns, m.trade_ns) for m in markets), default=0)
        age_s = (wall_ns() - newest) / 1e9
        detail = f"{age_s:.1f} s old" if newest else "none yet"
        if age_s < -STALE_MARKET_S:
            detail = f"{-age_s:.0f} s ahead of this machine's clock: one of the two is wrong"
        return Readiness("market data", abs(age_s) <= STALE_MARKET_S, detail)

    def _lag_check(self) -> Readiness:
        lag = max((s.lag for s in self._node.shards.values()), default=0)
        return Readiness("journal lag", lag <= LAG_LIMIT_EVENTS, f"{lag} events not durable yet")


class NodeStops:
    """The brake of a node in this process (`aether.api.ports.Stops`)."""

    def __init__(self, brake: Brake) -> None:
        self._brake = brake

    def pull(self, account: str, reason: str, actor: str, *, flatten: bool) -> list[AccountId]:
        """Stop an account, or all with `*`; return those that were stopped."""
        return self._brake.pull(_brake_name(account), Pull(reason=reason, actor=actor, flatten=flatten))

    def unconfirmed(self, account: str) -> list[str]:
        """Return what a stop still waits for, in words."""
        return self._brake.unconfirmed(_brake_name(account))


def _brake_name(account: str) -> str:
    return EVERY_ACCOUNT if account == EVERYWHERE else account


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the platform ends it after the node."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises PortInUseError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol must be told: asyncio switches Nagle's delay (40 ms a request) off only where it is.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortInUseError(
                f"Port {port} of {host} is {'taken' if error.errno == errno.EADDRINUSE else 'not allowed'}.",
                remedy="Stop what listens there, or choose another --port.",
            ) from error
        raise
    return listener


@dataclass(frozen=True)
class Started:
    """What `run_platform` says once it serves: the address, and the link with which the owner begins, if any."""

    url: str
    link: str


def public_url_of(settings: Settings, port: int) -> str:
    """Return how browsers reach the platform; passkeys need a name, so this machine is called localhost.

    Raises:
        InvalidValueError: when it would listen to other machines without HTTPS in front.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    if settings.host not in LOCAL_ADDRESSES:
        raise InvalidValueError(
            f"The web interface cannot listen on {settings.host} without an address that browsers use.",
            remedy="Set AETHER_PUBLIC_URL to the https address of the proxy in front, or listen on 127.0.0.1.",
        )
    return f"http://localhost:{port}"


def local_url_of(host: str, port: int) -> str:
    """Return how this machine reaches the platform, past any proxy in front."""
    address = ipaddress.ip_address(host)
    if address.version == 6:
        return f"http://[{'::1' if address.is_unspecified else host}]:{port}"
    return f"http://{'127.0.0.1' if address.is_unspecified else host}:{port}"


async def run_platform(
    settings: Settings,
    market: Market,
    *,
    seed: int = 1,
    exit_when_done: bool = False,
    on_started: Callable[[Started], None],
) -> None:
    """Run every role in this process until interrupted (or the recording is done).

    Raises:
        InsecureSettingError, DataDirectoryError, PortInUseError, DatabaseUnavailableError, ...: when it cannot start;
        nothing has changed then.
    """
    directory = DataDirectory(settings.data_dir)
    kind = _market_kind(market)
    if settings.is_production:
        refuse_insecure(find_all(await guard_facts(settings, None, kind, {})))
    with contextlib.ExitStack() as stack:
        stack.enter_context(directory.owned())
        listener = stack.enter_context(contextlib.closing(_bind(settings.host, settings.port)))
        url = public_url_of(settings, listener.getsockname()[1])
        async with contextlib.AsyncExitStack() as running, open_storage(settings) as storage:
            database = storage.database
            if settings.is_production:
                refuse_insecure(await _findings(settings, database, kind))
            sealer = Sealer(key_encryption(settings))
            addresses = {**addresses_of(settings), **_addresses(market)}
            control = await control_plane(settings, database, sealer, url, addresses)
            announcements = Announcements(database.control, CONTROL_CHANNEL)
            bus = LocalBus()
            last = await queries.last_closes(database.desk, market.venue) if market.venue else {}
            venues = await running.enter_async_context(open_venues(market, seed, last))
            keys = SecretReader(database.node, sealer, node_name())
            built = await build_node(settings, storage, market, bus, seed, venues, keys, announcements.changed)
            if settings.is_production:
                await _engage_at_start(control, built.node)
            health = NodeHealth(built.node, database, wall_clock=market.recording is None)
            access = LocalAccess()
            context = Context(
                database=database,
                bus=bus,
                catalogue=catalogue(),
                health=health,
                feed=built.feed,
                market_name=market.name,
                ui=UI_FOLDER,
                control=control,
                place=built.place,
                stops=NodeStops(built.node.brake),
                venues=tuple(PROTOCOLS),
                public_url=url,
                trusted_proxies=settings.trusted_proxies,
                is_production=settings.is_production,
                oidc=openid(settings, url),
            )
            places = Places(lambda address: is_trusted(address, settings.trusted_proxies))
            server = _Server(
                uvicorn.Config(
                    create_app(context, access),
                    http=limited(places),
                    backlog=ACCEPTED_AT_ONCE,
                    log_level="error",
                    access_log=False,
                    ws="websockets-sansio",
                    ws_max_size=MAX_FRAME_BYTES,
                    timeout_graceful_shutdown=2,
                    server_header=False,
                    proxy_headers=False,
                )
            )
            stop = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            stack.callback(lambda: directory.running.unlink(missing_ok=True))
            told = {
                "url": url,
                "local": local_url_of(*listener.getsockname()[:2]),
                "pid": os.getpid(),
                "link_secret": access.link_secret,
            }
            write_private(directory.running, told)
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(server.serve(sockets=[listener]))
                minding = [
                    group.create_task(_mind("health_not_seen", LOOK_EVERY_S, health.look)),
                    group.create_task(announcements.run()),
                    group.create_task(control.roster.follow(announcements.changed)),
                    group.create_task(_mind("settings_not_applied", APPLY_EVERY_S, control.configurations.apply_due)),
                    group.create_task(
                        _mind("checkpoint_not_written", CHECKPOINT_EVERY_S, lambda: _checkpoint(settings, control))
                    ),
                    group.create_task(
                        _mind("not_watched", GUARD_EVERY_S, lambda: _watch(settings, database, kind, control, health))
                    ),
                ]
                if market.recording is None:
                    plans = PlanReader(database.control)
                    minding.append(
                        group.create_task(
                            _take_up(
                                built.node,
                                lambda: take_up_accounts(
                                    built,
                                    plans,
                                    bus,
                                    venues,
                                    keys,
                                    announcements.changed,
                                    stopped=settings.is_production,
                                ),
                            )
                        )
                    )
                group.create_task(_until_done(built.node, server, stop, minding, exit_when_done=exit_when_done))
                while not (server.started or serving.done()):  # noqa: ASYNC110  uvicorn offers no event
                    await asyncio.sleep(0.01)
                on_started(Started(url, await _link(context, access)))
            await _checkpoint(settings, control)
        _check_end(built.node)


async def _link(context: Context, access: LocalAccess) -> str:
    """Return where the owner begins: a link that works once, or the page where people sign in."""
    try:
        link = await first_link(context, access)
    except AetherError:
        return context.public_url
    return f"{context.public_url}/#{'token' if link.kind == 'session' else 'invitation'}={link.token}"


def _market_kind(market: Market) -> str:
    return market.venue or ("replay" if market.recording is not None else "synthetic")


def _addresses(market: Market) -> dict[str, tuple[str, str]]:
    return {market.venue: (market.base_url, market.ws_url)} if market.venue in PROTOCOLS and market.base_url else {}


async def production_findings(settings: Settings, market: str) -> list[Finding]:
    """Return what production's checks find, as far as they can look: without a database when it is away.

    Raises:
        AetherError: when the settings themselves cannot be read.
    """
    try:
        async with open_storage(settings) as storage:
            return await _findings(settings, storage.database, market)
    except (DatabaseUnavailableError, SchemaVersionError) as error:
        findings = find_all(await guard_facts(settings, None, market, {}))
        return [f._replace(problem=str(error)) if f.check == "database role" else f for f in findings]


async def _findings(settings: Settings, database: Database, market: str) -> list[Finding]:
    configs = [s.config for s in await queries.list_accounts(database.desk)]
    return find_all(await guard_facts(settings, database, market, modes_of(configs)))


async def _engage_at_start(control: ControlPlane, node: Node) -> None:
    """Begin with every kill switch engaged; people release it (R4)."""
    event = KillSwitchEngaged(ts_ns=0, reason=BEGINS_STOPPED, actor=PLATFORM.name)
    for account in node.planned():
        await control.operators.submit(PLATFORM, "kill.engage", account, event, event.reason)


async def _take_up(node: Node, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Take up new accounts once the node trades, also after the database was away."""
    await node.started.wait()
    await _mind("accounts_not_taken_up", TAKE_UP_AGAIN_S, work)


async def _mind(event: str, every_s: float, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Do a piece of housekeeping again and again; a failure is told once and tried again."""
    told = ""
    while True:
        try:
            await work()
            told = ""
        except (AetherError, *CONNECTION_ERRORS, SQLAlchemyError, TimeoutError) as error:
            if told != type(error).__name__:
                told = type(error).__name__
                _log.warning(event, reason=f"{told}: {error}")
        await asyncio.sleep(every_s)


async def _checkpoint(settings: Settings, control: ControlPlane) -> None:
    now = wall_ns()
    signed = await control.audit.checkpoint(now)
    await asyncio.to_thread(keep_checkpoint, checkpoint_folder(settings), now, msgspec.json.encode(signed))


async def _watch(
    settings: Settings, database: Database, market: str, control: ControlPlane, health: NodeHealth
) -> None:
    """Look for insecure settings and keys that are due, and say so when that changes."""
    SECRETS_DUE.set(await control.secrets.due_count())
    await control.approvals.close_interrupted()
    if not settings.is_production:
        return
    findings = await _findings(settings, database, market)
    bad = [f for f in findings if f.problem]
    for finding in findings:
        INSECURE.labels(finding.check).set(1 if finding.problem else 0)
    for finding in bad:
        if finding not in health.insecure:
            _log.error("insecure_setting", check=finding.check, problem=finding.problem, remedy=finding.remedy)
            entry = entry_of(PLATFORM, "guards.alert", "failed", target=finding.check, reason=finding.problem)
            await control.audit.note(entry, wall_ns())
    health.insecure = bad


async def _until_done(
    node: Node,
    server: uvicorn.Server,
    stop: asyncio.Event,
    minding: Sequence[asyncio.Task[None]],
    *,
    exit_when_done: bool,
) -> None:
    """Run the node, then end the server."""
    watcher = None
    if exit_when_done:

        async def stop_when_drained() -> None:
            await node.drain()
            stop.set()

        watcher = asyncio.create_task(stop_when_drained())
    try:
        await node.run(stop)
    finally:
        server.should_exit = True
        for task in minding:
            task.cancel()
        if watcher:
            watcher.cancel()


def _check_end(node: Node) -> None:
    """Raise UncleanEndError when an account did not end cleanly."""
    unclean = node.failures()
    if unclean:
        told = "; ".join(f"{account}: {reason}" for account, reason in unclean.items())
        raise UncleanEndError(
            f"Stopped, but not every account ended cleanly ({told}).",
            remedy="What the journal holds is safe; see the log and docs/runbooks/account-stopped.md before the next "
            "start.",
        )


def schema_app() -> FastAPI:
    """Return the API without anything behind it, to read its OpenAPI schema from."""
    return create_app(None, LocalAccess())
