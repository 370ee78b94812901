"""What venues do to a desk that trades: pairs that go, come back and get finer steps; an end that a venue notices."""

import re
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.integration.outside import COMPANY, Desk, Exchange
from tests.integration.platform import until

BTC = "BTC/USD"
DIRECTOR = "director-2.exchange"
"""It trades at Coinbase alone."""
PURCHASE = {"symbol": BTC, "side": "buy", "amount": "0.02", "algorithm": "route", "reason": "a test"}
RESTING = {
    "symbol": BTC,
    "side": "buy",
    "amount": "0.01",
    "algorithm": "iceberg",
    "display": "0.01",
    "reason": "a test",
}


def trouble(desk: Desk, venue: str, account: str = COMPANY) -> str:
    """Return what an account says of a venue."""
    return str(next(v["trouble"] for v in desk.account(account)["venues"] if v["venue"] == venue))


def not_ready(desk: Desk) -> dict[str, str]:
    """Return what /readyz says is not as it should be."""
    return {c["name"]: c["detail"] for c in desk.ada.http.get("/readyz").json() if not c["ok"]}


def in_trouble(desk: Desk) -> set[str]:
    """Return the venues at which the metrics say that something keeps the company from entering."""
    text = desk.ada.http.get("/metrics").text
    return set(re.findall(rf'^aether_venue_trouble{{account_id="{COMPANY}",venue="(\w+)"}} 1.0$', text, re.MULTILINE))


def bought_at(desk: Desk) -> set[str]:
    """Buy, and return where that was filled."""
    before = {f["order_id"] for f in fills(desk)}
    desk.do("POST", "trades", PURCHASE)
    return {f["instrument"].partition(":")[0] for f in until(lambda: new(desk, before), "a fill")}


def fills(desk: Desk) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = desk.ada.call("GET", f"/accounts/{COMPANY}/fills").json()
    return [f for f in found if f["symbol"] == BTC and f["side"] == "buy"]


def new(desk: Desk, before: set[str]) -> list[dict[str, Any]]:
    return [f for f in fills(desk) if f["order_id"] not in before]


def test_r6_pairs_go_come_back_and_get_finer_steps_while_trading_goes_on(tmp_path: Path) -> None:
    """Told within seconds, without a restart; the account trades elsewhere, other venues and accounts go on."""
    with closing(Exchange()) as exchange, closing(Desk(tmp_path, exchange.admin)) as desk:
        node = desk.pid_of("node")
        exchange.at("kraken", lambda core: core.set_market(BTC, "delisted"))
        exchange.disconnect("kraken")
        until(lambda: "delisted" in trouble(desk, "kraken"), "the word that the pair is gone")
        assert desk.account()["status"] == "trading"
        assert not [v["trouble"] for v in desk.account(DIRECTOR)["venues"] if v["trouble"]], (
            "nothing of that is its own"
        )
        assert "kraken" not in bought_at(desk)
        word = "BTC/USD: delisted: nothing is entered"
        until(lambda: word in not_ready(desk).get("market data of kraken", ""), "the word on /readyz")
        assert desk.ada.http.get("/readyz").status_code == 200, "one venue of three is not what everything needs"
        until(lambda: in_trouble(desk) == {"kraken"}, "the word in the metrics")

        exchange.at("kraken", lambda core: core.set_market(BTC, "online"))
        exchange.disconnect("kraken")
        until(lambda: not trouble(desk, "kraken"), "the pair, back")
        until(lambda: not in_trouble(desk) and not not_ready(desk), "the word of it everywhere")

        for venue in ("kraken", "binance", "coinbase"):
            exchange.at(venue, lambda core: core.retick(BTC, core.markets[BTC].price_decimals + 1))
        exchange.at("binance", lambda core: core.set_market(BTC, "cancel_only"))
        exchange.at("coinbase", lambda core: core.set_market(BTC, "post_only"))
        for venue in ("binance", "coinbase"):
            exchange.disconnect(venue)
            until(lambda venue=venue: "BTC/USD" in trouble(desk, venue), "the word that the pair is closed")  # type: ignore[misc]
        assert bought_at(desk) == {"kraken"}, "the only one that is open, at its finer prices"

        exchange.at("kraken", lambda core: setattr(core, "state", "maintenance"))
        exchange.disconnect("kraken")
        told = until(lambda: (found := not_ready(desk)).get("orders at kraken") and found, "the channel's trouble")
        assert f"{COMPANY}: not compared since the connection" in told["orders at kraken"]
        exchange.at("kraken", lambda core: setattr(core, "state", "online"))
        until(lambda: "orders at kraken" not in not_ready(desk), "the channel, back", 60)
        assert desk.pid_of("node") == node
        assert desk.account()["status"] == "trading"
        assert desk.stop() == 0


def rest(desk: Desk, exchange: Exchange) -> None:
    """Have one order of the account at work, at Kraken."""
    for venue in ("binance", "coinbase"):
        exchange.at(venue, lambda core: core.set_market(BTC, "cancel_only"))
        exchange.disconnect(venue)
        until(lambda venue=venue: trouble(desk, venue), "a venue that takes nothing")  # type: ignore[misc]
    bars = until(lambda: desk.ada.call("GET", "/instruments/kraken:BTC/USD/bars?limit=1").json(), "a bar")
    desk.do("POST", "trades", {**RESTING, "limit_price": f"{float(bars[-1]['close']) * 0.995:.1f}"})
    until(lambda: at_work(exchange) == 1, "an order at Kraken")


def at_work(exchange: Exchange) -> int:
    """Return how many orders of the account Kraken works."""
    return int(exchange.at("kraken", lambda core: len(core.account(COMPANY).open)))


def let_pass(seconds: float) -> None:
    """Let real time pass, which the exchange's switch counts."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, "time to pass")


def test_r5_the_dead_man_switch_both_ways(tmp_path: Path) -> None:
    """The platform is killed with an order at Kraken: it stays where that was chosen, and is gone where it was not."""
    with closing(Exchange()) as exchange, closing(Desk(tmp_path, exchange.admin)) as desk:
        rest(desk, exchange)
        desk.kill()
        let_pass(13)
        assert at_work(exchange) == 1, "nobody chose that it be canceled"

        with closing(Desk(tmp_path, exchange.admin, desk.ada)) as again:
            chosen = {"reconciliation": {"dead_man_s": 10}}
            again.do("PUT", "settings", {"version": 0, "changes": chosen, "reason": "a test"})
            let_pass(13)
            assert at_work(exchange) == 1, "put off while the platform runs"
            again.kill()
            until(lambda: not at_work(exchange), "an empty account", 30)
