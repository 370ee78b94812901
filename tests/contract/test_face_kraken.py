"""Kraken's face does what Kraken documents: no field of an order is dropped, and what is told is told in its words."""

import asyncio
import base64
import hashlib
import hmac
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from aether.domain.orders import OrderType, Side
from aether.domain.scaled import format_amount
from aether.exchange.faces.kraken_names import KrakenError
from aether.exchange.faces.kraken_orders import KINDS, SELF_TRADE, order_of_fields
from aether.exchange.memory import RememberingVenue
from aether.exchange.server import MARKETS, RULES, Exchange
from aether.exchange.venue import NewOrder, Order, Refused, Status, Venue
from tests.contract.venue_desk import ONE, local_exchange

PATIENCE_S = 10.0
LIMIT = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": "50000", "volume": "0.01"}
MARKET = {"pair": "XBTUSD", "type": "buy", "ordertype": "market", "volume": "0.01"}
STOP = {"pair": "XBTUSD", "type": "sell", "ordertype": "stop-loss", "price": "55000", "volume": "0.01"}
TRAIL = {"pair": "XBTUSD", "type": "sell", "ordertype": "trailing-stop", "price": "+2%", "volume": "0.01"}


class Kraken:
    """An account at the face: requests of its own making, and the exchange's own view beside them."""

    def __init__(self, exchange: Exchange, http: aiohttp.ClientSession, key: str, secret: str) -> None:
        self.exchange = exchange
        self.venue = exchange.venue
        self._http = http
        self._key, self._secret = key, base64.b64decode(secret)
        self._nonce = 0

    async def ask(self, endpoint: str, *, as_json: bool = False, tampered: bool = False, **fields: Any) -> Any:
        """Return the whole answer to a private request, a form or JSON."""
        self._nonce += 1
        asked = {"nonce": str(self._nonce), **fields}
        body = json.dumps(asked) if as_json else urlencode(asked)
        path = f"/0/private/{endpoint}"
        inner = hashlib.sha256((str(self._nonce) + body).encode()).digest()
        sign = base64.b64encode(hmac.digest(self._secret, path.encode() + inner, "sha512")).decode()
        kind = "application/json" if as_json else "application/x-www-form-urlencoded"
        headers = {"API-Key": self._key, "API-Sign": sign, "Content-Type": kind}
        body += " " if tampered else ""
        async with self._http.post(self.exchange.url + path, data=body, headers=headers) as response:
            return await response.json()

    async def done(self, endpoint: str, **fields: Any) -> Any:
        """Return the result of a request that is to succeed."""
        answer = await self.ask(endpoint, **fields)
        assert answer["error"] == [], answer
        return answer["result"]

    async def refused(self, endpoint: str, **fields: Any) -> str:
        """Return the error of a request that is to be refused."""
        answer = await self.ask(endpoint, **fields)
        assert "result" not in answer, answer
        return str(answer["error"][0])

    async def public(self, endpoint: str, **query: str) -> Any:
        async with self._http.get(f"{self.exchange.url}/0/public/{endpoint}", params=query) as response:
            return await response.json()

    async def placed(self, **fields: str) -> Order:
        """Place an order, and return it as the exchange holds it."""
        txid = (await self.done("AddOrder", **fields))["txid"][0]
        return next(o for o in self.orders if self.txid(o) == txid)

    @property
    def orders(self) -> list[Order]:
        return list(self.venue.account("company").orders.values())

    @property
    def open(self) -> list[Order]:
        return list(self.venue.account("company").open.values())

    def txid(self, order: Order) -> str:
        return str(self.exchange.face.order_id(order))  # type: ignore[attr-defined]

    def quote(self, side: str, price: float, size: float) -> Order:
        """Let someone else place a limit order."""
        order = NewOrder("BTC/USD", Side(side), OrderType.LIMIT, round(size * ONE), price=round(price * 10))
        return self.venue.place("other", order)

    def trade_at(self, price: float, size: float = 0.001) -> None:
        """Let two others trade at a price."""
        sell = NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, round(size * ONE), price=round(price * 10))
        self.venue.place("third", sell)
        self.quote("buy", price, size)

    @asynccontextmanager
    async def socket(self) -> AsyncIterator["PrivateSocket"]:
        token = (await self.done("GetWebSocketsToken"))["token"]
        async with self._http.ws_connect(self.exchange.ws_url) as connection:
            yield PrivateSocket(connection, token)


