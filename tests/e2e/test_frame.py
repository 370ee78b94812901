"""What the page says while the platform is stopped, cut, broken or busy, and what it does then (U2, U12, R4)."""

import json
import os
import re
import signal
from collections.abc import Iterator
from time import time_ns
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, WebSocketRoute, expect

from tests.e2e.conftest import PHONE, OpenPage, shot
from tests.e2e.history import add_fills
from tests.integration.platform import Platform, until

API = "/api/v1"


class Desk:
    """A platform on its default market, and who rules its machine."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.url, _, token = platform.link().partition("/#token=")
        self.http = httpx.Client(base_url=self.url, timeout=20)
        assert self.http.post(f"{API}/session/token", json={"token": token}).status_code == 204
        self.cookie = self.http.cookies["aether_session"]

    def account(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{API}/accounts/{name}").json()
        return found

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.http.post(f"{API}{path}", json=body)

    def buy(self, name: str, symbol: str, amount: str) -> None:
        """Buy by hand, and wait until it is there; strategies of the account are kept from trading meanwhile."""
        until(lambda: self.http.get(f"{API}/system").json()["ready"], "the market is there")
        body = {"symbol": symbol, "side": "buy", "amount": amount, "reason": "for a test"}
        assert self.post(f"/accounts/{name}/trades", **body).status_code == 200
        until(lambda: self.parent_done(name), "bought")

    def parent_done(self, name: str) -> bool:
        return any(p["state"] == "done" and p["side"] == "buy" for p in self.account(name)["parents"])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(Platform(tmp_path_factory.mktemp("desk")))
    yield made
    made.http.close()
    assert made.platform.stop() == 0


@pytest.fixture
def page(desk: Desk, open_page: OpenPage) -> Page:
    """The overview, with live values."""
    made = open_page(desk.url, cookie=desk.cookie)
    expect(made.get_by_text("platform live")).to_be_visible()
    expect(made.get_by_role("region", name="Accounts").locator("tbody tr")).to_have_count(3)
    return made


def sheet(page: Page) -> Locator:
    """Open the kill sheet."""
    page.get_by_role("button", name=re.compile("Kill")).click()
    found = page.get_by_role("dialog", name="Kill switch")
    expect(found).to_be_visible()
    return found


def row(found: Locator, account: str) -> Locator:
    return found.get_by_role("list", name="Accounts").get_by_role("listitem", name=account, exact=True)


def test_one_killed_account_leaves_the_others_to_be_stopped(desk: Desk, page: Page) -> None:
    """With one of three killed the button could only release, and preselected all (finding 1)."""
    found = sheet(page)
    expect(found.get_by_role("button", name="Stop all", exact=True)).to_be_focused()
    found.get_by_role("button", name="Stop Company", exact=True).click()
    expect(row(found, "company").get_by_text("nothing is left open at the venues")).to_be_visible()
    expect(row(found, "company").get_by_text("killed", exact=True)).to_be_visible()
    expect(row(found, "director-1").get_by_text("killed", exact=True)).to_have_count(0)
    shot(page, "kill-one")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Killed: 1 of 3")).to_be_visible()
    page.keyboard.press("Control+Shift+X")
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("All accounts: stopped: .*nothing is left open"))).to_be_visible()
    expect(page.get_by_role("button", name="Killed: 3 of 3")).to_be_visible()
    assert {desk.account(a)["status"] for a in ("company", "director-1", "director-2")} == {"killed"}
    found = page.get_by_role("dialog", name="Kill switch")
    release(found, "company", "Company")
    expect(row(found, "company").get_by_text("killed", exact=True)).to_have_count(0)
    expect(row(found, "director-1").get_by_text("killed", exact=True)).to_be_visible()
    release(found, "director-1", "Director 1")
    release(found, "director-2", "Director 2")
    expect(page.get_by_role("button", name="Kill switch", exact=True)).to_be_visible()


def release(found: Locator, account: str, name: str) -> None:
    """Let an account trade again: its name is typed, and Enter does nothing."""
    line = row(found, account)
    line.get_by_role("button", name=f"Release {name}").click()
    group = line.get_by_role("group", name=f"Release of {name}")
    button = group.get_by_role("button", name=f"Release {name}")
    expect(button).to_be_disabled()
    group.get_by_label(f"Type “{name}”").fill(name)
    group.get_by_label("Why may it trade again?").fill("the drill is over")
    group.get_by_label("Why may it trade again?").press("Enter")
    expect(line.get_by_text("killed", exact=True)).to_be_visible()
    button.click()
    expect(group).to_be_hidden()


def test_a_critical_alert_is_above_every_page_until_it_is_seen(desk: Desk, page: Page) -> None:
    desk.post("/accounts/director-2/kill-switch/engage", reason="the alert drill")
    told = page.get_by_role("status", name="Critical alerts")
    expect(told).to_contain_text("Director 2")
    expect(told).to_contain_text("the alert drill")
    page.get_by_role("link", name="Orders", exact=True).click()
    expect(told).to_be_visible()
    bell = page.locator(".bell")
    expect(bell.locator(".count")).to_be_visible()
    bell.locator("summary").click()
    expect(bell.get_by_role("list", name="Alerts").get_by_role("listitem").first).to_contain_text("the alert drill")
    shot(page, "alerts")
    told.get_by_role("button", name="Seen").click()
    expect(told).to_have_count(0)
    expect(bell.locator(".count")).to_have_count(0)
    page.reload()
    expect(page.get_by_text("platform live")).to_be_visible()
    expect(bell).to_be_visible()
    expect(told).to_have_count(0)
    desk.post("/accounts/director-2/kill-switch/release", reason="the drill is over")


def test_one_venue_is_stopped_and_released_account_by_account(desk: Desk, page: Page) -> None:
    found = sheet(page)
    venue = found.get_by_role("list", name="Venues").get_by_role("listitem", name="paper", exact=True)
    venue.get_by_role("button", name="Stop paper").click()
    expect(venue.get_by_text("stopped for company, director-1, director-2")).to_be_visible()
    expect(venue.get_by_text("stopped for 3 of 3")).to_be_visible()
    shot(page, "kill-venue")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Kill switch: paper stopped")).to_be_visible()
    overview = page.get_by_role("region", name="Accounts")
    expect(overview.get_by_text("paper stopped")).to_have_count(3)
    overview.get_by_role("link", name="Company").click()
    banner = page.get_by_role("alert").filter(has_text="paper stopped")
    expect(banner).to_contain_text("stopped from the desk")
    page.get_by_role("link", name="Overview").click()
    found = sheet(page)
    for account in ("company", "director-1", "director-2"):
        told = desk.account(account)
        assert told["status"] == "trading", "the accounts themselves go on"
        assert [s["reason"] for v in told["venues"] for s in v["stop"]] == ["stopped from the desk"]
    body = {"symbol": "BTC/USD", "side": "buy", "amount": "0.01", "reason": "for a test"}
    shown = desk.post("/accounts/company/trades/preview", **body).json()
    assert shown["orders"] == [], "nothing goes there"
    for account, name in (("company", "Company"), ("director-1", "Director 1"), ("director-2", "Director 2")):
        venue.get_by_role("button", name=f"Release paper for {name}").click()
        group = venue.get_by_role("group", name=f"Release of {name}")
        group.get_by_label(f"Type “{name}”").fill(name)
        group.get_by_label("Why may it trade again?").fill("the venue is well")
        group.get_by_role("button", name=f"Release {name}").click()
        expect(group).to_be_hidden()
        until(lambda of=account: [s for v in desk.account(of)["venues"] for s in v["stop"]] == [], "released")  # type: ignore[misc]


def test_a_platform_that_is_stopped_is_seen_within_three_seconds(desk: Desk, page: Page) -> None:
    """The page said "Healthy" with a frozen worth for as long as one watched (finding 2)."""
    nav = page.locator(".stat b").first
    assert "line-through" not in decoration(nav)
    found = sheet(page)
    os.killpg(desk.platform.pid, signal.SIGSTOP)
    try:
        expect(page.get_by_text("no answer for")).to_be_visible(timeout=4_500)
        assert "line-through" in decoration(nav), "amounts are marked"
        assert "line-through" in decoration(row(found, "company").locator(".state")), "and what accounts did then"
        found.get_by_role("button", name="Stop all", exact=True).click()
        expect(found.get_by_text(re.compile("asked for, not confirmed"))).to_be_visible(timeout=7_500)
        expect(found.get_by_text(f"aether kill engage --data-dir {desk.platform.data_dir} --reason")).to_be_visible()
        shot(page, "stopped")
        page.keyboard.press("Escape")
        shot(page, "stopped-overview")
    finally:
        os.killpg(desk.platform.pid, signal.SIGCONT)
    expect(page.get_by_text("platform live")).to_be_visible(timeout=15_000)
    assert "line-through" not in decoration(nav)
    until(lambda: desk.account("company")["status"] == "killed", "the stop was kept by the socket and is carried out")
    desk.post("/kill-switch/release", reason="the drill is over")


def decoration(of: Locator) -> str:
    return str(of.evaluate("(node) => getComputedStyle(node).textDecorationLine"))


def test_one_bad_row_fails_alone(desk: Desk, open_page: OpenPage) -> None:
    """One null in one answer blanked the whole page, kill switch included (finding 3)."""
    page = open_page()

    def spoil(to: WebSocketRoute) -> None:
        server = to.connect_to_server()

        def passed(message: str | bytes) -> None:
            told = json.loads(message)
            if told["topic"] == "desk" and "company" in told["data"].get("accounts", {}):
                told["data"]["accounts"]["company"] |= {"positions": 5, "stops": 5}
            to.send(json.dumps(told))

        server.on_message(passed)
        to.on_message(server.send)

    page.route_web_socket(re.compile("/stream"), spoil)
    page.context.add_cookies([{"name": "aether_session", "value": desk.cookie, "url": desk.url}])
    page.goto(f"{desk.url}/")
    broken = page.get_by_role("alert", name=re.compile("cannot be shown"))
    expect(broken.first).to_be_visible()
    found = sheet(page)
    expect(found.get_by_text("its state cannot be shown")).to_be_visible()
    row(found, "company").get_by_role("button", name="Stop").click()
    until(lambda: desk.account("company")["status"] == "killed", "the kill switch works")
    shot(page, "bad-row")
    desk.post("/accounts/company/kill-switch/release", reason="the drill is over")


def test_garbage_is_counted_and_a_lost_message_is_asked_for(desk: Desk, open_page: OpenPage) -> None:
    page = open_page()
    seen = {"deltas": 0, "snapshots": 0}

    def spoil(to: WebSocketRoute) -> None:
        server = to.connect_to_server()

        def passed(message: str | bytes) -> None:
            told = json.loads(message)
            seen["snapshots"] += told["kind"] == "snapshot" and told["topic"] == "desk"
            if told["kind"] == "delta" and told["topic"] == "desk":
                seen["deltas"] += 1
                if seen["deltas"] == 3:
                    to.send("{garbage")
                    to.send(json.dumps({"topic": "desk", "seq": "x"}))
                    return
            to.send(message)

        server.on_message(passed)
        to.on_message(server.send)

    page.route_web_socket(re.compile("/stream"), spoil)
    page.context.add_cookies([{"name": "aether_session", "value": desk.cookie, "url": desk.url}])
    page.goto(f"{desk.url}/")
    page.locator(".ages:not(.bell) summary").click()
    expect(page.get_by_text("2 messages were not understood")).to_be_visible()
    for _ in range(100):
        page.wait_for_timeout(100)
        if seen["snapshots"] >= 2:
            break
    assert seen["snapshots"] >= 2, "the whole state was asked for again"
    expect(page.get_by_text("platform live")).to_be_visible()
    nav = page.locator(".stat b").first
    expect(nav).not_to_have_text(nav.inner_text(), timeout=20_000)


def test_a_sale_whose_answer_is_lost_is_pressed_again_and_sold_once(desk: Desk, open_page: OpenPage) -> None:
    """ "Hedge half" pressed again sold three quarters (finding 4)."""
    desk.buy("director-2", "ETH/USD", "2")
    page = open_page(f"{desk.url}/accounts/director-2", cookie=desk.cookie)
    lost: list[str] = []

    def lose(route: Route) -> None:
        lost.append(route.request.headers["idempotency-key"])
        if len(lost) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route("**/hedge", lose)
    page.route("**/outcomes/*", lambda route: route.abort())
    before = len(desk.account("director-2")["parents"])
    page.get_by_role("button", name="Sell half…").click()
    dialog = page.get_by_role("dialog", name=re.compile("Sell half"))
    expect(dialog.get_by_text("checks pass").first).to_be_visible()
    shot(page, "hedge")
    dialog.get_by_label("Reason").fill("half of it")
    dialog.get_by_role("button", name="Sell half").click()
    expect(dialog.get_by_text("asking whether it was done")).to_be_visible()
    expect(dialog.get_by_text("It is not known whether this was done")).to_be_visible(timeout=40_000)
    sold = [p for p in desk.account("director-2")["parents"] if p["side"] == "sell"]
    dialog.get_by_role("button", name="Sell half").click()
    expect(dialog.get_by_text("It was taken")).to_be_visible()
    assert lost[0] == lost[1], "the same key"
    after = desk.account("director-2")["parents"]
    assert [p["id"] for p in after if p["side"] == "sell"] == [p["id"] for p in sold], "sold once"
    assert len(after) > before


def test_a_lost_answer_is_asked_for_by_its_key(desk: Desk, open_page: OpenPage) -> None:
    desk.buy("director-1", "BTC/USD", "0.05")
    page = open_page(f"{desk.url}/accounts/director-1", cookie=desk.cookie)

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/exit", lose)
    page.get_by_role("button", name="Exit all…").click()
    dialog = page.get_by_role("dialog", name=re.compile("Sell every"))
    expect(dialog.get_by_text("checks pass").first).to_be_visible()
    dialog.get_by_label("Reason").fill("out of it")
    dialog.get_by_role("button", name="Sell everything").click()
    expect(dialog.get_by_text("It was taken")).to_be_visible()


def test_what_is_shown_moves_together(page: Page) -> None:
    """Marks and unrealized P&L stood still beside a worth that moved (finding 1)."""
    positions = page.get_by_role("region", name="Positions")
    expect(positions.locator("tbody tr").first).to_be_visible()
    before = positions.inner_text()
    expect(positions).not_to_have_text(before, timeout=20_000)


def test_a_network_that_is_cut_and_comes_back(desk: Desk, page: Page) -> None:
    page.context.set_offline(True)
    page.evaluate("() => undefined")
    desk_frozen = page.get_by_text(re.compile("no answer"))
    os.killpg(desk.platform.pid, signal.SIGSTOP)
    try:
        expect(desk_frozen).to_be_visible(timeout=5_000)
    finally:
        os.killpg(desk.platform.pid, signal.SIGCONT)
        page.context.set_offline(False)
    expect(page.get_by_text("platform live")).to_be_visible(timeout=20_000)


def test_answers_that_fail_say_so_and_leave_the_rest(desk: Desk, open_page: OpenPage) -> None:
    page = open_page()
    page.route("**/api/v1/equity*", lambda route: route.fulfill(status=503, json={"detail": "The database is away."}))
    page.route("**/api/v1/fills*", lambda route: route.fulfill(status=200, body="<html>", content_type="text/html"))
    page.context.add_cookies([{"name": "aether_session", "value": desk.cookie, "url": desk.url}])
    page.goto(f"{desk.url}/")
    expect(page.get_by_text("The database is away.")).to_be_visible()
    expect(page.get_by_role("region", name="Accounts").locator("tbody tr")).to_have_count(3)
    expect(page.get_by_role("button", name="Kill switch")).to_be_visible()


def test_three_accounts_load_in_few_requests(desk: Desk, open_page: OpenPage) -> None:
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if API in request.url else None)
    page.context.add_cookies([{"name": "aether_session", "value": desk.cookie, "url": desk.url}])
    page.goto(f"{desk.url}/")
    expect(page.get_by_role("region", name="Positions").locator("tbody tr").first).to_be_visible()
    assert len(asked) <= 6, asked


def test_a_thousand_fills_are_no_thousand_requests(desk: Desk, open_page: OpenPage) -> None:
    """A hundred messages made 701 requests (finding 6)."""
    page = open_page(f"{desk.url}/accounts/director-1", cookie=desk.cookie)
    fills = page.get_by_role("region", name="Fills")
    expect(fills.locator("tbody tr").first).to_be_visible()
    expect(page.get_by_role("region", name="Balances").locator("tbody tr").first).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if API in request.url else None)
    body = {"symbol": "SOL/USD", "side": "buy", "amount": "0.1", "reason": "for a test"}
    for second in range(10):
        add_fills(
            desk.platform.data_dir,
            "director-1",
            "SOL/USD",
            100,
            first=1 + 100 * second,
            from_ns=time_ns(),
            seq=10_000_000 + second,
        )
        assert desk.post("/accounts/director-1/trades", **body, slices=2 + second).status_code == 200
        page.wait_for_timeout(1_000)
    assert len(asked) <= 10, asked

    def shows_the_last() -> bool:
        newest = desk.http.get(f"{API}/accounts/director-1/fills?limit=1").json()[0]
        shown = fills.locator("tbody tr").first.inner_text()
        return newest["order_id"] == "made-1000" and "3,000.00" in shown

    until(shows_the_last, "the last state is the API's")
    expect(fills.locator("tbody tr")).to_have_count(50)


def test_a_phone_shows_cards_and_never_scrolls_sideways(desk: Desk, open_page: OpenPage) -> None:
    page = open_page(desk.url, size=PHONE, cookie=desk.cookie)
    for path in ("/", "/orders", "/fills", "/accounts/company"):
        page.goto(f"{desk.url}{path}")
        expect(page.get_by_role("button", name=re.compile("Kill"))).to_be_visible()
        expect(page.locator("tbody tr").first).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, path
        shot(page, f"phone{path.replace('/', '-')}")
    found = sheet(page)
    expect(found.get_by_role("button", name="Stop all", exact=True)).to_be_visible()
    shot(page, "phone-kill")
