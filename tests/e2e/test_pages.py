"""Every page: whole for everybody who may see it, in each theme, on a desktop and a phone (U2, U3, U8, U9, U12)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from aether.control.access import ACTIONS, Caller, CallerKind, Role
from aether.store.embedded import EmbeddedServer
from tests.e2e.conftest import DESKTOP, PHONE, OpenPage, shot
from tests.e2e.history import add_fills
from tests.integration.people import Person, first_admin
from tests.integration.platform import Platform, aether, until

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
FETCHED = "performance.getEntriesByType('resource').filter((e) => e.name.includes('/assets/page-'))"
"""The pages that a browser has fetched."""
PAGES = {
    "/": "Overview",
    "/orders": "Orders",
    "/fills": "Fills",
    "/accounts/company": "Company",
    "/accounts/company/settings": "Settings of company",
    "/accounts/new": "New account",
    "/approvals": "Approvals",
    "/keys": "API keys",
    "/people": "People",
    "/audit": "Audit trail",
    "/me": "ada@example.com",
}
CAST = {
    "admin": {"*": "admin"},
    "trader": {"*": "trader"},
    "auditor": {"*": "auditor"},
    "trader of one": {"company": "trader", "director-1": "auditor"},
}


class Desk:
    """A platform on its default market with people of every role."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.ada = first_admin(platform.link())
        self.url = self.ada.url
        until(lambda: len(self.ada.call("GET", "/accounts").json()) == 3, "three accounts")
        self.cast = {"admin": self.ada}
        for name, roles in list(CAST.items())[1:]:
            self.cast[name] = self.ada.invite(f"{name.replace(' ', '-')}@example.com", roles)

    def cookie(self, person: Person) -> str:
        return str(person.http.cookies["aether_session"])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(Platform(tmp_path_factory.mktemp("desk")))
    yield made
    assert made.platform.stop() == 0


def faults(page: Page) -> list[str]:
    """Return what axe finds wrong with a page."""
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate("async () => await axe.run({resultTypes: ['violations']})")
    return [
        f"{v['id']}: {n['target']} {n['failureSummary'][:160]}" for v in found["violations"] for n in v["nodes"][:3]
    ]


