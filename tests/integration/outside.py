"""An exchange that outlives every platform that trades there, as the real ones do."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aether.domain.orders import OrderType, Side
from aether.domain.scaled import AMOUNT_SCALE
from aether.exchange.face import Face
from aether.exchange.server import build, serve
from aether.exchange.venue import NewOrder, Venue
from tests.integration.people import Person, first_admin
from tests.integration.platform import Platform, until

COMPANY = "company.exchange"


class Exchange:
    """The local exchange in a thread of its own, which outlives every platform that trades there."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(30)

    async def _serve(self) -> None:
        self._local = build(seed=3, enforce_limits=False)
        async with serve(self._local) as served:
            self.admin = served.admin_url
            self._ready.set()
            await self._over.wait()

    def at(self, venue: str, work: Callable[[Venue], Any]) -> Any:
        """Do something with a venue, in its own thread."""

        async def done() -> Any:
            return work(self._local.exchanges[venue].venue)

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(30)

    def disconnect(self, venue: str) -> None:
        """Close every socket of a venue."""

        def close(core: Venue) -> None:
            assert isinstance(core.listener, Face)
            core.listener.disconnect_all()

        self.at(venue, close)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)


def fall(core: Venue, trigger: int) -> None:
    """Let the market fall to a price, where somebody buys."""
    for name, asset in (("buyer", "USD"), ("seller", "BTC")):
        core.account(name).total[asset] = 10_000_000 * AMOUNT_SCALE
    core.place("buyer", NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, 10 * AMOUNT_SCALE, price=trigger - 1))
    core.place("seller", NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, 100 * AMOUNT_SCALE, price=trigger))
    core.place("seller", NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, AMOUNT_SCALE, price=trigger - 1))


class Desk(Platform):
    """A platform that trades at an exchange which outlives it."""

    def __init__(self, data_dir: Path, admin: str, ada: Person | None = None) -> None:
        super().__init__(data_dir, "--market", "exchange", "--base-url", admin)
        if ada is None:
            self.ada = first_admin(self.link())
        else:
            url = self.wait_for_url()
            self.ada = Person(url)
            self.ada.email, self.ada.passkey = ada.email, ada.passkey
            self.ada.passkey.origin = url
            assert self.ada.sign_in().status_code == 200
        until(lambda: self.account()["status"] == "trading", "an account that trades")

    def account(self, account: str = COMPANY) -> dict[str, Any]:
        """Return an account as the page shows it."""
        return next((a for a in self.ada.call("GET", "/accounts").json() if a["id"] == account), {"status": ""})

    def do(self, method: str, path: str, body: object, account: str = COMPANY) -> None:
        """Do something with an account, with a proof where one is asked for."""
        answer = self.ada.do(method, f"/accounts/{account}/{path}", body)
        assert answer.status_code == 200, answer.text
