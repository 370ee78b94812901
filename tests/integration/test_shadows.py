"""A candidate strategy beside an account (O6), and any account as it was (time travel), on the live path."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.integration.people import Person, first_admin
from tests.integration.platform import Platform, aether_json, until


@pytest.fixture(scope="module", params=["exchange", "synthetic"])
def ada(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """The first admin of a desk whose orders reach an exchange, or a simulated venue."""
    platform = Platform(tmp_path_factory.mktemp("desk"), "--market", request.param)
    made = first_admin(platform.link())
    made.company = "company.exchange" if request.param == "exchange" else "company"  # type: ignore[attr-defined]
    until(lambda: account(made, company(made)).get("status") == "trading", "the company trades")
    made.platform = platform  # type: ignore[attr-defined]
    yield made
    assert platform.stop() == 0


def company(ada: Person) -> str:
    found: str = ada.company  # type: ignore[attr-defined]
    return found


def account(ada: Person, name: str) -> dict[str, Any]:
    found: dict[str, Any] = ada.call("GET", f"/accounts/{name}").json()
    return found


def started(ada: Person, name: str) -> dict[str, Any]:
    """Start a shadow that decides often, and return what it is compared with."""
    body = {"id": name, "strategy": "mean_reversion", "bar_s": 5, "reason": "a candidate"}
    answer = ada.do("POST", f"/accounts/{company(ada)}/shadows", body)
    assert answer.status_code == 201, answer.text
    until(lambda: account(ada, name).get("status") == "trading", f"{name} trades")
    return next(s for s in ada.call("GET", f"/accounts/{company(ada)}/shadows").json() if s["id"] == name)


def test_a_shadow_trades_beside_its_account_on_paper_and_is_compared_with_it(ada: Person) -> None:
    nav = float(account(ada, company(ada))["nav"])
    found = started(ada, "candidate")
    shadow, beside = account(ada, "candidate"), account(ada, company(ada))
    assert (shadow["shadow_of"], shadow["mode"], beside["shadow_of"]) == (company(ada), "paper", "")
    assert float(shadow["capital"]) == pytest.approx(nav, rel=0.02), "it begins with what the account is worth"
    wanted = {i for s in beside["strategies"] for i in s["instruments"]}
    assert {i for s in shadow["strategies"] for i in s["instruments"]} == wanted
    assert found["strategy"] == "mean_reversion"
    trade = {"symbol": "BTC/USD", "side": "buy", "amount": "0.01", "reason": "to see it filled"}
    assert ada.do("POST", "/accounts/candidate/trades", trade).json()["applied"] is True
    fills = until(lambda: ada.call("GET", "/accounts/candidate/fills").json(), "it is filled")
    compared = until(
        lambda: [s for s in ada.call("GET", f"/accounts/{company(ada)}/shadows").json() if s["shadow"]["fills"]],
        "compared",
    )[0]
    assert compared["shadow"]["fills"] >= 1
    assert float(compared["shadow"]["fees"]) >= sum(float(f["fee"]) for f in fills[-1:])
    both = compared["shadow"]["return_bps"] - compared["account"]["return_bps"]
    assert compared["ahead_bps"] == pytest.approx(both, abs=0.02)
    assert compared["apart_bps"] >= abs(compared["ahead_bps"]) - 0.5


def test_no_order_of_a_shadow_reaches_an_exchange(ada: Person) -> None:
    platform: Platform = ada.platform  # type: ignore[attr-defined]
    started(ada, "quiet")
    trade = {"symbol": "BTC/USD", "side": "buy", "amount": "0.01", "reason": "to see where it goes"}
    assert ada.do("POST", "/accounts/quiet/trades", trade).json()["applied"] is True
    until(lambda: ada.call("GET", "/accounts/quiet/fills").json(), "it is filled on paper")
    keys = list(platform.data_dir.rglob("keys*"))
    assert not any("quiet" in k.read_text(errors="replace") for k in keys if k.is_file()), "no exchange knows it"


def test_what_a_shadow_is_worth_is_no_money_of_the_firm(ada: Person) -> None:
    from tests.follower import Follower
    from tests.integration.test_live import page_of

    started(ada, "no-money")
    with page_of(ada, "desk") as page:
        follower = Follower(page)
        follower.until(lambda: "no-money" in follower.states.get("desk", {}).get("accounts", {}))
        desk = follower.states["desk"]
        real = [a for a in desk["accounts"].values() if not a["shadow_of"]]
        assert desk["totals"]["USD"]["accounts"] == len(real) == 3


def test_a_shadow_is_replayed_and_goes_on_after_a_restart(ada: Person) -> None:
    platform: Platform = ada.platform  # type: ignore[attr-defined]
    started(ada, "lasting")
    trade = {"symbol": "BTC/USD", "side": "buy", "amount": "0.01", "reason": "to hold something"}
    ada.do("POST", "/accounts/lasting/trades", trade)
    until(lambda: account(ada, "lasting")["positions"], "it holds something")
    node = platform.kill_part("node")
    platform.wait_for_part("node", other_than=node)
    until(lambda: account(ada, "lasting").get("status") == "trading" and account(ada, "lasting")["positions"], "on")
    replayed = aether_json("journal", "replay", "--verify", "--account", "lasting", data_dir=platform.data_dir)
    assert isinstance(replayed, list)
    assert replayed[0]["account"] == "lasting"


def test_an_account_is_shown_as_it_was(ada: Person) -> None:
    seen = until(lambda: (a := account(ada, company(ada)))["seq"] and a, "the company has told something")
    until(lambda: account(ada, company(ada))["ts_ns"] > seen["ts_ns"] + 3_000_000_000, "time passes")
    past = ada.call("GET", f"/accounts/{company(ada)}/past?at_ns={seen['ts_ns']}").json()
    now = account(ada, company(ada))
    assert seen["ts_ns"] - 1_000_000_000 < past["ts_ns"] <= seen["ts_ns"] < now["ts_ns"]
    assert past["seq"] <= now["seq"]
    assert float(past["nav"]) == pytest.approx(float(seen["nav"]), rel=1e-3)
    again = ada.call("GET", f"/accounts/{company(ada)}/past?at_ns={seen['ts_ns']}").json()
    assert again == past, "what was does not change"
    too_early = ada.call("GET", f"/accounts/{company(ada)}/past?at_ns=1500000000000000000")
    assert too_early.status_code == 422
    assert "had not been opened" in too_early.text
    assert ada.call("GET", f"/accounts/nobody/past?at_ns={seen['ts_ns']}").status_code == 404


def test_money_that_comes_in_is_no_return(ada: Person) -> None:
    """The start paired the worth of then with the capital of a minute later: a deposit was a profit for good."""
    started(ada, "idle")
    venue = account(ada, "idle")["strategies"][0]["instruments"][0].partition(":")[0]
    body = {"venue": venue, "amount": "10000", "direction": "deposit", "reason": "from the bank"}
    if company(ada) == "company":
        assert ada.do("POST", "/accounts/company/capital", body).status_code == 200
    assert ada.do("POST", "/accounts/idle/capital", body).status_code == 200
    until(lambda: float(account(ada, "idle")["capital"]) > 109_000, "the deposit is booked")
    (found,) = [s for s in ada.call("GET", f"/accounts/{company(ada)}/shadows").json() if s["id"] == "idle"]
    assert abs(found["shadow"]["return_bps"]) < 100, "a tenth of it came in"
    assert abs(found["account"]["return_bps"]) < 100
    assert found["shadow"]["drawdown_bps"] < 100


def test_parameters_are_shown_as_they_are_in_force(ada: Person) -> None:
    started(ada, "tuned")
    settings = ada.call("GET", "/accounts/tuned/settings").json()[0]
    change = {
        "version": settings["version"],
        "changes": {"strategies": {"mean_reversion": {"span": 7}}},
        "reason": "x" * 4,
    }
    assert ada.do("PUT", "/accounts/tuned/settings", change).status_code == 200

    def span() -> object:
        found = ada.call("GET", f"/accounts/{company(ada)}/shadows").json()
        return next(s for s in found if s["id"] == "tuned")["params"]["span"]

    until(lambda: span() == 7, "it says what it runs with")


def test_a_shadow_ends_with_its_account(ada: Person) -> None:
    instrument = account(ada, company(ada))["strategies"][0]["instruments"][0]
    body = {"id": "short", "name": "Short", "kind": "director", "instruments": [instrument], "reason": "for a while"}
    assert ada.do("POST", "/accounts", body).status_code == 201
    until(lambda: account(ada, "short").get("status") == "trading", "it trades")
    shadow = {"id": "of-short", "strategy": "mean_reversion", "bar_s": 5, "reason": "a candidate"}
    assert ada.do("POST", "/accounts/short/shadows", shadow).status_code == 201
    until(lambda: account(ada, "of-short").get("status") == "trading", "its shadow too")
    assert ada.do("POST", "/accounts/short/archive", {"reason": "done with it"}).status_code == 204
    archived = [a["id"] for a in ada.call("GET", "/accounts?archived=true").json()]
    assert {"short", "of-short"} <= set(archived)
    answer = ada.do("POST", "/accounts/short/shadows", {**shadow, "id": "too-late"})
    assert (answer.status_code, "is archived" in answer.text) == (409, True)


def test_one_who_asks_for_the_past_again_and_again_keeps_nobody_else_waiting(ada: Person) -> None:
    at_ns = account(ada, company(ada))["ts_ns"]
    address = f"{ada.url}/api/v1/accounts/{company(ada)}/past?at_ns={at_ns}"
    cookie = {"Cookie": f"aether_session={ada.http.cookies['aether_session']}"}
    for _ in range(20):
        with suppress(httpx.ReadTimeout):
            httpx.get(address, headers=cookie, timeout=httpx.Timeout(5, read=0.05), trust_env=False)
    other = ada.invite("past@example.com", {company(ada): "auditor"})
    seen = other.call("GET", f"/accounts/{company(ada)}/past?at_ns={at_ns}")
    assert seen.status_code == 200, seen.text
    to_come = ada.call("GET", f"/accounts/{company(ada)}/past?at_ns=9223372036854775807")
    assert (to_come.status_code, "is to come" in to_come.text) == (422, True)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"strategy": "alchemy"}, 404, "alchemy"),
        ({"params": {"lookback": "many"}}, 422, "lookback"),
        ({"params": {"no_such": 1}}, 422, "no_such"),
        ({"bar_s": 0}, 422, "bar_s"),
    ],
)
def test_a_shadow_that_cannot_be_is_refused(ada: Person, change: dict[str, Any], status: int, said: str) -> None:
    body = {"id": "cannot-be", "strategy": "mean_reversion", "bar_s": 5, "reason": "a candidate", **change}
    answer = ada.do("POST", f"/accounts/{company(ada)}/shadows", body)
    assert answer.status_code == status, answer.text
    assert said in answer.text
    assert ada.call("GET", "/accounts/cannot-be").status_code == 404


def test_a_shadow_has_no_shadow_and_one_of_nobody_is_none(ada: Person) -> None:
    started(ada, "first")
    body = {"id": "second", "strategy": "mean_reversion", "bar_s": 5, "reason": "of a shadow"}
    answer = ada.do("POST", "/accounts/first/shadows", body)
    assert answer.status_code == 409, answer.text
    assert "a shadow itself" in answer.text
    taken = ada.do("POST", f"/accounts/{company(ada)}/shadows", {**body, "id": "first"})
    assert (taken.status_code, "already" in taken.text) == (409, True)
    assert ada.do("POST", "/accounts/nobody/shadows", body).status_code == 404
    assert ada.do("POST", "/accounts/first/archive", {"reason": "seen enough"}).status_code == 204
    assert "first" not in [s["id"] for s in ada.call("GET", f"/accounts/{company(ada)}/shadows").json()]