class PrivateSocket:
    """One socket with a token: requests, and what comes of them."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse, token: str) -> None:
        self._connection = connection
        self._token = token
        self.seen: list[dict[str, Any]] = []

    async def send(self, method: str, **params: Any) -> None:
        await self._connection.send_str(
            json.dumps({"method": method, "req_id": 7, "params": {**params, "token": self._token}})
        )

    async def next(self, **wanted: Any) -> dict[str, Any]:
        """Return the next message that has these fields."""
        while True:
            message: dict[str, Any] = await self._connection.receive_json(timeout=PATIENCE_S)
            self.seen.append(message)
            if wanted.items() <= message.items():
                return message

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        await self.send(method, **params)
        return await self.next(method=method)

    async def row(self, exec_type: str) -> dict[str, Any]:
        """Return the next execution report of a kind."""
        while True:
            message = await self.next(channel="executions")
            for row in message["data"]:
                if row["exec_type"] == exec_type:
                    return dict(row)


@pytest.fixture
async def kraken() -> AsyncIterator[Kraken]:
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        key, secret = local.open_account("kraken", "company", {"USD": "1000000", "BTC": "10"})
        trader = Kraken(local.exchanges["kraken"], http, key, secret)
        trader.trade_at(60_000)
        trader.quote("buy", 59_999, 5)
        trader.quote("sell", 60_001, 5)
        yield trader


# Only checked.


@pytest.mark.parametrize("order", [LIMIT, MARKET, STOP, TRAIL])
async def test_validate_checks_and_describes_and_places_nothing(kraken: Kraken, order: dict[str, str]) -> None:
    result = await kraken.done("AddOrder", **order, validate="true")
    assert "txid" not in result
    assert "XBTUSD @" in result["descr"]["order"]
    assert kraken.orders == []


async def test_validate_refuses_what_is_not_valid_but_does_not_look_at_funds(kraken: Kraken) -> None:
    assert await kraken.refused("AddOrder", **{**LIMIT, "price": "50000.55"}, validate="true") == "EOrder:Invalid price"
    await kraken.done("AddOrder", **{**LIMIT, "volume": "1000"}, validate="true")
    assert await kraken.refused("AddOrder", **{**LIMIT, "volume": "1000"}) == "EOrder:Insufficient funds"


async def test_validate_holds_for_batches_edits_and_the_socket(kraken: Kraken) -> None:
    order = await kraken.placed(**LIMIT)
    batch = [{k: v for k, v in LIMIT.items() if k != "pair"}] * 2
    rows = await kraken.done("AddOrderBatch", as_json=True, pair="XBTUSD", orders=batch, validate=True)
    assert [set(row) for row in rows["orders"]] == [{"descr"}, {"descr"}]
    edit = {"txid": kraken.txid(order), "pair": "XBTUSD", "price": "51000", "validate": "true"}
    assert (await kraken.done("EditOrder", **edit))["status"] == "ok"
    async with kraken.socket() as socket:
        limit = {"order_type": "limit", "side": "buy", "order_qty": 0.01, "limit_price": 50_000}
        assert (await socket.ask("add_order", symbol="BTC/USD", **limit, validate=True))["success"]
        assert (await socket.ask("batch_add", symbol="BTC/USD", orders=[limit, limit], validate=True))["success"]
    assert kraken.orders == [order]
    assert order.status is Status.NEW


# Flags.


async def test_a_volume_in_the_quote_currency_is_spent_and_not_bought(kraken: Kraken) -> None:
    order = await kraken.placed(**{**MARKET, "volume": "600.01"}, oflags="viqc")
    assert (order.status, order.size) == (Status.FILLED, ONE // 100)
    assert format_amount(order.cost) == "600.01000000"
    row = (await kraken.done("QueryOrders", txid=kraken.txid(order)))[kraken.txid(order)]
    assert (row["oflags"], row["vol_exec"], row["cost"]) == ("viqc,fciq", "0.01000000", "600.01000")


async def test_a_volume_in_the_quote_currency_takes_what_the_book_has_at_each_price(kraken: Kraken) -> None:
    kraken.quote("sell", 60_000, 0.01)
    order = await kraken.placed(**{**MARKET, "volume": "1200.01"}, oflags="viqc")
    assert [(t.price, t.size) for t in order.trades] == [(600_000, ONE // 100), (600_010, ONE // 100)]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"type": "sell", "oflags": "viqc"}, "EGeneral:Invalid arguments:viqc"),
        ({"ordertype": "limit", "price": "50000", "oflags": "viqc"}, "EGeneral:Invalid arguments:viqc"),
        ({"oflags": "post"}, "EGeneral:Invalid arguments:oflags"),
        ({"oflags": "fcib,fciq"}, "EGeneral:Invalid arguments:oflags"),
        ({"oflags": "cheap"}, "EGeneral:Invalid arguments:oflags"),
        ({"volume": "1.5", "oflags": "viqc"}, "EGeneral:Invalid arguments:volume minimum not met"),
    ],
)
async def test_flags_that_do_not_fit_are_refused(kraken: Kraken, changed: dict[str, str], error: str) -> None:
    assert await kraken.refused("AddOrder", **{**MARKET, **changed}) == error
    assert kraken.orders == []


async def test_a_post_only_order_that_would_take_is_refused(kraken: Kraken) -> None:
    assert await kraken.refused("AddOrder", **{**LIMIT, "price": "60001"}, oflags="post") == "EOrder:Post only order"
    await kraken.placed(**LIMIT, oflags="post,nompp")


@pytest.mark.parametrize(("side", "left"), [("buy", "10.00996000"), ("sell", "9.98996000")])
async def test_fees_in_the_base_currency_are_paid_in_it_and_told_in_the_quote(
    kraken: Kraken, side: str, left: str
) -> None:
    order = await kraken.placed(**{**MARKET, "type": side}, oflags="fcib")
    assert format_amount(kraken.venue.account("company").total["BTC"]) == left
    trade = next(iter((await kraken.done("TradesHistory"))["trades"].values()))
    assert float(trade["fee"]) == pytest.approx(float(trade["cost"]) * 0.004)
    row = (await kraken.done("QueryOrders", txid=kraken.txid(order)))[kraken.txid(order)]
    assert row["oflags"] == "fcib"


async def test_cost_and_fee_of_a_trade_are_told_to_five_decimals(kraken: Kraken) -> None:
    """Kraken's `cost_decimals` of a dollar pair; the socket tells the same fee finer (its documented sample: eight)."""
    await kraken.placed(**{**MARKET, "volume": "0.00012345"})
    trade = next(iter((await kraken.done("TradesHistory"))["trades"].values()))
    cost = 0.00012345 * float(trade["price"])
    assert (trade["cost"], trade["fee"]) == (f"{cost:.5f}", f"{cost * 0.004:.5f}")


# Fields that change what an order does.


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({**LIMIT, "leverage": "2"}, "EGeneral:Invalid arguments:leverage"),
        ({**LIMIT, "reduce_only": "true"}, "EOrder:Reduce only:No position exists"),
        ({**LIMIT, "ordertype": "settle-position"}, "EOrder:Unknown position"),
        ({**LIMIT, "ordertype": "stop"}, "EGeneral:Invalid arguments:ordertype"),
        ({**LIMIT, "type": "long"}, "EGeneral:Invalid arguments:type"),
        ({**LIMIT, "price2": "51000"}, "EGeneral:Invalid arguments:price2"),
        ({**MARKET, "price": "51000"}, "EGeneral:Invalid arguments:price"),
        ({**LIMIT, "displayvol": "0.001"}, "EGeneral:Invalid arguments:displayvol"),
        ({**LIMIT, "ordertype": "iceberg"}, "EGeneral:Invalid arguments:displayvol"),
        ({**LIMIT, "ordertype": "iceberg", "displayvol": "0.0006"}, "EGeneral:Invalid arguments:displayvol"),
        ({**MARKET, "timeinforce": "FOK"}, "EGeneral:Invalid arguments:timeinforce"),
        ({**LIMIT, "timeinforce": "GTX"}, "EGeneral:Invalid arguments:timeinforce"),
        ({**LIMIT, "timeinforce": "GTD"}, "EGeneral:Invalid arguments:expiretm"),
        ({**LIMIT, "timeinforce": "IOC", "expiretm": "+60"}, "EGeneral:Invalid arguments:expiretm"),
        ({**LIMIT, "expiretm": "+4"}, "EGeneral:Invalid arguments:expiretm"),
        ({**LIMIT, "expiretm": "1"}, "EGeneral:Invalid arguments:expiretm"),
        ({**LIMIT, "starttm": "soon"}, "EGeneral:Invalid arguments:starttm"),
        ({**LIMIT, "stptype": "cancel-all"}, "EGeneral:Invalid arguments:stptype"),
        ({**STOP, "trigger": "mark"}, "EGeneral:Invalid arguments:trigger"),
        ({**TRAIL, "price": "55000"}, "EGeneral:Invalid arguments:price"),
        ({**LIMIT, "userref": "abc"}, "EGeneral:Invalid arguments:userref"),
        ({**LIMIT, "userref": "1", "cl_ord_id": "a"}, "EGeneral:Invalid arguments"),
        ({**LIMIT, "cl_ord_id": "x" * 19}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({**LIMIT, "close[ordertype]": "market"}, "EGeneral:Invalid arguments:close[ordertype]"),
        ({**LIMIT, "close[price]": "70000"}, "EGeneral:Invalid arguments:close[ordertype]"),
        ({**LIMIT, "colour": "red"}, "EGeneral:Invalid arguments:colour"),
        ({**LIMIT, "deadline": "2020-01-01T00:00:00Z"}, "EService:Deadline elapsed"),
        ({**LIMIT, "volume": "0"}, "EGeneral:Invalid arguments:volume minimum not met"),
        ({**LIMIT, "pair": "XBTMOON"}, "EQuery:Unknown asset pair"),
    ],
)
async def test_what_is_not_carried_out_is_refused(kraken: Kraken, fields: dict[str, str], error: str) -> None:
    assert await kraken.refused("AddOrder", **fields) == error
    assert kraken.orders == []


