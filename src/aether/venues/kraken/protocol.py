"""Kraken's REST API, without the socket.

Source: Kraken API Center, "Spot REST" (market data, account data, trading) and "Spot REST authentication", as published
in 2026. Every response is `{"error": [...], "result": ...}`, with HTTP 200 for refusals too.
"""

import base64
import hashlib
import hmac
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from aether.domain.errors import Failure, InvalidValueError, UnsupportedError
from aether.domain.events import Bar, Quote, Trade
from aether.domain.identifiers import ClientOrderId, Symbol, TradeId, VenueOrderId, instrument_id
from aether.domain.instruments import FeeTier, Instrument, TradingState
from aether.domain.orders import Liquidity, OrderState, OrderType, Side, TimeInForce
from aether.domain.scaled import AMOUNT_DECIMALS
from aether.venues.actions import (
    Action,
    Amend,
    Balances,
    Cancel,
    CancelAllOrders,
    Candles,
    ClosedOrders,
    DeadManSwitch,
    Depth,
    Fates,
    FeeRates,
    Fees,
    Fills,
    GetOrder,
    KeyPermissions,
    Markets,
    OpenOrders,
    Permissions,
    RecentTrades,
    Request,
    ServerTime,
    StreamToken,
    Submit,
    SubmitBatch,
    SystemStatus,
    Ticker,
)
from aether.venues.kraken.names import asset_code, failure_of, kraken_symbol
from aether.venues.kraken.profile import PROFILE
from aether.venues.kraken.stream import (
    KRAKEN,
    ORDER_TYPES,
    PAIR_STATES,
    TYPES_BACK,
    KrakenStream,
    check_offered,
    rfc3339,
    socket_request,
)
from aether.venues.messages import (
    Balance,
    BookSnapshot,
    Execution,
    OrderUpdate,
    Pair,
    Placed,
    Unread,
    VenueStatus,
)
from aether.venues.protocol import (
    Credentials,
    Response,
    Urls,
    field,
    http_failure,
    parsed_body,
    refuse,
    retry_after,
    rows,
    short_id,
)
from aether.venues.rows import each_order, each_row, each_tradable, time_of
from aether.venues.stream import Channel, Stream
from aether.venues.wire import NS_PER_S, Listings, MalformedError, amount_down, plain_text, scaled, seconds_ns

_STATES = {
    "pending": OrderState.SUBMITTED,
    "open": OrderState.ACCEPTED,
    "closed": OrderState.FILLED,
    "canceled": OrderState.CANCELED,
    "expired": OrderState.EXPIRED,
}
_SYSTEM = {
    "online": TradingState.ONLINE,
    "maintenance": TradingState.MAINTENANCE,
    "cancel_only": TradingState.CANCEL_ONLY,
    "post_only": TradingState.POST_ONLY,
}
AUTO_EARN = "F"
_WITHOUT_LIMIT = (None, OrderType.TRAILING_STOP)
"""Kinds whose price is no limit: a distance, or what only the venue knows."""


