"""How a stop reaches the brake: a question over the bus, and the brake's file where nobody answers."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aether.bus.local import LocalBus, Message
from aether.bus.topics import PULL, STOP_VENUE, UNCONFIRMED
from aether.control.access import EVERYWHERE
from aether.domain.errors import NoAnswerError
from aether.domain.events import VenueStopped
from aether.node import pulls
from aether.node.pulls import EVERY_ACCOUNT, Pull
from aether.telemetry import logger

if TYPE_CHECKING:
    from aether.node.runtime import Node  # the API pulls the brake of a node, and loads none

AWAY = "the trading process, which does not answer; it stops before anything else when it is back"

_log = logger("stops")


def answer_stops(bus: LocalBus, node: "Node") -> None:
    """Let the node's brake be pulled over the bus."""
    brake = node.brake

    async def pull(body: Message) -> list[str]:
        stopped = brake.pull(_brake_name(body["account"]), msgspec.convert(body["pull"], Pull))
        if not node.is_ready:
            raise NoAnswerError(why_not(node), remedy="Leave the brake's file: it is read before anything is traded.")
        return [str(account) for account in stopped]

    async def unconfirmed(body: Message) -> list[str]:
        starting = [] if node.is_ready else [f"the trading process: {why_not(node)}"]
        return starting + brake.unconfirmed(_brake_name(body["account"]))

    async def stop_venue(body: Message) -> list[str]:
        event = msgspec.convert({**body["event"], "ts_ns": 0}, VenueStopped)
        named = body["account"]
        meant = [
            shard
            for account, shard in node.shards.items()
            if named in (account, EVERYWHERE) and shard.trades_at(event.venue)
        ]
        for shard in meant:
            shard.stop_at(event.venue)
            if body["journal"]:
                shard.journal(event)
        if not node.is_ready:
            remedy = "Stop it at the platform that trades" if node.stands_by_for else "Stop it again in a few seconds"
            raise NoAnswerError(why_not(node), remedy=f"{remedy}, or stop everything.")
        return [shard.account for shard in meant]

    bus.answer(PULL, pull)
    bus.answer(STOP_VENUE, stop_venue)
    bus.answer(UNCONFIRMED, unconfirmed)


def why_not(node: "Node") -> str:
    """Return why a node stops nothing itself yet."""
    if node.stands_by_for:
        return f"It stands by; the accounts are traded by {node.stands_by_for}."
    return "It is starting, and does not know all of its accounts yet."


class BusStops:
    """The brake of a node, over the bus (`aether.api.ports.Stops`).

    Args:
        folder: the brake's; a node that does not answer finds the pull there, before it does anything else.
    """

    def __init__(self, bus: LocalBus, folder: Path) -> None:
        self._bus = bus
        self._folder = folder
        self._left: dict[str, str] = {}
        """Accounts whose pull was left as a file, and its id."""

    async def pull(self, account: str, pull: Pull) -> list[str]:
        """Stop an account, or all with `*`; return those that are known to be stopped.

        Raises:
            NoAnswerError: when neither the node nor the file took it.
        """
        body = {"account": account, "pull": msgspec.to_builtins(pull)}
        try:
            stopped: list[str] = await self._bus.ask(PULL, body)
        except NoAnswerError as error:
            _log.error("stop_left_as_a_file", account_id=account, reason=error.message)
            try:
                lying = await asyncio.to_thread(pulls.write, self._folder, _brake_name(account), pull)
                self._left[account] = lying.id
            except OSError as failed:
                _log.error("brake_not_kept", account_id=account, reason=str(failed))
                raise NoAnswerError(
                    f"The trading process does not answer, and its brake's file cannot be written: {failed}.",
                    remedy="Cancel at the venues themselves; make room in the data directory, and stop again.",
                ) from failed
            return []
        self._left.pop(account, None)
        return stopped

    async def unconfirmed(self, account: str) -> list[str]:
        """Return what a stop still waits for, in words."""
        left = self._left.get(account)
        if left is not None and pulls.told(self._folder, left) is None:
            return [AWAY]
        try:
            found: Any = await self._bus.ask(UNCONFIRMED, {"account": account})
        except NoAnswerError:
            return [AWAY]
        return list(found)


def _brake_name(account: str) -> str:
    return EVERY_ACCOUNT if account == EVERYWHERE else account
