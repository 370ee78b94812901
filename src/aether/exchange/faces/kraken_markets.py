"""Kraken's public REST: what is traded, and at which prices."""

import datetime
from collections import deque
from typing import Any

from aether.domain.orders import Side
from aether.domain.scaled import format_amount, mul_div_round
from aether.exchange.face import Refused
from aether.exchange.faces.kraken_names import FIAT, KrakenError, KrakenNames, invalid, iso
from aether.exchange.venue import Market, Refusal, Trade

COST_DECIMALS = 5
BAR_MINUTES = (1, 5, 15, 30, 60, 240, 1440, 10_080, 21_600)
BARS = 720
SPREADS = 200
TRADES = 1000
DEEPEST = 500
PUBLIC_FIELDS: dict[str, frozenset[str]] = {
    "Time": frozenset(),
    "SystemStatus": frozenset(),
    "Assets": frozenset({"asset", "aclass"}),
    "AssetPairs": frozenset({"pair", "info", "country_code", "aclass_base", "execution_venue"}),
    "Ticker": frozenset({"pair", "asset_class"}),
    "Depth": frozenset({"pair", "count", "asset_class"}),
    "Trades": frozenset({"pair", "since", "count", "asset_class"}),
    "OHLC": frozenset({"pair", "interval", "since", "asset_class"}),
    "Spread": frozenset({"pair", "since", "asset_class"}),
}
"""The public endpoints, and what each may be asked with."""

_INFO = {
    "leverage": ("leverage_buy", "leverage_sell"),
    "fees": ("fees", "fees_maker", "fee_volume_currency"),
    "margin": ("margin_call", "margin_stop"),
}


