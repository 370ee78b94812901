"""The local exchange in a thread of its own, for platforms in other processes."""

import asyncio
import threading

from aether.exchange.server import LocalExchange, build, serve


class RunningExchange:
    """The local exchange in a thread of its own, for keys to be tried at."""

    def __init__(self) -> None:
        self.local: LocalExchange = build(warm_steps=10, enforce_limits=False)
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._done: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))
        self._thread.start()
        self._ready.wait(30)

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        async with serve(self.local):
            self._ready.set()
            await self._done.wait()

    def stop(self) -> None:
        assert self._done is not None
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(20)
        self._loop.close()

    def options(self, venue: str) -> tuple[str, ...]:
        """Return the options of `aether up` that make it this venue's market."""
        exchange = self.local.exchanges[venue]
        return "--market", venue, "--base-url", exchange.url, "--ws-url", exchange.ws_url