async def test_an_order_waits_for_its_start(kraken: Kraken) -> None:
    order = await kraken.placed(**{**LIMIT, "price": "60001"}, starttm="+1")
    row = (await kraken.done("OpenOrders"))["open"][kraken.txid(order)]
    assert row["status"] == "pending"
    assert row["starttm"] > row["opentm"]
    await until(lambda: order.status is Status.FILLED)


async def test_an_order_ends_at_its_expiry(kraken: Kraken) -> None:
    ends = kraken.venue.clock() / 1e9 + 1
    order = await kraken.placed(**LIMIT, timeinforce="GTD", expiretm=f"{ends:.3f}")
    await until(lambda: order.status is Status.EXPIRED)
    row = (await kraken.done("ClosedOrders"))["closed"][kraken.txid(order)]
    assert (row["status"], row["expiretm"]) == ("expired", int(ends))


@pytest.mark.parametrize(
    ("mode", "resting", "coming"),
    [
        ("cancel-newest", Status.NEW, Status.CANCELED),
        ("cancel-oldest", Status.CANCELED, Status.FILLED),
        ("cancel-both", Status.CANCELED, Status.CANCELED),
    ],
)
async def test_each_order_says_how_it_meets_its_own(kraken: Kraken, mode: str, resting: Status, coming: Status) -> None:
    own = await kraken.placed(**{**LIMIT, "price": "60000"})
    taker = await kraken.placed(**{**MARKET, "type": "sell"}, stptype=mode)
    assert (own.status, taker.status) == (resting, coming)


@pytest.mark.parametrize(
    ("fields", "trigger", "price"),
    [
        ({**LIMIT, "price": "-100"}, 0, 59_900.0),
        ({**LIMIT, "price": "#1%"}, 0, 59_400.0),
        ({**LIMIT, "type": "sell", "price": "#1%"}, 0, 60_600.0),
        ({**LIMIT, "type": "sell", "price": "+2.5%"}, 0, 61_500.0),
        ({**STOP, "price": "-2%"}, 58_800.0, 0),
        ({**STOP, "price": "#500"}, 59_500.0, 0),
        ({**STOP, "ordertype": "take-profit", "price": "#500"}, 60_500.0, 0),
        ({**STOP, "ordertype": "stop-loss-limit", "price": "-2%", "price2": "-3%"}, 58_800.0, 58_200.0),
    ],
)
async def test_relative_prices_are_from_the_last_price(
    kraken: Kraken, fields: dict[str, str], trigger: float, price: float
) -> None:
    order = await kraken.placed(**fields)
    assert (order.trigger / 10, order.price / 10) == (trigger, price)


@pytest.mark.parametrize(("price", "before", "after"), [("+1000", 59_000, 60_000), ("+2%", 58_800, 59_780)])
async def test_a_trailing_stop_follows_by_an_amount_or_a_share(
    kraken: Kraken, price: str, before: int, after: int
) -> None:
    order = await kraken.placed(**{**TRAIL, "price": price})
    assert order.trigger / 10 == before
    kraken.venue.cancel_all("other")
    kraken.trade_at(61_000)
    assert order.trigger / 10 == after
    kraken.trade_at(after - 1)
    assert order.triggered_ns


async def test_a_trailing_stop_limit_rests_so_far_from_its_trigger(kraken: Kraken) -> None:
    order = await kraken.placed(**{**TRAIL, "ordertype": "trailing-stop-limit", "price": "+1000", "price2": "-10"})
    assert (order.trigger, order.price) == (590_000, 0)
    kraken.venue.cancel_all("other")
    kraken.trade_at(58_000)
    assert (order.status, order.price) == (Status.NEW, 589_900)
    row = (await kraken.done("OpenOrders"))["open"][kraken.txid(order)]
    assert (row["misc"], row["limitprice"], row["stopprice"]) == ("stopped", "58990.0", "59000.0")


async def test_each_execution_places_its_conditional_close(kraken: Kraken) -> None:
    close = {"close[ordertype]": "stop-loss-limit", "close[price]": "55000", "close[price2]": "54000"}
    primary = await kraken.placed(**{**LIMIT, "volume": "0.02"}, **close, trigger="index")
    kraken.venue.cancel_all("other")
    for size in (0.005, 0.015):
        kraken.venue.place("third", NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, round(size * ONE), price=500_000))
    rows = (await kraken.done("OpenOrders"))["open"].values()
    assert [row["vol"] for row in rows] == ["0.00500000", "0.01500000"]
    for row in rows:
        assert row["refid"] == kraken.txid(primary)
        assert row["descr"]["order"].endswith("XBTUSD @ stop loss 55000.0 -> limit 54000.0")
        assert (row["descr"]["type"], row["trigger"], row["status"]) == ("sell", "index", "open")


async def test_a_close_from_the_last_price_is_settled_when_it_is_placed(kraken: Kraken) -> None:
    await kraken.placed(**MARKET, **{"close[ordertype]": "take-profit", "close[price]": "#5%"})
    assert [o.trigger for o in kraken.open] == [630_011]


# Words.


@pytest.mark.parametrize(
    ("fields", "order", "close"),
    [
        (LIMIT, "buy 0.01000000 XBTUSD @ limit 50000.0", ""),
        (MARKET, "buy 0.01000000 XBTUSD @ market", ""),
        ({**MARKET, "volume": "600", "oflags": "viqc"}, "buy 600.00000000 XBTUSD @ market", ""),
        (STOP, "sell 0.01000000 XBTUSD @ stop loss 55000.0", ""),
        (
            {**STOP, "ordertype": "stop-loss-limit", "price2": "54000"},
            "sell 0.01000000 XBTUSD @ stop loss 55000.0 -> limit 54000.0",
            "",
        ),
        (
            {**STOP, "ordertype": "take-profit", "price": "65000"},
            "sell 0.01000000 XBTUSD @ take profit 65000.0",
            "",
        ),
        (
            {**STOP, "ordertype": "take-profit-limit", "price": "65000", "price2": "64000"},
            "sell 0.01000000 XBTUSD @ take profit 65000.0 -> limit 64000.0",
            "",
        ),
        (TRAIL, "sell 0.01000000 XBTUSD @ trailing stop +2.0000%", ""),
        (
            {**TRAIL, "ordertype": "trailing-stop-limit", "price2": "-100"},
            "sell 0.01000000 XBTUSD @ trailing stop +2.0000% -> limit -100.0",
            "",
        ),
        (
            {**LIMIT, "ordertype": "iceberg", "displayvol": "0.001"},
            "buy 0.01000000 XBTUSD @ iceberg 50000.0",
            "",
        ),
        (
            {**LIMIT, "close[ordertype]": "stop-loss-limit", "close[price]": "48000", "close[price2]": "47000"},
            "buy 0.01000000 XBTUSD @ limit 50000.0",
            "close position @ stop loss 48000.0 -> limit 47000.0",
        ),
    ],
)
async def test_orders_are_described_in_krakens_words(
    kraken: Kraken, fields: dict[str, str], order: str, close: str
) -> None:
    descr = (await kraken.done("AddOrder", **fields))["descr"]
    assert (descr["order"], descr.get("close", "")) == (order, close)
    txid = kraken.txid(kraken.orders[0])
    row = (await kraken.done("QueryOrders", txid=txid))[txid]["descr"]
    assert (row["order"], row["close"]) == (order, close)
    assert (row["ordertype"], row["pair"], row["leverage"]) == (fields["ordertype"], "XBTUSD", "none")


