"""Two nodes, the wire to their database that can be cut, and the exchange that knows what reached it."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from aether.exchange.server import LocalExchange, build, serve
from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.history import StoredHistory
from aether.store.journal import verify
from aether.store.market_log import verify_log
from aether.store.migrate import migrate
from aether.venues.registry import protocol_of
from tests.integration.platform import until
from tests.takeover.owner import ACCOUNT, FEED, SYMBOL


class Ground:
    """The exchange and the wires to the database, in a loop of their own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.server = EmbeddedServer(folder / "postgresql")
        self.url = self.server.start()
        self.local: LocalExchange = build(seed=seed, warm_steps=20, enforce_limits=False)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._done: asyncio.Event | None = None
        self.wires: dict[str, Wire] = {}
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))
        self._thread.start()
        assert self._ready.wait(60)

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        database = Database(self.url)
        await migrate(database.engine)
        await database.close()
        async with serve(self.local):
            self._ready.set()
            await self._done.wait()

    def wire(self, name: str) -> "Wire":
        """Return a new wire to the database."""
        made = Wire(self.url)
        asyncio.run_coroutine_threadsafe(made.open(), self._loop).result(10)
        self.wires[name] = made
        return made

    def do(self, work: Callable[[], Any]) -> Any:
        """Do something in the loop."""

        async def now() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(now(), self._loop).result(10)

    def close(self) -> None:
        """End it all."""
        assert self._done is not None
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(20)
        self.server.stop()

    def orders(self) -> list[tuple[str, str, int]]:
        """Return what the account placed: venue, the venue's form of the order id, and when it arrived."""
        return self.do(  # type: ignore[no-any-return]
            lambda: [
                (name, order.request.client_id, order.created_ns)
                for name, exchange in self.local.exchanges.items()
                for order in exchange.venue.account(ACCOUNT).orders.values()
            ]
        )


