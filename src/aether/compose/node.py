"""The trading process: a node on its market, and nothing that a stranger could reach."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from aether.bus.local import Answer, LocalBus, Message
from aether.bus.topics import HEALTH_EVERY_S, METRICS, OFFER, PREVIEW
from aether.clock import wall_ns
from aether.compose.archiving import keep_days
from aether.compose.directory import DataDirectory
from aether.compose.health import NodeHealth
from aether.compose.housekeeping import mind
from aether.compose.keys import key_encryption
from aether.compose.markets import Market, open_venues
from aether.compose.stops import answer_stops
from aether.compose.storage import Storage
from aether.compose.trading import Built, build_node, node_name, take_up_accounts
from aether.config import Settings
from aether.control.access import PLATFORM
from aether.control.configuration import Configurations
from aether.control.desk import PlanReader
from aether.control.operators import Operators
from aether.control.sealing import Sealer
from aether.control.secrets import SecretReader
from aether.domain.errors import FencedError, NoAnswerError, UncleanEndError
from aether.domain.events import KillSwitchEngaged, decode_event
from aether.domain.identifiers import AccountId
from aether.node.runtime import BEGINS_STOPPED, Node
from aether.store.announcements import Announcements
from aether.store.control_schema import CONTROL_CHANNEL
from aether.store.database import Database
from aether.store.leases import owners
from aether.store.patience import DATABASE_AWAY
from aether.strategies import catalogue
from aether.telemetry import NODE_REGISTRY, logger, metrics_text

APPLY_EVERY_S = 1.0
ARCHIVE_EVERY_S = 3_600.0
LOOK_EVERY_S = 1.0
TAKE_UP_AGAIN_S = 5.0
PREVIEW_PAUSE_S = 0.05
PREVIEWS_WAIT = 8

_log = logger("node")


async def run_node(
    settings: Settings,
    market: Market,
    bus: LocalBus,
    storage: Storage,
    stop: asyncio.Event,
    *,
    seed: int,
    begins_stopped: bool,
    exit_when_done: bool,
    on_built: Callable[[Built], None],
) -> None:
    """Trade on a market until `stop` is set, or the recording is done.

    Args:
        begins_stopped: with every kill switch engaged.
        on_built: called once its venues answer and its stops can be pulled; accounts are recovered after that.

    Raises:
        UncleanEndError: when an account had failed.
        VenueError, KeyServiceError, ...: when it cannot start.
    """
    database = storage.database
    keys = SecretReader(database.node, Sealer(key_encryption(settings)), node_name())
    announcements = Announcements(database.control, CONTROL_CHANNEL)
    async with open_venues(market) as venues:
        built = await build_node(settings, storage, market, bus, seed, venues, keys, announcements.changed)
        node = built.node
        if begins_stopped:
            node.on_begin = partial(_engage_at_start, Operators(database, wall_ns), node)
        health = NodeHealth(node, database, bus, wall_clock=market.recording is None)
        answer_stops(bus, node)
        bus.answer(METRICS, _metrics)
        bus.answer(PREVIEW, _previews(node))
        bus.publish(OFFER, msgspec.to_builtins(built.offer))
        health.tell()
        on_built(built)
        configurations = Configurations(database.control, catalogue())
        plans = PlanReader(database.control)

        async def take_up() -> None:
            await take_up_accounts(
                built, plans, bus, venues, keys, announcements.changed, stopped=settings.is_production
            )

        async def take_up_once_started() -> None:
            await node.started.wait()
            await mind("accounts_not_taken_up", TAKE_UP_AGAIN_S, take_up)

        look_for_a_copy = partial(_look_for_a_copy, settings, database, node)
        async with asyncio.TaskGroup() as group:
            minding = [
                group.create_task(_tell(health)),
                group.create_task(mind("health_not_seen", LOOK_EVERY_S, health.look)),
                group.create_task(announcements.run()),
                group.create_task(mind("settings_not_applied", APPLY_EVERY_S, configurations.apply_due)),
                group.create_task(mind("market_not_archived", ARCHIVE_EVERY_S, partial(keep_days, settings, database))),
            ]
            if market.recording is None:
                minding.append(group.create_task(take_up_once_started()))
            group.create_task(_until_done(node, stop, minding, look_for_a_copy, exit_when_done=exit_when_done))
    _check_end(node)


async def _metrics(_body: dict[str, object]) -> str:
    return metrics_text(NODE_REGISTRY).decode()


def _previews(node: Node) -> Answer:
    """Answer what decisions would lead to, one after the other and with pauses: each costs the processor of trading."""
    alone = asyncio.Lock()
    waiting = 0

    async def preview(body: Message) -> dict[str, Any]:
        nonlocal waiting
        if waiting >= PREVIEWS_WAIT:
            raise NoAnswerError("Too much is being worked out at the moment.", remedy="Try again.")
        waiting += 1
        try:
            return await in_turn(body)
        finally:
            waiting -= 1

    async def in_turn(body: Message) -> dict[str, Any]:
        async with alone:
            found = await worked_out(body)
            await asyncio.sleep(PREVIEW_PAUSE_S)
            return found

    async def worked_out(body: Message) -> dict[str, Any]:
        shard = node.shards.get(AccountId(body["account"]))
        if shard is None or shard.failure:
            raise NoAnswerError(f"{body['account']} does not trade now.", remedy="Look at its state.")
        return await shard.preview([decode_event(event.encode()) for event in body["events"]])

    return preview


async def _tell(health: NodeHealth) -> None:
    while True:
        health.tell()
        await asyncio.sleep(HEALTH_EVERY_S)


async def _engage_at_start(operators: Operators, node: Node) -> None:
    """Begin with every kill switch engaged; people release it (R4)."""
    event = KillSwitchEngaged(ts_ns=0, reason=BEGINS_STOPPED, actor=PLATFORM.name)
    for account in node.planned():
        await operators.submit(PLATFORM, "kill.engage", account, event, event.reason)


async def _look_for_a_copy(settings: Settings, database: Database, node: Node) -> None:
    """Be another platform from now on when the one that took over calls itself as this one does.

    A copied data directory, or machine: each would take the lease from the other at once, for ever.
    """
    with suppress(*DATABASE_AWAY):
        for owner in await owners(database.node):
            if owner.log == node.lease.log and owner.holder == node.lease.holder:
                _log.error("identity_shared", holder=owner.holder, remedy="this one is called otherwise from now on")
                DataDirectory(settings.data_dir).forget_identity()


async def _until_done(
    node: Node,
    stop: asyncio.Event,
    minding: Sequence[asyncio.Task[None]],
    on_fenced: Callable[[], Awaitable[None]],
    *,
    exit_when_done: bool,
) -> None:
    """Run the node, then end what was minded beside it."""

    async def stop_when_drained() -> None:
        await node.drain()
        stop.set()

    watcher = asyncio.create_task(stop_when_drained()) if exit_when_done else None
    try:
        await node.run(stop)
    except FencedError:
        await on_fenced()
        raise
    finally:
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
