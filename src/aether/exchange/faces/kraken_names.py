"""What Kraken calls things: assets, pairs, identifiers, states, errors and times."""

import datetime
from typing import Any

import msgspec

from aether.exchange.face import Face, Refused, base36, from_base36
from aether.exchange.venue import Account, Market, Order, Refusal, Status, Trade

ASSETS = {
    "BTC": ("XXBT", "XBT"),
    "ETH": ("XETH", "ETH"),
    "XRP": ("XXRP", "XRP"),
    "USD": ("ZUSD", "USD"),
    "EUR": ("ZEUR", "EUR"),
    "DOGE": ("XXDG", "XDG"),
}
FIAT = ("USD", "EUR")
TEXTS = {
    Refusal.UNKNOWN_MARKET: "EQuery:Unknown asset pair",
    Refusal.MARKET_CLOSED: "EService:Market in cancel_only mode",
    Refusal.BAD_PRICE: "EOrder:Invalid price",
    Refusal.BAD_SIZE: "EGeneral:Invalid arguments:volume",
    Refusal.TOO_SMALL: "EGeneral:Invalid arguments:volume minimum not met",
    Refusal.TOO_LARGE: "EGeneral:Invalid arguments:volume",
    Refusal.NOTIONAL: "EOrder:Cost minimum not met",
    Refusal.FUNDS: "EOrder:Insufficient funds",
    Refusal.POST_ONLY: "EOrder:Post only order",
    Refusal.TRIGGER: "EGeneral:Invalid arguments:price",
    Refusal.DUPLICATE: "EOrder:Duplicate cl_ord_id",
    Refusal.UNKNOWN_ORDER: "EOrder:Unknown order",
    Refusal.TOO_MANY: "EOrder:Orders limit exceeded",
    Refusal.BAD_FIELDS: "EGeneral:Invalid arguments",
    Refusal.INJECTED: "EOrder:Trading agreement required",
    Refusal.AMEND: "EOrder:Invalid order",
    Refusal.FOK: "EOrder:Fill or kill",
}
PRE_MATCH = frozenset({Refusal.FUNDS, Refusal.POST_ONLY, Refusal.TOO_MANY, Refusal.DUPLICATE, Refusal.INJECTED})
"""What the engine finds on an order that is valid in itself: it refuses that order alone, not its batch."""

REST_STATUS = {
    Status.SCHEDULED: "pending",
    Status.NEW: "open",
    Status.PARTIAL: "open",
    Status.TRIGGER_PENDING: "open",
    Status.FILLED: "closed",
    Status.CANCELED: "canceled",
    Status.EXPIRED: "expired",
}
SOCKET_STATUS = {
    Status.SCHEDULED: "pending_new",
    Status.NEW: "new",
    Status.TRIGGER_PENDING: "new",
    Status.PARTIAL: "partially_filled",
    Status.FILLED: "filled",
    Status.CANCELED: "canceled",
    Status.EXPIRED: "expired",
}


class KrakenError(Exception):
    """An error that is Kraken's own text."""


def invalid(field: str) -> KrakenError:
    """Return Kraken's refusal of one argument."""
    return KrakenError(f"EGeneral:Invalid arguments:{field}")


class KrakenNames(Face):
    """Finds markets, assets and orders by Kraken's names of them."""

    def codes(self, asset: str) -> tuple[str, str]:
        """Return an asset's code and its altname."""
        return ASSETS.get(asset, (asset, asset))

    def pair_key(self, market: Market) -> str:
        """Return the key of a pair in results: XXBTZUSD, but SOLUSD."""
        base, quote = self.codes(market.base), self.codes(market.quote)
        legacy = base[0] != base[1] or market.base in ASSETS
        return base[0] + quote[0] if legacy else base[1] + quote[1]

    def altname(self, market: Market) -> str:
        """Return a pair's altname: XBTUSD."""
        return self.codes(market.base)[1] + self.codes(market.quote)[1]

    def market_of(self, name: str) -> Market:
        """Return the market of any of its names. Raises Refused."""
        for market in self.venue.listed():
            base, quote = self.codes(market.base), self.codes(market.quote)
            names = (f"{base[1]}/{quote[1]}", f"{base[0]}/{quote[0]}", self.pair_key(market), self.altname(market))
            if name in (market.symbol, *names):
                return market
        raise Refused(Refusal.UNKNOWN_MARKET, name)

    def assets(self) -> list[str]:
        """Return the assets of all markets."""
        return sorted({a for m in self.venue.markets.values() for a in (m.base, m.quote)})

    def asset_of(self, name: str) -> str:
        """Return the asset of any of its names. Raises KrakenError."""
        for asset in self.assets():
            if name in (asset, *self.codes(asset)):
                return asset
        raise KrakenError("EQuery:Unknown asset")

    @staticmethod
    def order_id(order: Order) -> str:
        """Return Kraken's id of an order."""
        return long_id("O", order.number)

    @staticmethod
    def trade_id(trade: Trade) -> str:
        """Return Kraken's id of a trade."""
        return long_id("T", trade.number)

    def order_of(self, account: Account, txid: str = "", client_id: str = "") -> Order | None:
        """Return an account's order by either id."""
        if txid:
            return account.orders.get(number_of(txid))
        return account.by_client.get(client_id)

    def open_by_reference(self, account: Account, reference: str) -> list[Order]:
        """Return the open orders of a user reference, which may be many."""
        return [o for o in account.open.values() if o.request.notes.get("userref") == reference]


def long_id(kind: str, number: int) -> str:
    """Return an id as Kraken writes it: a letter for what it is of, and 16 characters in three groups."""
    text = base36(number, 16)
    return f"{kind}{text[:5]}-{text[5:10]}-{text[10:]}"


def number_of(long: str) -> int:
    """Return the number in one of Kraken's ids, 0 when it is none."""
    return from_base36(long[1:].replace("-", ""))


def iso(ts_ns: int) -> str:
    """Return a time to the microsecond, as Kraken writes it."""
    moment = datetime.datetime.fromtimestamp(ts_ns // 10**9, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{ts_ns % 10**9 // 1000:06d}Z"


def parse_iso(text: str) -> int:
    """Return the nanoseconds of an RFC 3339 time. Raises ValueError."""
    moment = datetime.datetime.fromisoformat(text)
    return int(moment.timestamp() * 1e6) * 1000


def as_json(value: object) -> str:
    """Return a message as text."""
    return msgspec.json.encode(value).decode()


exact = msgspec.json.Decoder(dict[str, Any], float_hook=str)
"""Reads messages without ever making a float of a number."""


def refusal_text(error: Refused) -> str:
    """Return Kraken's text for a refusal of the exchange."""
    if error.reason is Refusal.MARKET_CLOSED and error.detail == "post_only":
        return "EService:Market in post_only mode"
    return TEXTS[error.reason]
