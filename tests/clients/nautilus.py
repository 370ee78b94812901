"""One NautilusTrader node: data of Binance and Kraken, a purchase and a sale at Binance, then the end.

Run by `make clients` with an interpreter that has NautilusTrader; nothing of ours is imported here.
"""

import json
import sys
import urllib.request
from decimal import Decimal
from typing import Any

from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ed25519
from nautilus_trader.adapters.binance import (
    BINANCE,
    BinanceDataClientConfig,
    BinanceExecClientConfig,
    BinanceLiveDataClientFactory,
    BinanceLiveExecClientFactory,
)
from nautilus_trader.adapters.kraken import KRAKEN, KrakenDataClientConfig, KrakenLiveDataClientFactory
from nautilus_trader.config import InstrumentProviderConfig, TradingNodeConfig
from nautilus_trader.core.nautilus_pyo3 import KrakenProductType
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import InstrumentId, TraderId
from nautilus_trader.trading.strategy import Strategy

BOUGHT, SOLD = Decimal("0.01"), Decimal("0.0099")
"""The fee of the purchase is taken in coins."""
HERE, THERE = InstrumentId.from_str("BTCUSD.BINANCE"), InstrumentId.from_str("BTC/USD.KRAKEN")
LOOKED_FOR_S, ENOUGH = 20, 5


class RoundTrip(Strategy):  # type: ignore[misc]
    """Buys once quotes come, sells what it bought, and ends once everything was heard."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.node = node
        self.heard = {f"{kind} of {i.venue}": 0 for i in (HERE, THERE) for kind in ("quotes", "trades")}
        self.fills: list[tuple[str, str, str, str]] = []
        self.has_begun = False

    def on_start(self) -> None:
        """Subscribe to what there is, and end after a while in any case."""
        for instrument in (HERE, THERE):
            self.subscribe_quote_ticks(instrument)
            self.subscribe_trade_ticks(instrument)
        self.clock.set_timer_ns("end", LOOKED_FOR_S * 10**9, 0, 0, lambda _event: self.finish())

    def trade(self, side: OrderSide, size: Decimal) -> None:
        """Send an order at the market."""
        instrument = self.cache.instrument(HERE)
        self.submit_order(self.order_factory.market(HERE, side, instrument.make_qty(size)))

    def on_quote_tick(self, tick: Any) -> None:
        """Count it; buy at the first ones."""
        self.heard[f"quotes of {tick.instrument_id.venue}"] += 1
        if not self.has_begun and self.heard["quotes of BINANCE"] >= ENOUGH:
            self.has_begun = True
            self.trade(OrderSide.BUY, BOUGHT)
        if len(self.fills) == 2 and min(self.heard.values()) >= ENOUGH:
            self.finish()

    def on_trade_tick(self, tick: Any) -> None:
        """Count it."""
        self.heard[f"trades of {tick.instrument_id.venue}"] += 1

    def on_order_filled(self, event: Any) -> None:
        """Sell what was bought."""
        side = "BUY" if event.order_side == OrderSide.BUY else "SELL"
        self.fills.append((side, str(event.last_qty), str(event.last_px), str(event.commission)))
        if len(self.fills) == 1:
            self.trade(OrderSide.SELL, SOLD)

    def finish(self) -> None:
        """Say what was heard, and end."""
        if self.node is not None:
            print("RESULT " + json.dumps({"heard": self.heard, "fills": self.fills}), flush=True)
            node, self.node = self.node, None
            node.stop()


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the exchange's admin API."""
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:
        return json.load(answer)


def main(admin: str, account: str) -> None:
    """Open an account with a key of our own, as Binance takes them, and let the node run."""
    pair = ed25519.Ed25519PrivateKey.generate()
    secret = pair.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()).decode()
    public = pair.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo).decode()
    opened = {"exchange": "binance", "account": account, "balances": {"USD": "10000"}, "public_key": public}
    key = ask(f"{admin}/accounts", opened)["key"]
    venues = ask(f"{admin}/state")
    binance, kraken = venues["binance"], venues["kraken"]
    root = binance["ws_url"].removesuffix("/stream")
    whole = InstrumentProviderConfig(load_all=True)
    shared = {"api_key": key, "api_secret": secret, "base_url_http": binance["url"], "instrument_provider": whole}
    node = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("CLIENT-001"),
            data_clients={
                BINANCE: BinanceDataClientConfig(**shared, base_url_ws=root),
                KRAKEN: KrakenDataClientConfig(
                    product_types=(KrakenProductType.SPOT,),
                    base_url_http_spot=kraken["url"],
                    base_url_ws_spot=kraken["ws_url"],
                    instrument_provider=whole,
                ),
            },
            exec_clients={BINANCE: BinanceExecClientConfig(**shared, base_url_ws=f"{root}/ws-api/v3")},
            timeout_disconnection=5,
            timeout_post_stop=2,
        )
    )
    node.trader.add_strategy(RoundTrip(node))
    node.add_data_client_factory(BINANCE, BinanceLiveDataClientFactory)
    node.add_exec_client_factory(BINANCE, BinanceLiveExecClientFactory)
    node.add_data_client_factory(KRAKEN, KrakenLiveDataClientFactory)
    node.build()
    node.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