class Wire:
    """The way of one node to the database: a port of its own that can go silent, as a network does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_cut = False
        self._cut: list[asyncio.StreamWriter] = []
        self._mended = asyncio.Event()
        self.port = 0

    async def open(self) -> None:
        self._mended.set()
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """How a node reaches the database through it."""
        parts = urlsplit(self._url)
        return f"postgresql://{parts.username}@127.0.0.1:{self.port}{parts.path}"

    def cut(self) -> None:
        """Let nothing through, and tell nobody."""
        self._mended.clear()

    def mend(self) -> None:
        """Let everything through again, also what waited."""
        self._mended.set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._mended.wait()
        folder = dict(p.split("=") for p in urlsplit(self._url).query.split("&"))["host"]
        try:
            back_reader, back_writer = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, back_writer), self._pump(back_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._mended.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


class NodeProcess:
    """A node in a process, kept up as a supervisor does."""

    def __init__(self, ground: Ground, folder: Path, name: str, *, planted: bool) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.wire = ground.wire(name)
        told = {
            "url": self.wire.url, "exchange": ground.local.admin_url, "folder": str(self.folder), "holder": name,
            "planted": "yes" if planted else "",
        }  # fmt: skip
        self._command = [sys.executable, "-m", "tests.takeover.owner", json.dumps(told)]
        self._process: subprocess.Popen[bytes] | None = None
        self.fenced = 0
        self.is_wanted = True
        self.may_start = threading.Event()
        """Cleared while its machine is down."""
        self.may_start.set()
        self._keeping = threading.Thread(target=self._keep, daemon=True)
        self._keeping.start()

    def _keep(self) -> None:
        with (self.folder / "log").open("ab") as log:
            while self.may_start.wait() and self.is_wanted:
                (self.folder / "status.json").unlink(missing_ok=True)
                self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
                self.fenced += self._process.wait() == 11

    def status(self) -> dict[str, Any]:
        """Return what it said last of itself."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    @property
    def trades(self) -> bool:
        """Whether it says that it trades."""
        return bool(self.status().get("trades"))

    @property
    def stands_by(self) -> bool:
        """Whether it says that it stands by."""
        return bool(self.status().get("stands_by"))

    def signal(self, number: int) -> None:
        """Send its process a signal."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def is_paused(self) -> bool:
        """Whether its process is stopped."""
        assert self._process is not None
        with suppress(OSError):
            return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    def end(self) -> None:
        """End it for good."""
        self.is_wanted = False
        self.may_start.set()
        self.wire.mend()
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        self._keeping.join(30)
        if self._keeping.is_alive():
            self.signal(signal.SIGKILL)
            self._keeping.join(10)


FAULTS = ("killed", "stopped", "cut from the database", "paused before the socket")


class Takeovers:
    """Rounds in which the owner is struck and the other takes over.

    Args:
        planted: orders have no deadline, which has to be found.
    """

    def __init__(self, folder: Path, seed: int = 1, *, planted: bool = False) -> None:
        self.ground = Ground(folder, seed)
        self.nodes = [NodeProcess(self.ground, folder, name, planted=planted) for name in ("left", "right")]
        self.taken_s: dict[str, list[float]] = {fault: [] for fault in FAULTS}
        until(lambda: self.owner() and any(n.stands_by for n in self.nodes), "an owner and a standby", 20)

    def owner(self) -> NodeProcess | None:
        """Return the node that trades."""
        epoch = max((n.status().get("epoch", 0) for n in self.nodes), default=0)
        return next((n for n in self.nodes if n.trades and n.status()["epoch"] == epoch), None)

    def round(self, fault: str, lasts_s: float) -> float:
        """Strike the owner; return how long it took until the other traded. Then let the first come back."""
        owner = until(self.owner, "an owner")
        other = next(n for n in self.nodes if n is not owner)
        until(lambda: other.stands_by, "a standby", 60)
        before = len(self.ground.orders())
        if fault == "paused before the socket":
            (owner.folder / "pause").touch()
            until(owner.is_paused, "an order on its way", 60)
        struck_s = time.monotonic()
        if fault == "killed":
            owner.may_start.clear()
            owner.signal(signal.SIGKILL)
        elif fault == "stopped":
            owner.signal(signal.SIGSTOP)
        elif fault == "cut from the database":
            self.ground.do(owner.wire.cut)
        until(lambda: other.trades, f"{other.name} after {owner.name} was {fault}")
        taken_s = time.monotonic() - struck_s
        self.taken_s[fault].append(taken_s)
        until(lambda: len(self.ground.orders()) > before, "another order", 60)
        while time.monotonic() < struck_s + lasts_s:
            time.sleep(0.1)
        owner.may_start.set()
        owner.signal(signal.SIGCONT)
        self.ground.do(owner.wire.mend)
        until(lambda: owner.stands_by, f"{owner.name} stands by again", 60)
        return taken_s

    def end(self) -> None:
        """End both nodes, cleanly."""
        for node in self.nodes:
            node.end()

    def close(self) -> None:
        """End everything."""
        self.end()
        self.ground.close()

    def violations(self) -> list[str]:
        """Return what should not be, once both have ended: truth is the exchange's, books are the database's."""
        return asyncio.run(self._violations())

    async def _violations(self) -> list[str]:
        found: list[str] = []
        database = Database(self.ground.url)
        history = StoredHistory(database.node)
        await verify_log(history, FEED)
        rows = await verify(history, ACCOUNT)
        connection = await asyncpg.connect(self.ground.url)
        leases = await connection.fetch(
            "SELECT epoch, holder, extract(epoch FROM taken_at) AS taken, extract(epoch FROM ended_at) AS ended "
            "FROM leases ORDER BY epoch"
        )
        spans = {r["epoch"]: (float(r["taken"]), float(r["ended"] or 1e18)) for r in leases}
        epochs = await connection.fetch("SELECT id, epoch FROM orders")
        booked = await connection.fetch("SELECT order_id, trade_id, instrument FROM fills")
        owner_of: dict[tuple[str, str], int] = {
            (venue, protocol_of(venue).wire_id(r["id"])): r["epoch"]
            for r in epochs
            for venue in self.ground.local.exchanges
        }
        sent: dict[tuple[str, str], int] = {}
        for venue, wire, at_ns in self.ground.orders():
            sent[venue, wire] = sent.get((venue, wire), 0) + 1
            if sent[venue, wire] > 1:
                found.append(f"{wire} was sent to {venue} more than once")
            epoch = owner_of.get((venue, wire))
            if epoch is None:
                found.append(f"{wire} reached {venue} and no journal knows it")
            elif not spans[epoch][0] <= at_ns / 1e9 <= spans[epoch][1]:
                late_s = at_ns / 1e9 - spans[epoch][1]
                found.append(f"{wire} of epoch {epoch} reached {venue} {late_s:.3f} s after that had ended")
        told: list[tuple[str, str]] = []
        for name, exchange in self.ground.local.exchanges.items():
            held = exchange.venue.account(ACCOUNT)
            told += [(name, str(trade.number)) for _, trade in held.trades]
            for asset in ("USD", SYMBOL.partition("/")[0]):
                row = await connection.fetchrow(
                    "SELECT free + locked AS total FROM balances WHERE account = $1 AND key = $2",
                    ACCOUNT,
                    f"{name}:{asset}",
                )
                difference = int(row["total"] if row else 0) - held.total.get(asset, 0)
                kept = exchange.venue.rules.kept_decimals.get(asset, 8)
                rounded = (1 + len(held.trades)) * 10 ** (8 - kept) if kept < 8 else 0
                if abs(difference) > rounded:
                    found.append(f"the books hold {difference} too much {asset} at {name}")
        if len(booked) != len(told):
            found.append(f"{len(told)} executions at the venues, {len(booked)} in the books")
        await connection.close()
        await database.close()
        self.rows, self.orders, self.fills, self.epochs = rows, len(sent), len(told), len(spans)
        return found