# Batches.


async def test_a_batch_with_one_invalid_order_is_refused_as_a_whole(kraken: Kraken) -> None:
    good = {"ordertype": "limit", "type": "buy", "price": "50000", "volume": "0.01"}
    for wrong in ({"price": "50000.55"}, {"volume": "0"}, {"colour": "red"}, {"ordertype": "stop"}):
        await kraken.refused("AddOrderBatch", as_json=True, pair="XBTUSD", orders=[good, {**good, **wrong}])
    await kraken.refused("AddOrderBatch", as_json=True, pair="XBTUSD", orders=[good])
    await kraken.refused("AddOrderBatch", as_json=True, pair="XBTUSD", orders=[good] * 16)
    assert kraken.orders == []


async def test_a_batch_leaves_out_the_order_that_cannot_be_paid(kraken: Kraken) -> None:
    good = {"ordertype": "limit", "type": "buy", "price": "50000", "volume": "0.01"}
    good |= {"close[ordertype]": "limit", "close[price]": "70000"}
    rows = await kraken.done(
        "AddOrderBatch", as_json=True, pair="XBTUSD", orders=[good, {**good, "volume": "1000"}, good]
    )
    first, dear, third = rows["orders"]
    assert dear == {"error": "EOrder:Insufficient funds"}
    assert [first["txid"], third["txid"]] == [kraken.txid(o) for o in kraken.open]
    assert first["descr"]["close"] == "close position @ limit 70000.0"


async def test_a_close_is_an_object_or_fields_of_its_own(kraken: Kraken) -> None:
    limit = {"ordertype": "limit", "type": "buy", "price": "50000", "volume": "0.01"}
    nested = {**limit, "close": {"ordertype": "stop-loss", "price": 48_000}}
    flat = {**limit, "close[ordertype]": "stop-loss", "close[price]": 48_000}
    rows = (await kraken.done("AddOrderBatch", as_json=True, pair="XBTUSD", orders=[nested, flat]))["orders"]
    single = [await kraken.done("AddOrder", as_json=True, pair="XBTUSD", **order) for order in (nested, flat)]
    assert {r["descr"]["close"] for r in [*rows, *single]} == {"close position @ stop loss 48000.0"}


async def test_a_batch_as_a_form_is_the_same(kraken: Kraken) -> None:
    fields = {"pair": "XBTUSD"}
    for n in range(2):
        fields |= {f"orders[{n}][{k}]": v for k, v in LIMIT.items() if k != "pair"}
        fields |= {f"orders[{n}][close][ordertype]": "stop-loss", f"orders[{n}][close][price]": "48000"}
    rows = (await kraken.done("AddOrderBatch", **fields))["orders"]
    assert [r["descr"]["close"] for r in rows] == ["close position @ stop loss 48000.0"] * 2


async def test_the_socket_refuses_a_batch_as_a_whole_too(kraken: Kraken) -> None:
    good = {"order_type": "limit", "side": "buy", "order_qty": 0.01, "limit_price": 50_000, "order_userref": 3}
    async with kraken.socket() as socket:
        wrong = await socket.ask("batch_add", symbol="BTC/USD", orders=[good, {**good, "limit_price": 0.55}])
        assert (wrong["success"], kraken.orders) == (False, [])
        right = await socket.ask("batch_add", symbol="BTC/USD", orders=[good, {**good, "order_qty": 1000}])
        placed, dear = right["result"]
    assert placed == {"order_id": kraken.txid(kraken.open[0]), "order_userref": 3}
    assert dear["error"] == "EOrder:Insufficient funds"


# Canceling.


async def test_a_batch_cancel_cancels_those_that_it_names(kraken: Kraken) -> None:
    orders = [await kraken.placed(**LIMIT, userref=str(n)) for n in (1, 1, 2)]
    named = await kraken.placed(**LIMIT, cl_ord_id="mine")
    kept = await kraken.placed(**LIMIT)
    assert await kraken.done("CancelOrderBatch", as_json=True, orders=[kraken.txid(orders[2])]) == {"count": 1}
    assert kraken.open == [*orders[:2], named, kept]
    assert await kraken.done("CancelOrderBatch", as_json=True, orders=[1], cl_ord_ids=["mine"]) == {"count": 3}
    assert kraken.open == [kept]
    gone = [{"txid": kraken.txid(orders[0])}]
    assert await kraken.refused("CancelOrderBatch", as_json=True, orders=gone) == "EOrder:Unknown order"


async def test_a_batch_cancel_as_a_form_and_its_bounds(kraken: Kraken) -> None:
    orders = [await kraken.placed(**LIMIT) for _ in range(3)]
    ids = [kraken.txid(o) for o in orders]
    assert await kraken.done("CancelOrderBatch", **{"orders[0]": ids[0], "orders[1]": ids[1]}) == {"count": 2}
    assert kraken.open == orders[2:]
    assert await kraken.refused("CancelOrderBatch") == "EGeneral:Invalid arguments:orders"
    assert await kraken.refused("CancelOrderBatch", as_json=True, orders=list(range(51)))


async def test_a_user_reference_cancels_all_that_bear_it(kraken: Kraken) -> None:
    for reference in ("5", "5", "6"):
        await kraken.placed(**LIMIT, userref=reference)
    assert await kraken.done("CancelOrder", txid="5") == {"count": 2}
    assert [o.request.notes["userref"] for o in kraken.open] == ["6"]
    assert await kraken.refused("CancelOrder", txid="5") == "EOrder:Unknown order"
    assert await kraken.refused("CancelOrder") == "EGeneral:Invalid arguments"


async def test_the_socket_answers_for_each_order_that_it_cancels(kraken: Kraken) -> None:
    orders = [await kraken.placed(**LIMIT) for _ in range(3)]
    async with kraken.socket() as socket:
        await socket.send("cancel_order", order_id=[kraken.txid(orders[0]), "OAAAAA-AAAAA-AAAAAA"])
        answers = [await socket.next(method="cancel_order") for _ in range(2)]
        assert answers[0]["result"] == {"order_id": kraken.txid(orders[0])}
        assert (answers[1]["success"], answers[1]["error"]) == (False, "EOrder:Unknown order")
        rest = await socket.ask("batch_cancel", orders=[kraken.txid(o) for o in orders[1:]])
        assert rest["result"] == {"count": 2}
        assert not (await socket.ask("batch_cancel", orders=["1"]))["success"]
    assert kraken.open == []


