"""Market data as Binance tells it: trades, aggregates, bars, averages, windows of statistics, symbols.

Sources: rest-api.md, web-socket-streams.md and filters.md of binance-spot-api-docs (2026).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aether.domain.orders import Side
from aether.domain.scaled import format_amount
from aether.exchange.faces.binance_fields import BinanceError
from aether.exchange.faces.binance_orders import (
    SELF_TRADE_MODES,
    TYPES,
    average_price,
    filters_of,
    price_text,
    size_text,
    symbol_of,
)
from aether.exchange.venue import Market, Trade, Venue

DAY_S = 86_400
WEEK_S = 7 * DAY_S
MONDAY_S = 4 * DAY_S
"""1970 began on a Thursday; weeks begin on Mondays."""
INTERVALS = {
    "1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200, "4h": 14_400,
    "6h": 21_600, "8h": 28_800, "12h": 43_200, "1d": DAY_S, "3d": 3 * DAY_S, "1w": WEEK_S, "1M": 0,
}  # fmt: skip
"""Seconds of each; months have none of their own."""
_WINDOW = re.compile(r"([1-9]\d?)([mhd])")
_WINDOW_UNITS = {"m": (60, 59), "h": (3600, 23), "d": (DAY_S, 7)}
NS_PER_MS = 1_000_000
NS_PER_S = 10**9


@dataclass(frozen=True)
class Aggregate:
    """Trades of one taker at one price and time, told as one."""

    number: int
    first: Trade
    last: Trade
    size: int

    def row(self) -> dict[str, Any]:
        """Return it as REST and streams tell it."""
        m = self.first.market
        return {
            "a": self.number,
            "p": price_text(m, self.first.price),
            "q": size_text(m, self.size),
            "f": self.first.number,
            "l": self.last.number,
            "T": self.first.ts_ns // NS_PER_MS,
            "m": self.first.taker_side is Side.SELL,
            "M": True,
        }


class Aggregates:
    """The aggregate trades of one market, numbered without gaps.

    Args:
        trades: that were before.
    """

    def __init__(self, trades: list[Trade]) -> None:
        self.found: list[Aggregate] = []
        self._told = 0
        for trade in trades:
            self.add(trade)
        self._told = len(self.found)

    def add(self, trade: Trade) -> None:
        """Count a trade in."""
        last = self.found[-1] if self.found else None
        of_last = last.last if last else None
        same = of_last and of_last.taker is trade.taker and of_last.price == trade.price
        if last and of_last and same and of_last.ts_ns // NS_PER_MS == trade.ts_ns // NS_PER_MS:
            self.found[-1] = Aggregate(last.number, last.first, trade, last.size + trade.size)
        else:
            self.found.append(Aggregate(last.number + 1 if last else 1, trade, trade, trade.size))
        if len(self.found) > 20_000 and self._told > 10_000:
            del self.found[:10_000]
            self._told -= 10_000

    def untold(self) -> list[Aggregate]:
        """Return those that were not taken yet; they are whole once the work that made them is done."""
        new = self.found[self._told :]
        self._told = len(self.found)
        return new


def trade_row(trade: Trade) -> dict[str, Any]:
    """Return a public trade."""
    m = trade.market
    return {
        "id": trade.number,
        "price": price_text(m, trade.price),
        "qty": size_text(m, trade.size),
        "quoteQty": format_amount(m.notional(trade.price, trade.size)),
        "time": trade.ts_ns // NS_PER_MS,
        "isBuyerMaker": trade.taker_side is Side.SELL,
        "isBestMatch": True,
    }


# Bars.


@dataclass
class Bar:
    """One bar; prices and sizes in the market's units, the notional in 10^-8 of the quote asset."""

    start_ms: int
    end_ms: int
    open: int
    high: int = 0
    low: int = 0
    close: int = 0
    size: int = 0
    notional: int = 0
    taken: int = 0
    taken_notional: int = 0
    first: int = -1
    last: int = -1
    count: int = 0

    def add(self, trade: Trade) -> None:
        """Count a trade in."""
        notional = trade.market.notional(trade.price, trade.size)
        if not self.count:
            self.open = self.high = self.low = trade.price
            self.first = trade.number
        self.high, self.low, self.close = max(self.high, trade.price), min(self.low, trade.price), trade.price
        self.size += trade.size
        self.notional += notional
        if trade.taker_side is Side.BUY:
            self.taken += trade.size
            self.taken_notional += notional
        self.last = trade.number
        self.count += 1


def timezone_of(text: str) -> int:
    """Return the seconds that a time zone such as `8` or `-05:30` is ahead of UTC. Raises BinanceError."""
    found = re.fullmatch(r"([+-]?)(\d{1,2})(?::(\d{2}))?", text)
    if not found:
        raise BinanceError(-1130, "Data sent for parameter 'timeZone' is not valid.")
    sign, hours, minutes = found.groups()
    seconds = (int(hours) * 3600 + int(minutes or 0) * 60) * (-1 if sign == "-" else 1)
    if not -12 * 3600 <= seconds <= 14 * 3600:
        raise BinanceError(-1130, "Data sent for parameter 'timeZone' is not valid.")
    return seconds


