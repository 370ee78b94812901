"""The local exchange as a server: three exchanges, one face each, on local ports, with an admin API.

Admin API, for tests and drills, on a port of its own: `GET /state`, `GET /ledger`, `POST /accounts`, `POST /faults`,
`POST /venue`, `POST /step`.
"""

import asyncio
import base64
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from aether.clock import wall_ns
from aether.domain.scaled import parse_amount
from aether.exchange.admin import build_admin
from aether.exchange.face import ApiKey, Face
from aether.exchange.faces.binance import BinanceFace
from aether.exchange.faces.coinbase import CoinbaseFace
from aether.exchange.faces.kraken import KrakenFace
from aether.exchange.faults import Faults
from aether.exchange.memory import RememberingVenue
from aether.exchange.traders import FairPrice, Traders
from aether.exchange.venue import FeeTier, Market, Rules, Status, Venue

STEP_S = 0.25
KEYS = "keys.jsonl"
DEPTH_S = 0.1
FAIR_PRICES = {"BTC/USD": 64_000.0, "ETH/USD": 2_650.0, "SOL/USD": 148.0, "XRP/USD": 0.52}

MARKETS = [
    Market("BTC", "USD", 1, 8, min_size=5_000, min_notional=50_000_000),
    Market("ETH", "USD", 2, 8, min_size=100_000, min_notional=50_000_000),
    Market("SOL", "USD", 2, 8, min_size=1_000_000, min_notional=50_000_000),
    Market("XRP", "USD", 5, 8, min_size=100_000_000, min_notional=50_000_000),
]
RULES = {
    "kraken": Rules(
        (
            FeeTier(0, 2500, 4000),
            FeeTier(10_000, 2000, 3500),
            FeeTier(50_000, 1400, 2400),
            FeeTier(100_000, 1200, 2200),
        ),
        kept_decimals={"USD": 4},
    ),
    "binance": Rules(
        (FeeTier(0, 1000, 1000), FeeTier(1_000_000, 900, 1000)),
        fee_in_received=True,
        unfilled=Status.EXPIRED,
        refuses_reached_triggers=True,
    ),
    "coinbase": Rules(
        (FeeTier(0, 6000, 12_000), FeeTier(10_000, 4000, 6000)), client_ids="forever", refuses_reached_triggers=True
    ),
}
FACES: dict[str, type[Face]] = {"kraken": KrakenFace, "binance": BinanceFace, "coinbase": CoinbaseFace}
_BACKGROUND = {"kraken": (2.5, 25_000.0, 0.20), "binance": (1.2, 40_000.0, 0.35), "coinbase": (2.0, 30_000.0, 0.25)}


@dataclass
class Exchange:
    """One exchange of the three, running.

    Attributes:
        url, ws_url: where clients connect to.
    """

    venue: Venue
    face: Face
    faults: Faults
    url: str = ""
    ws_url: str = ""


@dataclass
class LocalExchange:
    """The three exchanges and what moves them."""

    exchanges: dict[str, Exchange]
    fair: FairPrice
    traders: list[Traders] = field(default_factory=list)
    admin_url: str = ""
    memory: Path | None = None

    def open_account(
        self,
        name: str,
        account: str,
        balances: dict[str, str],
        *,
        can_trade: bool = True,
        can_withdraw: bool = False,
        public_key: str = "",
    ) -> tuple[str, str]:
        """Open an account at one exchange and return a key and secret of it, as that venue gives them out.

        Args:
            name: of the exchange.
            balances: by asset, decimal text.
            public_key: PEM, where whoever asks keeps the secret half, as Binance takes them; no secret comes back then.
        """
        exchange = self.exchanges[name]
        for asset, amount in balances.items():
            exchange.venue.deposit(account, asset, parse_amount(amount))
        key, shown, kept = make_key(name)
        if public_key:
            shown, kept = "", public_key
        made = ApiKey(key, account, kept, can_trade=can_trade, can_withdraw=can_withdraw)
        exchange.face.add_key(made)
        if self.memory is not None:
            given = {"exchange": name, "name": key, "account": account, "secret": kept}
            with (self.memory / KEYS).open("ab", buffering=0) as stream:
                stream.write(msgspec.json.encode(given) + b"\n")
        return key, shown

    def remember_keys(self) -> None:
        """Let in the keys that were given out before the process was killed."""
        file = self.memory / KEYS if self.memory is not None else None
        for line in file.read_bytes().splitlines() if file is not None and file.exists() else []:
            given = msgspec.json.decode(line)
            self.exchanges[given["exchange"]].face.add_key(ApiKey(given["name"], given["account"], given["secret"]))

    def step(self, step_s: float = STEP_S) -> None:
        """Let the background market move once."""
        self.fair.step(step_s)
        for traders in self.traders:
            traders.step()
        for exchange in self.exchanges.values():
            exchange.venue.tick()