# Changing.


async def test_an_amendment_changes_an_order_in_its_place(kraken: Kraken) -> None:
    order = await kraken.placed(**{**LIMIT, "ordertype": "iceberg"}, displayvol="0.002", cl_ord_id="mine")
    amend = {"cl_ord_id": "mine", "order_qty": "0.02", "display_qty": "0.004", "limit_price": "50100"}
    assert (await kraken.done("AmendOrder", **amend))["amend_id"].startswith("T")
    assert (order.size, order.price, order.request.display) == (2 * ONE // 100, 501_000, 4 * ONE // 1000)
    shown = kraken.venue.books["BTC/USD"].shown_at(501_000, is_buy=True)
    assert shown == 4 * ONE // 1000
    row = (await kraken.done("OpenOrders"))["open"][kraken.txid(order)]
    assert (row["misc"], row["descr"]["price"]) == ("amended", "50100.0")
    trail = await kraken.done("OrderAmends", order_id=kraken.txid(order))
    assert [(a["amend_type"], a["order_qty"]) for a in trail["amends"]] == [
        ("original", "0.01000000"),
        ("user", "0.02000000"),
    ]
    assert trail["count"] == 2


async def test_an_amendment_below_what_is_executed_cancels_the_rest(kraken: Kraken) -> None:
    order = await kraken.placed(**{**LIMIT, "price": "60000"})
    kraken.venue.place("third", NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, ONE // 200, price=600_000))
    assert order.filled == ONE // 200
    await kraken.done("AmendOrder", txid=kraken.txid(order), order_qty="0.002")
    assert (order.status, order.filled) == (Status.CANCELED, ONE // 200)


async def test_triggers_are_amended_and_act_at_once_when_reached(kraken: Kraken) -> None:
    stop = await kraken.placed(**STOP)
    await kraken.done("AmendOrder", txid=kraken.txid(stop), trigger_price="-1%")
    assert stop.trigger == 594_000
    trail = await kraken.placed(**TRAIL)
    await kraken.done("AmendOrder", txid=kraken.txid(trail), trigger_price="+3%")
    assert trail.trigger == 582_000
    await kraken.done("AmendOrder", txid=kraken.txid(stop), trigger_price="60001")
    assert stop.status is Status.FILLED


@pytest.mark.parametrize(
    ("amend", "error"),
    [
        ({"limit_price": "60001", "post_only": "true"}, "EOrder:Post only order"),
        ({"trigger_price": "55000"}, "EGeneral:Invalid arguments:trigger_price"),
        ({"display_qty": "0.001"}, "EGeneral:Invalid arguments:display_qty"),
        ({"limit_price": "#5"}, "EGeneral:Invalid arguments:limit_price"),
        ({"order_qty": "1000"}, "EOrder:Insufficient funds"),
        ({"pair": "ETHUSD", "order_qty": "0.02"}, "EGeneral:Invalid arguments:pair"),
        ({"volume": "0.02"}, "EGeneral:Invalid arguments:volume"),
        ({}, "EGeneral:Invalid arguments"),
    ],
)
async def test_an_amendment_that_does_not_fit_changes_nothing(
    kraken: Kraken, amend: dict[str, str], error: str
) -> None:
    order = await kraken.placed(**LIMIT)
    assert await kraken.refused("AmendOrder", txid=kraken.txid(order), **amend) == error
    assert (order.size, order.price, order.status) == (ONE // 100, 500_000, Status.NEW)
    assert (await kraken.done("OrderAmends", order_id=kraken.txid(order)))["count"] == 1


async def test_an_edit_replaces_an_order(kraken: Kraken) -> None:
    order = await kraken.placed(**LIMIT, oflags="post", userref="8")
    result = await kraken.done("EditOrder", txid=kraken.txid(order), pair="XBTUSD", price="51000", userref="9")
    new = kraken.open[0]
    assert order.status is Status.CANCELED
    assert (new.price, new.size, new.request.post_only) == (510_000, order.size, False)
    assert result == {
        "descr": {"order": "buy 0.01000000 XBTUSD @ limit 51000.0"},
        "txid": kraken.txid(new),
        "originaltxid": kraken.txid(order),
        "olduserref": "8",
        "newuserref": "9",
        "orders_cancelled": 1,
        "status": "ok",
        "volume": "0.01000000",
        "price": "51000.0",
        "price2": "0",
    }


async def test_an_edit_that_cannot_be_paid_leaves_the_order(kraken: Kraken) -> None:
    order = await kraken.placed(**LIMIT)
    result = await kraken.done("EditOrder", txid=kraken.txid(order), pair="XBTUSD", volume="1000")
    assert (result["status"], result["error_message"]) == ("err", "EOrder:Insufficient funds")
    assert kraken.open == [order]


async def test_an_edit_keeps_what_it_does_not_name(kraken: Kraken) -> None:
    later = f"{kraken.venue.clock() / 1e9 + 600:.3f}"
    kept = {"starttm": later, "expiretm": "+900", "stptype": "cancel-both", "oflags": "post,fcib"}
    order = await kraken.placed(**LIMIT, **kept)
    await kraken.done("EditOrder", txid=kraken.txid(order), pair="XBTUSD", volume="0.02", oflags="post")
    new = kraken.open[0]
    assert (new.status, new.size, new.price) == (Status.SCHEDULED, 2 * ONE // 100, 500_000)
    for name in ("start_ns", "expire_ns", "self_trade", "post_only", "fee_in_base", "tif"):
        assert getattr(new.request, name) == getattr(order.request, name), name


async def test_the_socket_edits_and_amends(kraken: Kraken) -> None:
    order = await kraken.placed(**STOP)
    async with kraken.socket() as socket:
        amend = await socket.ask("amend_order", order_id=kraken.txid(order), trigger_price=-2, trigger_price_type="pct")
        assert amend["result"]["order_id"] == kraken.txid(order)
        assert order.trigger == 588_000
        edit = await socket.ask("edit_order", order_id=kraken.txid(order), symbol="BTC/USD", order_qty=0.02)
        assert edit["result"] == {"order_id": kraken.txid(kraken.open[0]), "original_order_id": kraken.txid(order)}
        assert (kraken.open[0].size, kraken.open[0].trigger) == (2 * ONE // 100, 588_000)


# The socket's own words.


@pytest.mark.parametrize(
    ("params", "trigger", "trail", "share"),
    [
        ({"order_type": "stop-loss", "triggers": {"price": 55_000.5}}, 550_005, 0, 0),
        ({"order_type": "stop-loss", "triggers": {"price": -2, "price_type": "pct"}}, 588_000, 0, 0),
        ({"order_type": "stop-loss", "triggers": {"price": -150, "price_type": "quote"}}, 598_500, 0, 0),
        ({"order_type": "trailing-stop", "triggers": {"price": 2, "price_type": "pct"}}, 588_000, 0, 20_000),
        ({"order_type": "trailing-stop", "triggers": {"price": 100.5, "price_type": "quote"}}, 598_995, 1_005, 0),
    ],
)
async def test_triggers_are_prices_shares_or_amounts(
    kraken: Kraken, params: dict[str, Any], trigger: int, trail: int, share: int
) -> None:
    async with kraken.socket() as socket:
        answer = await socket.ask("add_order", symbol="BTC/USD", side="sell", order_qty=0.01, **params)
    assert answer["success"], answer
    order = kraken.open[0]
    assert (order.trigger, order.request.trail, order.request.trail_ppm) == (trigger, trail, share)


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"price": 50_000}, "Unsupported field: 'price' for the given msg type: add order"),
        ({"margin": True}, "EOrder:Cannot open position"),
        ({"reduce_only": True}, "EOrder:Reduce only:No position exists"),
        ({"limit_price_type": "pct"}, "EGeneral:Invalid arguments:limit_price_type"),
        ({"triggers": {"price": 1}}, "EGeneral:Invalid arguments:triggers"),
        ({"fee_preference": "gold"}, "EGeneral:Invalid arguments:oflags"),
        ({"cash_order_qty": 5}, "EGeneral:Invalid arguments"),
        ({"triggers": {"level": 1}}, "Unsupported field: 'level' for the given msg type: add order"),
    ],
)
async def test_the_socket_refuses_what_it_does_not_carry_out(
    kraken: Kraken, params: dict[str, Any], error: str
) -> None:
    limit = {"order_type": "limit", "side": "buy", "order_qty": 0.01, "limit_price": 50_000}
    async with kraken.socket() as socket:
        answer = await socket.ask("add_order", symbol="BTC/USD", **limit, **params)
    assert (answer["success"], answer["error"]) == (False, error)
    assert kraken.orders == []


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("amend_order", {"limit_price": -1, "limit_price_type": "pct"}, "EGeneral:Invalid arguments:limit_price_type"),
        ("amend_order", {"volume": 1}, "Unsupported field: 'volume' for the given msg type: amend order"),
        ("cancel_order", {"order_userref": ["OAAAAA-AAAAA-AAAAAA"]}, "EGeneral:Invalid arguments"),
        ("edit_order", {"symbol": "BTC/USD", "reduce_only": True}, "EOrder:Reduce only:No position exists"),
        ("edit_order", {"symbol": "ETH/USD", "order_qty": 1}, "EGeneral:Invalid arguments:pair"),
        ("cancel_all_orders_after", {"timeout": 90_000}, "EGeneral:Invalid arguments:timeout"),
    ],
)
async def test_the_socket_changes_nothing_that_it_was_asked_in_wrong_words(
    kraken: Kraken, method: str, params: dict[str, Any], error: str
) -> None:
    order = await kraken.placed(**LIMIT)
    named = {} if method == "cancel_all_orders_after" else {"order_id": kraken.txid(order)}
    async with kraken.socket() as socket:
        answer = await socket.ask(method, **(named | params))
    assert (answer["success"], answer["error"]) == (False, error)
    assert (order.status, order.size, order.price) == (Status.NEW, ONE // 100, 500_000)


async def test_executions_tell_an_order_whole(kraken: Kraken) -> None:
    async with kraken.socket() as socket:
        await socket.send("subscribe", channel="executions", snap_trades=True)
        await socket.send(
            "add_order",
            symbol="BTC/USD",
            order_type="market",
            side="buy",
            cash_order_qty=600.01,
            order_userref=4,
            fee_preference="base",
            conditional={"order_type": "trailing-stop", "trigger_price": 2, "trigger_price_type": "pct"},
        )
        new = await socket.row("new")
        assert (new["order_userref"], new["fee_ccy_pref"], new["cash_order_qty"]) == (4, "fcib", 600.01)
        assert new["contingent"] == {
            "order_type": "trailing-stop",
            "trigger_price": 2.0,
            "trigger_price_type": "pct",
        }
        trade = await socket.row("trade")
        assert trade["fees"] == [{"asset": "USD", "qty": pytest.approx(2.40004)}]
        close = await socket.row("new")
        assert close["ord_ref_id"] == new["order_id"]
        assert close["triggers"]["price_type"] == "pct"
        assert close["triggers"]["status"] == "untriggered"


async def test_those_who_want_no_changes_of_status_are_told_of_none(kraken: Kraken) -> None:
    async with kraken.socket() as socket:
        await socket.ask("subscribe", channel="executions", order_status=False)
        order = await kraken.placed(**LIMIT)
        await kraken.done("AmendOrder", txid=kraken.txid(order), limit_price="50100")
        await kraken.done("CancelOrder", txid=kraken.txid(order))
        await socket.row("canceled")
        updates = [m for m in socket.seen if m.get("channel") == "executions" and m["type"] == "update"]
    assert [row["exec_type"] for m in updates for row in m["data"]] == ["new", "canceled"]


async def test_balances_tell_each_posting_of_the_ledger(kraken: Kraken) -> None:
    async with kraken.socket() as socket:
        await socket.ask("subscribe", channel="balances")
        await kraken.placed(**{**MARKET, "type": "sell"})
        rows = [(await socket.next(channel="balances", type="update"))["data"][0] for _ in range(2)]
    assert [(r["asset"], r["amount"]) for r in rows] == [("BTC", -0.01), ("USD", 599.99)]
    assert rows[0]["ref_id"] == rows[1]["ref_id"]
    ledger = (await kraken.done("Ledgers"))["ledger"]
    assert {r["ledger_id"] for r in rows} == set(list(ledger)[:2])


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"channel": "weather"}, "Subscription name invalid"),
        ({"channel": "book", "symbol": ["BTC/USD"], "depth": 7}, "Subscription depth not supported"),
        ({"channel": "ohlc", "symbol": ["BTC/USD"], "interval": 7}, "Subscription ohlc interval not supported"),
        (
            {"channel": "ticker", "symbol": ["BTC/USD"], "depth": 10},
            "Unsupported field: 'depth' for the given msg type: subscribe",
        ),
    ],
)
async def test_subscriptions_that_do_not_exist_are_refused(kraken: Kraken, params: dict[str, Any], error: str) -> None:
    async with aiohttp.ClientSession() as http, http.ws_connect(kraken.exchange.ws_url) as connection:
        socket = PrivateSocket(connection, "")
        await connection.send_str(json.dumps({"method": "subscribe", "params": params}))
        assert (await socket.next(method="subscribe"))["error"] == error


