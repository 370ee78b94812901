"""Binance's face by hand: fields that are carried out or refused, lists of orders, filters, fees, streams, in the
venue's own words and numbers."""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from aether.domain.orders import OrderType, Side, TimeInForce
from aether.exchange.face import ApiKey
from aether.exchange.faces import binance
from aether.exchange.faces.binance import BinanceFace
from aether.exchange.server import LocalExchange, build, public_pem, serve
from aether.exchange.venue import NewOrder, Order
from tests.contract.venue_desk import ONE, local_exchange

PATIENCE_S = 15.0
LIMIT = {"symbol": "BTCUSD", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1", "price": "50000"}
MARKET = {"symbol": "BTCUSD", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
STOP = {"symbol": "BTCUSD", "side": "SELL", "type": "STOP_LOSS", "quantity": "0.1", "stopPrice": "55000"}
OCO = {
    "symbol": "BTCUSD", "side": "SELL", "quantity": "1", "aboveType": "LIMIT_MAKER", "abovePrice": "65000",
    "belowType": "STOP_LOSS_LIMIT", "belowStopPrice": "55000", "belowPrice": "54000", "belowTimeInForce": "GTC",
}  # fmt: skip
OTO = {
    "symbol": "BTCUSD", "workingType": "LIMIT", "workingSide": "BUY", "workingPrice": "59000", "workingQuantity": "1",
    "workingTimeInForce": "GTC", "pendingType": "LIMIT_MAKER", "pendingSide": "SELL", "pendingPrice": "65000",
    "pendingQuantity": "1",
}  # fmt: skip
OTOCO = {
    **{name: value for name, value in OTO.items() if name.startswith(("symbol", "working"))}, "pendingSide": "SELL",
    "pendingQuantity": "1", "pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": "65000",
    "pendingBelowType": "STOP_LOSS", "pendingBelowStopPrice": "55000",
}  # fmt: skip


class Client:
    """Signs and sends requests by hand; others quote beside it."""

    def __init__(self, local: LocalExchange, http: aiohttp.ClientSession) -> None:
        self.local = local
        self.exchange = local.exchanges["binance"]
        self.venue = self.exchange.venue
        self.key, self.secret = local.open_account("binance", "company", {"USD": "1000000", "BTC": "10", "BNB": "0"})
        self.http = http

    def signed(self, fields: dict[str, Any]) -> dict[str, Any]:
        full = {**fields, "timestamp": self.venue.clock() // 1_000_000}
        full["signature"] = hmac.new(self.secret.encode(), urlencode(full).encode(), hashlib.sha256).hexdigest()
        return full

    async def ask(self, method: str, endpoint: str, api: str = "/api/v3", **fields: Any) -> Any:
        """Return the answer of a signed request."""
        return await self.send(method, f"{api}/{endpoint}", urlencode(self.signed(fields)))

    async def look(self, endpoint: str, **fields: Any) -> Any:
        """Return the answer of a request without a key."""
        return await self.send("GET", f"/api/v3/{endpoint}", urlencode(fields))

    async def send(self, method: str, path: str, query: str) -> Any:
        url = f"{self.exchange.url}{path}?{query}"
        async with self.http.request(method, url, headers={"X-MBX-APIKEY": self.key}) as response:
            self.status, self.headers = response.status, response.headers
            return msgspec.json.decode(await response.read())

    async def place(self, **fields: Any) -> Any:
        return await self.ask("POST", "order", **fields)

    async def refused(self, **fields: Any) -> tuple[int, str]:
        """Place an order that is refused; return code and text, when nothing came of it."""
        before = len(self.account.orders)
        answer = await self.place(**fields)
        assert len(self.account.orders) == before
        return answer["code"], answer["msg"]

    async def query(self, order_id: int) -> Any:
        return await self.ask("GET", "order", symbol="BTCUSD", orderId=order_id)

    @property
    def account(self) -> Any:
        return self.venue.account("company")

    def quote(self, side: str, price: float, size: float, account: str = "other") -> Order:
        request = NewOrder("BTC/USD", Side(side), OrderType.LIMIT, round(size * ONE), price=round(price * 10))
        return self.venue.place(account, request)

    def trade_at(self, price: float, size: float = 0.001) -> None:
        """Let two others trade at a price."""
        self.quote("sell", price, size, "third")
        request = NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, round(size * ONE), price=round(price * 10))
        request.tif = TimeInForce.IOC
        self.venue.place("other", request)

    @asynccontextmanager
    async def socket(self) -> AsyncIterator["Api"]:
        async with self.http.ws_connect(self.exchange.url.replace("http", "ws") + "/ws-api/v3") as socket:
            yield Api(self, socket)


class Api:
    """A socket of the WebSocket API, and what it told."""

    def __init__(self, client: Client, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.client = client
        self._socket = socket
        self.events: list[dict[str, Any]] = []
        self._number = 0

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        self._number += 1
        await self._socket.send_str(
            msgspec.json.encode({"id": self._number, "method": method, "params": params}).decode()
        )
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = msgspec.json.decode((await self._socket.receive_str()).encode())
                if message.get("id") == self._number:
                    return message
                self.events.append(message["event"])

    async def ask(self, method: str, **params: Any) -> Any:
        """Call with a signature over the parameters as JSON has them."""
        full = {**params, "apiKey": self.client.key, "timestamp": self.client.venue.clock() // 1_000_000}
        texts = {n: v if isinstance(v, str) else msgspec.json.encode(v).decode() for n, v in full.items()}
        payload = "&".join(f"{name}={texts[name]}" for name in sorted(texts))
        signature = hmac.new(self.client.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        return await self.call(method, {**full, "signature": signature})

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Wait for an event of a kind with such fields; it and what was before it are taken."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self.events:
                    event = self.events.pop(0)
                    if event["e"] == kind and all(event.get(name) == value for name, value in fields.items()):
                        return event
                self.events.append(msgspec.json.decode((await self._socket.receive_str()).encode())["event"])


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with local_exchange(enforce_limits=False) as local, aiohttp.ClientSession() as http:
        one = Client(local, http)
        one.trade_at(60_000)
        yield one


# What an order may carry.


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({**LIMIT, "reduceOnly": "true"}, -1104, "Not all sent parameters were read; read '8' parameter(s) but was"),
        ({**LIMIT, "timeInForce": ""}, -1105, "Parameter 'timeInForce' was empty."),
        ({**LIMIT, "timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
        ({**LIMIT, "side": "LONG"}, -1117, "Invalid side."),
        ({**LIMIT, "type": "STOP"}, -1116, "Invalid orderType."),
        ({**LIMIT, "symbol": "BTCEUR"}, -1121, "Invalid symbol."),
        ({**LIMIT, "symbol": "btcusd"}, -1100, "Illegal characters found in parameter 'symbol'; legal range is"),
        ({**LIMIT, "quantity": "-1"}, -1100, "Illegal characters found in parameter 'quantity'; legal range is"),
        ({**LIMIT, "quantity": "1e3"}, -1100, "Illegal characters found in parameter 'quantity'; legal range is"),
        ({**LIMIT, "newClientOrderId": "a b"}, -1100, "Illegal characters found in parameter 'newClientOrderId'"),
        ({**LIMIT, "newClientOrderId": "x" * 37}, -1100, "Illegal characters found in parameter 'newClientOrderId'"),
        ({**LIMIT, "newOrderRespType": "NONE"}, -1130, "Data sent for parameter 'newOrderRespType' is not valid."),
        ({**LIMIT, "stopPrice": "55000"}, -1106, "Parameter 'stopPrice' sent when not required."),
        ({**LIMIT, "quoteOrderQty": "100"}, -1106, "Parameter 'quoteOrderQty' sent when not required."),
        ({**LIMIT, "type": "LIMIT_MAKER"}, -1106, "Parameter 'timeInForce' sent when not required."),
        ({**MARKET, "timeInForce": "IOC"}, -1106, "Parameter 'timeInForce' sent when not required."),
        ({**MARKET, "price": "60000"}, -1106, "Parameter 'price' sent when not required."),
        ({**STOP, "price": "60000"}, -1106, "Parameter 'price' sent when not required."),
        ({**LIMIT, "strategyType": "5"}, -1134, "strategyType was less than 1000000."),
        ({**LIMIT, "pegPriceType": "PRIMARY_PEG"}, -2010, "Pegged orders are not supported for this symbol."),
        ({**LIMIT, "selfTradePreventionMode": "MAYBE"}, -1130, "Data sent for parameter 'selfTradePreventionMode'"),
        ({**LIMIT, "quantity": "0.123456789"}, -1111, "Parameter 'quantity' has too much precision."),
        ({**LIMIT, "icebergQty": "0.01", "timeInForce": "IOC"}, -1014, "Unsupported order combination"),
        ({**LIMIT, "icebergQty": "0.2"}, -2010, "IcebergQty exceeds QTY."),
    ],
)
async def test_what_does_not_belong_in_an_order_is_refused(
    client: Client, fields: dict[str, Any], code: int, text: str
) -> None:
    found = await client.refused(**fields)
    assert found[0] == code
    assert found[1].startswith(text)


@pytest.mark.parametrize(
    ("fields", "lacking"),
    [
        (LIMIT, "timeInForce"),
        (LIMIT, "quantity"),
        (LIMIT, "price"),
        (LIMIT, "side"),
        (LIMIT, "type"),
        (LIMIT, "symbol"),
        (STOP, "quantity"),
    ],
)
async def test_a_mandatory_field_is_named(client: Client, fields: dict[str, Any], lacking: str) -> None:
    less = {name: value for name, value in fields.items() if name != lacking}
    said = f"Mandatory parameter '{lacking}' was not sent, was empty/null, or malformed."
    assert await client.refused(**less) == (-1102, said)


@pytest.mark.parametrize(
    ("fields", "lacking", "pair"),
    [(MARKET, "quantity", ("quantity", "quoteOrderQty")), (STOP, "stopPrice", ("stopPrice", "trailingDelta"))],
)
async def test_one_of_two_fields_has_to_be_there(
    client: Client, fields: dict[str, Any], lacking: str, pair: tuple[str, str]
) -> None:
    less = {name: value for name, value in fields.items() if name != lacking}
    said = f"Param '{pair[0]}' or '{pair[1]}' must be sent, but both were empty/null!"
    assert await client.refused(**less) == (-1102, said)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({**LIMIT, "price": "50000.55"}, "PRICE_FILTER"),
        ({**LIMIT, "price": "0"}, "PRICE_FILTER"),
        ({**LIMIT, "price": "2000000"}, "PRICE_FILTER"),
        ({**STOP, "stopPrice": "0"}, "PRICE_FILTER"),
        ({**LIMIT, "quantity": "0.00001"}, "LOT_SIZE"),
        ({**LIMIT, "quantity": "0"}, "LOT_SIZE"),
        ({**LIMIT, "price": "300001"}, "PERCENT_PRICE_BY_SIDE"),
        ({**LIMIT, "price": "11999"}, "PERCENT_PRICE_BY_SIDE"),
        ({**LIMIT, "quantity": "200"}, "NOTIONAL"),
        ({**MARKET, "quantity": None, "quoteOrderQty": "0.4"}, "LOT_SIZE"),
        ({**LIMIT, "icebergQty": "0.009"}, "ICEBERG_PARTS"),
        ({**STOP, "stopPrice": None, "trailingDelta": "5"}, "TRAILING_DELTA"),
        ({**STOP, "stopPrice": None, "trailingDelta": "2001"}, "TRAILING_DELTA"),
    ],
)
async def test_a_filter_names_itself(client: Client, fields: dict[str, Any], name: str) -> None:
    client.quote("sell", 60_100, 1)
    sent = {field: value for field, value in fields.items() if value is not None}
    assert await client.refused(**sent) == (-1013, f"Filter failure: {name}")
    assert name in {
        f["filterType"] for f in (await client.look("exchangeInfo", symbol="BTCUSD"))["symbols"][0]["filters"]
    }


async def test_five_orders_may_wait_for_their_trigger_in_one_symbol(client: Client) -> None:
    for _ in range(5):
        await client.place(**STOP)
    assert await client.refused(**STOP) == (-1013, "Filter failure: MAX_NUM_ALGO_ORDERS")


async def test_orders_of_one_symbol_may_not_become_too_many(client: Client) -> None:
    client.venue.rules = replace(client.venue.rules, max_open=2)
    await client.place(**LIMIT)
    assert (await client.ask("POST", "orderList/oco", **OCO))["msg"] == "Filter failure: MAX_NUM_ORDERS"
    await client.place(**LIMIT)
    assert await client.refused(**LIMIT) == (-1013, "Filter failure: MAX_NUM_ORDERS")
    assert (await client.ask("POST", "order/test", **LIMIT))["code"] == -1013


@pytest.mark.parametrize(
    ("kind", "side", "stop"),
    [
        ("STOP_LOSS", "SELL", 60_000),
        ("STOP_LOSS", "BUY", 59_999),
        ("TAKE_PROFIT", "SELL", 59_999),
        ("TAKE_PROFIT", "BUY", 60_001),
        ("STOP_LOSS_LIMIT", "SELL", 61_000),
        ("TAKE_PROFIT_LIMIT", "BUY", 61_000),
    ],
)
async def test_a_trigger_that_is_reached_already_is_refused(client: Client, kind: str, side: str, stop: int) -> None:
    client.quote("buy", 59_000, 5)
    fields = {**STOP, "type": kind, "side": side, "stopPrice": stop}
    if kind.endswith("LIMIT"):
        fields |= {"price": 60_000, "timeInForce": "GTC"}
    assert await client.refused(**fields) == (-2010, "Stop price would trigger immediately.")


async def test_a_market_order_spends_a_sum(client: Client) -> None:
    client.quote("sell", 60_100, 0.01)
    client.quote("sell", 60_200, 5)
    fields = {name: value for name, value in MARKET.items() if name != "quantity"}
    bought = await client.place(**fields, quoteOrderQty="1000")
    assert bought["status"] == "FILLED"
    assert bought["origQuoteOrderQty"] == "1000.00000000"
    assert [fill["price"] for fill in bought["fills"]] == ["60100.00000000", "60200.00000000"]
    assert 999.99 < float(bought["cummulativeQuoteQty"]) <= 1000
    assert bought["origQty"] == bought["executedQty"]


async def test_changes_that_wait_when_steps_get_finer_keep_their_prices(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen once in a feed's test: an ask at a tenth of its price, and a book that stayed crossed for ever."""
    face, told = client.exchange.face, []
    assert isinstance(face, BinanceFace)
    face.send_depth()
    monkeypatch.setattr(binance, "DEPTH_EVERY_NS", 10**18)
    monkeypatch.setattr(face, "_publish", lambda stream, data: told.append((stream, data)))
    client.quote("buy", 59_000, 1)
    client.quote("sell", 61_000, 1)
    face.flush()
    client.venue.retick("BTC/USD", 2)
    face.send_depth()
    levels = [level for stream, data in told if stream == "btcusd@depth" for level in data["b"] + data["a"]]
    assert {float(price) for price, _ in levels} == {59_000, 61_000}


async def test_a_sum_needs_a_book_to_be_spent_in(client: Client) -> None:
    fields = {name: value for name, value in MARKET.items() if name != "quantity"}
    said = "Order book liquidity is less than symbol minimum quantity."
    assert await client.refused(**fields, quoteOrderQty="1000") == (-2010, said)


@pytest.mark.parametrize(
    ("fields", "wanted", "has"),
    [
        (LIMIT, "", "fills"),
        (LIMIT, "ACK", "transactTime"),
        (LIMIT, "RESULT", "selfTradePreventionMode"),
        ({**LIMIT, "type": "LIMIT_MAKER", "timeInForce": None}, "", "transactTime"),
        ({**LIMIT, "type": "LIMIT_MAKER", "timeInForce": None}, "FULL", "fills"),
        (STOP, "", "transactTime"),
        (STOP, "RESULT", "selfTradePreventionMode"),
    ],
)
async def test_the_answer_is_as_long_as_wanted(client: Client, fields: dict[str, Any], wanted: str, has: str) -> None:
    sent = {n: v for n, v in {**fields, **({"newOrderRespType": wanted} if wanted else {})}.items() if v is not None}
    answer = await client.place(**sent)
    assert ("status" in answer, "fills" in answer) == {
        "transactTime": (False, False), "selfTradePreventionMode": (True, False), "fills": (True, True),
    }[has]  # fmt: skip


async def test_labels_of_a_strategy_come_back(client: Client) -> None:
    made = await client.place(**LIMIT, strategyId="37", strategyType="1000001", icebergQty="0.05")
    found = await client.query(made["orderId"])
    assert (found["strategyId"], found["strategyType"], found["icebergQty"]) == (37, 1_000_001, "0.05000000")
    assert client.venue.books["BTC/USD"].levels(1, is_buy=True) == [(500_000, 5_000_000)]


async def test_a_trailing_stop_limit_follows_from_its_stop_price_on(client: Client) -> None:
    client.quote("buy", 57_000, 5)
    fields = {**STOP, "type": "STOP_LOSS_LIMIT", "stopPrice": "59000", "price": "56000", "timeInForce": "GTC"}
    made = await client.place(**fields, trailingDelta="100")
    client.trade_at(62_000)
    client.trade_at(61_000)
    assert (await client.query(made["orderId"]))["isWorking"] is False
    for price in (59_000, 59_500, 58_906):
        client.trade_at(price)
    assert (await client.query(made["orderId"]))["isWorking"] is False
    client.trade_at(58_905)
    done = await client.query(made["orderId"])
    assert (done["status"], done["trailingDelta"], done["price"]) == ("FILLED", 100, "56000.00000000")


@pytest.mark.parametrize(
    ("mode", "resting", "coming"),
    [
        ("NONE", "FILLED", "FILLED"),
        ("EXPIRE_TAKER", "NEW", "EXPIRED_IN_MATCH"),
        ("EXPIRE_MAKER", "EXPIRED_IN_MATCH", "NEW"),
        ("EXPIRE_BOTH", "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH"),
        ("DECREMENT", "EXPIRED_IN_MATCH", "NEW"),
        ("TRANSFER", "EXPIRED_IN_MATCH", "NEW"),
    ],
)
async def test_each_mode_of_self_trade_prevention_is_carried_out(
    client: Client, mode: str, resting: str, coming: str
) -> None:
    same = mode == "NONE"
    first = await client.place(**{**LIMIT, "price": "59000", "quantity": "0.1"})
    sale = {**LIMIT, "side": "SELL", "price": "59000", "quantity": "0.1" if same else "0.3"}
    second = await client.place(**sale, selfTradePreventionMode=mode)
    assert (await client.query(first["orderId"]))["status"] == resting
    found = await client.query(second["orderId"])
    assert (found["status"], found["selfTradePreventionMode"]) == (coming, mode)
    matches = await client.ask("GET", "myPreventedMatches", symbol="BTCUSD", orderId=second["orderId"])
    assert [m["makerOrderId"] for m in matches] == ([] if same else [first["orderId"]])
    left = {"DECREMENT": "0.10000000", "TRANSFER": "0.10000000", "EXPIRE_TAKER": "0.30000000"}
    if mode in left:
        assert found["preventedQuantity"] == left[mode]
    assert client.account.held["USD"] == (0 if resting != "NEW" else 5_900 * ONE)


# Test orders, replacing, amending, cancelling.


async def test_a_test_order_is_checked_and_not_placed(client: Client) -> None:
    assert await client.ask("POST", "order/test", **LIMIT) == {}
    rates = await client.ask("POST", "order/test", **LIMIT, computeCommissionRates="true")
    assert rates["standardCommissionForOrder"] == {"maker": "0.00100000", "taker": "0.00100000"}
    assert (await client.ask("POST", "order/test", **{**LIMIT, "price": "0.01"}))["code"] == -1013
    assert not client.account.orders


async def test_an_order_is_replaced(client: Client) -> None:
    made = await client.place(**LIMIT, newClientOrderId="first")
    fields = {**LIMIT, "price": "51000", "cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": made["orderId"]}
    done = await client.ask("POST", "order/cancelReplace", **fields, cancelNewClientOrderId="away")
    assert (done["cancelResult"], done["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    assert (done["cancelResponse"]["clientOrderId"], done["cancelResponse"]["origClientOrderId"]) == ("away", "first")
    assert done["newOrderResponse"]["price"] == "51000.00000000"
    assert len(client.account.open) == 1


@pytest.mark.parametrize(
    ("mode", "price", "code", "status", "results"),
    [
        ("STOP_ON_FAILURE", "50000", -2022, 400, ("FAILURE", "NOT_ATTEMPTED")),
        ("ALLOW_FAILURE", "50000", -2021, 409, ("FAILURE", "SUCCESS")),
        ("ALLOW_FAILURE", "61000", -2022, 400, ("FAILURE", "FAILURE")),
    ],
)
async def test_what_fails_of_a_replacement_is_told(
    client: Client, mode: str, price: str, code: int, status: int, results: tuple[str, str]
) -> None:
    client.quote("sell", 60_500, 1)
    fields = {n: v for n, v in LIMIT.items() if n != "timeInForce"} | {"type": "LIMIT_MAKER", "price": price}
    done = await client.ask("POST", "order/cancelReplace", **fields, cancelReplaceMode=mode, cancelOrderId=999)
    assert (done["code"], client.status) == (code, status)
    assert (done["data"]["cancelResult"], done["data"]["newOrderResult"]) == results
    assert done["data"]["cancelResponse"] == {"code": -2011, "msg": "Unknown order sent."}
    assert (done["data"]["newOrderResponse"] is None) == (results[1] == "NOT_ATTEMPTED")


async def test_a_cancel_stands_though_the_new_order_fails(client: Client) -> None:
    made = await client.place(**LIMIT)
    fields = {**LIMIT, "quantity": "100", "cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": made["orderId"]}
    done = await client.ask("POST", "order/cancelReplace", **fields)
    assert (done["code"], done["data"]["cancelResult"], done["data"]["newOrderResult"]) == (-2021, "SUCCESS", "FAILURE")
    assert done["data"]["newOrderResponse"]["code"] == -2010
    assert not client.account.open


async def test_an_amended_order_keeps_its_place_and_gets_a_new_id(client: Client) -> None:
    made = await client.place(**{**LIMIT, "quantity": "1"}, newClientOrderId="first")
    client.quote("buy", 50_000, 1)
    done = await client.ask("PUT", "order/amend/keepPriority", symbol="BTCUSD", orderId=made["orderId"], newQty="0.4")
    order = done["amendedOrder"]
    assert (order["origClientOrderId"], order["qty"], order["executedQty"]) == ("first", "0.40000000", "0.00000000")
    assert order["clientOrderId"] not in ("", "first")
    by_old = await client.ask("GET", "order", symbol="BTCUSD", origClientOrderId="first")
    assert by_old["code"] == -2013
    client.quote("sell", 50_000, 0.4, "third")
    assert (await client.query(made["orderId"]))["status"] == "FILLED"
    history = await client.ask("GET", "order/amendments", symbol="BTCUSD", orderId=made["orderId"])
    assert [(row["origQty"], row["newQty"]) for row in history] == [("1.00000000", "0.40000000")]


@pytest.mark.parametrize(
    ("quantity", "code", "text"),
    [
        ("0.1", -2038, "The requested action would change no state; rejecting"),
        ("0.2", -2038, "Order amend (quantity increase) is not supported."),
        ("0.00001", -1013, "Filter failure: LOT_SIZE"),
    ],
)
async def test_an_order_is_only_made_smaller(client: Client, quantity: str, code: int, text: str) -> None:
    made = await client.place(**LIMIT)
    fields = {"symbol": "BTCUSD", "orderId": made["orderId"], "newQty": quantity}
    answer = await client.ask("PUT", "order/amend/keepPriority", **fields)
    assert (answer["code"], answer["msg"]) == (code, text)


async def test_both_names_of_an_order_have_to_be_of_one(client: Client) -> None:
    made = await client.place(**LIMIT, newClientOrderId="first")
    both = {"symbol": "BTCUSD", "orderId": made["orderId"], "origClientOrderId": "other"}
    for method, endpoint in (("GET", "order"), ("DELETE", "order")):
        assert (await client.ask(method, endpoint, **both))["code"] == -2039
    assert (await client.ask("PUT", "order/amend/keepPriority", **both, newQty="0.05"))["code"] == -2039
    neither = await client.ask("GET", "order", symbol="BTCUSD")
    assert neither["msg"] == "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"


async def test_a_cancel_can_be_for_untouched_orders_only(client: Client) -> None:
    made = await client.place(**{**LIMIT, "price": "60000"})
    client.quote("sell", 60_000, 0.04, "third")
    fields = {"symbol": "BTCUSD", "orderId": made["orderId"]}
    kept = await client.ask("DELETE", "order", **fields, cancelRestrictions="ONLY_NEW")
    assert (kept["code"], kept["msg"]) == (-2011, "Order was not canceled due to cancel restrictions.")
    assert (await client.ask("DELETE", "order", **fields, cancelRestrictions="SOME"))["code"] == -1145
    gone = await client.ask("DELETE", "order", **fields, cancelRestrictions="ONLY_PARTIALLY_FILLED")
    assert gone["status"] == "CANCELED"


async def test_cancelling_all_takes_lists_with_it(client: Client) -> None:
    assert (await client.ask("DELETE", "openOrders", symbol="BTCUSD"))["code"] == -2011
    single = await client.place(**LIMIT)
    group = await client.ask("POST", "orderList/oco", **OCO)
    gone = await client.ask("DELETE", "openOrders", symbol="BTCUSD")
    assert [row.get("orderId") for row in gone] == [single["orderId"], None]
    assert (gone[1]["orderListId"], gone[1]["listOrderStatus"]) == (group["orderListId"], "ALL_DONE")
    assert {report["status"] for report in gone[1]["orderReports"]} == {"CANCELED"}
    assert client.account.held == {"USD": 0, "BTC": 0}


# Lists of orders.


async def test_a_pair_sets_its_funds_aside_once(client: Client) -> None:
    made = await client.ask("POST", "orderList/oco", **OCO)
    assert (made["contingencyType"], made["listStatusType"], made["listOrderStatus"]) == (
        "OCO", "EXEC_STARTED", "EXECUTING",
    )  # fmt: skip
    assert [report["type"] for report in made["orderReports"]] == ["LIMIT_MAKER", "STOP_LOSS_LIMIT"]
    assert client.account.held["BTC"] == ONE
    assert {o["orderListId"] for o in await client.ask("GET", "openOrders")} == {made["orderListId"]}
    assert [g["orderListId"] for g in await client.ask("GET", "openOrderList")] == [made["orderListId"]]


async def test_a_fill_of_one_ends_the_other(client: Client) -> None:
    made = await client.ask("POST", "orderList/oco", **OCO)
    limit, stop = (one["orderId"] for one in made["orders"])
    client.quote("buy", 65_000, 0.4)
    assert (await client.query(limit))["status"] == "PARTIALLY_FILLED"
    ended = await client.query(stop)
    assert (ended["status"], ended["expiryReason"]) == ("EXPIRED", "OCO_TRIGGER")
    assert client.account.held["BTC"] == 60_000_000
    client.quote("buy", 65_000, 0.6)
    found = await client.ask("GET", "orderList", orderListId=made["orderListId"])
    assert (found["listStatusType"], found["listOrderStatus"]) == ("ALL_DONE", "ALL_DONE")
    assert client.account.held["BTC"] == 0


async def test_a_trigger_of_one_ends_the_other(client: Client) -> None:
    made = await client.ask("POST", "orderList/oco", **OCO)
    limit, stop = (one["orderId"] for one in made["orders"])
    client.trade_at(55_000)
    assert (await client.query(limit))["status"] == "EXPIRED"
    assert ((await client.query(stop))["status"], client.account.held["BTC"]) == ("NEW", ONE)
    client.quote("buy", 54_000, 1)
    assert ((await client.query(stop))["status"], client.account.total["BTC"]) == ("FILLED", 9 * ONE)


async def test_cancelling_one_cancels_its_list(client: Client) -> None:
    made = await client.ask("POST", "orderList/oco", **OCO, listClientOrderId="both")
    gone = await client.ask("DELETE", "order", symbol="BTCUSD", orderId=made["orders"][1]["orderId"])
    assert (gone["orderListId"], {r["status"] for r in gone["orderReports"]}) == (made["orderListId"], {"CANCELED"})
    again = await client.ask("DELETE", "orderList", symbol="BTCUSD", listClientOrderId="both")
    assert again["code"] == -2011


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"abovePrice": "59000"}, -2010),
        ({"belowStopPrice": "61000"}, -2010),
        ({"side": "BUY"}, -1165),
        ({"aboveType": "STOP_LOSS", "abovePrice": None, "aboveStopPrice": "65000"}, -1197),
        ({"aboveType": "MARKET", "abovePrice": None}, -1158),
        ({"belowTimeInForce": None}, -1102),
        ({"abovePegPriceType": "PRIMARY_PEG"}, -2010),
        ({"belowIcebergQty": "0.1", "belowTimeInForce": "IOC"}, -1014),
        ({"belowType": None}, -1102),
        ({"stopPrice": "1"}, -1104),
    ],
)
async def test_a_pair_that_does_not_fit_is_refused(client: Client, changes: dict[str, Any], code: int) -> None:
    fields = {name: value for name, value in {**OCO, **changes}.items() if value is not None}
    assert (await client.ask("POST", "orderList/oco", **fields))["code"] == code
    assert not client.account.orders


async def test_the_deprecated_way_makes_the_same_pair(client: Client) -> None:
    fields = {"symbol": "BTCUSD", "side": "SELL", "quantity": "1", "price": "65000", "stopPrice": "55000"}
    made = await client.ask("POST", "order/oco", **fields, stopLimitPrice="54000", stopLimitTimeInForce="GTC")
    assert {report["type"] for report in made["orderReports"]} == {"LIMIT_MAKER", "STOP_LOSS_LIMIT"}
    lacking = await client.ask("POST", "order/oco", **fields, stopLimitPrice="54000")
    assert lacking["msg"].startswith("Mandatory parameter 'stopLimitTimeInForce'")


async def test_an_order_waits_until_another_is_filled_whole(client: Client) -> None:
    made = await client.ask("POST", "orderList/oto", **OTO)
    assert [report["status"] for report in made["orderReports"]] == ["NEW", "PENDING_NEW"]
    working, pending = (one["orderId"] for one in made["orders"])
    assert client.account.held.get("BTC", 0) == 0
    client.quote("sell", 59_000, 0.4, "third")
    assert (await client.query(pending))["status"] == "PENDING_NEW"
    client.quote("sell", 59_000, 0.6, "third")
    assert (await client.query(working))["status"] == "FILLED"
    found = await client.query(pending)
    assert (found["status"], found["isWorking"], client.account.held["BTC"]) == ("NEW", True, ONE)


async def test_what_waits_ends_with_what_it_waits_for(client: Client) -> None:
    for number in (0, 1):
        made = await client.ask("POST", "orderList/oto", **OTO)
        await client.ask("DELETE", "order", symbol="BTCUSD", orderId=made["orders"][number]["orderId"])
        for one in made["orders"]:
            assert (await client.query(one["orderId"]))["status"] == "CANCELED"
    fields = {**OTO, "workingTimeInForce": "IOC"}
    made = await client.ask("POST", "orderList/oto", **fields)
    ended = await client.query(made["orders"][1]["orderId"])
    assert (ended["status"], ended["expiryReason"]) == ("EXPIRED", "OTO_PHASE_ONE_EXPIRED")


async def test_a_pair_waits_until_another_is_filled(client: Client) -> None:
    made = await client.ask("POST", "orderList/otoco", **OTOCO)
    assert [report["status"] for report in made["orderReports"]] == ["NEW", "PENDING_NEW", "PENDING_NEW"]
    assert made["contingencyType"] == "OTO"
    client.quote("sell", 59_000, 1, "third")
    _, above, below = (one["orderId"] for one in made["orders"])
    assert [(await client.query(n))["status"] for n in (above, below)] == ["NEW", "NEW"]
    assert client.account.held["BTC"] == ONE
    client.quote("buy", 65_000, 1)
    assert [(await client.query(n))["status"] for n in (above, below)] == ["FILLED", "EXPIRED"]


async def test_what_cannot_begin_when_its_time_comes_expires(client: Client) -> None:
    made = await client.ask("POST", "orderList/oto", **{**OTO, "pendingQuantity": "50"})
    client.quote("sell", 59_000, 1, "third")
    ended = await client.query(made["orders"][1]["orderId"])
    assert (ended["status"], ended["expiryReason"]) == ("EXPIRED", "REJECTED")
    found = await client.ask("GET", "allOrderList")
    assert [g["listOrderStatus"] for g in found] == ["ALL_DONE"]


async def test_a_sale_of_what_another_order_buys_is_not_offered(client: Client) -> None:
    assert (await client.look("exchangeInfo", symbol="BTCUSD"))["symbols"][0]["opoAllowed"] is False
    fields = {name: value for name, value in OTO.items() if name != "pendingQuantity"}
    answer = await client.ask("POST", "orderList/opo", **fields)
    assert (answer["code"], answer["msg"]) == (-2010, "OPO orders are not supported for this symbol.")


async def test_an_amendment_of_one_of_a_pair_is_of_both(client: Client) -> None:
    made = await client.ask("POST", "orderList/oco", **OCO)
    fields = {"symbol": "BTCUSD", "orderId": made["orders"][0]["orderId"], "newQty": "0.6"}
    done = await client.ask("PUT", "order/amend/keepPriority", **fields)
    assert done["listStatus"]["orderListId"] == made["orderListId"]
    assert [(await client.query(o["orderId"]))["origQty"] for o in made["orders"]] == ["0.60000000"] * 2
    assert client.account.held["BTC"] == 60_000_000


async def test_lists_survive_a_restart(tmp_path: Path) -> None:
    local = build(background=False, memory=tmp_path, enforce_limits=False)
    async with serve(local, moving=False), aiohttp.ClientSession() as http:
        before = Client(local, http)
        before.venue.deposit("third", "BTC", 10 * ONE)
        made = await before.ask("POST", "orderList/otoco", **OTOCO)
        await before.ask("POST", "bnbBurn", "/sapi/v1", spotBNBBurn="true")
        before.quote("sell", 59_000, 1, "third")
    again = build(background=False, memory=tmp_path, enforce_limits=False).exchanges["binance"].venue.account("company")
    assert [o.status.value for o in again.lists[made["orderListId"]].orders] == ["filled", "new", "trigger_pending"]
    assert (again.held["BTC"], again.fee_coin) == (ONE, "BNB")


# The account.


async def test_fees_are_taken_from_what_is_received_or_in_bnb(client: Client) -> None:
    client.quote("sell", 60_000, 5)
    plain = await client.place(**MARKET)
    assert {(f["commissionAsset"], f["commission"]) for f in plain["fills"]} == {("BTC", "0.00010000")}
    assert await client.ask("GET", "bnbBurn", "/sapi/v1") == {"spotBNBBurn": False, "interestBNBBurn": False}
    client.venue.deposit("company", "BNB", ONE)
    assert (await client.ask("POST", "bnbBurn", "/sapi/v1", spotBNBBurn="true"))["spotBNBBurn"] is True
    async with client.socket() as api:
        await api.ask("userDataStream.subscribe.signature")
        burnt = await client.place(**MARKET)
        event = await api.until("executionReport", x="TRADE")
    assert (event["N"], event["n"]) == ("BNB", "0.00750000")
    assert [(f["commissionAsset"], f["commission"]) for f in burnt["fills"]] == [("BNB", "0.00750000")]
    assert client.account.total["BNB"] == ONE - 750_000
    assert client.account.total["BTC"] == 10 * ONE + 10_000_000 - 10_000 + 10_000_000
    commission = await client.ask("GET", "account/commission", symbol="BTCUSD")
    assert commission["discount"] == {
        "enabledForAccount": True, "enabledForSymbol": True, "discountAsset": "BNB", "discount": "0.75000000",
    }  # fmt: skip
    await client.ask("POST", "bnbBurn", "/sapi/v1", spotBNBBurn="false")
    assert {f["commissionAsset"] for f in (await client.place(**MARKET))["fills"]} == {"BTC"}


async def test_the_account_tells_its_rates_and_what_it_holds(client: Client) -> None:
    account = await client.ask("GET", "account")
    assert (account["makerCommission"], account["takerCommission"], account["buyerCommission"]) == (10, 10, 0)
    assert account["commissionRates"]["taker"] == "0.00100000"
    assert {b["asset"] for b in account["balances"]} == {"USD", "BTC", "BNB"}
    less = await client.ask("GET", "account", omitZeroBalances="true")
    assert {b["asset"] for b in less["balances"]} == {"USD", "BTC"}
    fees = await client.ask("GET", "asset/tradeFee", "/sapi/v1", symbol="BTCUSD")
    assert fees == [{"symbol": "BTCUSD", "makerCommission": "0.001", "takerCommission": "0.001"}]


async def test_placed_orders_are_counted(client: Client) -> None:
    await client.place(**LIMIT)
    assert (client.headers["X-MBX-ORDER-COUNT-10S"], client.headers["X-MBX-ORDER-COUNT-1D"]) == ("1", "1")
    await client.ask("POST", "orderList/oco", **OCO)
    counts = {c["interval"]: c["count"] for c in await client.ask("GET", "rateLimit/order")}
    assert counts["DAY"] == 3


async def test_orders_that_are_filled_do_not_count(client: Client) -> None:
    async def counted() -> int:
        return int((await client.ask("GET", "rateLimit/order"))[1]["count"])

    for price in (50_000, 50_001, 59_000):
        await client.place(**{**LIMIT, "price": str(price)})
    client.quote("sell", 60_000, 1)
    await client.place(**MARKET)
    assert await counted() == 3
    client.quote("sell", 59_000, 0.05, "third")
    assert await counted() == 0


async def test_fills_are_told_by_order_id_and_time(client: Client) -> None:
    client.quote("sell", 60_000, 5)
    orders = [(await client.place(**MARKET))["orderId"] for _ in range(3)]
    every = await client.ask("GET", "myTrades", symbol="BTCUSD")
    assert [t["orderId"] for t in every] == orders
    of_one = await client.ask("GET", "myTrades", symbol="BTCUSD", orderId=orders[1])
    assert [t["id"] for t in of_one] == [every[1]["id"]]
    onward = await client.ask("GET", "myTrades", symbol="BTCUSD", fromId=every[1]["id"], limit=1)
    assert [t["id"] for t in onward] == [every[1]["id"]]
    newest = await client.ask("GET", "myTrades", symbol="BTCUSD", limit=1)
    assert [t["id"] for t in newest] == [every[2]["id"]]
    assert await client.ask("GET", "myTrades", symbol="BTCUSD", startTime=every[2]["time"] + 1) == []
    span: dict[str, Any] = {"startTime": 0, "endTime": 86_400_001}
    assert (await client.ask("GET", "myTrades", symbol="BTCUSD", **span))["code"] == -1127
    assert (await client.ask("GET", "myTrades", symbol="BTCUSD", fromId=1, startTime=1))["code"] == -1128


async def test_orders_are_told_from_an_id_on(client: Client) -> None:
    orders = [(await client.place(**LIMIT))["orderId"] for _ in range(3)]
    onward = await client.ask("GET", "allOrders", symbol="BTCUSD", orderId=orders[1])
    assert [o["orderId"] for o in onward] == orders[1:]
    newest = await client.ask("GET", "allOrders", symbol="BTCUSD", limit=1)
    assert [o["orderId"] for o in newest] == orders[2:]


# Public data.


async def test_bars_are_told_by_time_also_without_trades(client: Client) -> None:
    now_ms = client.venue.clock() // 1_000_000
    bars = await client.look("klines", symbol="BTCUSD", interval="1s", startTime=now_ms - 60_000)
    assert all(later[0] - earlier[0] == 1000 for earlier, later in pairwise(bars))
    assert bars[0][1:5] == ["60000.00000000"] * 4
    assert await client.look("klines", symbol="BTCUSD", interval="1m", endTime=now_ms - 3_600_000) == []
    day = (await client.look("klines", symbol="BTCUSD", interval="1d", timeZone="+05:30"))[0]
    assert (day[0] + 19_800_000) % 86_400_000 == 0
    for fields, code in (
        ({"interval": "7m"}, -1120), ({"interval": "1m", "limit": 0}, -1130),
        ({"interval": "1m", "timeZone": "15"}, -1130),
    ):  # fmt: skip
        assert (await client.look("klines", symbol="BTCUSD", **fields))["code"] == code


async def test_the_fills_of_one_order_at_one_price_are_one_aggregate(client: Client) -> None:
    for _ in range(2):
        client.quote("sell", 60_100, 0.05)
    client.quote("sell", 60_200, 1)
    venue, moves = client.exchange.venue, client.exchange.venue.clock
    now_ns = moves()
    venue.clock = lambda: now_ns  # within one millisecond, however busy the machine
    await client.place(**{**MARKET, "quantity": "0.3"})
    venue.clock = moves
    found = await client.look("aggTrades", symbol="BTCUSD")
    assert [a["a"] for a in found] == list(range(found[0]["a"], found[0]["a"] + len(found)))
    assert [(a["p"], a["l"] - a["f"]) for a in found[-2:]] == [("60100.00000000", 1), ("60200.00000000", 0)]
    assert await client.look("aggTrades", symbol="BTCUSD", fromId=found[-1]["a"]) == found[-1:]
    old = await client.look("historicalTrades", symbol="BTCUSD", fromId=found[-1]["f"])
    assert [t["id"] for t in old] == [found[-1]["f"]]


async def test_tickers_are_of_a_day_a_window_or_a_name(client: Client) -> None:
    client.trade_at(61_000)
    day = await client.look("ticker/24hr", symbol="BTCUSD")
    assert (day["priceChange"], day["priceChangePercent"]) == ("1000.00000000", "1.667")
    mini = await client.look("ticker/24hr", symbol="BTCUSD", type="MINI")
    assert (mini["lastPrice"], "priceChange" in mini) == ("61000.00000000", False)
    assert (await client.look("ticker/24hr", type="BIG"))["code"] == -1139
    hour = await client.look("ticker", symbol="BTCUSD", windowSize="1h")
    assert (hour["openPrice"], hour["lastPrice"], hour["count"]) == ("60000.00000000", "61000.00000000", 2)
    assert (await client.look("ticker", symbol="BTCUSD", windowSize="61m"))["code"] == -1130
    both = await client.look("ticker/price", symbols='["BTCUSD","ETHUSD"]')
    assert [row["symbol"] for row in both] == ["BTCUSD", "ETHUSD"]
    assert (await client.look("ticker/price", symbols='["BTCUSD","BTCUSD"]'))["code"] == -1151
    assert (await client.look("avgPrice", symbol="BTCUSD"))["price"] == "60500.00000000"


async def test_symbols_are_told_by_name_and_permission(client: Client) -> None:
    assert len((await client.look("exchangeInfo"))["symbols"]) == 4
    named = await client.look("exchangeInfo", symbols='["BTCUSD"]')
    assert [s["symbol"] for s in named["symbols"]] == ["BTCUSD"]
    assert len((await client.look("exchangeInfo", permissions="SPOT"))["symbols"]) == 4
    assert (await client.look("exchangeInfo", permissions='["MARGIN"]'))["symbols"] == []
    assert (await client.look("exchangeInfo", symbol="NONE"))["code"] == -1121
    assert (await client.look("time", now="1"))["code"] == -1101
    assert (await client.look("exchangeInfo", symbolStatus="BREAK"))["symbols"] == []
    assert (await client.look("depth", symbol="BTCUSD", symbolStatus="BREAK"))["code"] == -1220
    assert (await client.look("ticker/price", symbol="BTCUSD", symbolStatus="OPEN"))["code"] == -1122


async def test_what_rests_from_before_a_step_change_is_shown_exactly(client: Client) -> None:
    client.quote("sell", 60_100, 0.12345678)
    client.venue.steps["BTC/USD"] = 100_000
    assert await client.refused(**{**LIMIT, "quantity": "0.12345"}) == (-1013, "Filter failure: LOT_SIZE")
    await client.place(**{**MARKET, "quantity": "0.123"})
    assert (await client.look("depth", symbol="BTCUSD"))["asks"] == [["60100.00000000", "0.00045678"]]
    filters = (await client.look("exchangeInfo", symbol="BTCUSD"))["symbols"][0]["filters"]
    assert next(f for f in filters if f["filterType"] == "LOT_SIZE")["stepSize"] == "0.00100000"


# Signatures.


async def test_a_signature_is_over_everything_that_is_sent(client: Client) -> None:
    query = urlencode(client.signed(LIMIT))
    assert (await client.send("POST", "/api/v3/order", f"{query}&icebergQty=0.01"))["code"] == -1022
    assert (await client.send("POST", "/api/v3/order", f"{query}&price=1"))["code"] == -1101
    unsigned = urlencode({**LIMIT, "timestamp": client.venue.clock() // 1_000_000})
    said = await client.send("POST", "/api/v3/order", unsigned)
    assert said["msg"] == "Mandatory parameter 'signature' was not sent, was empty/null, or malformed."
    client.key = ""
    assert (await client.ask("GET", "account"))["code"] == -2014


async def test_the_query_counts_where_the_body_says_otherwise(client: Client) -> None:
    query = urlencode({"symbol": "BTCUSD", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "50000"})
    body = urlencode({"quantity": "0.1", "price": "51000", "timestamp": client.venue.clock() // 1_000_000})
    signature = hmac.new(client.secret.encode(), (query + body).encode(), hashlib.sha256).hexdigest()
    url = f"{client.exchange.url}/api/v3/order?{query}"
    headers = {"X-MBX-APIKEY": client.key, "Content-Type": "application/x-www-form-urlencoded"}
    async with client.http.post(url, data=f"{body}&signature={signature}", headers=headers) as response:
        assert msgspec.json.decode(await response.read())["price"] == "50000.00000000"


# The WebSocket API.


async def test_the_socket_signs_truth_and_numbers_as_they_are_sent(client: Client) -> None:
    async with client.socket() as api:
        account = await api.ask("account.status", omitZeroBalances=True)
        assert {b["asset"] for b in account["result"]["balances"]} == {"USD", "BTC"}
        assert "rateLimits" in account
        tested = await api.ask("order.test", **LIMIT, computeCommissionRates=True, returnRateLimits=False)
        assert "standardCommissionForOrder" in tested["result"]
        assert "rateLimits" not in tested
        placed = await api.ask("order.place", **{**LIMIT, "quantity": 0.1, "price": 50000.0}, newClientOrderId="mine")
        number = placed["result"]["orderId"]
        fields = {**LIMIT, "price": 51_000, "cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": number}
        replaced = await api.ask("order.cancelReplace", **fields)
        assert replaced["result"]["newOrderResult"] == "SUCCESS"
        again = await api.ask("order.cancelReplace", **fields)
        assert (again["status"], again["error"]["code"], again["error"]["data"]["newOrderResult"]) == (
            400, -2022, "NOT_ATTEMPTED",
        )  # fmt: skip
        assert len((await api.ask("allOrders", symbol="BTCUSD"))["result"]) == 2
        assert (await api.ask("myTrades", symbol="BTCUSD"))["result"] == []
        assert len((await api.ask("openOrders.cancelAll", symbol="BTCUSD"))["result"]) == 1
        made = await api.ask("orderList.place.oco", **OCO)
        gone = await api.ask("orderList.cancel", symbol="BTCUSD", orderListId=made["result"]["orderListId"])
        assert gone["result"]["listOrderStatus"] == "ALL_DONE"
        assert (await api.ask("order.place", **LIMIT, surprise=True))["error"]["code"] == -1104
        assert (await api.call("ping", {}))["result"] == {}
        assert (await api.call("ticker.price", {"symbols": ["BTCUSD"]}))["result"][0]["symbol"] == "BTCUSD"


async def test_a_stream_can_have_any_name_and_harms_nobody(client: Client) -> None:
    url = client.exchange.url.replace("http", "ws") + "/ws"
    async with client.http.ws_connect(url) as socket:
        for number, params in enumerate((["user", "session"], [["a"]], "abc", [7])):
            await socket.send_str(msgspec.json.encode({"method": "SUBSCRIBE", "params": params, "id": number}).decode())
            answer = msgspec.json.decode((await socket.receive_str()).encode())
            assert ("error" in answer) == (number > 0)
        assert (await client.place(**LIMIT))["status"] == "NEW"


async def test_a_session_is_opened_with_an_ed25519_key_only(client: Client) -> None:
    private, name = ed25519.Ed25519PrivateKey.generate(), secrets.token_hex(16)
    client.exchange.face.add_key(ApiKey(name, "company", public_pem(private)))
    async with client.socket() as api:
        assert (await api.ask("session.logon"))["error"]["code"] == -4056
        assert (await api.call("userDataStream.subscribe", {}))["error"]["code"] == -1022
        fields = {"apiKey": name, "timestamp": client.venue.clock() // 1_000_000}
        signature = base64.b64encode(private.sign(urlencode(fields).encode())).decode()
        opened = await api.call("session.logon", {**fields, "signature": signature})
        assert opened["result"]["apiKey"] == name
        stamp = {"timestamp": client.venue.clock() // 1_000_000}
        placed = await api.call("order.place", {**LIMIT, **stamp})
        assert placed["result"]["status"] == "NEW"
        assert (await api.call("order.place", LIMIT))["error"]["code"] == -1102
        assert (await api.call("userDataStream.subscribe", {}))["result"] == {"subscriptionId": 0}
        assert (await api.call("userDataStream.subscribe", {}))["error"]["code"] == -2035
        assert (await api.call("session.subscriptions", {}))["result"] == [{"subscriptionId": 0}]
        await api.call("session.logout", {})
        await api.until("eventStreamTerminated")
        assert (await api.call("order.place", {**LIMIT, **stamp}))["error"]["code"] in (-2014, -2015)


async def test_hearing_of_an_account_does_not_log_on(client: Client) -> None:
    async with client.socket() as api:
        await api.ask("userDataStream.subscribe.signature")
        stamp = {"timestamp": client.venue.clock() // 1_000_000}
        assert "error" in await api.call("order.place", {**LIMIT, **stamp})
        assert (await api.call("userDataStream.unsubscribe", {}))["result"] == {}
        assert (await api.call("userDataStream.unsubscribe", {}))["error"]["code"] == -2036


async def test_the_life_of_a_pair_is_told(client: Client) -> None:
    async with client.socket() as api:
        await api.ask("userDataStream.subscribe.signature")
        made = await client.ask("POST", "orderList/oco", **OCO)
        number = made["orderListId"]
        begun = await api.until("listStatus", g=number)
        assert (begun["l"], begun["L"], len(begun["O"])) == ("EXEC_STARTED", "EXECUTING", 2)
        assert (await api.until("executionReport", g=number))["X"] == "NEW"
        client.trade_at(55_000)
        ended = await api.until("executionReport", x="EXPIRED")
        assert (ended["o"], ended["eR"]) == ("LIMIT_MAKER", "OCO_TRIGGER")
        fired = await api.until("executionReport", x="NEW")
        assert (fired["o"], fired["w"], "W" in fired) == ("STOP_LOSS_LIMIT", True, True)
        client.quote("buy", 54_000, 1)
        await api.until("executionReport", X="FILLED")
        done = await api.until("listStatus", g=number)
        assert (done["l"], done["L"]) == ("ALL_DONE", "ALL_DONE")


async def test_a_cancel_an_amendment_and_a_prevented_trade_are_told(client: Client) -> None:
    async with client.socket() as api:
        await api.ask("userDataStream.subscribe.signature")
        made = await client.place(**{**LIMIT, "price": "59000"}, newClientOrderId="mine", strategyId=7)
        begun = await api.until("executionReport", x="NEW")
        assert (begun["c"], begun["C"], begun["j"], begun["V"]) == ("mine", "", 7, "EXPIRE_TAKER")
        fields = {"symbol": "BTCUSD", "orderId": made["orderId"], "newQty": "0.05", "newClientOrderId": "later"}
        await client.ask("PUT", "order/amend/keepPriority", **fields)
        amended = await api.until("executionReport", x="REPLACED")
        assert (amended["c"], amended["C"], amended["q"], amended["X"]) == ("later", "mine", "0.05000000", "NEW")
        await client.place(**{**LIMIT, "side": "SELL", "price": "59000", "quantity": "0.2"})
        kept = await api.until("executionReport", x="TRADE_PREVENTION")
        assert (kept["X"], kept["U"], kept["B"], kept["pl"]) == (
            "EXPIRED_IN_MATCH", made["orderId"], "0.20000000", "0.05000000",
        )  # fmt: skip
        await client.ask("DELETE", "order", symbol="BTCUSD", orderId=made["orderId"], newClientOrderId="away")
        gone = await api.until("executionReport", x="CANCELED")
        assert (gone["c"], gone["C"]) == ("away", "later")