def bar_bounds(seconds: int, interval: str, zone_s: int = 0) -> tuple[int, int]:
    """Return when the bar begins that a second is in, and when the next one does."""
    if interval == "1M":
        local = datetime.fromtimestamp(seconds + zone_s, UTC)
        year, month = local.year, local.month
        starts = [datetime(year, month, 1, tzinfo=UTC), datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)]
        return int(starts[0].timestamp()) - zone_s, int(starts[1].timestamp()) - zone_s
    length = INTERVALS[interval]
    shift = zone_s - (MONDAY_S if interval == "1w" else 0)
    start = (seconds + shift) // length * length - shift
    return start, start + length


def bars_of(
    venue: Venue,
    market: Market,
    interval: str,
    *,
    since_ms: int = 0,
    until_ms: int = 0,
    count: int = 500,
    zone_s: int = 0,
) -> list[Bar]:
    """Return bars, oldest first, also those without a trade: from `since_ms` on where it is given, else the newest.

    Raises:
        BinanceError: for an interval that there is not.
    """
    if interval not in INTERVALS:
        raise BinanceError(-1120, "Invalid interval.")
    trades = venue.trades[market.symbol]
    now_s = venue.clock() // NS_PER_S
    if not trades:
        return []
    found: dict[int, Bar] = {}
    close = 0
    for start, end, inside in _groups(trades, interval, zone_s, now_s):
        bar = Bar(start * 1000, end * 1000 - 1, close, close, close, close)
        for trade in inside:
            bar.add(trade)
        close = bar.close
        found[start] = bar
    until = until_ms or now_s * 1000 + 999
    chosen = [bar for bar in found.values() if since_ms <= bar.start_ms <= until]
    return chosen[:count] if since_ms else chosen[-count:]