# The account.


async def test_orders_are_found_by_reference_and_client_id(kraken: Kraken) -> None:
    first = await kraken.placed(**LIMIT, userref="5")
    second = await kraken.placed(**LIMIT, cl_ord_id="mine")
    third = await kraken.placed(**MARKET, userref="5")
    assert list((await kraken.done("OpenOrders", userref="5"))["open"]) == [kraken.txid(first)]
    assert list((await kraken.done("OpenOrders", cl_ord_id="mine"))["open"]) == [kraken.txid(second)]
    assert list((await kraken.done("ClosedOrders", userref="5"))["closed"]) == [kraken.txid(third)]
    both = await kraken.done("QueryOrders", txid=f"{kraken.txid(first)},{kraken.txid(third)}", trades="true")
    assert [row["userref"] for row in both.values()] == [5, 5]
    assert both[kraken.txid(third)]["trades"]
    assert "trades" not in (await kraken.done("QueryOrders", txid=kraken.txid(third)))[kraken.txid(third)]


async def test_closed_orders_come_in_pages_the_latest_first(kraken: Kraken) -> None:
    orders = [await kraken.placed(**LIMIT) for _ in range(53)]
    await kraken.done("CancelAll")
    first = await kraken.done("ClosedOrders")
    rest = await kraken.done("ClosedOrders", ofs="50", without_count="true")
    assert (first["count"], len(first["closed"]), len(rest["closed"])) == (53, 50, 3)
    assert "count" not in rest
    assert next(iter(first["closed"])) == kraken.txid(orders[-1])
    assert set(first["closed"]) | set(rest["closed"]) == {kraken.txid(o) for o in orders}


