"""The whole platform in one process, for debugging and tests."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace

from aether.api.local import LocalAccess
from aether.bus.local import LocalBus
from aether.bus.topics import ProcessState
from aether.clock import wall_ns
from aether.compose.api import Entrance, run_api
from aether.compose.choice import MarketChoice
from aether.compose.exchange import serving_exchange
from aether.compose.markets import market_of
from aether.compose.node import run_node
from aether.compose.platform import Started, ground
from aether.compose.processes import write_processes
from aether.compose.trading import Built
from aether.config import Settings
from aether.market.dataset import Dataset


async def run_in_one_process(
    settings: Settings,
    choice: MarketChoice,
    dataset: Dataset | None,
    *,
    seed: int = 1,
    exit_when_done: bool = False,
    on_started: Callable[[Started], None],
) -> None:
    """Run node and API in this process until interrupted (or the recording is done); `dataset` is the recording.

    Raises:
        AetherError: as `ground`, `run_node` and `run_api` do.
    """
    async with ground(settings, choice.kind) as made, contextlib.AsyncExitStack() as stack:
        market = market_of(choice, dataset)
        if choice.needs_exchange:
            served = await stack.enter_async_context(serving_exchange(made.storage.database, seed))
            market = replace(market, base_url=served)
        bus = LocalBus()
        node_stop, api_stop, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        entrance = Entrance(
            made.listener,
            made.url,
            LocalAccess(made.link_secret, made.access_file),
            choice.kind,
            choice.addresses,
        )
        built = asyncio.get_running_loop().create_future()
        state = ProcessState(name="all in one", pid=os.getpid(), state="up", restarts=0, since_ns=wall_ns())
        write_processes(settings.data_dir, [state])

        def on_built(told: Built) -> None:
            built.set_result(told.offer.name)

        async def serve_once_built() -> None:
            name = await built
            await run_api(
                settings,
                entrance,
                bus,
                made.storage.database,
                api_stop,
                on_ready=lambda link: on_started(Started(name, link)),
            )

        async with asyncio.TaskGroup() as group:
            trading = group.create_task(
                run_node(
                    settings,
                    market,
                    bus,
                    made.storage,
                    node_stop,
                    seed=seed,
                    begins_stopped=settings.is_production,
                    exit_when_done=exit_when_done,
                    on_built=on_built,
                )
            )
            serving = group.create_task(serve_once_built())
            stopping = group.create_task(stop.wait())
            await asyncio.wait({trading, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            api_stop.set()
            if not built.done():
                serving.cancel()
            await asyncio.wait({serving})
            node_stop.set()