def bar_at(venue: Venue, market: Market, interval: str, at_ms: int) -> Bar:
    """Return the bar that a time is in, as far as it has come."""
    start, end = bar_bounds(at_ms // 1000, interval)
    inside: list[Trade] = []
    close = 0
    for trade in reversed(venue.trades[market.symbol]):
        if trade.ts_ns < start * NS_PER_S:
            close = trade.price
            break
        if trade.ts_ns < end * NS_PER_S:
            inside.append(trade)
    bar = Bar(start * 1000, end * 1000 - 1, close, close, close, close)
    for trade in reversed(inside):
        bar.add(trade)
    return bar


def _groups(trades: list[Trade], interval: str, zone_s: int, now_s: int) -> Iterator[tuple[int, int, list[Trade]]]:
    """Yield the bounds and trades of every bar from the first trade's until now's."""
    start, end = bar_bounds(trades[0].ts_ns // NS_PER_S, interval, zone_s)
    at = 0
    while start <= now_s:
        inside = []
        while at < len(trades) and trades[at].ts_ns < end * NS_PER_S:
            inside.append(trades[at])
            at += 1
        yield start, end, inside
        start, end = bar_bounds(end, interval, zone_s)


def bar_row(market: Market, bar: Bar) -> list[Any]:
    """Return a bar as REST tells it."""
    prices = [price_text(market, price) for price in (bar.open, bar.high, bar.low, bar.close)]
    taken = [size_text(market, bar.taken), format_amount(bar.taken_notional)]
    sums = [size_text(market, bar.size), bar.end_ms, format_amount(bar.notional), bar.count]
    return [bar.start_ms, *prices, *sums, *taken, "0"]


def bar_event(market: Market, interval: str, bar: Bar, now_ms: int, *, is_closed: bool) -> dict[str, Any]:
    """Return a bar as the streams tell it."""
    row = bar_row(market, bar)
    kline = {
        "t": row[0], "T": row[6], "s": symbol_of(market), "i": interval, "f": bar.first, "L": bar.last, "o": row[1],
        "c": row[4], "h": row[2], "l": row[3], "v": row[5], "n": row[8], "x": is_closed, "q": row[7], "V": row[9],
        "Q": row[10], "B": "0",
    }  # fmt: skip
    return {"e": "kline", "E": now_ms, "s": symbol_of(market), "k": kline}


# Tickers.


def top(venue: Venue, market: Market) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the best bid and ask as (price, size), zeros where there is none."""
    book = venue.books[market.symbol]
    bid, ask = book.levels(1, is_buy=True), book.levels(1, is_buy=False)
    return (bid[0] if bid else (0, 0)), (ask[0] if ask else (0, 0))


def book_ticker(venue: Venue, market: Market) -> dict[str, Any]:
    """Return the best bid and ask."""
    (bid, bids), (ask, asks) = top(venue, market)
    return {
        "symbol": symbol_of(market),
        "bidPrice": price_text(market, bid),
        "bidQty": size_text(market, bids),
        "askPrice": price_text(market, ask),
        "askQty": size_text(market, asks),
    }


def price_ticker(venue: Venue, market: Market) -> dict[str, Any]:
    """Return the last price."""
    return {"symbol": symbol_of(market), "price": price_text(market, venue.last[market.symbol])}


def average_row(venue: Venue, market: Market) -> dict[str, Any]:
    """Return the average price of the last minutes."""
    trades = venue.trades[market.symbol]
    closed_ms = trades[-1].ts_ns // NS_PER_MS if trades else 0
    return {"mins": 5, "price": price_text(market, average_price(venue, market)), "closeTime": closed_ms}


def window_of(text: str) -> int:
    """Return the seconds of a rolling window such as `15m`, `4h`, `7d`. Raises BinanceError."""
    found = _WINDOW.fullmatch(text)
    if found:
        seconds, most = _WINDOW_UNITS[found[2]]
        if int(found[1]) <= most:
            return int(found[1]) * seconds
    raise BinanceError(-1130, "Data sent for parameter 'windowSize' is not valid.")


def statistics(venue: Venue, market: Market, since_ns: int, now_ns: int, *, is_mini: bool) -> dict[str, Any]:
    """Return what happened since a time.

    Args:
        is_mini: leave changes and averages out.
    """
    trades: list[Trade] = []
    for trade in reversed(venue.trades[market.symbol]):
        if trade.ts_ns < since_ns:
            break
        trades.append(trade)
    trades.reverse()
    prices = [t.price for t in trades] or [venue.last[market.symbol]]
    size = sum(t.size for t in trades)
    notional = sum(market.notional(t.price, t.size) for t in trades)
    average = sum(t.price * t.size for t in trades) // size if size else prices[-1]
    change = prices[-1] - prices[0]
    percent = Decimal(change * 100) / prices[0] if prices[0] else Decimal(0)
    changes = {
        "priceChange": price_text(market, change),
        "priceChangePercent": f"{percent:.3f}",
        "weightedAvgPrice": price_text(market, average),
    }
    return {
        "symbol": symbol_of(market),
        **({} if is_mini else changes),
        "openPrice": price_text(market, prices[0]),
        "highPrice": price_text(market, max(prices)),
        "lowPrice": price_text(market, min(prices)),
        "lastPrice": price_text(market, prices[-1]),
        "volume": size_text(market, size),
        "quoteVolume": format_amount(notional),
        "openTime": since_ns // NS_PER_MS,
        "closeTime": now_ns // NS_PER_MS,
        "firstId": trades[0].number if trades else -1,
        "lastId": trades[-1].number if trades else -1,
        "count": len(trades),
    }


def day_ticker(venue: Venue, market: Market, now_ns: int, *, is_mini: bool = False) -> dict[str, Any]:
    """Return the statistics of the last 24 hours."""
    found = statistics(venue, market, now_ns - DAY_S * NS_PER_S, now_ns, is_mini=is_mini)
    if is_mini:
        return found
    trades = venue.trades[market.symbol]
    last = size_text(market, trades[-1].size if trades else 0)
    return {**found, "prevClosePrice": found["openPrice"], "lastQty": last, **book_ticker(venue, market)}


def ticker_event(d: dict[str, Any]) -> dict[str, Any]:
    """Return the statistics of a day as the streams tell them."""
    return {
        "e": "24hrTicker", "E": d["closeTime"], "s": d["symbol"], "p": d["priceChange"],
        "P": d["priceChangePercent"], "w": d["weightedAvgPrice"], "x": d["prevClosePrice"], "c": d["lastPrice"],
        "Q": d["lastQty"], "b": d["bidPrice"], "B": d["bidQty"], "a": d["askPrice"], "A": d["askQty"],
        "o": d["openPrice"], "h": d["highPrice"], "l": d["lowPrice"], "v": d["volume"], "q": d["quoteVolume"],
        "O": d["openTime"], "C": d["closeTime"], "F": d["firstId"], "L": d["lastId"], "n": d["count"],
    }  # fmt: skip


def mini_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return the short form of the statistics of a day."""
    return {"e": "24hrMiniTicker", **{k: event[k] for k in ("E", "s", "c", "o", "h", "l", "v", "q")}}


def status_of(venue: Venue, market: Market) -> str:
    """Return the status of a symbol."""
    return "TRADING" if venue.state_of(market) == "online" else "BREAK"


def symbol_row(venue: Venue, market: Market) -> dict[str, Any]:
    """Return a symbol as `exchangeInfo` lists it."""
    return {
        "symbol": symbol_of(market),
        "status": status_of(venue, market),
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(TYPES),
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": filters_of(venue, market),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_TAKER",
        "allowedSelfTradePreventionModes": list(SELF_TRADE_MODES),
    }
