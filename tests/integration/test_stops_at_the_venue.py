"""A power cut while something is held: the stop at the venue sells it, and the books know it afterwards (T6, O2)."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from aether.domain.orders import OrderType, Side
from aether.domain.scaled import AMOUNT_SCALE
from aether.exchange.server import build, serve
from aether.exchange.venue import NewOrder, Venue
from tests.integration.people import Person, first_admin
from tests.integration.platform import Platform, until

COMPANY = "company.exchange"
NEAR = {"min_stop_bps": 60, "max_stop_bps": 60, "trailing_multiple": 0, "take_profit_multiple": 0, "at_venue": True}
PURCHASE = {"symbol": "BTC/USD", "side": "buy", "amount": "0.5", "algorithm": "route", "reason": "a test"}


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
        until(lambda: self.company()["status"] == "trading", "an account that trades")

    def company(self) -> dict[str, Any]:
        """Return the account as the page shows it."""
        return next((a for a in self.ada.call("GET", "/accounts").json() if a["id"] == COMPANY), {"status": ""})

    def stops(self) -> list[dict[str, Any]]:
        """Return the positions of which a stop rests."""
        return [p for p in self.company()["positions"] if p["resting_stops"]]


def test_a_power_cut_leaves_the_stop_and_the_next_start_knows_what_it_sold(tmp_path: Path) -> None:
    with closing(Exchange()) as exchange, closing(Desk(tmp_path, exchange.admin)) as desk:
        changed = {"version": 0, "changes": {"exits": NEAR}, "reason": "a test"}
        saved = desk.ada.do("PUT", f"/accounts/{COMPANY}/settings", changed)
        assert saved.status_code == 200, saved.text
        bought = desk.ada.do("POST", f"/accounts/{COMPANY}/trades", PURCHASE)
        assert bought.status_code == 200, bought.text
        held = until(desk.stops, "a stop at the venue")
        venue = held[0]["instrument"].partition(":")[0]
        desk.kill()

        (stop,) = exchange.at(venue, lambda core: list(core.account(COMPANY).open.values()))
        assert stop.request.type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT), "and nothing of the platform runs"
        exchange.at(venue, lambda core: fall(core, stop.trigger))
        assert exchange.at(venue, lambda core: core.account(COMPANY).total["BTC"]) < 10_000, "the venue has sold it"

        with closing(Desk(tmp_path, exchange.admin, desk.ada)) as again:
            here = f"{venue}:BTC/USD"
            until(lambda: here not in [p["instrument"] for p in again.company()["positions"]], "the sale in the books")
            fills = again.ada.call("GET", f"/accounts/{COMPANY}/fills").json()
            assert {f["purpose"] for f in fills if f["side"] == "sell" and f["instrument"] == here} == {"stop"}
            assert again.company()["status"] == "trading"
            assert again.stop() == 0
