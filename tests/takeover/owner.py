"""One node in a process of its own: `python -m tests.takeover.owner '{"url": ...}'`.

It says how it is in a file, several times a second, and ends as a node does that another has fenced: with code 11.
Where a file asks for it, it stops itself between an order's commit and the socket, once: what a scheduler, a virtual
machine's pause or a swap storm does at the worst moment.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from aether.bus.local import LocalBus
from aether.compose.markets import Market, open_venues, venue_feed
from aether.compose.trading import VenueMaker
from aether.config import Settings
from aether.domain.accounts import AccountConfig, AccountKind, AccountPlan, Limits, Mode, StrategyAssignment
from aether.domain.errors import FencedError
from aether.domain.identifiers import AccountId, AssetCode, FeedId, StrategyName
from aether.domain.instruments import Instrument
from aether.domain.scaled import AMOUNT_SCALE
from aether.node.runtime import Node
from aether.simulation.strategy import CATALOGUE, COIN
from aether.store.database import Database
from aether.store.node_store import NodeStore
from aether.telemetry import configure_logging
from aether.venues.asking import Asker
from aether.venues.client import VenueClient
from aether.venues.tracked import Phase, Tracked
from aether.venues.tracker import Tracker

ACCOUNT, FEED, SYMBOL = AccountId("desk"), FeedId("takeover"), "BTC/USD"
CASH = 50_000
TELL_EVERY_S = 0.1
ORDER_WORDS = ('"add_order"', '"order.place"')


def plan(instruments: tuple[Instrument, ...]) -> AccountPlan:
    """Return an account that trades often, at three venues."""
    config = AccountConfig(
        id=ACCOUNT,
        name="Desk",
        kind=AccountKind.COMPANY,
        mode=Mode.PAPER,
        feed=FEED,
        currency=AssetCode("USD"),
        strategies=(
            StrategyAssignment(
                strategy=StrategyName(COIN), instruments=tuple(i.id for i in instruments), bar_s=1
            ),
        ),
        limits=Limits(
            market_data_max_age_ms=10_000, max_position_bps=10_000, max_order_notional_bps=5_000,
            max_daily_fees_bps=10_000, max_daily_loss_bps=10_000, max_orders_per_minute=10_000,
        ),
        tradable=tuple(i.id for i in instruments),
    )  # fmt: skip
    return AccountPlan(config=config, instruments=instruments, cash=CASH * AMOUNT_SCALE)


def _pause_between_commit_and_socket(asked: Path) -> None:
    """Stop this process at an order that is about to be written to a socket, when a file asks for it."""

    def pause() -> None:
        if asked.exists():
            asked.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)

    by_rest, on_socket = VenueClient._send, aiohttp.ClientWebSocketResponse.send_str

    async def send(self: VenueClient, action: Any, request: Any) -> Any:
        if type(action).__name__ == "Submit":
            pause()
        return await by_rest(self, action, request)

    async def send_str(self: Any, data: str, *args: Any, **kwargs: Any) -> None:
        if any(word in data for word in ORDER_WORDS):
            pause()
        await on_socket(self, data, *args, **kwargs)

    VenueClient._send = send  # type: ignore[method-assign]
    aiohttp.ClientWebSocketResponse.send_str = send_str  # type: ignore[method-assign]


def _send_without_deadlines() -> None:
    """Plant a fault: the venue is not told by when an order has to be there."""

    def permit(self: Tracker, tracked: Tracked, now_s: float) -> float:
        tracked.phase = Phase.SENT
        return 60.0

    Asker._action = _patient(Asker._action)  # type: ignore[method-assign]
    Tracker.permit = permit  # type: ignore[method-assign]


def _patient(action: Any) -> Any:
    return lambda self, request: msgspec.structs.replace(action(self, request), deadline_ms=60_000)


async def _tell(node: Node, file: Path) -> None:
    while True:
        shard = node.shards.get(ACCOUNT)
        sessions = shard._venue._sessions if shard is not None else {}  # type: ignore[attr-defined]
        told = {
            "epoch": node.lease.epoch,
            "trades": node.is_ready and len(sessions) == 3 and all(s.tracker.may_send for s in sessions.values()),
            "stands_by": bool(node.stands_by_for),
            "failure": shard.failure if shard is not None else "",
            "left_out": str(node.left_out or ""),
        }
        draft = file.with_suffix(".new")
        draft.write_text(json.dumps(told))
        draft.rename(file)
        await asyncio.sleep(TELL_EVERY_S)


async def run(told: dict[str, str]) -> None:
    """Run a node until SIGTERM."""
    folder = Path(told["folder"])
    database = Database(told["url"])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_venues(Market(venue="exchange", base_url=told["exchange"])) as venues:
        listed = [m.instrument for c in venues.clients for m in c.protocol.listings.values()]
        instruments = tuple({i.id: i for i in listed if i.symbol == SYMBOL}.values())
        plans = [plan(instruments)]
        node = Node(
            NodeStore(database.node),
            CATALOGUE,
            plans,
            VenueMaker(venues, keys=None, changed=None, settings=Settings(data_dir=folder)),  # type: ignore[arg-type]
            await venue_feed(venues.clients, plans),
            FEED,
            LocalBus(),
            lambda: None,
            wall_clock=True,
            brake_folder=folder / "brake",
            holder=told["holder"],
        )
        telling = asyncio.create_task(_tell(node, folder / "status.json"))
        try:
            await node.run(stop)
        finally:
            telling.cancel()


def main() -> None:
    """Run, and end with the code of what ended it."""
    told = json.loads(sys.argv[1])
    configure_logging("info", as_json=False, process=told["holder"])
    if told.get("planted"):
        _send_without_deadlines()
    _pause_between_commit_and_socket(Path(told["folder"]) / "pause")
    try:
        asyncio.run(run(told))
    except FencedError as error:
        print(error, flush=True)
        os._exit(error.exit_code)


if __name__ == "__main__":
    main()
