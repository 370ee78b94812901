"""The browser in which the pages are tried. An error in a page's console fails the test that opened it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
DESKTOP, PHONE = (1440, 1000), (390, 844)
SHOTS = os.environ.get("AETHER_TEST_SHOTS", "")
"""A folder to leave pictures of the pages in, for people to look at."""
expect.set_options(timeout=15_000)  # what has to be seen sooner says so itself
UNREACHABLE = ("Failed to load resource", "WebSocket connection to")
"""What the browser itself says of a platform that is not there; all else is the page's fault."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


def watched(page: Page, found: list[str]) -> Page:
    """Note every error of a page."""

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(UNREACHABLE):
            found.append(message.text)

    page.on("console", on_console)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.set_default_timeout(20_000)
    return page


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open pages, each in a browser of its own; none may meet an error."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def opened(address: str = "", *, size: tuple[int, int] = DESKTOP, cookie: str = "", theme: str = "") -> Page:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        contexts.append(context)
        if cookie:
            origin = "/".join(address.split("/")[:3])
            context.add_cookies([{"name": "aether_session", "value": cookie, "url": origin}])
        if theme:
            context.add_init_script(f"localStorage.setItem('aether-theme', '{theme}')")
        page = watched(context.new_page(), errors)
        if address:
            page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def shot(page: Page, name: str) -> None:
    """Leave a picture for people to look at."""
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)
