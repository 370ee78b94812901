"""Thirty accounts on one page (U2, U12): few requests, no row missing, nothing wider than a phone."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import PHONE, OpenPage, shot
from tests.integration.people import Person, first_admin
from tests.integration.platform import Platform, until

API = "/api/v1"
ACCOUNTS = 30


class Desk:
    """A platform with thirty accounts, of which all but three are traded by hand."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.ada: Person = first_admin(platform.link())
        until(lambda: self.ada.call("GET", "/system").json()["ready"], "the market is there")
        for n in range(4, ACCOUNTS + 1):
            body = {
                "id": f"book-{n}",
                "name": f"Book {n}",
                "kind": "director",
                "mode": "paper",
                "cash": "10000",
                "instruments": ["paper:BTC/USD"],
                "reason": "one of many",
            }
            self.ada.do("POST", "/accounts", body)
        until(lambda: len(self.ada.call("GET", "/accounts").json()) == ACCOUNTS, "thirty accounts")
        self.cookie = str(self.ada.http.cookies["aether_session"])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(Platform(tmp_path_factory.mktemp("desk")))
    yield made
    assert made.platform.stop() == 0


def test_thirty_accounts_load_in_six_requests(desk: Desk, open_page: OpenPage) -> None:
    """126 were made (finding 7)."""
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if API in request.url else None)
    page.context.add_cookies([{"name": "aether_session", "value": desk.cookie, "url": desk.ada.url}])
    page.goto(desk.ada.url)
    expect(page.get_by_role("region", name="Accounts").locator("tbody tr")).to_have_count(ACCOUNTS)
    expect(page.get_by_text("platform live")).to_be_visible()
    expect(page.get_by_role("region", name="Positions").locator("tbody tr").first).to_be_visible()
    expect(page.get_by_text(f"{ACCOUNTS} accounts")).to_be_visible()
    assert len(asked) <= 6, asked
    shot(page, "thirty")


@pytest.mark.parametrize("size", [(1440, 1000), PHONE], ids=["desktop", "phone"])
def test_thirty_accounts_fit_any_screen_and_each_can_be_stopped(
    desk: Desk, open_page: OpenPage, size: tuple[int, int]
) -> None:
    """Tabs of accounts were 3,205 px wide (finding 7)."""
    page = open_page(desk.ada.url, cookie=desk.cookie, size=size)
    expect(page.get_by_role("region", name="Accounts").locator("tbody tr")).to_have_count(ACCOUNTS)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.get_by_role("button", name=re.compile("Kill")).click()
    rows = page.get_by_role("dialog", name="Kill switch").get_by_role("list", name="Accounts").get_by_role("listitem")
    expect(rows).to_have_count(ACCOUNTS)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    name = f"book-{ACCOUNTS}"
    row = rows.filter(has_text=f"Book {ACCOUNTS}")
    row.scroll_into_view_if_needed()
    row.get_by_role("button", name=re.compile("^Stop")).first.click()
    until(lambda: desk.ada.call("GET", f"/accounts/{name}").json()["status"] == "killed", "the last one is stopped")
    shot(page, f"thirty-{size[0]}-kill")
    desk.ada.do("POST", f"/accounts/{name}/kill-switch/release", {"reason": "the drill is over"})