def make_key(name: str) -> tuple[str, str, str]:
    """Return a new key of a venue's kind: its name, the secret for the client, and what the exchange keeps."""
    if name == "kraken":
        secret = base64.b64encode(secrets.token_bytes(64)).decode()
        return secrets.token_urlsafe(42), secret, secret
    if name == "binance":
        secret = secrets.token_hex(32)
        return secrets.token_hex(32), secret, secret
    private = ec.generate_private_key(ec.SECP256R1())
    shown = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()
    return f"organizations/{secrets.token_hex(8)}/apiKeys/{secrets.token_hex(8)}", shown, public_pem(private)


def public_pem(private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    """Return the public half of a key."""
    encoding, shape = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(encoding, shape).decode()


def build(
    *,
    seed: int = 1,
    background: bool = True,
    enforce_limits: bool = True,
    clock: Callable[[], int] = wall_ns,
    warm_steps: int = 400,
    warm_step_s: float = STEP_S,
    prices: Mapping[str, float] | None = None,
    memory: Path | None = None,
    markets: Sequence[Market] = MARKETS,
) -> LocalExchange:
    """Return the three exchanges, not yet listening.

    Args:
        memory: a folder in which they write down what is done, to go on from there after a kill.
        background: let makers and takers trade.
        markets: that they all list.
        prices: by pair, where the market goes on; pairs left out begin at their first price.
        warm_steps, warm_step_s: how long they have traded before anyone comes.
    """
    exchanges = {}
    started_ns = clock()
    warm = {"ns": started_ns - int(warm_steps * warm_step_s * 1e9)}
    warming = {"on": True}

    def now() -> int:
        return warm["ns"] if warming["on"] else clock()

    last: dict[str, float] = {}
    for n, (name, rules) in enumerate(RULES.items()):
        faults = Faults(seed=seed + n)
        if memory is None:
            venue = Venue(name, list(markets), rules, now)
        else:
            venue = RememberingVenue(name, list(markets), rules, now, memory / f"{name}.jsonl")
            if not venue.is_new:
                warm_steps = 0
                last = {m.symbol: venue.last[m.symbol] / 10**m.price_decimals for m in markets if venue.last[m.symbol]}
        exchanges[name] = Exchange(venue, FACES[name](venue, faults, enforce_limits=enforce_limits), faults)
    warming["on"] = warm_steps > 0
    local = LocalExchange(exchanges, FairPrice({**FAIR_PRICES, **(prices or {}), **last}, seed), memory=memory)
    local.remember_keys()
    if background:
        local.traders = [
            Traders(e.venue, local.fair, seed + 10 + n, half_spread_bps=b[0], size_usd=b[1], takers=b[2])
            for n, (name, e) in enumerate(exchanges.items())
            for b in (_BACKGROUND[name],)
        ]
        for _ in range(warm_steps):
            local.step(warm_step_s)
            warm["ns"] += int(warm_step_s * 1e9)
    warming["on"] = False
    return local


@asynccontextmanager
async def serve(
    local: LocalExchange, *, host: str = "127.0.0.1", ports: dict[str, int] | None = None, moving: bool = True
) -> AsyncIterator[LocalExchange]:
    """Serve the exchanges while the context is open.

    Args:
        ports: by exchange and `admin`; a free one where none is given.
        moving: let the background market move by the clock; otherwise only by `step`.
    """
    wanted = ports or {}
    async with AsyncExitStack() as stack:
        for name, exchange in local.exchanges.items():
            app = web.Application(client_max_size=2**20)
            exchange.face.build(app)
            port = await _listen(stack, app, host, wanted.get(name, 0))
            exchange.url = f"http://{host}:{port}"
            path = {"kraken": "/v2", "binance": "/stream", "coinbase": "/"}[name]
            exchange.ws_url = f"ws://{host}:{port}{path}"
        admin = web.Application()
        build_admin(admin, local)
        local.admin_url = f"http://{host}:{await _listen(stack, admin, host, wanted.get('admin', 0))}"
        task = asyncio.create_task(_move(local, moving=moving))
        try:
            yield local
        finally:
            task.cancel()
            for exchange in local.exchanges.values():
                exchange.face.disconnect_all()


async def _listen(stack: AsyncExitStack, app: web.Application, host: str, port: int) -> int:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, host, port)
    await site.start()
    return int(runner.addresses[0][1])


async def _move(local: LocalExchange, *, moving: bool) -> None:
    """Move the market, and let each face send what its venue sends at a pace of its own."""
    counter = 0
    jitter = random.Random(7)  # noqa: S311
    while True:
        counter += 1
        for exchange in local.exchanges.values():
            exchange.face.beat(counter)
        if moving and counter % 2 == 0:
            local.step()
        else:
            for exchange in local.exchanges.values():
                exchange.venue.tick()
        await asyncio.sleep(DEPTH_S * (0.95 + 0.1 * jitter.random()))
