"""How fast a kill is: 100 accounts with 20 open orders each, over the three venues' faces and within their rate limits.

One kill a run: from the pull of the brake to the refusal of an order, and until every account's list of open orders at
its venue has been asked for and is empty. The exchange runs in a process of its own. The baseline of the same run is
the same work without us: one cancel of everything and one list for each account, sent at once by bare clients.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import aiohttp

from aether.domain.events import OrderRejected
from aether.domain.identifiers import ClientOrderId, InstrumentId
from aether.domain.orders import OrderRequest, OrderType, Side
from aether.venues.actions import CancelAllOrders, OpenOrders
from aether.venues.client import VenueClient, with_urls
from aether.venues.profile import CancelScope
from aether.venues.protocol import Credentials
from aether.venues.registry import protocol_of
from aether.venues.session import ExecutionSession

ACCOUNTS = 100
ORDERS = 20
ROUNDS = 3
VENUES = ("kraken", "binance", "coinbase")
PATIENCE_S = 120.0


class Desk:
    """The accounts, each with a session at one venue."""

    def __init__(self, state: dict[str, Any], admin_url: str, http: aiohttp.ClientSession) -> None:
        self.state = state
        self.sessions: list[ExecutionSession] = []
        self.clients: list[VenueClient] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._admin_url = admin_url
        self._http = http
        self._number = 0

    async def open(self) -> None:
        """Open every account, and wait until each may trade."""
        listed = {}
        for n in range(ACCOUNTS):
            venue = VENUES[n % len(VENUES)]
            asked = {"exchange": venue, "account": f"a{n}", "balances": {"USD": "1000000"}}
            async with self._http.post(f"{self._admin_url}/accounts", json=asked) as answer:
                given = await answer.json()
            protocol = with_urls(protocol_of(venue), self.state[venue]["url"], self.state[venue]["ws_url"])
            client = VenueClient(protocol, self._http, credentials=Credentials(**given))
            if venue not in listed:
                await client.load_markets()
                listed[venue] = protocol.listings
            protocol.listings = listed[venue]
            session = ExecutionSession(client)
            self.clients.append(client)
            self.sessions.append(session)
            self.tasks.append(asyncio.create_task(session.run()))
        await asyncio.wait_for(asyncio.gather(*(s.ready.wait() for s in self.sessions)), PATIENCE_S)

    async def rest(self) -> None:
        """Let every account's orders work."""
        for n, session in enumerate(self.sessions):
            for k in range(ORDERS):
                session.submit(self.request(n, 30_000 + k))
                if k % 4 == 3:
                    await asyncio.sleep(0)
        await until(lambda: all(sum(t.is_accepted for t in s.tracker.orders.values()) >= ORDERS for s in self.sessions))

    def request(self, n: int, price: int) -> OrderRequest:
        """Return an order of account `n`."""
        self._number += 1
        return OrderRequest(
            id=ClientOrderId(f"a{n}-{self._number}"),
            instrument=InstrumentId(f"{VENUES[n % len(VENUES)]}:BTC/USD"),
            side=Side.BUY,
            type=OrderType.LIMIT,
            size=100_000,
            limit_price=price * 10,
        )

    async def kill(self) -> tuple[float, float]:
        """Stop all; return after how many seconds an order is refused, and after how many all are seen to be gone."""
        queued = [self.request(n, 30_500) for n in range(ACCOUNTS)]
        for session, request in zip(self.sessions, queued, strict=True):
            while not session.reports.empty():
                session.reports.get_nowait()
            session.tracker.may_send = False
            session.submit(request)
        started = perf_counter()
        for session in self.sessions:
            session.stop()
        refused = sum(isinstance(r, OrderRejected) for s in self.sessions for r in list(s.reports._queue))  # type: ignore[attr-defined]
        refused_s = perf_counter() - started
        assert refused == ACCOUNTS, "an order in the queue survived the stop"
        await until(lambda: all(s.is_still for s in self.sessions))
        gone_s = perf_counter() - started
        for session in self.sessions:
            session.tracker.may_send = True
        return refused_s, gone_s

    async def bare(self) -> float:
        """Cancel everything of every account and list it, without sessions; return the seconds that it takes."""

        async def one(client: VenueClient) -> None:
            scope = client.protocol.profile.cancel_scope
            if scope is CancelScope.ACCOUNT:
                await client.call(CancelAllOrders())
            elif scope is CancelScope.ORDER:
                listed = await client.call(OpenOrders())
                await client.call(CancelAllOrders(venue_order_ids=tuple(u.venue_order_id for u in listed)))
            else:
                await client.call(CancelAllOrders(symbol="BTC/USD"))
            await client.call(OpenOrders())

        started = perf_counter()
        await asyncio.gather(*(one(client) for client in self.clients))
        return perf_counter() - started


async def until(met: Any) -> None:
    """Wait until a condition holds."""

    async def wait() -> None:
        while not met():  # noqa: ASYNC110  a benchmark
            await asyncio.sleep(0.005)

    await asyncio.wait_for(wait(), PATIENCE_S)


async def measure(admin_url: str) -> list[tuple[str, str]]:
    """Return the figures."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        async with http.get(f"{admin_url}/state") as answer:
            state = await answer.json()
        desk = Desk(state, admin_url, http)
        await desk.open()
        refused, gone, bare = [], [], []
        for _ in range(ROUNDS):
            await desk.rest()
            one = await desk.kill()
            refused.append(one[0])
            gone.append(one[1])
            await desk.rest()
            bare.append(await desk.bare())
            await until(
                lambda: not any(t.phase.name == "OPEN" for s in desk.sessions for t in s.tracker.orders.values())
            )
            await asyncio.sleep(1.0)
        for task in desk.tasks:
            task.cancel()
        await asyncio.gather(*desk.tasks, return_exceptions=True)
    what = f"kill of {ACCOUNTS} accounts with {ORDERS} open orders each, three venues"
    ratio = median(gone) / median(bare)
    return [
        (f"{what}: queued entries refused after", f"{median(refused) * 1e3:.1f} ms (bound 50 ms)"),
        (f"{what}: all lists seen empty after", f"{median(gone):.2f} s = {ratio:.1f}× bare requests (bound 10 s)"),
    ]


def run() -> list[tuple[str, str]]:
    """Return the figures, with an exchange in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "exchange.log"
        command = [sys.executable, "-m", "aether.cli", "serve", "exchange", "--no-background"]
        command += ["--kraken-port", "0", "--binance-port", "0", "--coinbase-port", "0", "--admin-port", "0"]
        with log.open("wb") as stream:
            exchange = subprocess.Popen([*command, "--keys", folder], stdout=stream, stderr=subprocess.STDOUT)
        try:
            return asyncio.run(measure(admin_url_in(log)))
        finally:
            exchange.kill()
            exchange.wait()


def admin_url_in(log: Path) -> str:
    """Return where the exchange's admin API listens, once it says so."""
    while True:
        for word in log.read_text().split():
            if word.startswith("http://") and "admin" in log.read_text().split(word)[0].rsplit("\n", 1)[-1]:
                return word
        asyncio.run(asyncio.sleep(0.1))


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
