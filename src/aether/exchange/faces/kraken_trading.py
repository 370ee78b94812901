"""What Kraken does for a key that may trade: orders placed, changed and canceled, over REST and over the socket."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aether.domain.scaled import format_amount, format_scaled
from aether.exchange.face import ApiKey, Refused, units
from aether.exchange.faces.kraken_account import KrakenAccount, order_flags
from aether.exchange.faces.kraken_names import PRE_MATCH, TEXTS, KrakenError, invalid, iso, parse_iso
from aether.exchange.faces.kraken_orders import (
    ICEBERG_PART,
    ORDER_FIELDS,
    SOCKET_ORDER_FIELDS,
    TRIGGER_FIELDS,
    describe,
    describe_close,
    is_true,
    kind_of,
    known,
    order_of_fields,
    plain,
    prices_of,
    read_price,
    socket_fields,
    socket_price,
)
from aether.exchange.venue import Account, Market, NewOrder, Order, Refusal, Status

BATCH = range(2, 16)
CANCELED_AT_ONCE = 50
LONGEST_TIMEOUT_S = 86_400
LATEST_DEADLINE_NS = 60 * 10**9
_EDITED = ("volume", "displayvol", "price", "price2", "oflags")
_AMENDED = ("order_qty", "display_qty", "limit_price", "trigger_price")
TRADING_FIELDS: dict[str, frozenset[str]] = {
    "AddOrder": ORDER_FIELDS | {"pair", "asset_class", "deadline", "validate", "trading_agreement"},
    "AddOrderBatch": frozenset({"pair", "asset_class", "deadline", "validate", "orders"}),
    "AmendOrder": frozenset({*_AMENDED, "txid", "cl_ord_id", "pair", "post_only", "deadline"}),
    "EditOrder": frozenset(
        {*_EDITED, "txid", "userref", "pair", "asset_class", "deadline", "cancel_response", "validate"}
    ),
    "CancelOrder": frozenset({"txid", "cl_ord_id"}),
    "CancelOrderBatch": frozenset({"orders", "cl_ord_ids"}),
    "CancelAll": frozenset(),
    "CancelAllOrdersAfter": frozenset({"timeout"}),
}
"""What each trading request may be asked with."""

_SOCKET = frozenset({"token"})
SOCKET_FIELDS: dict[str, frozenset[str]] = {
    "add_order": _SOCKET | SOCKET_ORDER_FIELDS | {"symbol", "deadline", "validate"},
    "batch_add": _SOCKET | {"symbol", "orders", "deadline", "validate"},
    "amend_order": _SOCKET
    | {*_AMENDED, "order_id", "cl_ord_id", "limit_price_type", "trigger_price_type", "post_only", "deadline", "symbol"},
    "edit_order": _SOCKET
    | {"order_id", "symbol", "order_qty", "display_qty", "limit_price", "order_userref", "post_only", "triggers"}
    | {"fee_preference", "no_mpp", "reduce_only", "deadline", "validate"},
    "cancel_order": _SOCKET | {"order_id", "cl_ord_id", "order_userref"},
    "batch_cancel": _SOCKET | {"orders", "cl_ord_id"},
    "cancel_all": _SOCKET,
    "cancel_all_orders_after": _SOCKET | {"timeout"},
}
"""What each trading request of the socket may be asked with."""

_INDEXED = re.compile(r"\[([^\]]*)\]")
_LISTS = frozenset({"orders", "cl_ord_ids"})


class KrakenTrading(KrakenAccount):
    """Carries out what a key may do with orders."""

    def trading_result(self, endpoint: str, f: dict[str, str], account: Account) -> Any:
        """Return the result of a trading request over REST. Raises KrakenError, Refused."""
        self._check_deadline(f.get("deadline", ""))
        if endpoint == "AddOrder":
            return self._add(account, f)
        if endpoint == "AddOrderBatch":
            market = self._pair_of(f)
            asked = [order_of_fields(market, o, self.venue.clock()) for o in _orders(f)]
            return {"orders": self._add_batch(account, market, asked, validate=is_true(f.get("validate", "")))}
        if endpoint == "AmendOrder":
            return {"amend_id": self._amend(account, f)}
        if endpoint == "EditOrder":
            return self._edit(account, f)
        if endpoint == "CancelOrder":
            return {"count": len(self._cancel_all_of(account, self._to_cancel(account, f)))}
        if endpoint == "CancelOrderBatch":
            return {"count": self._cancel_batch(account, _listed(f, "orders"), _listed(f, "cl_ord_ids"))}
        if endpoint == "CancelAll":
            return {"count": len(self.venue.cancel_all(account.name))}
        return self._dead_man(account, f.get("timeout", ""))

    def socket_result(self, method: str, params: dict[str, Any], key: ApiKey) -> list[dict[str, Any]]:
        """Return the answers to a trading request of the socket, each its `result` or its `error`.

        Raises:
            KrakenError, Refused: when the request as a whole is refused.
        """
        account = self.venue.account(key.account)
        if method not in SOCKET_FIELDS:
            raise KrakenError("EGeneral:Unknown method")
        p = known(params, SOCKET_FIELDS[method], method.replace("_", " "))
        self._check_deadline(str(p.get("deadline", "")))
        if method == "cancel_order":
            return self._cancel_each(account, p)
        return [{"result": self._socket_result(method, p, account)}]

    def _socket_result(self, method: str, p: Mapping[str, Any], account: Account) -> Any:
        now = self.venue.clock()
        if method == "add_order":
            market = self.market_of(str(p["symbol"]))
            request = order_of_fields(market, socket_fields(p), now)
            if p.get("validate"):
                self._validate(account, request)
                return _references(request)
            return {"order_id": self.order_id(self.place(account, request)), **_references(request)}
        if method == "batch_add":
            market = self.market_of(str(p["symbol"]))
            orders = [known(o, SOCKET_ORDER_FIELDS, "batch add") for o in p["orders"]]
            asked = [order_of_fields(market, socket_fields(o), now) for o in orders]
            rows = self._add_batch(account, market, asked, validate=bool(p.get("validate")))
            return [_socket_row(row, request) for row, request in zip(rows, asked, strict=True)]
        if method == "amend_order":
            given = {n: str(p[n]) for n in ("order_id", "cl_ord_id") if n in p}
            return {"amend_id": self._amend(account, self._amend_fields(account, p)), **given}
        if method == "edit_order":
            return self._edit_socket(account, p)
        if method == "batch_cancel":
            ids, clients = [plain(i) for i in p.get("orders", [])], [str(i) for i in p.get("cl_ord_id", [])]
            if len(ids) + len(clients) < BATCH.start:
                raise invalid("orders")
            return {"count": self._cancel_batch(account, ids, clients)}
        if method == "cancel_all":
            return {"count": len(self.venue.cancel_all(account.name))}
        return self._dead_man(account, plain(p["timeout"]))

    # Placing.

    def place(self, account: Account, request: NewOrder) -> Order:
        """Place an order. Raises Refused."""
        if self.faults.happens("reject"):
            raise Refused(Refusal.INJECTED)
        return self.venue.place(account.name, request)

    def _pair_of(self, f: Mapping[str, str]) -> Market:
        if f.get("asset_class"):
            raise Refused(Refusal.UNKNOWN_MARKET)
        return self.market_of(f["pair"])

    def _check_deadline(self, deadline: str) -> None:
        if not deadline:
            return
        until, now = parse_iso(deadline), self.now_ns()
        if until < now:
            raise KrakenError("EService:Deadline elapsed")
        if until > now + LATEST_DEADLINE_NS:
            raise invalid("deadline")

    def _validate(self, account: Account, request: NewOrder) -> None:
        """Refuse an order that is not valid in itself; what only the engine can know does not count."""
        try:
            self.venue.check(account.name, request, funds=False)
        except Refused as error:
            if error.reason not in PRE_MATCH:
                raise

    def _add(self, account: Account, f: dict[str, str]) -> dict[str, Any]:
        market = self._pair_of(f)
        request = order_of_fields(market, f, self.venue.clock())
        result: dict[str, Any] = {"descr": self._described(market, request)}
        if is_true(f.get("validate", "")):
            self._validate(account, request)
            return result
        return {**result, "txid": [self.order_id(self.place(account, request))]}

    def _add_batch(
        self, account: Account, market: Market, asked: list[NewOrder], *, validate: bool
    ) -> list[dict[str, Any]]:
        """Place orders, none of them when one is not valid; those that the engine refuses are left out."""
        if len(asked) not in BATCH:
            raise invalid("orders")
        for request in asked:
            self._validate(account, request)
        rows: list[dict[str, Any]] = []
        for request in asked:
            described = {"descr": self._described(market, request)}
            try:
                placed = {} if validate else {"txid": self.order_id(self.place(account, request))}
                rows.append({**placed, **described})
            except Refused as error:
                rows.append({"error": TEXTS[error.reason]})
        return rows

    def _described(self, market: Market, request: NewOrder) -> dict[str, str]:
        """Return the descriptions of an order as it was asked for."""
        volume = format_amount(request.cost) if request.cost else market.size_text(request.size)
        prices = (request.notes.get("price", ""), request.notes.get("price2", ""))
        words = describe(request.notes["kind"], prices)
        found = {"order": f"{request.side.value} {volume} {self.altname(market)} @ {words}"}
        return found | ({"close": describe_close(request)} if request.close else {})

    # Changing.

    def _amend(self, account: Account, f: Mapping[str, str]) -> str:
        """Change an order in its place; return the amendment's id."""
        if bool(f.get("txid")) == bool(f.get("cl_ord_id")) or not any(f.get(n) for n in _AMENDED):
            raise KrakenError("EGeneral:Invalid arguments")
        order = self.order_of(account, f.get("txid", ""), f.get("cl_ord_id", ""))
        if order is None or not order.status.is_open:
            raise Refused(Refusal.UNKNOWN_ORDER)
        if f.get("pair") and self.market_of(f["pair"]) is not order.market:
            raise invalid("pair")
        wanted = self._amended(order, f)
        is_live = order.status in (Status.NEW, Status.PARTIAL)
        if is_true(f.get("post_only", "")) and f.get("limit_price") and is_live and self.venue.would_take(wanted):
            raise Refused(Refusal.POST_ONLY)
        history = self.amends.setdefault(order.number, []) or [self.amend_row(order, "original", 0)]
        if wanted.size <= order.filled:
            self.venue.cancel(account.name, order)
        else:
            try:
                self.venue.amend(account.name, order, request=wanted)
            except Refused:
                self.amends.pop(order.number) if len(history) == 1 else None
                raise
        row = self.amend_row(order, "user", len(history))
        self.amends[order.number] = [*history, {**row, "post_only": is_true(f.get("post_only", ""))}]
        return str(row["amend_id"])

    def _amended(self, order: Order, f: Mapping[str, str]) -> NewOrder:
        """Return an order as it is to be."""
        request, market = order.request, order.market
        notes = {n: v for n, v in request.notes.items() if n not in ("price", "price2") or request.trails}
        wanted = replace(request, size=order.size, price=order.price, trigger=order.trigger, notes=notes)
        if f.get("order_qty"):
            wanted.size = units(f["order_qty"], market.size_decimals, Refusal.BAD_SIZE)
        if f.get("display_qty"):
            wanted.display = units(f["display_qty"], market.size_decimals, Refusal.BAD_SIZE)
            if not request.display or wanted.display * ICEBERG_PART < wanted.size - order.filled:
                raise invalid("display_qty")
        if f.get("limit_price"):
            self._amend_limit(order, wanted, f["limit_price"])
        if f.get("trigger_price"):
            self._amend_trigger(order, wanted, f["trigger_price"])
        return wanted

    def _amend_limit(self, order: Order, wanted: NewOrder, text: str) -> None:
        asked = read_price(text, order.market, "limit_price")
        if not wanted.has_limit or asked.sign == "#":
            raise invalid("limit_price")
        if wanted.trails and not order.triggered_ns:
            if not asked.sign:
                raise invalid("limit_price")
            wanted.price_offset = asked.offset(1)
            wanted.notes["price2"] = asked.text(order.market)
            return
        offset, last = asked.offset(1), self.venue.last[order.market.symbol]
        wanted.price = asked.amount if offset is None else last + offset.from_price(last)
        if wanted.price <= 0:
            raise Refused(Refusal.BAD_PRICE)

    def _amend_trigger(self, order: Order, wanted: NewOrder, text: str) -> None:
        asked = read_price(text, order.market, "trigger_price")
        if not wanted.type.has_trigger or order.triggered_ns or asked.sign == "#" or asked.amount <= 0:
            raise invalid("trigger_price")
        if wanted.trails:
            if not asked.sign:
                raise invalid("trigger_price")
            wanted.trail, wanted.trail_ppm = (0, asked.amount) if asked.is_ppm else (asked.amount, 0)
            wanted.notes["price"] = asked.text(order.market)
            return
        offset, last = asked.offset(1), self.venue.last[order.market.symbol]
        wanted.trigger = asked.amount if offset is None else last + offset.from_price(last)

    def _amend_fields(self, account: Account, p: Mapping[str, Any]) -> dict[str, str]:
        """Return AmendOrder's fields that say what amend_order's parameters say."""
        f = {"txid": str(p.get("order_id", "")), "cl_ord_id": str(p.get("cl_ord_id", ""))}
        order = self.order_of(account, f["txid"], f["cl_ord_id"])
        trails = order is not None and order.request.trails
        f |= {n: plain(p[n]) for n in ("order_qty", "display_qty", "post_only") if n in p}
        f |= {"pair": str(p["symbol"])} if "symbol" in p else {}
        for name, is_distance in (("limit_price", False), ("trigger_price", trails)):
            if name in p:
                default = "quote" if trails else "static"
                chosen = str(p.get(f"{name}_type", default))
                if name == "limit_price" and chosen != "static" and not trails:
                    raise invalid("limit_price_type")
                f[name] = socket_price(p[name], chosen, is_distance=is_distance)
        return f

    def _edit(self, account: Account, f: Mapping[str, str]) -> dict[str, Any]:
        """Replace an order by another; it stays when the other is refused."""
        order = self._to_edit(account, f)
        request = self._edited(order, f)
        market = order.market
        result: dict[str, Any] = {
            "descr": {"order": self._described(market, request)["order"]},
            "originaltxid": self.order_id(order),
            "olduserref": order.request.notes.get("userref", "0"),
            "newuserref": request.notes.get("userref", "0"),
            "volume": market.size_text(request.size),
            "price": request.notes.get("price", "0"),
            "price2": request.notes.get("price2", "0"),
        }
        self._validate(account, request)
        if is_true(f.get("validate", "")):
            return {**result, "orders_cancelled": 0, "status": "ok"}
        try:
            self.venue.check(account.name, request, instead_of=order)
        except Refused as error:
            return {**result, "orders_cancelled": 0, "status": "err", "error_message": TEXTS[error.reason]}
        self.venue.cancel(account.name, order, "Order replaced")
        placed = self.venue.place(account.name, request)
        return {**result, "orders_cancelled": 1, "status": "ok", "txid": self.order_id(placed)}

    def _to_edit(self, account: Account, f: Mapping[str, str]) -> Order:
        found = self._by_reference(account, f["txid"])
        if len(found) != 1 or not found[0].status.is_open:
            raise Refused(Refusal.UNKNOWN_ORDER)
        order = found[0]
        if self._pair_of(f) is not order.market:
            raise invalid("pair")
        if not any(f.get(n) for n in _EDITED):
            raise KrakenError("EGeneral:Invalid arguments")
        if order.request.close is not None or order.triggered_ns or order.request.client_id:
            raise Refused(Refusal.AMEND, "what EditOrder does not support")
        return order

    def _edited(self, order: Order, f: Mapping[str, str]) -> NewOrder:
        """Return the order that is to replace another: its own fields, but those that are given."""
        market, old = order.market, order.request
        size = units(f["volume"], market.size_decimals, Refusal.BAD_SIZE) if f.get("volume") else order.size
        if size <= order.filled:
            raise Refused(Refusal.AMEND, "executed already")
        flags = {*(f.get("oflags", "").split(",") if f.get("oflags") else []), *order_flags(order)} - {"", "post"}
        flags |= {"post"} if "post" in f.get("oflags", "").split(",") else set()
        flags -= {"fciq"} if "fcib" in flags else set()
        prices = prices_of(order)
        fields = {
            "ordertype": kind_of(old),
            "type": old.side.value,
            "volume": market.size_text(size - order.filled),
            "price": f.get("price") or prices[0],
            "price2": f.get("price2") or prices[1],
            "oflags": ",".join(sorted(flags)),
            "timeinforce": old.tif.value.upper(),
            "expiretm": format_scaled(old.expire_ns, 9) if old.expire_ns else "",
            "starttm": format_scaled(old.start_ns, 9) if order.status is Status.SCHEDULED else "",
            "stptype": (old.self_trade or "cancel_newest").replace("_", "-"),
            "trigger": old.notes.get("trigger", "last"),
            "userref": f.get("userref") or old.notes.get("userref", "0"),
        }
        if old.display or f.get("displayvol"):
            fields["displayvol"] = f.get("displayvol") or market.size_text(old.display)
        return order_of_fields(market, fields, self.venue.clock())

    def _edit_socket(self, account: Account, p: Mapping[str, Any]) -> dict[str, Any]:
        order = self.order_of(account, str(p["order_id"]))
        if order is None:
            raise Refused(Refusal.UNKNOWN_ORDER)
        words = {"order_qty": "volume", "display_qty": "displayvol", "order_userref": "userref", "validate": "validate"}
        f = {"txid": str(p["order_id"]), "pair": str(p["symbol"])}
        f |= {theirs: plain(p[ours]) for ours, theirs in words.items() if ours in p}
        if p.get("reduce_only"):
            raise KrakenError("EOrder:Reduce only:No position exists")
        flags = {"post": p.get("post_only"), "fcib": p.get("fee_preference") == "base"}
        f["oflags"] = ",".join(flag for flag, holds in flags.items() if holds)
        has_trigger, trails = order.request.type.has_trigger, order.request.trails
        if "limit_price" in p:
            chosen = "quote" if trails else "static"
            f["price2" if has_trigger else "price"] = socket_price(p["limit_price"], chosen)
        triggers = known(p.get("triggers") or {}, TRIGGER_FIELDS, "edit order")
        if "price" in triggers:
            chosen = str(triggers.get("price_type", "static"))
            f["price"] = socket_price(triggers["price"], chosen, is_distance=trails)
        result = self._edit(account, f)
        if result["status"] != "ok":
            raise KrakenError(result["error_message"])
        return {"order_id": result.get("txid", ""), "original_order_id": result["originaltxid"]}

    # Canceling.

    def _by_reference(self, account: Account, text: str) -> list[Order]:
        """Return the orders of a transaction id, or the open ones of a user reference."""
        if text.removeprefix("-").isdigit():
            return self.open_by_reference(account, str(int(text)))
        order = self.order_of(account, text) if text else None
        return [order] if order else []

    def _to_cancel(self, account: Account, f: Mapping[str, str]) -> list[Order]:
        if bool(f.get("txid")) == bool(f.get("cl_ord_id")):
            raise KrakenError("EGeneral:Invalid arguments")
        if f.get("txid"):
            return self._by_reference(account, f["txid"])
        order = self.order_of(account, "", f["cl_ord_id"])
        return [order] if order else []

    def _cancel_all_of(self, account: Account, orders: list[Order]) -> list[Order]:
        if not orders:
            raise Refused(Refusal.UNKNOWN_ORDER)
        return [self.venue.cancel(account.name, order) for order in orders]

    def _cancel_batch(self, account: Account, ids: list[str], client_ids: list[str]) -> int:
        """Cancel the open orders among those named; return how many there were."""
        if not 1 <= len({*ids, *client_ids}) <= CANCELED_AT_ONCE:
            raise invalid("orders")
        found = [o for text in ids for o in self._by_reference(account, text)]
        found += [o for text in client_ids if (o := self.order_of(account, "", text)) is not None]
        chosen = {o.number: o for o in found if o.status.is_open}
        return len(self._cancel_all_of(account, list(chosen.values())))

    def _cancel_each(self, account: Account, p: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Cancel orders, each with an answer of its own."""
        named = [n for n in ("order_id", "cl_ord_id", "order_userref") if p.get(n)]
        if len(named) != 1:
            raise KrakenError("EGeneral:Invalid arguments")
        answers: list[dict[str, Any]] = []
        for value in p[named[0]]:
            text = plain(value)
            if (named[0] == "order_userref") != text.removeprefix("-").isdigit() and named[0] != "cl_ord_id":
                raise invalid(named[0])
            f = {"cl_ord_id": text} if named[0] == "cl_ord_id" else {"txid": text}
            try:
                gone = self._cancel_all_of(account, self._to_cancel(account, f))
                answers += [{"result": {"order_id": self.order_id(o), **_client(o.request)}} for o in gone]
            except Refused as error:
                answers.append({"error": TEXTS[error.reason]})
        return answers

    def _dead_man(self, account: Account, timeout: str) -> dict[str, str]:
        """Let all orders be canceled so many seconds from now, unless this is asked again before."""
        if not timeout.isdigit() or int(timeout) > LONGEST_TIMEOUT_S:
            raise invalid("timeout")
        now = self.venue.clock()
        account.dead_man_ns = now + int(timeout) * 10**9 if int(timeout) else 0
        return {"currentTime": iso(now), "triggerTime": iso(account.dead_man_ns) if account.dead_man_ns else "0"}


def _references(request: NewOrder) -> dict[str, Any]:
    """Return what a client calls its order."""
    reference = request.notes.get("userref")
    return {**_client(request), **({"order_userref": int(reference)} if reference else {})}


def _client(request: NewOrder) -> dict[str, str]:
    return {"cl_ord_id": request.client_id} if request.client_id else {}


def _socket_row(row: dict[str, Any], request: NewOrder) -> dict[str, Any]:
    if "error" in row:
        return {"error": row["error"], **_references(request)}
    return {**({"order_id": row["txid"]} if "txid" in row else {}), **_references(request)}


def _orders(f: dict[str, str]) -> list[dict[str, str]]:
    """Return the fields of each order of a batch. Raises KrakenError."""
    found: dict[int, dict[str, str]] = {}
    for name, value in f.items():
        if not name.startswith("orders["):
            continue
        index, *parts = _INDEXED.findall(name)
        field = "".join([*parts[:1], *(f"[{part}]" for part in parts[1:])])
        if not index.isdigit() or field not in ORDER_FIELDS:
            raise invalid(name)
        found.setdefault(int(index), {})[field] = value
    return [found[n] for n in sorted(found)]


def _listed(f: dict[str, str], name: str) -> list[str]:
    """Return the values of a list, whose members may be objects of one field."""
    return [value for field, value in f.items() if field.partition("[")[0] == name]


def check_fields(f: dict[str, str], allowed: frozenset[str]) -> None:
    """Refuse a request with a field that its endpoint does not know. Raises KrakenError."""
    for name in f:
        root = name.partition("[")[0]
        if name not in allowed and not (root in _LISTS and root in allowed):
            raise invalid(name)
