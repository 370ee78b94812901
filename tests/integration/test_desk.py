"""Running a desk over the API: accounts, settings, overrides, capital, review of entries, writes that are sent twice
(A1, A4, A6, A7, R12)."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.integration.people import API, Person, first_admin
from tests.integration.platform import Platform


@pytest.fixture(scope="module")
def ada(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """The first admin of a desk on the synthetic market."""
    platform = Platform(tmp_path_factory.mktemp("desk"))
    made = first_admin(platform.link())
    until(lambda: len(made.call("GET", "/accounts").json()) == 3, "no accounts")
    made.platform = platform  # type: ignore[attr-defined]
    yield made
    assert platform.stop() == 0


def until(check: Callable[[], Any], what: str, seconds: float = 45) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        threading.Event().wait(0.05)
    raise AssertionError(what)


def account(ada: Person, name: str) -> dict[str, Any]:
    found: dict[str, Any] = ada.call("GET", f"/accounts/{name}").json()
    return found


def opened(ada: Person, name: str, **more: Any) -> None:
    body = {
        "id": name,
        "name": name.title(),
        "kind": "director",
        "instruments": ["paper:BTC/USD", "paper:ETH/USD"],
        "cash": "50000",
        "reason": "a new desk",
        **more,
    }
    answer = ada.do("POST", "/accounts", body)
    assert answer.status_code == 201, answer.text
    until(lambda: account(ada, name).get("status") == "trading" and float(account(ada, name)["nav"]) > 0, "not opened")


def test_an_account_is_opened_traded_by_hand_hedged_exited_and_closed(ada: Person) -> None:
    opened(ada, "by-hand")
    assert account(ada, "by-hand")["cash"] == "50000.00000000"
    until(lambda: ada.call("GET", "/system").json()["ready"], "no market")
    trade = {"symbol": "BTC/USD", "side": "buy", "amount": "0.2", "reason": "by hand"}

    def bought() -> bool:
        return bool(ada.call("GET", "/accounts/by-hand/positions").json())

    assert ada.do("POST", "/accounts/by-hand/trades", trade).json()["applied"] is True
    until(lambda: bought() and account(ada, "by-hand")["parents"][0]["state"] == "done", "nothing bought")
    held = float(ada.call("GET", "/accounts/by-hand/positions").json()[0]["quantity"])
    ada.do("POST", "/accounts/by-hand/hedge", {"share_bps": 5_000, "reason": "half of it"})
    until(lambda: float(ada.call("GET", "/accounts/by-hand/positions").json()[0]["quantity"]) < held * 0.6, "no hedge")
    ada.do("POST", "/accounts/by-hand/exit", {"reason": "all of it"})
    until(lambda: not bought(), "no exit")
    nothing = ada.do("POST", "/accounts/by-hand/exit", {"reason": "again"})
    assert (nothing.status_code, nothing.json()["title"]) == (409, "Conflict")
    unknown = ada.do("POST", "/accounts/by-hand/trades", {**trade, "symbol": "DOGE/USD"})
    assert unknown.status_code == 404
    actions = [e["action"] for e in ada.call("GET", "/audit?account=by-hand&limit=500").json()]
    assert {"accounts.create", "trading.override"} <= set(actions)
    assert ada.do("POST", "/accounts/by-hand/archive", {"reason": "done with it"}).status_code == 204
    assert "by-hand" not in [a["id"] for a in ada.call("GET", "/accounts").json()]
    assert [a["id"] for a in ada.call("GET", "/accounts?archived=true").json()] == ["by-hand"]
    assert ada.call("GET", "/accounts/by-hand/fills").json(), "its records stay"


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"id": "company"}, 409, "already"),
        ({"id": "Bad Id"}, 422, "id"),
        ({"instruments": ["kraken:BTC/USD"]}, 404, "no instrument"),
        ({"instruments": []}, 422, "instruments"),
        ({"mode": "live"}, 422, "simulated"),
        ({"strategy": "alchemy"}, 404, "alchemy"),
        ({"strategy": "ema_cross", "params": {"fast": -1}}, 422, "fast"),
        ({"cash": "-5"}, 422, "cash"),
        ({"cash": "1e9"}, 422, "cash"),
        ({"extra": 1}, 422, "extra"),
    ],
)
def test_accounts_that_cannot_be_are_refused(ada: Person, change: dict[str, Any], status: int, said: str) -> None:
    body = {"id": "new-one", "name": "N", "kind": "company", "instruments": ["paper:BTC/USD"], "reason": "a new desk"}
    answer = ada.do("POST", "/accounts", {**body, **change})
    assert answer.status_code == status, answer.text
    assert said in answer.text
    assert ada.call("GET", "/accounts/new-one").status_code == 404


def test_capital_moves_the_base_and_not_the_profit(ada: Person) -> None:
    opened(ada, "flows")
    deposit = {"venue": "paper", "amount": "2500.50", "direction": "deposit", "reason": "from the bank"}
    assert ada.do("POST", "/accounts/flows/capital", deposit).json()["applied"] is True
    until(lambda: account(ada, "flows")["capital"] == "52500.50000000", "not booked")
    now = account(ada, "flows")
    assert (now["nav"], now["realized"], now["unrealized"]) == ("52500.50000000", "0.00000000", "0.00000000")
    assert now["day_start_nav"] == "52500.50000000"
    for bad, status in (
        ({"amount": "60000", "direction": "withdrawal"}, 422),
        ({"amount": "0", "direction": "deposit"}, 422),
        ({"amount": "1", "direction": "deposit", "venue": "kraken"}, 404),
    ):
        answer = ada.do("POST", "/accounts/flows/capital", {**deposit, **bad})
        assert answer.status_code == status, answer.text
    out = ada.do("POST", "/accounts/flows/capital", {**deposit, "amount": "500.50", "direction": "withdrawal"})
    assert out.json()["applied"] is True
    until(lambda: account(ada, "flows")["nav"] == "52000.00000000", "not booked")


def test_what_was_booked_under_a_reference_is_not_booked_again(ada: Person) -> None:
    opened(ada, "references")
    wire = {"venue": "paper", "amount": "25", "direction": "deposit", "reference": "W-9", "reason": "from the bank"}
    assert ada.do("POST", "/accounts/references/capital", wire).json()["applied"] is True
    again = ada.do("POST", "/accounts/references/capital", wire)
    assert (again.status_code, again.json()["title"]) == (409, "Conflict")
    assert "W-9" in again.json()["detail"]
    assert ada.do("POST", "/accounts/references/capital", {**wire, "amount": "26"}).status_code == 200, "its fee, say"
    interest = {"venue": "paper", "asset": "USD", "amount": "0.00012345", "reference": "L-7", "reason": "interest"}
    assert ada.do("POST", "/accounts/references/bookings", interest).json()["applied"] is True
    assert ada.do("POST", "/accounts/references/bookings", interest).status_code == 409
    until(lambda: account(ada, "references")["nav"] == "50051.00012345", "not booked")


@pytest.mark.parametrize(
    ("change", "rule", "remedy"),
    [
        ({"amount": "1e3"}, "body.amount is '1e3': an amount is plain digits", "1000.50"),
        ({"amount": "1,000"}, "body.amount is '1,000': an amount is plain digits", "1000.50"),
        ({"amount": "9" * 200}, "an amount is plain digits", "1000.50"),
        ({"venue": "Kraken"}, "body.venue is 'Kraken': a venue is small letters", "kraken"),
        ({"asset": "usd"}, "body.asset is 'usd': an asset is capital letters", "BNB"),
        ({"reason": "a\x1b[2Jb"}, "body.reason is 'a\\x1b[2Jb': text is one line", "one line"),
        ({"reason": "    "}, "body.reason is '    ': text is one line, not blank", "one line"),
        ({"asset": "NOPE"}, "company has nothing to do with 'NOPE' yet", "--new-asset"),
        ({"value": "5"}, "5 cannot be the value of 1 USD", "leave it out"),
        ({"direction": "withdrawal", "amount": "99999999"}, "cannot be booked as a withdrawal", "than is free: "),
        ({"reference": "W\n5"}, "body.reference is 'W\\n5': text is one line", "one line"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule_and_the_remedy(
    ada: Person, change: dict[str, str], rule: str, remedy: str
) -> None:
    body = {"venue": "paper", "amount": "1", "direction": "deposit", "reason": "from the bank"}
    answer = ada.do("POST", "/accounts/company/capital", {**body, **change})
    told = answer.json()
    assert told["title"] == ("UnknownName" if "asset" in change and change["asset"].isupper() else "InvalidValue")
    assert answer.status_code in (404, 422)
    assert rule in told["detail"]
    assert len(told["detail"]) < 300
    assert remedy in told["remedy"]


def test_large_entries_wait_for_a_person(ada: Person) -> None:
    opened(ada, "reviewed", strategy="vol_target_basket", bar_s=1)
    newest = ada.call("GET", "/accounts/reviewed/settings").json()[0]["version"]
    body = {
        "version": newest,
        "changes": {"review": {"notional": 100 * 10**8, "wait_s": 600}},
        "reason": "look at large ones",
    }
    assert ada.do("PUT", "/accounts/reviewed/settings", body).json()["done"] is True
    held = until(lambda: account(ada, "reviewed")["held"], "nothing waits for review", 90)
    assert float(held[0]["notional"]) >= 100
    number = held[0]["number"]
    path = f"/accounts/reviewed/intents/{number}/decide"
    assert ada.do("POST", path, {"approve": True, "reason": "fine by me"}).json()["applied"] is True
    instrument = held[0]["instrument"]
    until(
        lambda: any(o["instrument"] == instrument for o in ada.call("GET", "/accounts/reviewed/orders").json()),
        "it was not sent",
    )
    again = ada.do("POST", path, {"approve": False, "reason": "changed my mind"})
    assert again.status_code == 409


def test_a_write_that_is_sent_again_is_done_once(ada: Person) -> None:
    opened(ada, "twice")
    path, body = (
        "/accounts/twice/capital",
        {
            "venue": "paper",
            "amount": "10",
            "direction": "deposit",
            "reason": "a slow line",
        },
    )
    first = ada.do("POST", path, body, Idempotency_Key="order-0001")
    again = ada.call("POST", path, body, Idempotency_Key="order-0001")
    assert first.status_code == 200, first.text
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    until(lambda: account(ada, "twice")["capital"] != "50000.00000000", "not booked")
    assert account(ada, "twice")["capital"] == "50010.00000000"
    other = ada.call("POST", path, {**body, "amount": "11"}, Idempotency_Key="order-0001")
    assert other.status_code == 422
    assert "another request" in other.json()["detail"]
    assert ada.call("POST", path, body, Idempotency_Key="x" * 200).status_code == 422


def test_a_trade_is_shown_with_its_orders_and_checks_before_it_is_asked_for(ada: Person) -> None:
    opened(ada, "shown")
    until(lambda: ada.call("GET", "/system").json()["ready"], "no market")
    trade = {"symbol": "BTC/USD", "side": "buy", "amount": "0.1", "reason": "by hand"}
    found = ada.call("POST", "/accounts/shown/trades/preview", trade).json()
    sizes = sum(float(order["size"]) for order in found["orders"])
    assert sizes + sum(float(later["amount"]) for later in found["later"]) == pytest.approx(0.1)
    assert all(order["approved"] for order in found["orders"])
    assert {c["check"] for c in found["orders"][0]["checks"]} >= {"free_balance", "max_position", "kill_switch"}
    assert ada.call("GET", "/accounts/shown/orders").json() == [], "nothing was sent"
    nothing = ada.call("POST", "/accounts/shown/hedge/preview", {"share_bps": 5_000, "reason": "half of it"})
    assert (nothing.status_code, nothing.json()["detail"]) == (409, "shown holds nothing.")
    money = {"venue": "paper", "amount": "10", "direction": "deposit", "reason": "more money"}
    moved = ada.call("POST", "/accounts/shown/capital/preview", money).json()
    assert (moved["capital_before"], moved["capital_after"]) == ("50000.00000000", "50010.00000000")
    assert account(ada, "shown")["capital"] == "50000.00000000"


def outcome(ada: Person, key: str) -> dict[str, Any]:
    """Return what came of a request; an answer is kept a moment after it was sent."""
    found: dict[str, Any] = {}

    def is_known() -> bool:
        found.update(ada.call("GET", f"/outcomes/{key}").json())
        return str(found["state"]) != "working"

    until(is_known, f"what came of {key}")
    return found


def test_what_came_of_a_write_is_told_by_its_key(ada: Person) -> None:
    assert outcome(ada, "never-sent")["state"] == "unknown"
    opened(ada, "asked")
    path, trade = "/accounts/asked/trades", {"symbol": "BTC/USD", "side": "buy", "amount": "0.01", "reason": "by hand"}
    refused = ada.do("POST", path, {**trade, "symbol": "BTC/NOK"}, Idempotency_Key="asked-1")
    assert refused.status_code == 404
    assert outcome(ada, "asked-1")["state"] == "unknown", "nothing was done"
    done = ada.do("POST", path, trade, Idempotency_Key="asked-1")
    found = outcome(ada, "asked-1")
    assert (found["state"], found["status"], json.loads(found["answer"])) == ("done", 200, done.json())
    other = ada.invite("nosy@example.com", {"asked": "trader"})
    assert outcome(other, "asked-1")["state"] == "unknown", "keys are each caller's own"
    seen = other.call("POST", f"{path}/preview", trade, Idempotency_Key="nosy.1")
    assert json.loads(outcome(other, "nosy.1")["answer"]) == seen.json()
    user = next(u["id"] for u in ada.call("GET", "/users").json() if u["email"] == "nosy@example.com")
    roles = {"roles": {"company": "auditor"}, "reason": "another desk"}
    assert ada.do("PUT", f"/users/{user}/roles", roles).status_code == 200
    later = outcome(other, "nosy.1")
    assert (later["state"], later["answer"]) == ("done", ""), "what one might see then is not for whoever may not now"
    for key in ("a/b", "..", "x" * 101):
        assert ada.call("POST", f"{path}/preview", trade, Idempotency_Key=key).status_code == 422, key
    invite = {"email": "once@example.com", "name": "Once", "roles": {"asked": "auditor"}, "reason": "invited once"}
    first = ada.do("POST", "/users", invite, Idempotency_Key="invite-1")
    assert first.status_code == 201
    again = ada.call("POST", "/users", invite, Idempotency_Key="invite-1")
    assert (again.status_code, again.json()["title"]) == (409, "DoneAlready")
    assert outcome(ada, "invite-1") == {"state": "done", "status": 201, "answer": ""}


def test_a_long_answer_is_kept_as_it_is_and_not_as_it_was_packed(ada: Person) -> None:
    opened(ada, "packed")
    path = "/accounts/packed/settings/diff"
    limits = dict.fromkeys(("max_order_notional_bps", "max_position_bps", "max_gross_exposure_bps"), 11)
    limits |= dict.fromkeys(("max_open_orders", "max_orders_per_second", "max_orders_per_minute"), 7)
    limits |= dict.fromkeys(("max_daily_loss_bps", "max_drawdown_bps", "max_daily_fees_bps", "price_collar_bps"), 5)
    exits = {"stop_multiple": 3.5, "take_profit_multiple": 7.5, "trailing_multiple": 5.5, "cool_down_s": 901}
    body = {"version": 0, "changes": {"limits": limits, "exits": exits}, "reason": "a long answer"}
    first = ada.call("POST", path, body, Idempotency_Key="packed-1", Accept_Encoding="gzip")
    assert first.headers.get("content-encoding") == "gzip"
    again = ada.call("POST", path, body, Idempotency_Key="packed-1", Accept_Encoding="identity")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json() == json.loads(outcome(ada, "packed-1")["answer"])


def test_a_sale_whose_answer_was_lost_with_its_process_is_not_sold_again(ada: Person) -> None:
    """Pressed again, "Hedge half" sold three quarters (finding 4)."""
    platform: Platform = ada.platform  # type: ignore[attr-defined]
    opened(ada, "lost")
    until(lambda: ada.call("GET", "/system").json()["ready"], "no market")
    trade = {"symbol": "BTC/USD", "side": "buy", "amount": "0.2", "reason": "by hand"}
    assert ada.do("POST", "/accounts/lost/trades", trade).json()["applied"]
    until(lambda: held(ada, "lost") == 0.2, "not bought")
    body = {"share_bps": 5_000, "reason": "half of it"}
    node, api = platform.pid_of("node"), platform.pid_of("api")
    os.kill(node, signal.SIGSTOP)
    try:
        asking = threading.Thread(target=press, args=(ada, body))
        asking.start()
        until(lambda: acted(platform.data_dir), "not recorded")
        os.kill(api, signal.SIGKILL)
        asking.join()
    finally:
        os.kill(node, signal.SIGCONT)
    platform.wait_for_part("api", other_than=api)
    until(lambda: held(ada, "lost") == 0.1, "half is sold")
    assert ada.call("GET", "/outcomes/half-1").json()["state"] == "working"
    assert press(ada, body) == (409, "StillAtWork")
    on_database(platform.data_dir, "UPDATE idempotency SET created_ns = created_ns - 61000000000 WHERE key = 'half-1'")
    assert outcome(ada, "half-1")["state"] == "interrupted"
    assert press(ada, body) == (409, "Interrupted")
    assert held(ada, "lost") == 0.1, "sold once"


def held(ada: Person, name: str) -> float:
    rows = ada.call("GET", f"/accounts/{name}/positions").json()
    return float(rows[0]["quantity"]) if rows else 0.0


def press(ada: Person, body: dict[str, Any]) -> tuple[int, str]:
    try:
        answer = ada.do("POST", "/accounts/lost/hedge", body, Idempotency_Key="half-1")
    except httpx.HTTPError:
        return (0, "")
    return answer.status_code, answer.json().get("title", "")


def acted(data_dir: Path) -> bool:
    return bool(on_database(data_dir, "SELECT 1 FROM idempotency WHERE key = 'half-1' AND has_acted"))


def on_database(data_dir: Path, statement: str) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(f"postgresql://aether@/postgres?host={data_dir / 'postgresql'}")
        try:
            await connection.execute("SET ROLE aether_control")
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return asyncio.run(run())


def test_settings_show_what_they_would_change_and_go_back(ada: Person) -> None:
    opened(ada, "tuned")
    newest = ada.call("GET", "/accounts/tuned/settings").json()[0]["version"]
    change = {"version": newest, "changes": {"limits": {"max_open_orders": 7}}, "reason": "calmer"}
    told = ada.call("POST", "/accounts/tuned/settings/diff", change).json()
    assert told == {
        "changes": [{"field": "limits.max_open_orders", "before": 50, "after": 7, "loosens": False}],
        "loosens": False,
        "needs_second_person": False,
    }
    assert ada.do("PUT", "/accounts/tuned/settings", change).json()["done"] is True
    wrong = {"limits": {"max_open_orders": "many"}, "reconciliation": {"foreign_orders": "sell"}}
    for part, fields in wrong.items():
        refused = ada.do(
            "PUT", "/accounts/tuned/settings", {"version": 1, "changes": {part: fields}, "reason": "wrong"}
        )
        assert refused.status_code == 422
        assert all(f"{part}.{name}" in refused.json()["detail"] for name in fields), refused.json()
    stale = ada.do("PUT", "/accounts/tuned/settings", change)
    assert (stale.status_code, stale.json()["title"]) == (409, "Conflict")
    back = ada.do("POST", "/accounts/tuned/settings/rollback", {"version": 1, "to": 0, "reason": "as before"})
    assert back.json()["done"] is True
    history = ada.call("GET", "/accounts/tuned/settings").json()
    assert [v["version"] for v in history] == [2, 1, 0]
    assert history[0]["settings"]["limits"]["max_open_orders"] == 50


def test_tokens_of_services_do_what_they_name_until_they_end(ada: Person) -> None:
    made = ada.do("POST", "/tokens", {"name": "stop", "actions": ["kill.engage"], "accounts": ["company"], "days": 1})
    service = Person(ada.url)
    service.http.headers["authorization"] = f"Bearer {made.json()['token']}"
    stop = service.call("POST", "/accounts/company/kill-switch/engage", {"reason": "the watchdog says so"})
    assert stop.json()["applied"] is True
    assert service.call("POST", "/accounts/director-1/kill-switch/engage", {"reason": "more"}).status_code == 404
    assert service.call("GET", "/accounts/company").status_code == 403
    assert service.call("POST", "/accounts/company/kill-switch/release", {"reason": "over"}).status_code == 403
    released = ada.do("POST", "/accounts/company/kill-switch/release", {"reason": "looked at it"})
    assert released.json()["applied"] is True
    assert ada.do("DELETE", f"/tokens/{made.json()['id']}").status_code == 204
    assert service.call("POST", "/accounts/company/kill-switch/engage", {"reason": "again"}).status_code == 401
    bad = ada.do("POST", "/tokens", {"name": "x", "actions": ["kill.release"], "accounts": ["*"], "days": 1})
    assert bad.status_code == 422


def test_what_is_malformed_is_refused_before_it_does_anything(ada: Person) -> None:
    raw = ada.http.post(f"{API}/kill-switch/engage", content=b"{", headers={"content-type": "application/json"})
    assert raw.status_code == 422
    chunks = ada.http.post(f"{API}/kill-switch/engage", content=iter([b"{}"]))
    assert chunks.status_code == 411
    huge = ada.call("POST", "/kill-switch/engage", {"reason": "x" * 70_000})
    assert huge.status_code == 413
    for path in ("/accounts/..%2f..%2fetc", "/accounts/%00", "/accounts/company%0d%0aSet-Cookie:x=1", "/accounts/'--"):
        answer = ada.call("GET", path)
        assert answer.status_code in (404, 422), path
        assert "set-cookie" not in answer.headers
    assert [a["status"] for a in ada.call("GET", "/accounts").json()][:1] == ["trading"]
    replayed = ada.proof("kill.release", "POST", "/kill-switch/release", {"reason": "over now"})
    first = ada.call("POST", "/kill-switch/release", {"reason": "over now"}, X_MFA_Token=replayed)
    assert first.status_code == 200
    again = ada.call("POST", "/kill-switch/release", {"reason": "over now"}, X_MFA_Token=replayed)
    assert (again.status_code, again.json()["title"]) == (403, "ProofRefused")
    told = ada.call("GET", "/audit?limit=20").json()
    assert any(e["action"] == "kill.release" and e["outcome"] == "refused" and "replayed" in e["reason"] for e in told)
