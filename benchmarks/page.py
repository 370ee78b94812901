"""What a busy page costs the machine of whoever looks at it, in a real browser.

The overview of 30 accounts with 1,000 positions, of which every figure changes four times a second: as often as a page
is told. The platform serves the page and answers it; its live messages are made here, so that nothing else moves. The
baseline of the same run is the same page while only beats come. Then the list of fills, 25,000 rows long, from its
first to its last: the longest piece of work during which the browser answers nobody.
"""

import json
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from statistics import median
from time import perf_counter, time_ns
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page, Route, WebSocketRoute, sync_playwright

from aether.api.live import difference, totals
from benchmarks.running import up

ACCOUNTS, POSITIONS = 30, 34
ROUNDS = 3
PHASE_S = 10.0
EACH_S = 0.25
ROWS, PAGE_ROWS = 25_000, 200
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LONG_TASKS = """
    window.longest = 0;
    new PerformanceObserver((list) => {
        for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
    }).observe({ type: "longtask", buffered: false });
"""


class _Stream:
    """The live messages of a desk."""

    def __init__(self, account: dict[str, Any], position: dict[str, Any], system: dict[str, Any]) -> None:
        self.accounts = {f"a{n}": self._account(account, position, n) for n in range(ACCOUNTS)}
        self._system = system
        self._pages: list[WebSocketRoute] = []
        self._known = self._state(0)
        self._seq = self._beats = self._turn = 0

    def _account(self, account: dict[str, Any], position: dict[str, Any], number: int) -> dict[str, Any]:
        held = [position | {"instrument": f"paper:P{n}/USD", "symbol": f"P{n}/USD"} for n in range(POSITIONS)]
        return account | {"id": f"a{number}", "name": f"Account {number}", "positions": held}

    def take(self, page: WebSocketRoute) -> None:
        """Be the platform for a page."""
        self._pages = [page]
        page.on_message(self._asked)

    def _asked(self, message: str | bytes) -> None:
        if "desk" in json.loads(message).get("subscribe", []):
            self._known = self._state(self._turn)
            self._seq = 1
            self._send("desk", self._seq, "snapshot", self._known)

    def beat(self) -> None:
        """Say that the platform is there."""
        self._beats += 1
        self._send("", self._beats, "beat", {"ages_ms": dict.fromkeys(self.accounts, 100)})

    def change(self) -> None:
        """Change every figure."""
        self._turn += 1
        state = self._state(self._turn)
        self._seq += 1
        self._send("desk", self._seq, "delta", difference(self._known, state))
        self._known = state

    def _state(self, turn: int) -> dict[str, Any]:
        made = deepcopy(self.accounts)
        for account in made.values():
            account["told_ns"] = time_ns()
            account["nav"] = f"{100_000 + turn}.25"
            for n, position in enumerate(account["positions"]):
                position |= {"mark": f"{1_000 + n + turn % 7}.5", "value": f"{5_000 + n + turn}.5"}
                position["unrealized"] = f"{(-1) ** turn * (n + turn)}.25"
        return {"accounts": made, "totals": totals(made.values()), "system": self._system}

    def _send(self, topic: str, seq: int, kind: str, data: object) -> None:
        for page in self._pages:
            page.send(json.dumps({"topic": topic, "seq": seq, "ts_ns": time_ns(), "kind": kind, "data": data}))


def _cpu_s(cdp: CDPSession) -> float:
    """Return the processor time of all pages so far, seconds."""
    return float(
        sum(p["cpuTime"] for p in cdp.send("SystemInfo.getProcessInfo")["processInfo"] if p["type"] == "renderer")
    )


def _share(page: Page, cdp: CDPSession, stream: _Stream, *, is_busy: bool) -> float:
    """Return the share of a core that the page takes for a while."""
    before, began = _cpu_s(cdp), perf_counter()
    turns = 0
    while (now := perf_counter() - began) < PHASE_S:
        if now >= turns * EACH_S:
            if turns % 4 == 0:
                stream.beat()
            if is_busy:
                stream.change()
            turns += 1
        page.wait_for_timeout(20)
    return (_cpu_s(cdp) - before) / (perf_counter() - began)


