"""Any other exchange through ccxt (extra `ccxt`): the same actions and results as a native adapter's client, over REST.

What ccxt or the exchange does not offer is refused with `UnsupportedError`; `missing` lists it before anyone relies on
it. The bridge has no sockets, so accounts do not trade through it by themselves; it serves public data, balances and
orders by hand, and any exchange that ccxt can be pointed at, the local one included.

ccxt is told to keep numbers as text, so prices and sizes stay exact.
"""

import importlib
from decimal import Decimal
from typing import Any

from aether.domain.errors import Failure, MissingExtraError, UnknownNameError, UnsupportedError
from aether.domain.events import Bar, Quote, Trade
from aether.domain.identifiers import AssetCode, ClientOrderId, Symbol, TradeId, VenueId, VenueOrderId, instrument_id
from aether.domain.instruments import FeeTier, Instrument
from aether.domain.orders import Liquidity, OrderState, OrderType, Side, TimeInForce
from aether.domain.scaled import AMOUNT_DECIMALS
from aether.venues import actions as a
from aether.venues.messages import Balance, BookSnapshot, Execution, OrderUpdate, Pair
from aether.venues.protocol import Credentials, refuse
from aether.venues.wire import NS_PER_MS, Listings, MalformedError, amount_down, decimals_of, scaled

PREFIX = "ccxt:"
"""Names an exchange that is to go through the bridge although it may have an adapter of its own."""

NEEDS = {
    "markets": "fetchMarkets",
    "ticker": "fetchTicker",
    "book": "fetchOrderBook",
    "trades": "fetchTrades",
    "candles": "fetchOHLCV",
    "time": "fetchTime",
    "balances": "fetchBalance",
    "fees": "fetchTradingFee",
    "open_orders": "fetchOpenOrders",
    "order": "fetchOrder",
    "fills": "fetchMyTrades",
    "submit": "createOrder",
    "amend": "editOrder",
    "cancel": "cancelOrder",
    "cancel_all": "cancelAllOrders",
}
"""What each action needs of ccxt."""

NEVER = ("status", "permissions", "stream_token", "closed_orders", "submit_batch", "dead_man_switch")
"""Actions that no exchange offers through the bridge. It cannot tell whether a key may withdraw, so no account trades
through it by itself."""

_STATES = {
    "open": OrderState.ACCEPTED,
    "closed": OrderState.FILLED,
    "canceled": OrderState.CANCELED,
    "expired": OrderState.EXPIRED,
    "rejected": OrderState.REJECTED,
}
_TIMEFRAMES = {60: "1m", 300: "5m", 900: "15m", 3600: "1h", 86_400: "1d"}


