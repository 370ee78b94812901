"""Runs the drill: `python -m tests.drill --minutes 30 --seed 1`.

At least 50 orders work at three venues while parts are killed, frozen, cut and filled. Afterwards every execution of
the venues stands in the books exactly once, no order was placed twice, and the books hold what the venues hold. Kills
in between, engaged while a part is away, end with the venues' lists empty within 15 s of its return.
"""

import argparse
import contextlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from aether.domain.scaled import parse_amount
from tests.drill.parts import DatabasePart, DrillError, ExchangePart, PlatformPart, until

ACCOUNTS = ["company.exchange", "director-1.exchange", "director-2.exchange"]
TRADED = ("BTC/USD", "ETH/USD")
AT_WORK = 50
TRADED_AT_ONCE = 8
GONE_WITHIN_S = 15.0
DISK = "400m"
RATES = {"lose_response": 0.05, "slow_response": 0.05, "lose_request": 0.03, "slow_request": 0.05, "disconnect": 0.002}


class Drill:
    """One run."""

    def __init__(self, folder: Path, disk: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.database = DatabasePart(disk)
        self.database.start()
        self.exchange = ExchangePart(folder, free_ports(4))
        self.exchange.start()
        self.platform = PlatformPart(folder, self.exchange, self.database)
        self.platform.start()
        self.began = time.monotonic()
        self.happened: Counter[str] = Counter()
        self.gone_s: list[float] = []
        self.most = 0
        self.refused: Counter[str] = Counter()
        self.untraded: set[tuple[str, str]] = set()
        self.executions: Counter[str] = Counter()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)  # noqa: T201

    # Work.

    def work(self) -> None:
        """Keep orders at work: small buys a little below the market, in sizes that differ."""
        missing = AT_WORK + 10 - self.exchange.open_orders(ACCOUNTS)
        prices = self._prices()
        for _ in range(max(0, min(missing, 30))):
            account = self.random.choice(ACCOUNTS)
            symbol = self.random.choice(list(prices))
            price = prices[symbol] * (1 - self.random.uniform(0.0002, 0.004))
            amount = self.random.uniform(60, 120) / price
            body = {
                "symbol": symbol,
                "side": "buy",
                "amount": f"{amount:.5f}",
                "algorithm": "iceberg",
                "limit_price": f"{price:.2f}" if price > 10 else f"{price:.4f}",
                "display": f"{amount:.5f}",
                "reason": "the drill",
            }
            self._ask(account, symbol, body)
        for _ in range(TRADED_AT_ONCE):
            account, symbol = self.random.choice(ACCOUNTS), self.random.choice(list(prices))
            side = self.random.choice(("buy", "buy", "sell"))
            amount = self.random.uniform(60, 400) / prices[symbol]
            body = {
                "symbol": symbol,
                "side": side,
                "amount": f"{amount:.5f}",
                "algorithm": "route",
                "reason": "the drill",
            }
            self._ask(account, symbol, body)
        self.most = max(self.most, self.exchange.open_orders(ACCOUNTS))

    def _ask(self, account: str, symbol: str, body: dict[str, Any]) -> None:
        if (account, symbol) in self.untraded:
            return
        told = self.platform.ask(f"/accounts/{account}/trades", body)
        if "failed" not in told:
            return
        reason = told["failed"]["title"] if isinstance(told["failed"], dict) else told["failed"].split(":")[0]
        if reason == "UnknownName":
            self.untraded.add((account, symbol))
        else:
            self.refused[str(reason)] += 1

    def _prices(self) -> dict[str, float]:
        for account in self.platform.accounts():
            every = {p["symbol"]: float(p["mark"]) for p in account["positions"] if p["mark_ns"]}
            marks = {symbol: price for symbol, price in every.items() if symbol in TRADED}
            if marks:
                return marks
        return {"BTC/USD": 64_000.0, "ETH/USD": 2_650.0}

    # What goes wrong.

    def faults(self) -> list[Callable[[], None]]:
        return [
            self.platform_killed,
            self.platform_frozen,
            self.database_killed,
            self.backend_killed,
            self.database_frozen,
            self.disk_full,
            self.exchange_killed,
            self.exchange_frozen,
            self.sockets_cut,
            self.answers_lost,
            self.killed_without_database,
            self.killed_without_exchange,
            self.killed_during_a_restart,
        ]

    def platform_killed(self) -> None:
        self.platform.kill()
        self.platform.start()

    def platform_frozen(self) -> None:
        self.platform.freeze()
        time.sleep(self.random.uniform(2, 8))
        self.platform.thaw()

    def database_killed(self) -> None:
        self.database.kill_all()
        time.sleep(self.random.uniform(1, 5))
        self.database.ensure_running()

    def backend_killed(self) -> None:
        self.database.kill_one(self.random.choice)

    def database_frozen(self) -> None:
        self.database.signal(signal.SIGSTOP)
        is_long = self.happened["database_frozen"] % 4 == 3
        time.sleep(40 if is_long else self.random.uniform(2, 12))
        self.database.signal(signal.SIGCONT)

    def disk_full(self) -> None:
        ballast = self.database.fill()
        time.sleep(self.random.uniform(3, 8))
        ballast.unlink()
        self.database.ensure_running()

    def exchange_killed(self) -> None:
        self.exchange.kill()
        time.sleep(self.random.uniform(1, 6))
        self.exchange.start()

    def exchange_frozen(self) -> None:
        self.exchange.freeze()
        time.sleep(self.random.uniform(2, 12))
        self.exchange.thaw()

    def sockets_cut(self) -> None:
        self.exchange.cut()

    def answers_lost(self) -> None:
        self.exchange.trouble(rates=RATES, slow_s=1.5)
        self.work()
        time.sleep(self.random.uniform(3, 6))
        self.exchange.trouble()

    # Kills.

    def killed_without_database(self) -> None:
        """The kill works while the database is frozen; it is journaled once that is back."""
        self.database.signal(signal.SIGSTOP)
        try:
            engaged = self._begin_kill()
            self._see_gone()
            self._told(engaged)
        finally:
            self.database.signal(signal.SIGCONT)
        self._release()

    def killed_without_exchange(self) -> None:
        self.exchange.freeze()
        engaged = self._begin_kill()
        time.sleep(self.random.uniform(5, 13))
        self.exchange.thaw()
        self._see_gone()
        self._told(engaged)
        self._release()

    def killed_during_a_restart(self) -> None:
        self.platform.kill()
        self.platform.command("kill", "engage", "--reason", "the drill")
        self.platform.start()
        self._see_gone()
        self._release()

    def _begin_kill(self) -> subprocess.Popen[str]:
        arguments = ["kill", "engage", "--reason", "the drill", "--data-dir", str(self.platform.data_dir)]
        command = [sys.executable, "-m", "aether.cli", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.platform.env)

    def _told(self, engaged: subprocess.Popen[str]) -> None:
        """See that whoever waited was told."""
        said = engaged.communicate(timeout=60)[0]
        if engaged.returncode or not all(account in said for account in ACCOUNTS):
            raise DrillError(f"the kill said: {said}")

    def _see_gone(self) -> None:
        """See that no order is open; from now on all parts are well again."""
        started = time.monotonic()
        until(lambda: self.exchange.open_orders(ACCOUNTS) == 0, "a venue without open orders", GONE_WITHIN_S)
        self.gone_s.append(time.monotonic() - started)

    def _all_killed(self) -> bool:
        found = self.platform.accounts()
        return bool(found) and all(a["status"] == "killed" for a in found)

    def _release(self) -> None:
        def released() -> bool:
            told = self.platform.ask("/kill-switch/release", {"reason": "the drill goes on"})
            return bool(told.get("applied"))

        until(self._all_killed, "the kill in every journal")
        until(released, "the release")

    # The run.

    def run(self, minutes: float) -> None:
        self.work()
        until(self._topped_up, f"{AT_WORK} orders at work", 120)
        self.say(f"{self.most} orders at work")
        pending: list[Callable[[], None]] = []
        while time.monotonic() - self.began < minutes * 60 or pending:
            if not pending:
                if time.monotonic() - self.began > minutes * 60:
                    break
                pending = self.faults()
                self.random.shuffle(pending)
            fault = pending.pop()
            self.say(fault.__name__.replace("_", " "))
            fault()
            self.happened[fault.__name__] += 1
            self._well()
            self.work()
            if time.monotonic() - self.began > minutes * 60 and not self.is_first_round(pending):
                pending = []
        self.finish()

    def is_first_round(self, pending: list[Callable[[], None]]) -> bool:
        """Whether some fault has not happened yet: each does at least once, however short the run."""
        return any(not self.happened[f.__name__] for f in pending)

    def _topped_up(self) -> bool:
        self.work()
        return self.most >= AT_WORK

    def _well(self) -> None:
        """Wait until the platform trades again, without anybody's hand."""

        def trades() -> bool:
            if self.platform.has_ended():
                raise DrillError(f"the platform ended by itself:\n{self.platform.log.read_text()[-3_000:]}")
            try:
                return all(a["status"] in ("trading", "exits_only") for a in self.platform.accounts())
            except (httpx.HTTPError, ValueError, TypeError, KeyError):
                return False

        try:
            until(trades, "trading", 60)
        except DrillError as error:
            told = [(a["id"], a["status"], a.get("reason")) for a in self.platform.accounts()]
            raise DrillError(f"{error}: {told}") from error

    def finish(self) -> None:
        """Stop everything, and hold the books against the venues."""
        engaged = self._begin_kill()
        self._see_gone()
        self._told(engaged)
        until(self._agree, "books that agree with the venues", 60)
        breaks = {a["id"]: a["breaks"] for a in self.platform.accounts() if a.get("breaks")}
        if self.platform.end() != 0:
            raise DrillError("the platform did not end cleanly")
        self.platform.command("journal", "verify")
        self.say(f"at most {self.most} orders at work, {sum(self.happened.values())} faults")
        if self.refused:
            self.say(f"requests that were refused meanwhile: {dict(self.refused)}")
        self.say(f"{sum(self.executions.values())} executions at the venues, each booked once")
        if not self.executions.total():
            raise DrillError("nothing was executed: the drill shows nothing")
        self.say(f"kills: all orders gone after {', '.join(f'{s:.1f}' for s in self.gone_s)} s")
        if breaks:
            raise DrillError(f"breaks are open: {breaks}")

    def _agree(self) -> bool:
        return not self.differences()

    def differences(self) -> list[str]:
        """Return where books and venues differ: executions and balances."""
        found = []
        state = self.exchange.state()
        for account in ACCOUNTS:
            at_venue: Counter[tuple[str, str, str]] = Counter()
            for venue, trades in self.exchange.ledger(account).items():
                placed = {(t["client_id"], t["order"]) for t in trades}
                found += [f"{account}: {c} was placed twice" for c, n in Counter(c for c, _ in placed).items() if n > 1]
                self.executions[account] = sum(at_venue[k] for k in at_venue if k[2] == "count") + len(trades)
                for t in trades:
                    at_venue[(f"{venue}:{t['symbol']}", t["side"], "count")] += 1
                    at_venue[(f"{venue}:{t['symbol']}", t["side"], "size")] += t["size"]
            booked: Counter[tuple[str, str, str]] = Counter()
            for fill in self._fills(account):
                booked[(fill["instrument"], fill["side"], "count")] += 1
                booked[(fill["instrument"], fill["side"], "size")] += parse_amount(fill["size"])
            for key in at_venue | booked:
                if at_venue[key] != booked[key]:
                    found.append(f"{account} {key}: the venue has {at_venue[key]}, the books {booked[key]}")
            found += self._balances(account, state)
        return found

    def _fills(self, account: str) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = []
        while True:
            asked = {"limit": 500} | ({"before": rows[-1]["seq"]} if rows else {})
            page = self.platform.http.get(f"/accounts/{account}/fills", params=asked).json()
            rows += page
            if len(page) < 500:
                return rows

    def _balances(self, account: str, state: dict[str, dict[str, dict[str, dict[str, dict[str, str]]]]]) -> list[str]:
        told = self.platform.http.get(f"/accounts/{account}/balances").json()
        booked = {b["key"]: parse_amount(b["free"]) + parse_amount(b["locked"]) for b in told}
        found = []
        for venue, exchange in state.items():
            for asset, total in exchange["accounts"].get(account, {}).get("balances", {}).items():
                key = f"{venue}:{asset}"
                if abs(booked.get(key, 0) - parse_amount(total)) > 100_000:
                    found.append(f"{account} {key}: the venue holds {total}, the books {booked.get(key, 0)}")
        return found


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(contextlib.closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Give a small disk of its own, which can be filled without harm to others. Raises DrillError."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        raise DrillError("A small disk cannot be mounted here: the drill fills one; run it as root.")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def main() -> int:
    """Run the drill; 0 when everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.drill")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="drill-"))
    drill = None
    try:
        with small_disk(folder) as disk:
            try:
                drill = Drill(folder, disk, chosen.seed)
                drill.run(chosen.minutes)
            finally:
                if drill is not None:
                    for part in (drill.platform, drill.exchange):
                        if not part.has_ended():
                            part.kill()
                    drill.database.stop()
    except DrillError as error:
        print(f"The drill failed: {error}\nLogs: {folder}", file=sys.stderr)  # noqa: T201
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print("Nothing was lost, doubled or left open.")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