def _settled(page: Page, stream: _Stream, is_there: Callable[[], bool]) -> None:
    """Wait for a page while beats come."""
    while not is_there():
        stream.beat()
        page.wait_for_timeout(250)


def _positions(browser: Browser, url: str, session: str) -> Iterable[tuple[str, str]]:
    """Measure the overview."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.add_cookies([{"name": "aether_session", "value": session, "url": url}])
    asked = context.request
    held: list[dict[str, Any]] = []
    while not held:
        accounts = asked.get(f"{url}/api/v1/accounts").json()
        held = [p for a in accounts for p in a["positions"]]
    stream = _Stream(accounts[0], held[0], asked.get(f"{url}/api/v1/system").json())
    page = context.new_page()
    page.route_web_socket(re.compile("/stream"), stream.take)
    listed = json.dumps(list(stream.accounts.values()))
    page.route("**/api/v1/accounts", lambda r: r.fulfill(body=listed, content_type="application/json"))
    page.goto(url)
    rows = page.get_by_role("region", name="Positions").locator("tbody tr[data-row]")
    _settled(page, stream, lambda: rows.count() > 0)
    cdp = browser.new_browser_cdp_session()
    shares: dict[bool, list[float]] = {False: [], True: []}
    for is_busy in [False, True] * ROUNDS:
        shares[is_busy].append(_share(page, cdp, stream, is_busy=is_busy))
    quiet, busy = median(shares[False]), median(shares[True])
    context.close()
    yield "page: 1,020 positions, every figure 4 times a second: share of a core", f"{busy:.0%} ({quiet:.0%} at rest)"


def _fills(browser: Browser, url: str, session: str) -> Iterable[tuple[str, str]]:
    """Measure the list of fills from its first row to its last."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.add_cookies([{"name": "aether_session", "value": session, "url": url}])
    fill: dict[str, Any] = {}
    while not fill:
        rows = context.request.get(f"{url}/api/v1/fills?limit=1").json()["rows"]
        fill = rows[0] if rows else {}

    def answer(route: Route) -> None:
        given = re.search(r"cursor=(\d+)", route.request.url)
        begin = int(given[1]) if given else 0
        rows = [fill | {"trade_id": f"t{begin + n}", "notional": f"{begin + n}.5"} for n in range(PAGE_ROWS)]
        end = begin + PAGE_ROWS
        body = {"rows": rows, "next": str(end) if end < ROWS else None}
        route.fulfill(body=json.dumps(body), content_type="application/json")

    page = context.new_page()
    page.route("**/api/v1/fills*", answer)
    page.add_init_script(LONG_TASKS)
    page.goto(f"{url}/fills")
    page.get_by_text(f"{PAGE_ROWS} rows").wait_for()
    page.evaluate("window.longest = 0")
    scroll = page.get_by_role("group", name="Rows of Fills")
    told = ""
    began = perf_counter()
    while told != f"{ROWS:,}" and perf_counter() - began < 300:
        scroll.evaluate("(node) => node.scrollTo(0, node.scrollHeight)")
        page.wait_for_timeout(60)
        told = page.get_by_text(re.compile(r"^[\d,]+ rows")).inner_text().split(" ")[0]
    longest = page.evaluate("window.longest")
    drawn = page.get_by_role("region", name="Fills").locator("tbody tr[data-row]").count()
    context.close()
    work = f"{longest:.0f} ms" if longest else "none above 50 ms"  # a browser tells of no shorter one
    yield f"page: {told} fills scrolled through: longest piece of work", f"{work}; {drawn} rows drawn"


def run() -> Iterable[tuple[str, str]]:
    """Yield each figure with its name."""
    with tempfile.TemporaryDirectory() as folder:
        process, url, secret = up(Path(folder) / "data")
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                context = browser.new_context()
                signed_in = context.request.post(f"{url}/api/v1/session/token", data={"token": secret})
                assert signed_in.ok
                session = next(str(c.get("value")) for c in context.cookies(url) if c.get("name") == "aether_session")
                yield from _positions(browser, url, session)
                yield from _fills(browser, url, session)
                browser.close()
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(120)


if __name__ == "__main__":
    for figure in run():
        print(*figure, sep=": ")