class KrakenProtocol:
    """Requests and responses of Kraken's REST API."""

    venue = KRAKEN
    profile = PROFILE

    def __init__(self, listings: Listings | None = None) -> None:
        self.listings = listings if listings is not None else Listings(KRAKEN)
        self.urls = Urls(
            rest="https://api.kraken.com",
            public="wss://ws.kraken.com/v2",
            private="wss://ws-auth.kraken.com/v2",
        )

    # Requests.

    def requests(self, action: Action) -> list[Request]:
        """Return the requests that carry out `action`. Raises UnsupportedError."""
        match action:
            case Markets(symbols=symbols):
                return [
                    _get("AssetPairs", pair=",".join(map(kraken_symbol, symbols))) if symbols else _get("AssetPairs")
                ]
            case ServerTime():
                return [_get("Time")]
            case SystemStatus():
                return [_get("SystemStatus")]
            case Ticker():
                return [_get("Ticker", pair=kraken_symbol(action.symbol))]
            case Depth():
                return [_get("Depth", pair=kraken_symbol(action.symbol), count=min(action.levels, 500))]
            case RecentTrades():
                return [_get("Trades", pair=kraken_symbol(action.symbol), count=min(action.limit, 1000))]
            case Candles():
                since = {"since": action.since_s} if action.since_s else {}
                return [
                    _get("OHLC", pair=kraken_symbol(action.symbol), interval=action.interval_s // 60, **since),
                ]
            case Balances():
                return [_post("BalanceEx")]
            case Fees():
                return [_post("TradeVolume", pair=kraken_symbol(action.symbol))]
            case Permissions():
                return [_post("GetApiKeyInfo")]
            case StreamToken():
                return [_post("GetWebSocketsToken")]
            case OpenOrders():
                return [_post("OpenOrders")]
            case ClosedOrders():
                since = {"start": action.since_s} if action.since_s else {}
                return [_post("ClosedOrders", **since)]
            case GetOrder():
                if action.venue_order_id:
                    return [_post("QueryOrders", txid=action.venue_order_id)]
                wanted = self.wire_id(action.client_order_id)
                return [_post("OpenOrders", cl_ord_id=wanted), _post("ClosedOrders", cl_ord_id=wanted)]
            case Fates():
                known = [_post("QueryOrders", txid=",".join(action.venue_order_ids))] if action.venue_order_ids else []
                since = {"start": action.since_s}
                return [*known, *([_post("OpenOrders"), _post("ClosedOrders", **since)] if action.since_s else [])]
            case Fills():
                since = {"start": action.since_s} if action.since_s else {}
                return [_post("TradesHistory", **since)]
            case Submit():
                order = _post("AddOrder", weight=0, pair=kraken_symbol(action.symbol), **self._order(action))
                order.deadline_ms = action.deadline_ms
                return [order]
            case SubmitBatch():
                return [self._batch(action)]
            case Amend():
                changes = {"order_qty": action.size, "limit_price": action.price}
                changes["post_only"] = "true" if action.post_only and action.price else ""
                reference = self._reference(action, "txid")
                return [_post("AmendOrder", weight=0, **reference, **{k: v for k, v in changes.items() if v})]
            case Cancel():
                return [_post("CancelOrder", weight=0, **self._reference(action, "txid"))]
            case CancelAllOrders():
                return [_post("CancelAll", weight=0)]
            case DeadManSwitch():
                return [_post("CancelAllOrdersAfter", weight=0, timeout=action.timeout_s)]
        raise UnsupportedError(f"Kraken does not offer {type(action).__name__}.", remedy="Use another venue for it.")

    def _reference(self, action: Amend | Cancel, venue_field: str) -> dict[str, str]:
        if action.venue_order_id:
            return {venue_field: action.venue_order_id}
        return {"cl_ord_id": self.wire_id(action.client_order_id)}

    def _order(self, order: Submit) -> dict[str, str]:
        """Return the fields of an order but its pair. Raises UnsupportedError."""
        check_offered(order)
        params = {
            "ordertype": "iceberg" if order.display_size else ORDER_TYPES[order.type],
            "type": order.side.value,
            "volume": order.size,
        }
        if order.type is OrderType.TRAILING_STOP:
            params["price"] = f"+{order.trail}"
        elif order.type.has_trigger:
            params["price"] = order.trigger_price
            if order.price:
                params["price2"] = order.price
        elif order.price:
            params["price"] = order.price
        if order.display_size:
            params["displayvol"] = order.display_size
        if order.time_in_force and order.time_in_force is not TimeInForce.GTC and order.type.has_limit:
            params["timeinforce"] = order.time_in_force.value.upper()
        if order.expire_s:
            params["expiretm"] = str(order.expire_s)
        if order.post_only:
            params["oflags"] = "post"
        if order.client_order_id:
            params["cl_ord_id"] = self.wire_id(order.client_order_id)
        return params

    def _batch(self, batch: SubmitBatch) -> Request:
        symbols = {order.symbol for order in batch.orders}
        if len(symbols) != 1 or not 2 <= len(batch.orders) <= 15:
            raise UnsupportedError(
                f"A Kraken batch holds 2 to 15 orders of one pair; this one {len(batch.orders)} of {len(symbols)}.",
                remedy="Send one batch a pair, single orders alone.",
            )
        params = {"pair": kraken_symbol(symbols.pop())}
        for n, order in enumerate(batch.orders):
            params.update({f"orders[{n}][{name}]": value for name, value in self._order(order).items()})
        return _post("AddOrderBatch", weight=0, **params)

    def sign(self, request: Request, credentials: Credentials, *, nonce: int, now_ms: int) -> Request:
        """Return the request with key and signature: HMAC-SHA512 over the path and SHA-256 of nonce and body."""
        fields = [pair for pair in request.body.split("&") if pair]
        if request.deadline_ms:
            deadline = _deadline(now_ms, request.deadline_ms)
            fields.append(f"deadline={quote(deadline, safe='')}")
        body = "&".join(sorted([*fields, f"nonce={nonce}"], key=lambda pair: pair.partition("=")[0]))
        try:
            secret = base64.b64decode(credentials.secret, validate=True)
        except ValueError as error:
            raise InvalidValueError(
                "The secret of this Kraken key is not base64.", remedy="Copy it again from Kraken's API page."
            ) from error
        inner = hashlib.sha256((str(nonce) + body).encode()).digest()
        signature = hmac.digest(secret, request.path.encode() + inner, "sha512")
        headers = {"API-Key": credentials.key, "API-Sign": base64.b64encode(signature).decode()}
        return msgspec.structs.replace(request, headers={**request.headers, **headers}, body=body)

    # Responses.

    def decode(self, action: Action, response: Response) -> Any:
        """Return the action's result. Raises VenueError, MalformedError."""
        result = self._result(response)
        match action:
            case Markets():
                return each_tradable(result.items(), lambda item: _pair(*item))
            case ServerTime():
                return int(field(result, "unixtime")) * NS_PER_S
            case SystemStatus():
                name = str(field(result, "status"))
                return VenueStatus(ts_ns=0, state=_SYSTEM.get(name, TradingState.MAINTENANCE), detail=name)
            case Ticker():
                return self._quote(result)
            case Depth():
                return self._depth(result)
            case RecentTrades():
                return self._trades(result)
            case Candles():
                return self._bars(result, action.interval_s)
            case Balances():
                return each_row("balance", result.items(), lambda item: _balance(*item))
            case Fees():
                return _fees(result)
            case Permissions():
                return _permissions(result)
            case StreamToken():
                return str(field(result, "token"))
            case OpenOrders():
                return self._orders(field(result, "open"), action.symbol)
            case ClosedOrders():
                return self._orders(field(result, "closed"), action.symbol)
            case GetOrder() | Fates():
                found = result.get("open", result.get("closed", result))
                return self._orders(found, "")
            case Fills():
                return self._fills(field(result, "trades"), action)
            case Submit():
                return VenueOrderId(str(rows(field(result, "txid"))[0]))
            case SubmitBatch():
                return [_placed(row) for row in rows(field(result, "orders"))]
            case Amend() | Cancel() | CancelAllOrders() | DeadManSwitch():
                if isinstance(action, Cancel) and result.get("count") == 0:
                    raise refuse(KRAKEN, Failure.NOT_FOUND, "EOrder:Unknown order")
                return VenueOrderId("")
        raise MalformedError("action", type(action).__name__)

    def _result(self, response: Response) -> Any:
        failure = http_failure(response.status)
        parsed = parsed_body(KRAKEN, response, failure)
        errors = parsed.get("error") if isinstance(parsed, dict) else None
        if errors:
            text = "; ".join(str(e) for e in errors)
            raise refuse(KRAKEN, failure_of(str(errors[0])), text, retry_after(response))
        if failure is not None:
            raise refuse(KRAKEN, failure, f"HTTP {response.status}", retry_after(response))
        result = field(parsed, "result")
        if not isinstance(result, dict):
            raise MalformedError("fields", f"result is {str(result)[:80]}")
        return result

    def next_page(self, action: Action, request: Request, response: Response) -> Request | None:
        """Return what asks for the rest of a history that is longer than one page."""
        listed = {Fills: "trades", ClosedOrders: "closed"}.get(type(action))
        if listed is None:
            return None
        result, fields = self._result(response), dict(parse_qsl(request.body))
        given = int(fields.get("ofs", 0)) + len(field(result, listed))
        if given >= int(result.get("count", 0)) or not result[listed]:
            return None
        return msgspec.structs.replace(request, body=urlencode(sorted({**fields, "ofs": str(given)}.items())))

    def _quote(self, result: dict[str, Any]) -> Quote:
        name, row = _only(result)
        listing = self.listings[name]
        ask, bid = rows(field(row, "a")), rows(field(row, "b"))
        return Quote(
            ts_ns=0,
            instrument=listing.id,
            bid=listing.price[bid[0]],
            ask=listing.price[ask[0]],
            bid_size=listing.size[bid[2]],
            ask_size=listing.size[ask[2]],
        )

    def _depth(self, result: dict[str, Any]) -> BookSnapshot:
        name, row = _only(result)
        listing = self.listings[name]
        sides = [[(listing.price[r[0]], listing.size[r[1]]) for r in rows(field(row, s))] for s in ("bids", "asks")]
        return BookSnapshot(instrument=listing.id, ts_ns=0, bids=sides[0], asks=sides[1])

    def _trades(self, result: dict[str, Any]) -> list[Trade | Unread]:
        name, found = _only(result)
        listing = self.listings[name]

        def read(row: Any) -> list[Trade]:
            trade = Trade(
                ts_ns=seconds_ns(str(row[2])),
                instrument=listing.id,
                price=listing.price[row[0]],
                size=listing.size[row[1]],
                side=Side.BUY if row[3] == "b" else Side.SELL,
                trade_id=TradeId(str(row[6])) if len(row) > 6 else TradeId(""),
            )
            return [trade]

        return each_row("trade", rows(found), read)

    def _bars(self, result: dict[str, Any], interval_s: int) -> list[Bar | Unread]:
        name, found = _only(result)
        listing = self.listings[name]

        def read(row: Any) -> list[Bar]:
            bar = Bar(
                ts_ns=(int(row[0]) + interval_s) * NS_PER_S,
                instrument=listing.id,
                interval_s=interval_s,
                open=listing.price[row[1]],
                high=listing.price[row[2]],
                low=listing.price[row[3]],
                close=listing.price[row[4]],
                volume=listing.size[row[6]],
            )
            return [bar]

        return each_row("bar", rows(found), read)

    def _orders(self, found: dict[str, Any], symbol: str) -> list[OrderUpdate | Unread]:
        return each_order(
            KRAKEN,
            self.listings,
            found.items(),
            lambda item: (
                item[0],
                item[1].get("cl_ord_id"),
                item[1]["descr"]["pair"],
                item[1]["descr"].get("type"),
            ),
            lambda item: self._order_update(*item, symbol),
        )

    def _order_update(self, order_id: str, row: Any, symbol: str) -> list[OrderUpdate]:
        descr = field(row, "descr")
        state = _STATES.get(field(row, "status"))
        if state is None:
            raise MalformedError("status", str(row["status"]))
        listing = self.listings[field(descr, "pair")]
        if symbol and listing.instrument.symbol != symbol:
            return []
        price, size = listing.price, listing.size
        kind = TYPES_BACK.get(descr["ordertype"])
        filled = size[row["vol_exec"]]
        if state is OrderState.ACCEPTED and filled:
            state = OrderState.PARTIALLY_FILLED
        if state is OrderState.FILLED and filled < size[row["vol"]]:
            state = OrderState.CANCELED
        limit = descr["price2"] if kind and kind.has_trigger else descr["price"]
        return [
            OrderUpdate(
                ts_ns=seconds_ns(str(row.get("closetm") or row["opentm"])),
                instrument=listing.id,
                client_id=ClientOrderId(str(row.get("cl_ord_id") or "")),
                venue_order_id=VenueOrderId(order_id),
                state=state,
                filled=filled,
                reason=str(row.get("reason") or ""),
                side=Side(descr["type"]),
                type=kind,
                size=size[row["vol"]],
                limit_price=price[limit] if kind not in _WITHOUT_LIMIT else 0,
                created_ns=seconds_ns(str(row["opentm"])),
            )
        ]

    def _fills(self, found: dict[str, Any], action: Fills) -> list[Execution | Unread]:
        fills = each_row("execution", found.items(), lambda item: self._fill(*item, action))
        return sorted(fills, key=time_of)

    def _fill(self, trade_id: str, row: Any, action: Fills) -> list[Execution]:
        listing = self.listings[field(row, "pair")]
        if (action.symbol and listing.instrument.symbol != action.symbol) or (
            action.venue_order_id and row["ordertxid"] != action.venue_order_id
        ):
            return []
        return [
            Execution(
                ts_ns=seconds_ns(str(row["time"])),
                instrument=listing.id,
                client_id=ClientOrderId(""),
                venue_order_id=VenueOrderId(row["ordertxid"]),
                trade_id=TradeId(trade_id),
                side=Side(row["type"]),
                price=listing.price[row["price"]],
                size=listing.size[row["vol"]],
                fee=amount_down(row["fee"]),
                fee_asset=listing.instrument.quote,
                liquidity=Liquidity.MAKER if row.get("maker") else Liquidity.TAKER,
            )
        ]

    # Sockets.

    def native(self, symbol: str) -> str:
        """Return the socket's name of a pair: BTC/USD, as ours."""
        return symbol

    def stream(self, *, depth: int = 10, bar_s: int = 60) -> Stream:
        """Return the state machine of a new connection."""
        return KrakenStream(self.listings, depth=depth, bar_s=bar_s)

    def stream_credential(self, channel: Channel, credentials: Credentials, token: str, *, now_ms: int) -> str:
        """Return the token: Kraken's private channels want nothing else."""
        return token

    def socket_request(
        self, action: Action, request_id: int, credentials: Credentials, token: str, *, now_ms: int
    ) -> str:
        """Return the socket text that asks for a trading action. Raises UnsupportedError where only REST can."""
        deadline = ""
        if isinstance(action, Submit | Amend | Cancel) and action.client_order_id:
            action = msgspec.structs.replace(action, client_order_id=self.wire_id(action.client_order_id))
        if isinstance(action, Submit) and action.deadline_ms:
            deadline = _deadline(now_ms, action.deadline_ms)
        return socket_request(action, request_id, token, deadline)

    def wire_id(self, client_id: ClientOrderId) -> ClientOrderId:
        """Return the id itself up to 18 characters, a UUID made of it beyond: Kraken takes either."""
        return short_id(client_id, PROFILE.longest_client_id)


def _deadline(now_ms: int, deadline_ms: int) -> str:
    """Return the time after which an order is refused."""
    return rfc3339((now_ms + min(deadline_ms, PROFILE.longest_deadline_ms)) * 1_000_000)


def _get(endpoint: str, **params: object) -> Request:
    query = f"?{urlencode(params)}" if params else ""
    return Request(method="GET", path=f"/0/public/{endpoint}{query}")


HISTORY_WEIGHT = 4
"""What the account's history costs of the call counter: Kraken's guides say 2 or 4, one counts closed orders among it
too; the dearest is charged."""


def _post(endpoint: str, *, weight: int = 1, **params: object) -> Request:
    heavy = endpoint in ("TradesHistory", "ClosedOrders")
    return Request(
        method="POST",
        path=f"/0/private/{endpoint}",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=urlencode(sorted(params.items())),
        weight=HISTORY_WEIGHT if heavy else weight,
    )


def _only(result: dict[str, Any]) -> tuple[str, Any]:
    for name, value in result.items():
        if name != "last":
            return name, value
    raise MalformedError("fields", "an empty result")


def _ppm(percent: object) -> int:
    return int(Decimal(str(percent)) * 10_000)


def _pair(name: str, pair: Any) -> list[Pair]:
    """Return a pair under each of its names; none for what is not traded as spot."""
    wsname = str(pair.get("wsname", ""))
    if not wsname or pair.get("status") == "delisted":
        return []
    base, quote_asset = (asset_code(part) for part in wsname.split("/", 1))
    decimals, lots = int(field(pair, "pair_decimals")), int(field(pair, "lot_decimals"))
    symbol = Symbol(f"{base}/{quote_asset}")
    takers = [(int(v), _ppm(p)) for v, p in pair.get("fees") or [[0, "0.40"]]]
    makers = {int(v): _ppm(p) for v, p in pair.get("fees_maker") or [[0, "0.25"]]}
    instrument = Instrument(
        id=instrument_id(KRAKEN, symbol),
        venue=KRAKEN,
        symbol=symbol,
        base=base,
        quote=quote_asset,
        price_decimals=decimals,
        size_decimals=min(lots, AMOUNT_DECIMALS),
        tick=scaled(
            str(pair.get("tick_size", 10**-decimals if decimals == 0 else f"0.{'0' * (decimals - 1)}1")), decimals
        ),
        lot=1,
        min_size=max(1, scaled(str(field(pair, "ordermin")), min(lots, AMOUNT_DECIMALS))),
        max_size=10 ** (15 + min(lots, AMOUNT_DECIMALS)),
        min_notional=scaled(str(pair.get("costmin", "0")), AMOUNT_DECIMALS),
        fee_tiers=tuple(
            FeeTier(volume=v * 10**AMOUNT_DECIMALS, maker_ppm=makers.get(v, taker), taker_ppm=taker)
            for v, taker in takers
        ),
        base_decimals=PROFILE.kept_decimals.get(base, AMOUNT_DECIMALS),
        quote_decimals=PROFILE.kept_decimals.get(quote_asset, AMOUNT_DECIMALS),
    )
    told = str(pair.get("status", "online"))
    state = PAIR_STATES.get(told, TradingState.MAINTENANCE)
    names = dict.fromkeys((symbol, name, str(field(pair, "altname")), wsname))
    return [Pair(native, instrument, state, told) for native in names]


def _balance(name: str, row: Any) -> list[Balance]:
    """Return a balance; nothing of what lies under a suffix (staked, bonded, on the way), from which nothing is traded
    but where the suffix is `.F`: that is earning automatically, and at hand."""
    _, dot, suffix = name.partition(".")
    if dot and suffix != AUTO_EARN:
        return []
    total, held = amount_down(field(row, "balance")), amount_down(row.get("hold_trade", "0"))
    return [Balance(ts_ns=0, asset=asset_code(name), total=total, free=total - held)]


def _placed(row: Any) -> Placed:
    return Placed(VenueOrderId(str(row.get("txid") or "")), plain_text(str(row.get("error") or "")))


def _fees(result: dict[str, Any]) -> FeeRates:
    _, taker = _only(field(result, "fees"))
    makers = result.get("fees_maker") or {}
    maker = _only(makers)[1] if makers else taker
    return FeeRates(
        maker_ppm=_ppm(field(maker, "fee")),
        taker_ppm=_ppm(field(taker, "fee")),
        volume_30d=str(result.get("volume", "")),
    )


TRADING_RIGHTS = {"modify-trades", "close-trades"}
"""To place and to cancel; the names of the rights to read hold the word trades too."""


def _permissions(result: dict[str, Any]) -> KeyPermissions:
    names = [str(p) for p in rows(field(result, "permissions"))]
    return KeyPermissions(
        can_trade=set(names) >= TRADING_RIGHTS,
        can_withdraw=any("withdraw" in n for n in names),
        detail=", ".join(names),
    )
