"""What Binance does for an account: orders, lists of orders, fills, fees. Without signatures and sockets.

Sources: rest-api.md and errors.md of binance-spot-api-docs, the wallet API for `/sapi` (2026).
"""

from collections.abc import Callable
from typing import Any

from aether.domain.scaled import format_amount, format_scaled
from aether.exchange.face import ApiKey, Face, base36
from aether.exchange.faces.binance_endpoints import INTERVAL_NS, ORDER_LIMITS
from aether.exchange.faces.binance_fields import (
    BinanceError,
    error_of,
    limit,
    missing,
    names_in,
    one_of,
    units_of,
    whole,
)
from aether.exchange.faces.binance_orders import (
    MAX_ORDER_LISTS,
    Leg,
    amended_row,
    canceled_row,
    check_amend,
    check_filters,
    check_restrictions,
    find_order,
    list_row,
    placed,
    placed_list,
    prevented_row,
    price_text,
    query_row,
    read_list,
    read_old_oco,
    read_order,
    size_text,
    symbol_of,
)
from aether.exchange.venue import Account, Market, NewOrder, Order, OrderList, Refusal, Refused, Trade

Params = dict[str, str]
BURNT_COIN = "BNB"
BURNT_COIN_PRICE = 600 * 10**8
"""Of one coin in the quote asset, where it is not traded."""
BURNT_SHARE_PPM = 750_000
"""Of the fee, where it is paid in the coin."""
DAY_MS = 86_400_000
MAKER_FILL, TAKER_FILL = 5, 1
"""How many orders the first fill of one takes off the count of unfilled orders."""