class CcxtClient:
    """One exchange through ccxt.

    Args:
        name: ccxt's id of the exchange.
        credentials: None for public data only.
        urls: by ccxt's own names, in place of the exchange's: a sandbox or the local exchange.
    """

    def __init__(
        self, name: str, *, credentials: Credentials | None = None, urls: dict[str, Any] | None = None
    ) -> None:
        try:
            library = importlib.import_module("ccxt.async_support")
        except ImportError as error:
            raise MissingExtraError(
                f"The exchange {name!r} goes through ccxt, which is not installed.",
                remedy="Install it with: pip install 'aether[ccxt]'.",
            ) from error
        make = getattr(library, name, None)
        if name not in library.exchanges or make is None:
            raise UnknownNameError(f"ccxt knows no exchange {name!r}.", remedy="See ccxt.exchanges for the names.")
        keys = {"apiKey": credentials.key, "secret": credentials.secret} if credentials else {}
        self._library = library
        self._exchange = make({**keys, "enableRateLimit": True})
        self._exchange.number = str
        for key, value in (urls or {}).items():
            self._exchange.urls["api"][key] = value
        self.venue = VenueId(name)
        self.listings = Listings(self.venue)

    @property
    def protocol(self) -> "CcxtClient":
        """What a native client keeps in its protocol: name and listings."""
        return self

    def missing(self) -> list[str]:
        """Return the actions that this exchange does not offer through the bridge."""
        has = self._exchange.has
        return sorted([name for name, need in NEEDS.items() if not has.get(need)] + list(NEVER))

    async def close(self) -> None:
        """Close the connections."""
        await self._exchange.close()

    async def load_markets(self) -> None:
        """List the exchange's spot pairs."""
        for pair in await self.call(a.Markets()):
            self.listings.add_in_scale(pair.native, pair.instrument)

    async def call(self, action: a.Action) -> Any:
        """Carry out an action; results are those of `protocol.py`.

        Raises:
            UnsupportedError: when the exchange or the bridge does not offer it.
            VenueError: classed as a native adapter's.
        """
        name = next(key for key, kind in a.ACTIONS.items() if kind is type(action))
        if name in self.missing():
            raise UnsupportedError(
                f"{self.venue} does not offer {name} through ccxt.", remedy="Use a venue with an adapter of its own."
            )
        try:
            return await self._call(action)
        except self._library.BaseError as error:
            raise refuse(self.venue, self._class_of(error), f"{type(error).__name__}: {str(error)[:200]}") from error
        except (KeyError, TypeError, IndexError, AttributeError, MalformedError) as error:
            failure = Failure.UNKNOWN_OUTCOME if isinstance(action, a.TRADING) else Failure.RETRYABLE
            raise refuse(self.venue, failure, f"an answer that cannot be read ({error!r})") from error

    def _class_of(self, error: Exception) -> Failure:
        """Return the class of one of ccxt's errors: what may have arrived is unknown."""
        library = self._library
        table = (
            (library.OrderNotFound, Failure.NOT_FOUND),
            (library.AuthenticationError, Failure.AUTH),
            (library.RateLimitExceeded, Failure.RATE_LIMIT),
            (library.OnMaintenance, Failure.VENUE_DOWN),
            (library.RequestTimeout, Failure.UNKNOWN_OUTCOME),
            (library.ExchangeNotAvailable, Failure.UNKNOWN_OUTCOME),
            (library.NetworkError, Failure.UNKNOWN_OUTCOME),
        )
        return next((failure for kind, failure in table if isinstance(error, kind)), Failure.REJECTED)

    async def _call(self, action: a.Action) -> Any:  # noqa: PLR0912  one branch an action
        x = self._exchange
        match action:
            case a.Markets():
                found = await x.load_markets()
                return [entry for market in found.values() for entry in self._instrument(market)]
            case a.ServerTime():
                return int(await x.fetch_time()) * NS_PER_MS
            case a.Ticker():
                return self._quote(await x.fetch_ticker(action.symbol), action.symbol)
            case a.Depth():
                return self._book(await x.fetch_order_book(action.symbol, action.levels), action.symbol)
            case a.RecentTrades():
                return [self._trade(t, action.symbol) for t in await x.fetch_trades(action.symbol, None, action.limit)]
            case a.Candles():
                timeframe = _TIMEFRAMES.get(action.interval_s)
                if timeframe is None:
                    raise UnsupportedError(
                        f"The bridge has no bars of {action.interval_s} s.",
                        remedy=f"Choose one of {', '.join(str(s) for s in _TIMEFRAMES)} s.",
                    )
                since = action.since_s * 1000 or None
                return [self._bar(b, action) for b in await x.fetch_ohlcv(action.symbol, timeframe, since)]
            case a.Balances():
                return self._balances(await x.fetch_balance())
            case a.Fees():
                fee = await x.fetch_trading_fee(action.symbol)
                return a.FeeRates(
                    maker_ppm=scaled(str(fee["maker"]), 6), taker_ppm=scaled(str(fee["taker"]), 6), volume_30d=""
                )
            case a.OpenOrders():
                return [self._order(o) for o in await x.fetch_open_orders(action.symbol or None)]
            case a.GetOrder():
                return self._order(await x.fetch_order(action.venue_order_id, action.symbol))
            case a.Fills():
                since = action.since_s * 1000 or None
                return [self._fill(f) for f in await x.fetch_my_trades(action.symbol or None, since)]
            case a.Submit():
                return await self._submit(action)
            case a.Cancel():
                await x.cancel_order(action.venue_order_id, action.symbol)
                return action.venue_order_id
            case a.CancelAllOrders():
                await x.cancel_all_orders(action.symbol or None)
                return VenueOrderId("")
        raise UnsupportedError(
            f"The bridge does not offer {type(action).__name__}.", remedy="Use a venue with an adapter of its own."
        )

    async def _submit(self, order: a.Submit) -> VenueOrderId:
        if order.type not in (OrderType.MARKET, OrderType.LIMIT) or order.display_size or order.expire_s:
            raise UnsupportedError(
                f"The bridge sends market and limit orders, not {order.type}.",
                remedy="Use a venue with an adapter of its own.",
            )
        params: dict[str, Any] = {}
        if order.client_order_id:
            params["clientOrderId"] = order.client_order_id
        if order.post_only:
            params["postOnly"] = True
        if order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK) and order.type is OrderType.LIMIT:
            params["timeInForce"] = order.time_in_force.value.upper()
        price = order.price or None
        made = await self._exchange.create_order(
            order.symbol, order.type.value, order.side.value, order.size, price, params
        )
        return VenueOrderId(str(made["id"]))

    def _instrument(self, market: Any) -> list[Pair]:
        if not market.get("spot") or not market.get("active", True):
            return []
        tick, lot = str(market["precision"]["price"]), str(market["precision"]["amount"])
        if self._exchange.precisionMode != self._library.TICK_SIZE:
            tick, lot = f"1e-{int(float(tick))}", f"1e-{int(float(lot))}"
        limits = market.get("limits") or {}
        least = (limits.get("amount") or {}).get("min") or lot
        cost = (limits.get("cost") or {}).get("min") or "0"
        price_decimals, size_decimals = decimals_of(tick), min(decimals_of(lot), AMOUNT_DECIMALS)
        symbol = Symbol(f"{market['base']}/{market['quote']}")
        maker, taker = market.get("maker") or "0.0025", market.get("taker") or "0.004"
        instrument = Instrument(
            id=instrument_id(self.venue, symbol),
            venue=self.venue,
            symbol=symbol,
            base=AssetCode(market["base"]),
            quote=AssetCode(market["quote"]),
            price_decimals=price_decimals,
            size_decimals=size_decimals,
            tick=max(1, scaled(tick, price_decimals)),
            lot=max(1, scaled(lot, size_decimals)),
            min_size=max(1, _down(least, size_decimals)),
            max_size=10 ** (9 + size_decimals),
            min_notional=amount_down(cost),
            fee_tiers=(FeeTier(volume=0, maker_ppm=_down(maker, 6), taker_ppm=_down(taker, 6)),),
        )
        return [Pair(market["symbol"], instrument)]

    def _quote(self, ticker: Any, symbol: str) -> Quote:
        listing = self.listings[symbol]
        price, size = listing.price, listing.size
        return Quote(
            ts_ns=int(ticker.get("timestamp") or 0) * NS_PER_MS,
            instrument=listing.id,
            bid=price[str(ticker["bid"] or 0)],
            ask=price[str(ticker["ask"] or 0)],
            bid_size=size[str(ticker.get("bidVolume") or 0)],
            ask_size=size[str(ticker.get("askVolume") or 0)],
        )

    def _book(self, book: Any, symbol: str) -> BookSnapshot:
        listing = self.listings[symbol]
        sides = [[(listing.price[str(p[0])], listing.size[str(p[1])]) for p in book[s]] for s in ("bids", "asks")]
        ts_ns = int(book.get("timestamp") or 0) * NS_PER_MS
        return BookSnapshot(instrument=listing.id, ts_ns=ts_ns, bids=sides[0], asks=sides[1])

    def _trade(self, trade: Any, symbol: str) -> Trade:
        listing = self.listings[symbol]
        return Trade(
            ts_ns=int(trade["timestamp"]) * NS_PER_MS,
            instrument=listing.id,
            price=listing.price[str(trade["price"])],
            size=listing.size[str(trade["amount"])],
            side=Side(trade["side"]) if trade.get("side") else None,
            trade_id=TradeId(str(trade.get("id") or "")),
        )

    def _bar(self, row: Any, action: a.Candles) -> Bar:
        listing = self.listings[action.symbol]
        price = listing.price
        return Bar(
            ts_ns=(int(row[0]) + action.interval_s * 1000) * NS_PER_MS,
            instrument=listing.id,
            interval_s=action.interval_s,
            open=price[str(row[1])],
            high=price[str(row[2])],
            low=price[str(row[3])],
            close=price[str(row[4])],
            volume=listing.size[str(row[5])],
        )

    def _balances(self, found: Any) -> list[Balance]:
        return [
            Balance(
                ts_ns=0,
                asset=AssetCode(asset),
                total=amount_down(total or 0),
                free=amount_down((found.get("free") or {}).get(asset) or 0),
            )
            for asset, total in (found.get("total") or {}).items()
        ]

    def _order(self, order: Any) -> OrderUpdate:
        listing = self.listings[order["symbol"]]
        filled = listing.size[str(order.get("filled") or 0)]
        state = _STATES.get(str(order["status"]), OrderState.ACCEPTED)
        if state is OrderState.ACCEPTED and filled:
            state = OrderState.PARTIALLY_FILLED
        kind = order.get("type")
        return OrderUpdate(
            ts_ns=int(order.get("lastUpdateTimestamp") or order.get("timestamp") or 0) * NS_PER_MS,
            instrument=listing.id,
            client_id=ClientOrderId(str(order.get("clientOrderId") or "")),
            venue_order_id=VenueOrderId(str(order["id"])),
            state=state,
            filled=filled,
            side=Side(order["side"]),
            type=OrderType(kind) if kind in ("market", "limit") else None,
            size=listing.size[str(order.get("amount") or 0)],
            limit_price=listing.price[str(order.get("price") or 0)],
        )

    def _fill(self, fill: Any) -> Execution:
        listing = self.listings[fill["symbol"]]
        fee = fill.get("fee") or {}
        return Execution(
            ts_ns=int(fill["timestamp"]) * NS_PER_MS,
            instrument=listing.id,
            client_id=ClientOrderId(""),
            venue_order_id=VenueOrderId(str(fill["order"])),
            trade_id=TradeId(str(fill["id"])),
            side=Side(fill["side"]),
            price=listing.price[str(fill["price"])],
            size=listing.size[str(fill["amount"])],
            fee=amount_down(fee.get("cost") or 0),
            fee_asset=AssetCode(str(fee.get("currency") or listing.instrument.quote)),
            liquidity=Liquidity.MAKER if fill.get("takerOrMaker") == "maker" else Liquidity.TAKER,
        )


def _down(value: object, decimals: int) -> int:
    """Return a number in units of 10^-`decimals`, rounded down: for minimums, fees and balances that are finer."""
    return int(Decimal(str(value)).scaleb(decimals))