def settled(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", level=1, name=name)).to_be_attached()
    expect(page.get_by_text("platform live")).to_be_visible()
    expect(page.get_by_role("status", name="Loading")).to_have_count(0)


@pytest.mark.parametrize(
    ("theme", "size"),
    [("dark", DESKTOP), ("light", DESKTOP), ("contrast", DESKTOP), ("light", PHONE)],
    ids=["dark", "light", "contrast", "phone"],
)
def test_every_page_is_whole_and_readable(desk: Desk, open_page: OpenPage, theme: str, size: tuple[int, int]) -> None:
    page = open_page(desk.url, cookie=desk.cookie(desk.ada), size=size, theme=theme)
    wrong = {}
    for path, name in PAGES.items():
        page.goto(f"{desk.url}{path}")
        settled(page, name)
        assert page.title().endswith("Aether")
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{path} scrolls sideways"
        if found := faults(page):
            wrong[path] = found
        shot(page, f"{theme}-{size[0]}{path.replace('/', '-')}")
    page.get_by_role("button", name="Kill switch").click()
    expect(page.get_by_role("dialog", name="Kill switch")).to_be_visible()
    if found := faults(page):
        wrong["the kill sheet"] = found
    shot(page, f"{theme}-{size[0]}-kill")
    assert wrong == {}


@pytest.mark.parametrize("theme", ["dark", "light", "contrast"])
def test_the_way_in_is_readable(desk: Desk, open_page: OpenPage, theme: str) -> None:
    page = open_page(desk.url, theme=theme)
    expect(page.get_by_role("heading", name="Sign in to Aether")).to_be_visible()
    assert faults(page) == []
    shot(page, f"{theme}-sign-in")


@pytest.mark.parametrize("who", list(CAST))
def test_what_is_drawn_is_what_one_may_do(desk: Desk, open_page: OpenPage, who: str) -> None:
    """A trader of one account was offered to stop and to release all (finding 5)."""
    roles = {account: Role(role) for account, role in CAST[who].items()}
    caller = Caller(kind=CallerKind.PERSON, id="x", name="x", roles=roles)
    seen = [a for a in ("company", "director-1", "director-2") if caller.may(ACTIONS["accounts.read"], a)]
    page = open_page(desk.url, cookie=desk.cookie(desk.cast[who]))
    expect(page.get_by_text("platform live")).to_be_visible()
    expect(page.get_by_role("region", name="Accounts").locator("tbody tr")).to_have_count(len(seen))
    pages = page.get_by_role("navigation", name="Pages")
    for name, action in (("People", "users.read"), ("Audit", "audit.read"), ("API keys", "secrets.status")):
        may = any(caller.may(ACTIONS[action], where) for where in ("*", *roles))
        expect(pages.get_by_role("link", name=name, exact=True)).to_have_count(int(may))
    for account in seen:
        page.goto(f"{desk.url}/accounts/{account}")
        expect(page.get_by_role("region", name="Positions")).to_be_visible()
        for name, action in (("Exit all…", "trading.override"), ("Sell half…", "trading.override")):
            drawn = int(caller.may(ACTIONS[action], account))
            expect(page.get_by_role("button", name=name)).to_have_count(drawn)
        drawn = int(caller.may(ACTIONS["accounts.configure"], account))
        expect(page.get_by_role("link", name="Settings", exact=True)).to_have_count(drawn)
    kill = page.get_by_role("button", name="Kill switch")
    if not any(caller.may(ACTIONS["kill.engage"], a) for a in seen):
        expect(kill).to_have_count(0)
        return
    kill.click()
    sheet = page.get_by_role("dialog", name="Kill switch")
    for account, name in (("company", "Company"), ("director-1", "Director 1"), ("director-2", "Director 2")):
        drawn = int(account in seen and caller.may(ACTIONS["kill.engage"], account))
        expect(sheet.get_by_role("button", name=f"Stop {name}", exact=True)).to_have_count(drawn)
    sheet.get_by_role("button", name="Stop all", exact=True).click()
    mine = [a for a in seen if caller.may(ACTIONS["kill.engage"], a)]
    until(lambda: stopped(desk) == mine, "stopped is what one may stop")
    desk.ada.do("POST", "/kill-switch/release", {"reason": "the drill is over"})
    until(lambda: stopped(desk) == [], "all trade again")


def stopped(desk: Desk) -> list[str]:
    return [a["id"] for a in desk.ada.call("GET", "/accounts").json() if a["status"] == "killed"]


def test_filters_are_in_the_address_and_rows_come_as_one_scrolls(desk: Desk, open_page: OpenPage) -> None:
    """Tables stopped silently at 30 rows (finding 7)."""
    add_fills(desk.platform.data_dir, "director-2", "ETH/USD", 25_000)
    page = open_page(f"{desk.url}/fills?account=director-2&text=made", cookie=desk.cookie(desk.ada))
    rows = page.get_by_role("region", name="Fills").locator("tbody tr[data-row]")
    expect(rows.first).to_be_visible()
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    page.reload()
    expect(rows.first).to_be_visible()
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    page.reload()
    expect(rows.first).to_be_visible()
    expect(page.get_by_text("200 rows, more as you scroll")).to_be_visible()
    scroll = page.get_by_role("group", name="Rows of Fills")
    for _ in range(20):
        scroll.evaluate("(node) => node.scrollTo(0, node.scrollHeight)")
        page.wait_for_timeout(120)
    assert rows.count() < 80, "only what is seen is in the page"
    told = page.get_by_text(re.compile(r"[\d,]+ rows")).inner_text()
    assert int(told.split(" ", maxsplit=1)[0].replace(",", "")) >= 1_000, told
    page.get_by_role("combobox", name=re.compile("^Side")).select_option("sell")
    expect(page).to_have_url(re.compile("side=sell"))
    page.reload()
    expect(page.get_by_role("combobox", name=re.compile("^Side"))).to_have_value("sell")
    page.get_by_role("button", name="Notional").click()
    expect(page).to_have_url(re.compile("sort=-notional"))
    with page.expect_download() as told_file:
        page.get_by_role("button", name="CSV").click()
    lines = Path(told_file.value.path()).read_text().splitlines()
    assert lines[0].startswith("# fills, 12500 rows, account=director-2 side=sell text=made, -notional")
    assert len(lines) == 12_500 + 2


def test_a_theme_is_chosen_and_kept(desk: Desk, open_page: OpenPage) -> None:
    page = open_page(f"{desk.url}/me", cookie=desk.cookie(desk.ada))
    page.get_by_label("Theme").select_option("light")
    page.reload()
    expect(page.get_by_label("Theme")).to_have_value("light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(243, 245, 249)"
    for theme in ("dark", "light"):
        page.get_by_label("Theme").select_option(theme)
        page.get_by_label("Gains and losses").select_option("blue")
        page.reload()
        expect(page.get_by_label("Gains and losses")).to_have_value("blue")
        page.goto(f"{desk.url}/")
        settled(page, "Overview")
        assert faults(page) == []
        page.goto(f"{desk.url}/me")


def test_unknown_pages_and_accounts_say_so(desk: Desk, open_page: OpenPage) -> None:
    page = open_page(f"{desk.url}/accounts/nobody", cookie=desk.cookie(desk.ada))
    expect(page.get_by_text("There is no account “nobody”.")).to_be_visible()
    page.goto(f"{desk.url}/nothing")
    expect(page.get_by_text("There is no such page.")).to_be_visible()
    expect(page.get_by_role("button", name="Kill switch")).to_be_visible()


def test_a_link_works_once_and_the_page_says_when_the_platform_is_gone(
    tmp_path: Path, browser: Browser, open_page: OpenPage
) -> None:
    platform = Platform(tmp_path)
    base = platform.link().split("/#")[0]
    link = aether("link", data_dir=platform.data_dir).stdout.strip()
    page = open_page(base)
    expect(page.get_by_text("Sign in on this machine")).to_be_visible()
    page.goto(link)
    page.reload()
    expect(page.get_by_text("Net asset value, USD")).to_be_visible()
    assert "token" not in page.url
    other = open_page(link)
    expect(other.get_by_text("Sign in on this machine")).to_be_visible()
    until(lambda: page.evaluate(f"{FETCHED}.length") >= 9, "all pages are fetched ahead")
    platform.kill()
    expect(page.get_by_text("no answer")).to_be_visible(timeout=5_000)
    page.get_by_role("link", name="Orders", exact=True).click()
    expect(page.get_by_role("heading", level=1, name="Orders")).to_be_visible()
    expect(page.get_by_role("button", name="Kill switch")).to_be_visible()
    left_behind = EmbeddedServer(tmp_path / "postgresql")
    left_behind.start()
    left_behind.stop()