class Accounts:
    """Answers signed requests.

    Args:
        face: whose exchange, clock and faults they are.

    Attributes:
        handlers: by the names that `ENDPOINTS` gives them.
        cancel_id: of the cancel that is under way, empty when there is none.
        amended: the client id that the order under amendment had before.
    """

    def __init__(self, face: Face) -> None:
        self._face = face
        self._venue = face.venue
        self._made = 0
        self._counts: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._amendments: dict[int, list[dict[str, Any]]] = {}
        self._interest_burn: dict[str, bool] = {}
        self.cancel_id = ""
        self.amended = ""
        self.handlers: dict[str, Callable[[Params, ApiKey], Any]] = {
            "order_new": self._order_new,
            "order_test": self._order_test,
            "order_query": self._order_query,
            "order_cancel": self._order_cancel,
            "order_replace": self._order_replace,
            "order_amend": self._order_amend,
            "amendments": self._amendments_of,
            "open_orders": self._open_orders,
            "cancel_all": self._cancel_all,
            "all_orders": self._all_orders,
            "list_oco": lambda p, key: self._list_new("oco", p, key),
            "list_old_oco": lambda p, key: self._list_new("oco", {**read_old_oco(p)}, key),
            "list_oto": lambda p, key: self._list_new("oto", p, key),
            "list_otoco": lambda p, key: self._list_new("otoco", p, key),
            "list_query": self._list_query,
            "list_cancel": self._list_cancel,
            "all_lists": self._all_lists,
            "open_lists": self._open_lists,
            "account": self._account,
            "commission": self._commission,
            "my_trades": self._my_trades,
            "prevented": self._prevented,
            "order_counts": lambda _p, key: self.order_counts(key.account),
            "restrictions": self._restrictions,
            "coins": self._coins,
            "trade_fee": self._trade_fee,
            "burn_query": self._burn_query,
            "burn_set": self._burn_set,
            "nothing": lambda _p, _key: [],
            "no_opo": self._no_opo,
        }

    def market_of(self, name: str) -> Market:
        """Return the market of a symbol. Raises BinanceError."""
        for market in self._venue.listed():
            if symbol_of(market) == name:
                return market
        raise error_of(Refused(Refusal.UNKNOWN_MARKET))

    def markets_of(self, p: Params) -> list[Market]:
        """Return the markets that `symbol` or `symbols` names, none when neither is there. Raises BinanceError."""
        if "symbol" in p and "symbols" in p:
            raise BinanceError(-1128, "Combination of optional parameters invalid.")
        return [self.market_of(name) for name in names_in(p, "symbol") + names_in(p, "symbols")]

    def made_id(self) -> str:
        """Return a new id, as the venue makes one up for what has none."""
        self._made += 1
        return base36(self._venue.clock() // 1000, 13) + base36(self._made, 9)

    # Limits and rights.

    def _may_trade(self, key: ApiKey) -> None:
        if not key.can_trade:
            raise BinanceError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        if self._venue.state == "maintenance":
            raise BinanceError(-1016, "This service is no longer available.", 503)

    def _count_orders(self, account: str, count: int) -> None:
        """Count new orders. Raises BinanceError when they are too many."""
        now = self._venue.clock()
        for (interval, number), most in ORDER_LIMITS.items():
            window = now // (number * INTERVAL_NS[interval])
            seen = self._counts.get((account, interval, number), (window, 0))
            total = (seen[1] if seen[0] == window else 0) + count
            self._counts[account, interval, number] = (window, total)
            if self._face.enforce_limits and total > most:
                text = f"Too many new orders; current limit is {most} orders per {number} {interval}."
                raise BinanceError(-1015, text, 429)

    def count_fill(self, account: str, *, is_maker: bool) -> None:
        """Take an order that was filled for the first time off what is counted: the limit is of unfilled ones."""
        for (name, interval, number), (window, count) in self._counts.items():
            if name == account and window == self._venue.clock() // (number * INTERVAL_NS[interval]):
                left = max(0, count - (MAKER_FILL if is_maker else TAKER_FILL))
                self._counts[name, interval, number] = (window, left)

    def order_counts(self, account: str) -> list[dict[str, Any]]:
        """Return how many unfilled orders an account has placed, by interval."""
        now, found = self._venue.clock(), []
        for (interval, number), most in ORDER_LIMITS.items():
            window = now // (number * INTERVAL_NS[interval])
            seen = self._counts.get((account, interval, number), (window, 0))
            count = seen[1] if seen[0] == window else 0
            row = {"rateLimitType": "ORDERS", "interval": interval, "intervalNum": number, "limit": most}
            found.append({**row, "count": count})
        return found

    # Orders.

    def _read(self, p: Params, key: ApiKey) -> tuple[Market, Account, NewOrder]:
        market, account = self.market_of(p["symbol"]), self._venue.account(key.account)
        order = read_order(self._venue, market, Leg(p), self.made_id())
        check_filters(self._venue, market, account, order)
        return market, account, order

    def _order_new(self, p: Params, key: ApiKey) -> Any:
        self._may_trade(key)
        _, _, order = self._read(p, key)
        self._count_orders(key.account, 1)
        return self._place(order, p, key)

    def _place(self, order: NewOrder, p: Params, key: ApiKey) -> dict[str, Any]:
        if self._face.faults.happens("reject"):
            raise Refused(Refusal.INJECTED)
        before = len(self._venue.prevented)
        made = self._venue.place(key.account, order)
        prevented = [one for one in self._venue.prevented[before:] if one.taker is made]
        return placed(made, p.get("newOrderRespType", ""), prevented)

    def _order_test(self, p: Params, key: ApiKey) -> Any:
        _, account, _ = self._read(p, key)
        if p.get("computeCommissionRates") != "true":
            return {}
        maker, taker = self._rates(account)
        nothing = {"maker": "0.00000000", "taker": "0.00000000"}
        return {
            "standardCommissionForOrder": {"maker": maker, "taker": taker},
            "specialCommissionForOrder": nothing,
            "taxCommissionForOrder": nothing,
            "discount": self._discount(account),
        }

    def _order_query(self, p: Params, key: ApiKey) -> Any:
        account = self._venue.account(key.account)
        order = find_order(account, self.market_of(p["symbol"]), p, "orderId", "origClientOrderId")
        if order is None:
            raise BinanceError(-2013, "Order does not exist.")
        return query_row(order)

    def _order_cancel(self, p: Params, key: ApiKey) -> Any:
        self._may_trade(key)
        account = self._venue.account(key.account)
        order = find_order(account, self.market_of(p["symbol"]), p, "orderId", "origClientOrderId")
        check_restrictions(order, p.get("cancelRestrictions", ""))
        return self._cancel(key, order, p.get("newClientOrderId", ""))

    def _cancel(self, key: ApiKey, order: Order | None, cancel_id: str) -> dict[str, Any]:
        """Cancel an order, and with it the list that it belongs to."""
        self.cancel_id = cancel_id or self.made_id()
        try:
            done = self._venue.cancel(key.account, order, "canceled")
            return self._canceled_list(done.group) if done.group else canceled_row(done, self.cancel_id)
        finally:
            self.cancel_id = ""

    def _canceled_list(self, group: OrderList) -> dict[str, Any]:
        reports = [canceled_row(order, self.cancel_id) for order in group.orders]
        return {**list_row(group, self._face.now_ns() // 1_000_000), "orderReports": reports}

    def _cancel_all(self, p: Params, key: ApiKey) -> Any:
        self._may_trade(key)
        market, account = self.market_of(p["symbol"]), self._venue.account(key.account)
        chosen = [order for order in account.open.values() if order.market is market]
        if not chosen:
            raise Refused(Refusal.UNKNOWN_ORDER)
        return [self._cancel(key, order, "") for order in chosen if order.status.is_open]

    def _order_replace(self, p: Params, key: ApiKey) -> Any:
        self._may_trade(key)
        if "cancelOrderId" not in p and "cancelOrigClientOrderId" not in p:
            raise one_of("cancelOrigClientOrderId", "cancelOrderId")
        market, account, new = self._read(p, key)
        try:
            self._count_orders(key.account, 1)
        except BinanceError:
            if p.get("orderRateLimitExceededMode") == "CANCEL_ONLY":
                self._cancel(key, self._to_replace(account, market, p), p.get("cancelNewClientOrderId", ""))
            raise
        canceled, not_canceled = _tried(
            lambda: self._cancel(key, self._to_replace(account, market, p), p.get("cancelNewClientOrderId", ""))
        )
        attempted = not not_canceled or p["cancelReplaceMode"] == "ALLOW_FAILURE"
        made, not_made = _tried(lambda: self._place(new, p, key)) if attempted else (None, False)
        answer = {
            "cancelResult": "FAILURE" if not_canceled else "SUCCESS",
            "newOrderResult": ("FAILURE" if not_made else "SUCCESS") if attempted else "NOT_ATTEMPTED",
            "cancelResponse": canceled,
            "newOrderResponse": made,
        }
        if not not_canceled and not not_made:
            return answer
        if not_canceled and (not_made or not attempted):
            raise BinanceError(-2022, "Order cancel-replace failed.", 400, answer)
        raise BinanceError(-2021, "Order cancel-replace partially failed.", 409, answer)

    @staticmethod
    def _to_replace(account: Account, market: Market, p: Params) -> Order | None:
        order = find_order(account, market, p, "cancelOrderId", "cancelOrigClientOrderId")
        check_restrictions(order, p.get("cancelRestrictions", ""))
        return order

    def _order_amend(self, p: Params, key: ApiKey) -> Any:
        self._may_trade(key)
        market, account = self.market_of(p["symbol"]), self._venue.account(key.account)
        found = find_order(account, market, p, "orderId", "origClientOrderId")
        size = units_of(p, "newQty", market.size_decimals, Refusal.BAD_SIZE)
        if size % self._venue.steps[market.symbol]:
            raise Refused(Refusal.BAD_SIZE, p["newQty"])
        history = self._amendments.setdefault(found.number, []) if found else []
        order = check_amend(found, size, len(history))
        before, old_size = order.request.client_id, order.size
        self.amended = before
        try:
            self._venue.amend(key.account, order, size=size, client_id=p.get("newClientOrderId", "") or self.made_id())
        finally:
            self.amended = ""
        now_ms, execution = self._face.now_ns() // 1_000_000, order.number * 1000 + len(history)
        history.append(
            {
                "symbol": symbol_of(market),
                "orderId": order.number,
                "executionId": execution,
                "origClientOrderId": before,
                "newClientOrderId": order.request.client_id,
                "origQty": size_text(market, old_size),
                "newQty": size_text(market, size),
                "time": now_ms,
            }
        )
        answer = {"transactTime": now_ms, "executionId": execution, "amendedOrder": amended_row(order, before)}
        if order.group:
            row = list_row(order.group)
            kept = ("orderListId", "contingencyType", "listOrderStatus", "listClientOrderId", "symbol", "orders")
            answer["listStatus"] = {name: row[name] for name in kept}
        return answer

    def _amendments_of(self, p: Params, key: ApiKey) -> Any:
        order = self._venue.account(key.account).orders.get(whole(p, "orderId"))
        if order is None or symbol_of(order.market) != p["symbol"]:
            raise BinanceError(-2013, "Order does not exist.")
        since = whole(p, "fromExecutionId")
        return [row for row in self._amendments.get(order.number, []) if row["executionId"] >= since][: limit(p)]

    def _open_orders(self, p: Params, key: ApiKey) -> Any:
        market = self.market_of(p["symbol"]) if "symbol" in p else None
        orders = self._venue.account(key.account).open.values()
        return [query_row(order) for order in orders if market is None or order.market is market]

    def _all_orders(self, p: Params, key: ApiKey) -> Any:
        market = self.market_of(p["symbol"])
        _check_span(p)
        orders = [o for o in self._venue.account(key.account).orders.values() if o.market is market]
        count = limit(p)
        if "orderId" in p:
            return [query_row(o) for o in orders if o.number >= whole(p, "orderId")][:count]
        chosen = [o for o in orders if _is_within(p, o.created_ns)]
        return [query_row(o) for o in (chosen[:count] if "startTime" in p else chosen[-count:])]

    # Lists of orders.

    def _list_new(self, kind: str, p: Params, key: ApiKey) -> Any:
        self._may_trade(key)
        market, account = self.market_of(p["symbol"]), self._venue.account(key.account)
        orders = read_list(self._venue, market, kind, p, [self.made_id() for _ in range(3)])
        for ahead, order in enumerate(orders):
            check_filters(self._venue, market, account, order, ahead)
        if sum(1 for g in account.lists.values() if g.market is market and not g.is_done) >= MAX_ORDER_LISTS:
            raise BinanceError(-1013, "Filter failure: MAX_NUM_ORDER_LISTS")
        self._count_orders(key.account, len(orders))
        if self._face.faults.happens("reject"):
            raise Refused(Refusal.INJECTED)
        name = p.get("listClientOrderId", "") or self.made_id()
        return placed_list(self._venue.place_list(key.account, kind, orders, name), p.get("newOrderRespType", ""))

    def _no_opo(self, p: Params, key: ApiKey) -> Any:
        self._may_trade(key)
        self.market_of(p["symbol"])
        raise BinanceError(-2010, "OPO orders are not supported for this symbol.")

    def _find_list(self, account: Account, p: Params, client_id: str) -> OrderList | None:
        if "orderListId" in p:
            return account.lists.get(whole(p, "orderListId"))
        if client_id not in p:
            raise one_of(client_id, "orderListId")
        named = [g for g in account.lists.values() if g.client_id == p[client_id]]
        return named[-1] if named else None

    def _list_query(self, p: Params, key: ApiKey) -> Any:
        group = self._find_list(self._venue.account(key.account), p, "origClientOrderId")
        if group is None:
            raise BinanceError(-2013, "Order does not exist.")
        return list_row(group)

    def _list_cancel(self, p: Params, key: ApiKey) -> Any:
        self._may_trade(key)
        market = self.market_of(p["symbol"])
        group = self._find_list(self._venue.account(key.account), p, "listClientOrderId")
        if group is None or group.market is not market:
            raise Refused(Refusal.UNKNOWN_ORDER)
        self.cancel_id = p.get("newClientOrderId", "") or self.made_id()
        try:
            return self._canceled_list(self._venue.cancel_list(key.account, group))
        finally:
            self.cancel_id = ""

    def _all_lists(self, p: Params, key: ApiKey) -> Any:
        if "fromId" in p and ("startTime" in p or "endTime" in p):
            raise BinanceError(-1128, "Combination of optional parameters invalid.")
        _check_span(p)
        groups = list(self._venue.account(key.account).lists.values())
        if "fromId" in p:
            return [list_row(g) for g in groups if g.number >= whole(p, "fromId")][: limit(p)]
        chosen = [g for g in groups if _is_within(p, g.created_ns)]
        return [list_row(g) for g in (chosen[: limit(p)] if "startTime" in p else chosen[-limit(p) :])]

    def _open_lists(self, _p: Params, key: ApiKey) -> Any:
        return [list_row(g) for g in self._venue.account(key.account).lists.values() if not g.is_done]

    # The account.

    def _rates(self, account: Account) -> tuple[str, str]:
        tier = self._venue.tier(account)
        return format_amount(tier.maker_ppm * 100), format_amount(tier.taker_ppm * 100)

    @staticmethod
    def _discount(account: Account) -> dict[str, Any]:
        return {
            "enabledForAccount": bool(account.fee_coin),
            "enabledForSymbol": True,
            "discountAsset": BURNT_COIN,
            "discount": format_amount(BURNT_SHARE_PPM * 100),
        }

    def _account(self, p: Params, key: ApiKey) -> Any:
        account = self._venue.account(key.account)
        tier = self._venue.tier(account)
        maker, taker = self._rates(account)
        nothing = "0.00000000"
        balances = [
            {
                "asset": asset,
                "free": format_amount(account.free(asset)),
                "locked": format_amount(account.held.get(asset, 0)),
            }
            for asset, total in account.total.items()
            if total or p.get("omitZeroBalances") != "true"
        ]
        return {
            "makerCommission": tier.maker_ppm // 100,
            "takerCommission": tier.taker_ppm // 100,
            "buyerCommission": 0,
            "sellerCommission": 0,
            "commissionRates": {"maker": maker, "taker": taker, "buyer": nothing, "seller": nothing},
            "canTrade": key.can_trade,
            "canWithdraw": True,
            "canDeposit": True,
            "brokered": False,
            "requireSelfTradePrevention": False,
            "preventSor": False,
            "updateTime": self._face.now_ns() // 1_000_000,
            "accountType": "SPOT",
            "balances": balances,
            "permissions": ["SPOT"],
            "uid": 1,
        }

    def _commission(self, p: Params, key: ApiKey) -> Any:
        account = self._venue.account(key.account)
        self.market_of(p["symbol"])
        maker, taker = self._rates(account)
        nothing = dict.fromkeys(("maker", "taker", "buyer", "seller"), "0.00000000")
        return {
            "symbol": p["symbol"],
            "standardCommission": {**nothing, "maker": maker, "taker": taker},
            "specialCommission": nothing,
            "taxCommission": nothing,
            "discount": self._discount(account),
        }

    def _trade_fee(self, p: Params, key: ApiKey) -> Any:
        tier = self._venue.tier(self._venue.account(key.account))
        maker, taker = (format_scaled(ppm, 6).rstrip("0") for ppm in (tier.maker_ppm, tier.taker_ppm))
        rates = {"makerCommission": maker, "takerCommission": taker}
        markets = self.markets_of(p) or list(self._venue.markets.values())
        return [{"symbol": symbol_of(market), **rates} for market in markets]

    def _my_trades(self, p: Params, key: ApiKey) -> Any:
        market = self.market_of(p["symbol"])
        _check_span(p)
        if "orderId" in p and ("startTime" in p or "endTime" in p):
            raise BinanceError(-1128, "Combination of optional parameters invalid.")
        if "fromId" in p and ("startTime" in p or "endTime" in p):
            raise BinanceError(-1128, "Combination of optional parameters invalid.")
        count, wanted, from_id = limit(p), whole(p, "orderId"), whole(p, "fromId")
        rows = [
            _my_trade(order, trade)
            for order, trade in self._venue.account(key.account).trades
            if order.market is market
            and trade.number >= from_id
            and (not wanted or order.number == wanted)
            and _is_within(p, trade.ts_ns)
        ]
        is_forward = any(name in p for name in ("fromId", "startTime"))
        return rows[:count] if is_forward else rows[-count:]

    def _prevented(self, p: Params, key: ApiKey) -> Any:
        market = self.market_of(p["symbol"])
        if "preventedMatchId" not in p and "orderId" not in p:
            raise one_of("preventedMatchId", "orderId")
        number, order = whole(p, "preventedMatchId", -1), whole(p, "orderId", -1)
        found = [
            prevented_row(one)
            for one in self._venue.prevented
            if one.taker.market is market
            and one.taker.account == key.account
            and one.number in (number, one.number if number < 0 else number)
            and (order < 0 or order in (one.taker.number, one.maker.number))
            and one.number >= whole(p, "fromPreventedMatchId")
        ]
        return found[: limit(p)]

    @staticmethod
    def _restrictions(_p: Params, key: ApiKey) -> Any:
        return {
            "ipRestrict": False,
            "createTime": 0,
            "enableReading": True,
            "enableWithdrawals": key.can_withdraw,
            "enableInternalTransfer": False,
            "enableMargin": False,
            "enableFutures": False,
            "permitsUniversalTransfer": False,
            "enableVanillaOptions": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
            "enablePortfolioMarginTrading": False,
            "enableSpotAndMarginTrading": key.can_trade,
        }

    def _coins(self, _p: Params, key: ApiKey) -> Any:
        account = self._venue.account(key.account)
        assets = {asset for market in self._venue.markets.values() for asset in (market.base, market.quote)}
        return [
            {
                "coin": asset, "name": asset, "free": format_amount(account.free(asset)),
                "locked": format_amount(account.held.get(asset, 0)), "freeze": "0", "withdrawing": "0", "ipoing": "0",
                "ipoable": "0", "storage": "0", "trading": True, "networkList": [], "depositAllEnable": True,
                "withdrawAllEnable": True, "isLegalMoney": asset in ("USD", "EUR"),
            }
            for asset in sorted(assets)
        ]  # fmt: skip

    def _burn_query(self, _p: Params, key: ApiKey) -> Any:
        spot = bool(self._venue.account(key.account).fee_coin)
        return {"spotBNBBurn": spot, "interestBNBBurn": self._interest_burn.get(key.account, False)}

    def _burn_set(self, p: Params, key: ApiKey) -> Any:
        if "spotBNBBurn" not in p and "interestBNBBurn" not in p:
            raise missing("spotBNBBurn")
        if "spotBNBBurn" in p:
            coin = BURNT_COIN if p["spotBNBBurn"] == "true" else ""
            self._venue.set_fee_coin(key.account, coin, BURNT_COIN_PRICE, BURNT_SHARE_PPM)
        if "interestBNBBurn" in p:
            self._interest_burn[key.account] = p["interestBNBBurn"] == "true"
        return self._burn_query(p, key)


def _tried(work: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], bool]:
    """Return what came of some work, or its error, and whether it failed."""
    try:
        return work(), False
    except Refused as refused:
        return error_of(refused).body(), True
    except BinanceError as error:
        return error.body(), True


def _check_span(p: Params) -> None:
    if "startTime" in p and "endTime" in p and whole(p, "endTime") - whole(p, "startTime") > DAY_MS:
        raise BinanceError(-1127, "More than 24 hours between startTime and endTime.")


def _is_within(p: Params, ts_ns: int) -> bool:
    return whole(p, "startTime") <= ts_ns // 1_000_000 <= whole(p, "endTime", 10**16)


def _my_trade(order: Order, trade: Trade) -> dict[str, Any]:
    fee, asset, is_maker = trade.of(order)
    market = order.market
    return {
        "symbol": symbol_of(market),
        "id": trade.number,
        "orderId": order.number,
        "orderListId": order.group.number if order.group else -1,
        "price": price_text(market, trade.price),
        "qty": size_text(market, trade.size),
        "quoteQty": format_amount(market.notional(trade.price, trade.size)),
        "commission": format_amount(fee),
        "commissionAsset": asset,
        "time": trade.ts_ns // 1_000_000,
        "isBuyer": order.is_buy,
        "isMaker": is_maker,
        "isBestMatch": True,
    }