class KrakenMarkets(KrakenNames):
    """Answers what anyone may ask."""

    def start(self) -> None:
        """Set up what the face itself remembers."""
        self._spreads: dict[str, deque[tuple[int, int, int]]] = {s: deque(maxlen=SPREADS) for s in self.venue.markets}

    def note_spread(self, market: Market) -> None:
        """Remember the best bid and ask, when they are others than before."""
        book, seen = self.venue.books[market.symbol], self._spreads[market.symbol]
        best = (book.best(is_buy=True), book.best(is_buy=False))
        if not seen or seen[-1][1:] != best:
            seen.append((self.now_ns() // 10**9, *best))

    def public_result(self, endpoint: str, query: dict[str, str]) -> Any:
        """Return the result of a public request. Raises KrakenError, Refused."""
        if endpoint not in PUBLIC_FIELDS:
            raise KrakenError("EGeneral:Unknown method")
        for name in query:
            if name not in PUBLIC_FIELDS[endpoint]:
                raise invalid(name)
        if query.get("asset_class", "") not in ("", "forex", "currency"):
            raise Refused(Refusal.UNKNOWN_MARKET)
        if endpoint == "Time":
            moment = datetime.datetime.fromtimestamp(self.now_ns() // 10**9, datetime.UTC)
            return {"unixtime": int(moment.timestamp()), "rfc1123": moment.strftime("%a, %d %b %y %H:%M:%S +0000")}
        if endpoint == "SystemStatus":
            return {"status": self.venue.state, "timestamp": iso(self.now_ns())}
        if endpoint == "Assets":
            names = query.get("asset", "")
            assets = [self.asset_of(n) for n in names.split(",")] if names else self.assets()
            return {self.codes(a)[0]: _asset(self.codes(a)[1], a) for a in assets}
        chosen = [self.market_of(n) for n in query["pair"].split(",")] if query.get("pair") else []
        if endpoint == "AssetPairs":
            if query.get("execution_venue", "international") != "international":
                return {}
            return {self.pair_key(m): self._info(m, query) for m in chosen or self.venue.listed()}
        if endpoint == "Ticker":
            return {self.pair_key(m): self.ticker(m) for m in chosen or self.venue.listed()}
        if len(chosen) != 1:
            raise invalid("pair") if not chosen else Refused(Refusal.UNKNOWN_MARKET)
        return self._of_market(endpoint, chosen[0], query)

    def _of_market(self, endpoint: str, market: Market, query: dict[str, str]) -> dict[str, Any]:
        key = self.pair_key(market)
        if endpoint == "Depth":
            return {key: self._depth(market, _count(query, 100, DEEPEST))}
        if endpoint == "Trades":
            return self._trades(market, query)
        if endpoint == "Spread":
            since = _since(query)
            rows = [r for r in self._spreads[market.symbol] if r[0] >= since]
            found = [[at, market.price_text(bid), market.price_text(ask)] for at, bid, ask in rows]
            return {key: found, "last": self.now_ns() // 10**9}
        minutes = _whole(query.get("interval", "1"), "interval")
        if minutes not in BAR_MINUTES:
            raise invalid("interval")
        bars = self.candles(market, minutes * 60, _since(query))
        return {key: bars, "last": bars[-2][0] if len(bars) > 1 else 0}

    def _depth(self, market: Market, count: int) -> dict[str, Any]:
        book, now_s = self.venue.books[market.symbol], self.now_ns() // 10**9
        return {
            name: [
                [market.price_text(p), market.size_text(s), now_s] for p, s in book.levels(count, is_buy=name == "bids")
            ]
            for name in ("asks", "bids")
        }

    def _trades(self, market: Market, query: dict[str, str]) -> dict[str, Any]:
        """Return trades: the last ones, or those after `since`, which is in seconds or (`last`) nanoseconds."""
        count = _count(query, TRADES, TRADES)
        since = _whole(query.get("since", "0") or "0", "since")
        since_ns = since if since > 10**12 else since * 10**9
        trades = [t for t in self.venue.trades[market.symbol] if t.ts_ns > since_ns]
        trades = trades[:count] if since else trades[-count:]
        found = [
            [
                market.price_text(t.price),
                market.size_text(t.size),
                t.ts_ns / 1e9,
                "b" if t.taker_side is Side.BUY else "s",
                "l" if t.taker.request.type.has_limit else "m",
                "",
                t.number,
            ]
            for t in trades
        ]
        return {self.pair_key(market): found, "last": str(trades[-1].ts_ns if trades else since_ns)}

    def _info(self, market: Market, query: dict[str, str]) -> dict[str, Any]:
        """Return what is to know of a pair: all, or only its leverage, fees or margins."""
        row, wanted = self._pair(market), query.get("info", "info")
        if wanted == "info":
            return row
        if wanted not in _INFO:
            raise invalid("info")
        return {name: row[name] for name in _INFO[wanted]}

    def _pair(self, market: Market) -> dict[str, Any]:
        base, quote = self.codes(market.base), self.codes(market.quote)
        tiers = self.venue.rules.fee_tiers
        return {
            "altname": self.altname(market),
            "wsname": f"{base[1]}/{quote[1]}",
            "aclass_base": "currency",
            "base": base[0],
            "aclass_quote": "currency",
            "quote": quote[0],
            "lot": "unit",
            "cost_decimals": COST_DECIMALS,
            "pair_decimals": market.price_decimals,
            "lot_decimals": market.size_decimals,
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": [[t.volume, t.taker_ppm / 10_000] for t in tiers],
            "fees_maker": [[t.volume, t.maker_ppm / 10_000] for t in tiers],
            "fee_volume_currency": "ZUSD",
            "margin_call": 80,
            "margin_stop": 40,
            "ordermin": market.size_text(market.min_size),
            "costmin": format_amount(market.min_notional),
            "tick_size": market.price_text(1),
            "status": self.pair_status(market),
            "execution_venue": "international",
        }

    def pair_status(self, market: Market) -> str:
        """Return in which state a pair is."""
        return self.venue.state_of(market) if self.venue.takes_orders(market) else "cancel_only"

    def ticker(self, market: Market) -> dict[str, Any]:
        """Return a row of Ticker: of each pair of figures the first is of today, the second of the last 24 hours."""
        book, now = self.venue.books[market.symbol], self.now_ns()
        tops = {side: book.levels(1, is_buy=side == "b") for side in ("a", "b")}
        last = self.venue.last[market.symbol]
        day = [t for t in self.venue.trades[market.symbol] if t.ts_ns > now - 86_400 * 10**9]
        spans = ([t for t in day if t.ts_ns >= now - now % (86_400 * 10**9)], day)
        text = market.price_text
        top = {s: [text(v[0][0]), "1", market.size_text(v[0][1])] if v else ["0", "0", "0"] for s, v in tops.items()}
        return {
            **top,
            "c": [text(last), market.size_text(day[-1].size) if day else "0"],
            "v": [market.size_text(sum(t.size for t in span)) for span in spans],
            "p": [text(_average(span, last)) for span in spans],
            "t": [len(span) for span in spans],
            "l": [text(min((t.price for t in span), default=last)) for span in spans],
            "h": [text(max((t.price for t in span), default=last)) for span in spans],
            "o": text(spans[0][0].price if spans[0] else last),
        }

    def candles(self, market: Market, interval_s: int, since_s: int) -> list[list[Any]]:
        """Return the bars of a market that begin at `since_s` or later, at most 720; the last one is not over."""
        bars: dict[int, list[Trade]] = {}
        for trade in self.venue.trades[market.symbol]:
            bars.setdefault(trade.ts_ns // 10**9 // interval_s * interval_s, []).append(trade)
        text = market.price_text
        found = []
        for start, trades in sorted(bars.items()):
            if start < since_s:
                continue
            prices = [t.price for t in trades]
            volume = market.size_text(sum(t.size for t in trades))
            row = [start, text(prices[0]), text(max(prices)), text(min(prices)), text(prices[-1])]
            found.append([*row, text(_average(trades, prices[-1])), volume, len(trades)])
        return found[-BARS:]


def _average(trades: list[Trade], otherwise: int) -> int:
    """Return the price of trades, each weighed with its size."""
    size = sum(t.size for t in trades)
    return mul_div_round(sum(t.price * t.size for t in trades), 1, size) if size else otherwise


def _whole(text: str, field: str) -> int:
    if not text.isdigit():
        raise invalid(field)
    return int(text)


def _count(query: dict[str, str], default: int, most: int) -> int:
    count = _whole(query.get("count", str(default)), "count")
    if not 1 <= count <= most:
        raise invalid("count")
    return count


def _since(query: dict[str, str]) -> int:
    return _whole((query.get("since") or "0").partition(".")[0], "since")


def _asset(altname: str, asset: str) -> dict[str, Any]:
    fiat = asset in FIAT
    return {
        "aclass": "currency",
        "altname": altname,
        "decimals": 4 if fiat else 10,
        "display_decimals": 2 if fiat else 5,
        "status": "enabled",
    }
