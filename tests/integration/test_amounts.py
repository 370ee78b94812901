"""The largest amounts that the API takes leave accounts that trade, now and after a restart (issue 11, finding 9)."""

from functools import partial
from pathlib import Path
from typing import Any

from tests.integration.people import Person, first_admin
from tests.integration.platform import Platform, aether_json, until

MOST = "9" * 15 + "." + "9" * 8
MOST_MONEY = "9" * 12 + "." + "9" * 8
REASON = "at the edge"


def requests(account: str) -> list[tuple[str, dict[str, Any]]]:
    """Return one request for each amount that people may name, each as large as it may be."""
    at = {"venue": "paper", "reason": REASON}
    trade = {"symbol": "BTC/USD", "amount": MOST, "reason": REASON}
    prices = {"limit_price": MOST, "profit_price": MOST, "stop_price": MOST, "display": MOST}
    return [
        (f"/accounts/{account}/capital", {**at, "direction": "deposit", "amount": MOST_MONEY, "reference": "1"}),
        (
            f"/accounts/{account}/capital",
            {**at, "direction": "deposit", "asset": "BTC", "amount": MOST, "value": MOST_MONEY, "reference": "2"},
        ),
        (f"/accounts/{account}/bookings", {**at, "asset": "BTC", "amount": MOST, "reference": "3"}),
        (f"/accounts/{account}/bookings", {**at, "asset": "USD", "amount": f"-{MOST}", "reference": "4"}),
        *(
            (f"/accounts/{account}/trades", {**trade, **prices, "side": side, "algorithm": algorithm})
            for side in ("buy", "sell")
            for algorithm in ("route", "iceberg", "oco", "bracket", "twap")
        ),
        (f"/accounts/{account}/hedge", {"share_bps": 10_000, "reason": REASON}),
    ]


def test_amounts_at_the_edge_stop_no_account_and_survive_a_restart(tmp_path: Path) -> None:
    platform = Platform(tmp_path)
    ada = first_admin(platform.link())
    until(lambda: len(ada.call("GET", "/accounts").json()) == 3, "the accounts")
    opened = {
        "id": "rich",
        "name": "Rich",
        "kind": "company",
        "instruments": ["paper:BTC/USD"],
        "cash": MOST_MONEY,
        "strategy": "",
        "reason": REASON,
    }
    made = ada.do("POST", "/accounts", opened)
    assert made.status_code == 201, made.text
    for account in ("company", "rich"):
        until(partial(trades, ada, account), account)
        for path, body in requests(account):
            answer = ada.do("POST", path, body)
            assert answer.status_code in {200, 422}, f"{path}: {answer.text}"
            assert answer.status_code == 200 or answer.json()["remedy"]
    more = {"venue": "paper", "direction": "deposit", "amount": MOST, "reason": REASON}
    assert "less than a trillion" in ada.do("POST", "/accounts/company/capital", more).text
    told = {a["id"]: a for a in ada.call("GET", "/accounts").json()}
    before = {a["id"]: a["ts_ns"] for a in told.values()}
    until(partial(have_moved, ada, before), "a later state of every account")
    for account in ("company", "rich"):
        assert state(ada, account) in {"trading", "exits_only: overdraft of paper:USD"}, state(ada, account)
        assert float(told[account]["nav"]) > 10**11
    assert platform.stop() == 0
    again = Platform(tmp_path)
    again.wait_for_url()
    events = market_events(tmp_path)
    until(lambda: market_events(tmp_path) > events + 20, "a market that goes on")
    assert again.stop() == 0, "no account had failed"


def trades(person: Person, account: str) -> bool:
    return bool(person.call("GET", f"/accounts/{account}").json().get("status") == "trading")


def state(person: Person, account: str) -> str:
    told = person.call("GET", f"/accounts/{account}").json()
    return ": ".join(filter(None, (told["status"], told.get("reason", ""))))


def market_events(folder: Path) -> int:
    """Return how long the market's log is, with all chains proven."""
    found: Any = aether_json("journal", "verify", data_dir=folder)
    return sum(one.get("events", 0) for one in found)


def have_moved(person: Person, before: dict[str, int]) -> bool:
    return all(a["ts_ns"] > before[a["id"]] for a in person.call("GET", "/accounts").json())