@pytest.mark.parametrize(("closetime", "found"), [("open", 0), ("close", 1), ("both", 1)])
async def test_closed_orders_are_found_by_when_they_opened_or_closed(
    kraken: Kraken, closetime: str, found: int
) -> None:
    order = await kraken.placed(**LIMIT)
    between = await kraken.placed(**LIMIT)
    await kraken.done("CancelOrder", txid=kraken.txid(order))
    result = await kraken.done("ClosedOrders", start=kraken.txid(between), closetime=closetime)
    assert len(result["closed"]) == found
    assert (await kraken.done("ClosedOrders", end=str(order.created_ns / 1e9 - 1)))["count"] == 0


async def test_trades_come_in_pages_and_one_by_one(kraken: Kraken) -> None:
    for _ in range(52):
        await kraken.placed(**{**MARKET, "volume": "0.001"})
    first = await kraken.done("TradesHistory", ledgers="true")
    rest = await kraken.done("TradesHistory", ofs="50")
    assert (first["count"], len(first["trades"]), len(rest["trades"])) == (52, 50, 2)
    newest, older = list(first["trades"])[:2]
    assert list((await kraken.done("TradesHistory", start=older))["trades"]) == [newest]
    assert len(first["trades"][newest]["ledgers"]) == 2
    several = await kraken.done("QueryTrades", txid=f"{older},{newest}")
    assert [several[i]["trade_id"] for i in (older, newest)] == [
        first["trades"][i]["trade_id"] for i in (older, newest)
    ]
    assert (await kraken.done("TradesHistory", type="closed position"))["count"] == 0
    assert await kraken.refused("TradesHistory", type="mine") == "EGeneral:Invalid arguments:type"


async def test_the_ledger_adds_up_to_the_balances(kraken: Kraken) -> None:
    await kraken.placed(**MARKET)
    await kraken.placed(**{**MARKET, "type": "sell"})
    result = await kraken.done("Ledgers")
    assert result["count"] == 6
    balance = await kraken.done("Balance")
    for asset in ("ZUSD", "XXBT"):
        rows = (await kraken.done("Ledgers", asset=asset))["ledger"].values()
        assert sum(float(r["amount"]) - float(r["fee"]) for r in rows) == pytest.approx(float(balance[asset]))
        assert next(iter(rows))["balance"] == balance[asset]
    deposits = (await kraken.done("Ledgers", type="deposit"))["ledger"]
    assert {r["type"] for r in deposits.values()} == {"deposit"}
    two = list(result["ledger"])[:2]
    assert await kraken.done("QueryLedgers", id=",".join(two)) == {i: result["ledger"][i] for i in two}


async def test_balances_have_the_decimals_in_which_they_are_kept(kraken: Kraken) -> None:
    await kraken.placed(**MARKET)
    balance = await kraken.done("Balance")
    assert balance == {"ZUSD": "999397.5900", "XXBT": "10.0100000000"}
    await kraken.placed(**LIMIT)
    extended = await kraken.done("BalanceEx")
    assert extended["ZUSD"] == {"balance": "999397.5900", "hold_trade": "502.0000"}
    worth = await kraken.done("TradeBalance", asset="ZUSD")
    assert worth["eb"] == worth["tb"] == worth["e"] == worth["mf"] == "1600007.6000"
    assert (worth["m"], worth["n"]) == ("0.0000", "0.0000")


async def test_trade_volume_tells_the_fees_of_each_pair(kraken: Kraken) -> None:
    assert "fees" not in await kraken.done("TradeVolume")
    await kraken.placed(**{**MARKET, "volume": "0.5"})
    result = await kraken.done("TradeVolume", pair="XBTUSD, XETHZUSD")
    assert (result["volume"], set(result["fees"])) == ("30000.5000", {"XXBTZUSD", "XETHZUSD"})
    assert result["fees"]["XXBTZUSD"] == {
        "fee": "0.3500",
        "minfee": "0.2200",
        "maxfee": "0.4000",
        "nextfee": "0.2400",
        "nextvolume": "50000.0000",
        "tiervolume": "10000.0000",
    }
    assert result["fees_maker"]["XXBTZUSD"]["fee"] == "0.2000"


@pytest.mark.parametrize("endpoint", ["DepositMethods", "DepositStatus", "Withdraw", "WalletTransfer", "Earn/Allocate"])
async def test_a_key_has_no_right_to_move_funds(kraken: Kraken, endpoint: str) -> None:
    assert await kraken.refused(endpoint, asset="XBT") == "EGeneral:Permission denied"


async def test_a_key_is_told_what_it_may_do(kraken: Kraken) -> None:
    info = await kraken.done("GetApiKeyInfo")
    assert {"modify-trades", "close-trades", "query-ledger"} <= set(info["permissions"])
    assert "withdraw-funds" not in info["permissions"]
    assert (info["apiKeyName"], info["ipAllowlist"], info["validUntil"]) == (info["apiKey"], [], "0")


async def test_what_does_not_exist_is_an_unknown_method(kraken: Kraken) -> None:
    assert await kraken.refused("Nonsense") == "EGeneral:Unknown method"
    assert (await kraken.public("Nonsense"))["error"] == ["EGeneral:Unknown method"]


@pytest.mark.parametrize("number", ["1e999999999", "1e-999999999", "NaN", "Infinity", "0x10", "1_0", " "])
async def test_numbers_that_are_none_are_refused(kraken: Kraken, number: str) -> None:
    for name in ("volume", "price", "starttm", "expiretm", "displayvol", "userref"):
        await kraken.refused("AddOrder", **{**LIMIT, name: number})
    async with kraken.socket() as socket:
        asked = {"symbol": "BTC/USD", "order_type": "limit", "side": "buy", "limit_price": 50_000}
        assert not (await socket.ask("add_order", **asked, order_qty=number))["success"]
    assert kraken.orders == []


