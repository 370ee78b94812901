"""Any other exchange through ccxt (extra `ccxt`): the same actions and results as a native adapter's client, over REST.

What ccxt or the exchange does not offer is refused with `UnsupportedError`; `missing` lists it before anyone relies on
it. The bridge has no sockets, so accounts do not trade through it by themselves; it serves public data, balances and
orders by hand, and any exchange that ccxt can be pointed at, the local one included.

ccxt is told to keep numbers as text, so prices and sizes stay exact.
"""

import importlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from aether.domain.errors import Failure, InvalidValueError, MissingExtraError, UnknownNameError, UnsupportedError
from aether.domain.events import Bar, Quote, Trade
from aether.domain.identifiers import AssetCode, ClientOrderId, Symbol, TradeId, VenueId, VenueOrderId, instrument_id
from aether.domain.instruments import FeeTier, Instrument, TradingState
from aether.domain.orders import Liquidity, OrderState, OrderType, Side, TimeInForce
from aether.domain.scaled import AMOUNT_DECIMALS
from aether.venues import actions as a
from aether.venues.messages import Balance, BookSnapshot, Execution, OrderUpdate, Pair, Unread
from aether.venues.protocol import Credentials, refuse
from aether.venues.rows import each_order, each_row, each_tradable, understood
from aether.venues.wire import NS_PER_MS, Listings, MalformedError, amount_down, amount_near, decimals_of, scaled

