"""A power cut while something is held: the stop at the venue sells it, and the books know it afterwards (T6, O2)."""

from contextlib import closing
from pathlib import Path

from aether.domain.orders import OrderType
from tests.integration.outside import COMPANY, Desk, Exchange, fall
from tests.integration.platform import until

NEAR = {"min_stop_bps": 60, "max_stop_bps": 60, "trailing_multiple": 0, "take_profit_multiple": 0, "at_venue": True}
PURCHASE = {"symbol": "BTC/USD", "side": "buy", "amount": "0.5", "algorithm": "route", "reason": "a test"}


def test_a_power_cut_leaves_the_stop_and_the_next_start_knows_what_it_sold(tmp_path: Path) -> None:
    with closing(Exchange()) as exchange, closing(Desk(tmp_path, exchange.admin)) as desk:
        desk.do("PUT", "settings", {"version": 0, "changes": {"exits": NEAR}, "reason": "a test"})
        desk.do("POST", "trades", PURCHASE)
        held = until(lambda: [p for p in desk.account()["positions"] if p["resting_stops"]], "a stop at the venue")
        venue = held[0]["instrument"].partition(":")[0]
        desk.kill()

        (stop,) = exchange.at(venue, lambda core: list(core.account(COMPANY).open.values()))
        assert stop.request.type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT), "and nothing of the platform runs"
        exchange.at(venue, lambda core: fall(core, stop.trigger))
        assert exchange.at(venue, lambda core: core.account(COMPANY).total["BTC"]) < 10_000, "the venue has sold it"

        with closing(Desk(tmp_path, exchange.admin, desk.ada)) as again:
            here = f"{venue}:BTC/USD"
            until(lambda: here not in [p["instrument"] for p in again.account()["positions"]], "the sale in the books")
            fills = again.ada.call("GET", f"/accounts/{COMPANY}/fills").json()
            assert {f["purpose"] for f in fills if f["side"] == "sell" and f["instrument"] == here} == {"stop"}
            assert again.account()["status"] == "trading"
            assert again.stop() == 0