async def test_json_bodies_are_signed_as_they_are_sent(kraken: Kraken) -> None:
    result = await kraken.done("AddOrder", as_json=True, **LIMIT, reduce_only=False, validate=False, userref=5)
    assert result["txid"] == [kraken.txid(kraken.open[0])]
    for as_json in (True, False):
        answer = await kraken.ask("CancelAll", as_json=as_json, tampered=True)
        assert answer == {"error": ["EAPI:Invalid signature"]}
    assert len(kraken.open) == 1


# The market.


async def test_public_requests_are_answered_in_krakens_shapes(kraken: Kraken) -> None:
    assert set((await kraken.public("Assets", asset="XBT"))["result"]) == {"XXBT"}
    fees = (await kraken.public("AssetPairs", pair="XBTUSD", info="fees"))["result"]["XXBTZUSD"]
    assert set(fees) == {"fees", "fees_maker", "fee_volume_currency"}
    trades = (await kraken.public("Trades", pair="XBTUSD"))["result"]
    assert (await kraken.public("Trades", pair="XBTUSD", since=trades["last"]))["result"]["XXBTZUSD"] == []
    kraken.trade_at(60_000, 0.003)
    ticker = (await kraken.public("Ticker", pair="XBTUSD"))["result"]["XXBTZUSD"]
    assert (ticker["p"][1], ticker["t"][1], ticker["v"][1]) == ("60000.0", 2, "0.00400000")
    await until(lambda: kraken.exchange.face._spreads["BTC/USD"])  # type: ignore[attr-defined]
    assert (await kraken.public("Spread", pair="XBTUSD"))["result"]["XXBTZUSD"][-1][1:] == ["59999.0", "60001.0"]
    assert (await kraken.public("Depth", pair="XBTUSD", count="1"))["result"]["XXBTZUSD"]["bids"][0][0] == "59999.0"


@pytest.mark.parametrize(
    ("endpoint", "query", "error"),
    [
        ("Depth", {"pair": "XBTUSD", "count": "501"}, "EGeneral:Invalid arguments:count"),
        ("OHLC", {"pair": "XBTUSD", "interval": "7"}, "EGeneral:Invalid arguments:interval"),
        ("Ticker", {"pair": "MOON"}, "EQuery:Unknown asset pair"),
        ("Assets", {"asset": "MOON"}, "EQuery:Unknown asset"),
        ("Time", {"zone": "UTC"}, "EGeneral:Invalid arguments:zone"),
    ],
)
async def test_public_requests_that_do_not_fit_are_refused(
    kraken: Kraken, endpoint: str, query: dict[str, str], error: str
) -> None:
    assert (await kraken.public(endpoint, **query))["error"] == [error]


async def test_what_is_scheduled_and_what_is_to_follow_outlives_a_kill(kraken: Kraken, tmp_path: Path) -> None:
    """The face's fields are part of the order that the exchange writes down, and are there again afterwards."""
    now = iter(range(10**18, 10**18 + 1000))
    first = RememberingVenue("kraken", MARKETS, RULES["kraken"], lambda: next(now), tmp_path / "venue.jsonl")
    for account, asset in (("a", "USD"), ("b", "BTC")):
        first.deposit(account, asset, 10**15)
    close = NewOrder(
        "BTC/USD", Side.SELL, OrderType.TRAILING_STOP, 0, trail_ppm=20_000, notes={"kind": "trailing-stop"}
    )
    buy = NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE, price=600_000, close=close, notes={"userref": "5"})
    first.place("a", buy)
    first.place("b", NewOrder("BTC/USD", Side.SELL, OrderType.LIMIT, ONE, price=600_000))
    first.place("a", NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE, price=500_000, start_ns=2 * 10**18))
    again = RememberingVenue("kraken", MARKETS, RULES["kraken"], lambda: next(now), tmp_path / "venue.jsonl")
    assert described(again) == described(first)
    assert [o.status for o in again.account("a").open.values()] == [Status.TRIGGER_PENDING, Status.SCHEDULED]
    assert again.account("a").orders[1].request.notes == {"userref": "5"}


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_ordered_nothing_is_made_and_nothing_lost(seed: int) -> None:
    draw, now = random.Random(seed), iter(range(10**18, 10**18 + 10**15, 10**8))
    venue = Venue("kraken", MARKETS, RULES["kraken"], lambda: next(now))
    for name in ("ann", "bob", "cat"):
        venue.deposit(name, "USD", 10**15)
        venue.deposit(name, "BTC", 10**11)
    before = totals(venue)
    for _ in range(200):
        with suppress(Refused, KrakenError):
            request = order_of_fields(venue.markets["BTC/USD"], drawn(draw), venue.clock())
            venue.place(draw.choice(["ann", "bob", "cat"]), request)
        venue.tick()
        for account in venue.accounts.values():
            for asset, held in account.held.items():
                assert held == sum(o.held for o in account.open.values() if o.held_asset == asset)
    assert len(venue.trades["BTC/USD"]) > 20
    fees = {a: sum(p.fee for c in venue.accounts.values() for p in c.postings if p.asset == a) for a in before}
    assert {asset: total + fees[asset] for asset, total in totals(venue).items()} == before
    for account in venue.accounts.values():
        for asset, total in account.total.items():
            assert total == sum(p.amount - p.fee for p in account.postings if p.asset == asset)
        venue.cancel_all(account.name)
        assert not any(account.held.values())


def drawn(draw: random.Random) -> dict[str, str]:
    """Return the fields of some order near 60,000."""
    kind = draw.choice([*KINDS, "limit", "limit"])
    near = f"{draw.uniform(59_000, 61_000):.1f}"
    price = draw.choice([near, f"{draw.choice('+-#')}{draw.uniform(0, 1):.2f}%", f"{draw.choice('+-#')}300"])
    f = {"ordertype": kind, "type": draw.choice(["buy", "sell"]), "volume": f"{draw.uniform(0.001, 2):.4f}"}
    f |= {"oflags": draw.choice(["", "fcib"]), "stptype": draw.choice([*SELF_TRADE])}
    if KINDS[kind].trails:
        f |= {"price": f"+{draw.uniform(0.01, 1):.2f}%"} | ({"price2": "-50"} if KINDS[kind].limit else {})
    elif kind != "market":
        f |= {"price": price} | ({"price2": near} if KINDS[kind].limit == "price2" else {})
    elif f["type"] == "buy":
        f |= {"oflags": "viqc", "volume": str(draw.randint(10, 50_000))}
    if kind == "iceberg":
        f["displayvol"] = f"{float(f['volume']) / 3:.8f}"
    if draw.random() < 0.3:
        f |= {"close[ordertype]": "take-profit", "close[price]": "#1%", "starttm": draw.choice(["0", "+5"])}
    return f


def totals(venue: Venue) -> dict[str, int]:
    return {a: sum(account.total[a] for account in venue.accounts.values()) for a in ("BTC", "USD")}


def described(venue: RememberingVenue) -> list[tuple[int, str, int, int, int]]:
    return [(o.number, o.status.value, o.size, o.trigger, o.request.parent) for o in venue.orders.values()]


async def until(met: Any) -> None:
    async def wait() -> None:
        while not met():
            await asyncio.sleep(0.02)

    await asyncio.wait_for(wait(), PATIENCE_S)
