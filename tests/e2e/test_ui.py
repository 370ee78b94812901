"""The UI in a real browser: what a person sees and can do (U2, U3, U12)."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from aether.store.embedded import EmbeddedServer
from tests.integration.platform import Platform, aether


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform on its synthetic market."""
    made = Platform(tmp_path_factory.mktemp("desk"))
    made.first_link = made.link()  # type: ignore[attr-defined]
    yield made
    made.stop()


@pytest.fixture(scope="module")
def page(platform: Platform, browser: Browser) -> Iterator[Page]:
    """A signed-in page that fails the test on any error in the browser."""
    made = browser.new_page(viewport={"width": 1480, "height": 1100})
    errors: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    made.goto(platform.first_link)  # type: ignore[attr-defined]
    yield made
    assert errors == []


def test_the_overview_shows_the_desk(page: Page) -> None:
    expect(page.get_by_role("table").first).to_be_visible(timeout=20_000)
    assert "token" not in page.url
    for text in ("Net asset value, USD", "PAPER", "Company", "Director 1", "Director 2"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    expect(page.get_by_role("status", name=re.compile("Healthy")).or_(page.get_by_text("Healthy"))).to_be_visible(
        timeout=30_000
    )
    positions = page.get_by_role("region", name="Positions")
    expect(positions.get_by_text("BTC/USD").first).to_be_visible(timeout=30_000)


def test_values_move_by_themselves(page: Page) -> None:
    nav = page.locator(".stat b").first
    before = nav.inner_text()
    expect(nav).not_to_have_text(before, timeout=20_000)


def test_an_account_page_shows_its_orders_and_market(page: Page) -> None:
    page.get_by_role("link", name="Director 1").first.click()
    expect(page.get_by_role("heading", name="Director 1")).to_be_visible()
    orders = page.get_by_role("region", name="Orders")
    expect(orders.locator("tbody tr").first).to_be_visible(timeout=30_000)
    page.get_by_role("tab", name="SOL/USD").click()
    expect(page.get_by_role("img", name="Price of paper:SOL/USD")).to_be_visible(timeout=30_000)


def test_the_kill_switch_asks_stops_and_releases(page: Page) -> None:
    page.get_by_role("button", name="Kill switch").click()
    dialog = page.get_by_role("dialog")
    stop = dialog.get_by_role("button", name="Stop trading")
    expect(stop).to_be_disabled()
    dialog.get_by_label("Reason").fill("browser drill")
    stop.click()
    expect(page.get_by_role("button", name="Killed: 3 of 3")).to_be_visible(timeout=15_000)
    expect(page.get_by_text("browser drill").first).to_be_visible()
    page.get_by_role("button", name="Killed: 3 of 3").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("drill over")
    page.get_by_role("dialog").get_by_role("button", name="Release").click()
    expect(page.get_by_role("button", name="Kill switch")).to_be_visible(timeout=15_000)


def test_unknown_pages_and_accounts_say_so(page: Page, platform: Platform) -> None:
    base = platform.first_link.split("/#")[0]  # type: ignore[attr-defined]
    page.goto(f"{base}/accounts/nobody")
    expect(page.get_by_text("There is no account “nobody”.")).to_be_visible()
    page.goto(f"{base}/nothing")
    expect(page.get_by_text("There is no such page.")).to_be_visible()


def test_a_stranger_is_told_how_to_sign_in_and_a_link_works_once(platform: Platform, browser: Browser) -> None:
    base = platform.first_link.split("/#")[0]  # type: ignore[attr-defined]
    link = aether("link", data_dir=platform.data_dir).stdout.strip()
    stranger = browser.new_context().new_page()
    stranger.goto(base)
    expect(stranger.get_by_text("Sign in on this machine")).to_be_visible(timeout=15_000)
    stranger.goto(link)
    stranger.reload()
    expect(stranger.get_by_text("Net asset value, USD")).to_be_visible(timeout=15_000)
    other = browser.new_context().new_page()
    other.goto(link)
    expect(other.get_by_text("Sign in on this machine")).to_be_visible(timeout=15_000)


def test_the_page_says_when_the_platform_is_gone(tmp_path: Path, browser: Browser) -> None:
    platform = Platform(tmp_path)
    page = browser.new_context().new_page()
    page.goto(platform.link())
    expect(page.get_by_text("Net asset value, USD")).to_be_visible(timeout=20_000)
    platform.kill()
    expect(page.get_by_text("Offline")).to_be_visible(timeout=20_000)
    left_behind = EmbeddedServer(tmp_path / "postgresql")
    left_behind.start()
    left_behind.stop()