FINEST = "0.00000001"
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
        self.on_unread: Callable[[list[Unread]], None] = lambda _rows: None
        """Hears of rows that were not understood; the answer has the others."""

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
            found = await self._call(action)
        except self._library.BaseError as error:
            failure = self._class_of(error, action)
            raise refuse(self.venue, failure, f"{type(error).__name__}: {str(error)[:200]}") from error
        except (KeyError, TypeError, IndexError, AttributeError, MalformedError) as error:
            failure = Failure.UNKNOWN_OUTCOME if isinstance(action, a.TRADING) else Failure.RETRYABLE
            raise refuse(self.venue, failure, f"an answer that cannot be read ({error!r})") from error
        return understood(self.venue, found, self.on_unread) if isinstance(found, list) else found

    def _class_of(self, error: Exception, action: a.Action) -> Failure:
        """Return the class of one of ccxt's errors.

        Only what surely was not carried out is a refusal: what ccxt knows no better name for, and every answer that it
        could not read, leaves open what became of an order.
        """
        library = self._library
        table = (
            (library.OrderNotFound, Failure.NOT_FOUND),
            (library.AuthenticationError, Failure.AUTH),
            (library.RateLimitExceeded, Failure.RATE_LIMIT),
            (library.OnMaintenance, Failure.VENUE_DOWN),
            (library.InvalidNonce, Failure.RETRYABLE),
            (library.InvalidOrder, Failure.REJECTED),
            (library.InsufficientFunds, Failure.REJECTED),
            (library.BadRequest, Failure.REJECTED),
            (library.ArgumentsRequired, Failure.REJECTED),
            (library.NotSupported, Failure.REJECTED),
            (library.OperationRejected, Failure.REJECTED),
        )
        unknown = Failure.UNKNOWN_OUTCOME if isinstance(action, a.TRADING) else Failure.RETRYABLE
        return next((failure for kind, failure in table if isinstance(error, kind)), unknown)

    async def _call(self, action: a.Action) -> Any:  # noqa: PLR0912  one branch an action
        x = self._exchange
        match action:
            case a.Markets():
                listed = await x.load_markets()
                return each_tradable(listed.values(), self._instrument)
            case a.ServerTime():
                return int(await x.fetch_time()) * NS_PER_MS
            case a.Ticker():
                return self._quote(await x.fetch_ticker(action.symbol), action.symbol)
            case a.Depth():
                return self._book(await x.fetch_order_book(action.symbol, action.levels), action.symbol)
            case a.RecentTrades():
                trades = await x.fetch_trades(action.symbol, None, action.limit)
                return each_row("trade", trades, lambda row: [self._trade(row, action.symbol)])
            case a.Candles():
                timeframe = _TIMEFRAMES.get(action.interval_s)
                if timeframe is None:
                    raise UnsupportedError(
                        f"The bridge has no bars of {action.interval_s} s.",
                        remedy=f"Choose one of {', '.join(str(s) for s in _TIMEFRAMES)} s.",
                    )
                since = action.since_s * 1000 or None
                bars = await x.fetch_ohlcv(action.symbol, timeframe, since)
                return each_row("bar", bars, lambda row: [self._bar(row, action)])
            case a.Balances():
                return self._balances(await x.fetch_balance())
            case a.Fees():
                fee = await x.fetch_trading_fee(action.symbol)
                return a.FeeRates(
                    maker_ppm=scaled(str(fee["maker"]), 6), taker_ppm=scaled(str(fee["taker"]), 6), volume_30d=""
                )
            case a.OpenOrders():
                return self._orders(await x.fetch_open_orders(action.symbol or None))
            case a.GetOrder():
                (order,) = self._orders([await x.fetch_order(action.venue_order_id, action.symbol)])
                return order
            case a.Fills():
                since = action.since_s * 1000 or None
                fills = await x.fetch_my_trades(action.symbol or None, since)
                return each_row("execution", fills, lambda row: [self._fill(row)])
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
        self._check_precision(order)
        params: dict[str, Any] = {}
        if order.client_order_id:
            name = (
                "client_order_id" if self.venue.startswith("coinbase") else "clientOrderId"
            )  # ccxt drops the latter there
            params[name] = order.client_order_id
        if order.post_only:
            params["postOnly"] = True
        if order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK) and order.type is OrderType.LIMIT:
            params["timeInForce"] = order.time_in_force.value.upper()
        price = order.price or None
        made = await self._exchange.create_order(
            order.symbol, order.type.value, order.side.value, order.size, price, params
        )
        return VenueOrderId(str(made["id"]))

    def _check_precision(self, order: a.Submit) -> None:
        """Refuse what ccxt would round before it sends it: steps that depend on the price stand in no listing.

        Raises:
            InvalidValueError: naming the number and what the exchange takes of it.
        """
        checks = [("size", order.size, self._exchange.amount_to_precision)]
        checks += [("price", order.price, self._exchange.price_to_precision)] if order.price else []
        for name, given, rounded in checks:
            taken = rounded(order.symbol, given)
            if Decimal(taken) != Decimal(given):
                raise InvalidValueError(
                    f"{self.venue} takes the {name} {given} of {order.symbol} as {taken} only.",
                    remedy=f"Round the {name} to that.",
                )

    def _step(self, precision: object) -> str:
        """Return a step of ccxt's precision, in whichever of its three ways; the finest where it tells none."""
        mode, library = self._exchange.precisionMode, self._library
        if precision is None or mode == library.SIGNIFICANT_DIGITS:
            return FINEST
        if mode == library.DECIMAL_PLACES:
            return str(Decimal(1).scaleb(-int(Decimal(str(precision)))))
        return str(precision)

    def _instrument(self, market: Any) -> list[Pair]:
        if not market.get("spot"):
            return []
        if not market["base"] or not market["quote"]:
            raise MalformedError("fields", f"a market without both of its assets: {market['symbol']}")
        precision = market.get("precision") or {}
        tick, lot = self._step(precision.get("price")), self._step(precision.get("amount"))
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
            lot=max(1, _down(lot, size_decimals)),
            min_size=max(1, _down(least, size_decimals)),
            max_size=10 ** (9 + size_decimals),
            min_notional=amount_down(cost),
            fee_tiers=(FeeTier(volume=0, maker_ppm=_down(maker, 6), taker_ppm=_down(taker, 6)),),
        )
        is_open = market.get("active") is not False
        return [Pair(market["symbol"], instrument, TradingState.ONLINE if is_open else TradingState.MAINTENANCE)]

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

    def _balances(self, found: Any) -> list[Balance | Unread]:
        free = found.get("free") or {}

        def read(row: tuple[str, Any]) -> list[Balance]:
            asset, total = row
            at_hand = amount_down(free.get(asset) or 0)
            return [Balance(ts_ns=0, asset=AssetCode(asset), total=amount_down(total or 0), free=at_hand)]

        return each_row("balance", (found.get("total") or {}).items(), read)

    def _orders(self, found: list[Any]) -> list[OrderUpdate | Unread]:
        return each_order(
            self.venue,
            self.listings,
            found,
            lambda row: (row["id"], row.get("clientOrderId"), row.get("symbol"), row.get("side")),
            lambda row: [self._order(row)],
        )

    def _order(self, order: Any) -> OrderUpdate:
        listing = self.listings[order["symbol"]]
        told, size = order.get("filled"), listing.size[str(order.get("amount") or 0)]
        filled = -1 if told is None else listing.size[str(told)]
        state = _STATES.get(str(order["status"]))
        if state is None:
            raise MalformedError("status", str(order["status"]))
        if state is OrderState.ACCEPTED and filled > 0:
            state = OrderState.PARTIALLY_FILLED
        if state is OrderState.FILLED and 0 <= filled < size:
            state = OrderState.CANCELED  # "closed" says that it is over, and no more
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
            size=size,
            limit_price=listing.price[str(order.get("price") or 0)],
        )

    def _fill(self, fill: Any) -> Execution:
        listing = self.listings[fill["symbol"]]
        fee, asset = _fee(fill)
        return Execution(
            ts_ns=int(fill["timestamp"]) * NS_PER_MS,
            instrument=listing.id,
            client_id=ClientOrderId(""),
            venue_order_id=VenueOrderId(str(fill["order"])),
            trade_id=TradeId(str(fill["id"])),
            side=Side(fill["side"]),
            price=listing.price[str(fill["price"])],
            size=listing.size[str(fill["amount"])],
            fee=fee,
            fee_asset=AssetCode(asset or listing.instrument.quote),
            liquidity=Liquidity.MAKER if fill.get("takerOrMaker") == "maker" else Liquidity.TAKER,
        )


def _fee(fill: Any) -> tuple[int, str]:
    """Return what an execution cost, a ledger amount and its asset, whether it is told in `fee` or in `fees`.

    Raises:
        MalformedError: when it is told in several assets.
    """
    one = fill.get("fee") or {}
    told = [one] if one.get("cost") is not None else [f for f in fill.get("fees") or [] if f.get("cost") is not None]
    assets = sorted({str(f.get("currency") or "") for f in told})
    if len(assets) > 1:
        raise MalformedError("fee", f"in {', '.join(assets)}")
    return sum(amount_near(f["cost"]) for f in told), assets[0] if assets else ""


def _down(value: object, decimals: int) -> int:
    """Return a number in units of 10^-`decimals`, rounded down: for minimums, fees and balances that are finer."""
    return int(Decimal(str(value)).scaleb(decimals))
