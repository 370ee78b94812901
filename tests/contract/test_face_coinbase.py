"""Coinbase's face of the local exchange, asked by hand as its documentation describes: what an order's fields do, what
is refused and in which words, what lists and sockets tell."""

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import msgspec
import pytest

from aether.domain.orders import OrderType, Side
from aether.exchange.faces.coinbase import CoinbaseFace
from aether.exchange.server import Exchange, build, serve
from aether.exchange.venue import NewOrder, Order

ONE = 10**8
PATIENCE_S = 15.0
DUST = 70_000
"""What the smallest part of a bitcoin costs, in 10^-8 of a dollar, and a little more."""
ROOT = "/api/v3/brokerage/"


class Desk:
    """One key of one account at the face, and someone else to trade with.

    The market is quoted at 59,990 and 60,010, one bitcoin each, and was last traded at 60,000.
    """

    def __init__(self, exchange: Exchange, http: aiohttp.ClientSession, key: str, secret: str) -> None:
        self.exchange = exchange
        self.http = http
        self.key, self.secret = key, secret

    @property
    def face(self) -> CoinbaseFace:
        assert isinstance(self.exchange.face, CoinbaseFace)
        return self.exchange.face

    def token(self, uri: str = "") -> str:
        now = self.exchange.venue.clock() // ONE // 10
        claims = {"sub": self.key, "iss": "cdp", "nbf": now, "exp": now + 120}
        headers = {"kid": self.key, "nonce": uuid.uuid4().hex}
        return jwt.encode(claims | ({"uri": uri} if uri else {}), self.secret, algorithm="ES256", headers=headers)

    async def ask(self, method: str, endpoint: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        path = ROOT + endpoint
        headers = {"Authorization": f"Bearer {self.token(f'{method} host{path}')}"}
        params = [(k, v) for k, found in query.items() for v in (found if isinstance(found, list) else [found])]
        text = msgspec.json.encode(body) if body is not None else None
        url = self.exchange.url + path
        async with self.http.request(method, url, params=params, data=text, headers=headers) as response:
            return response.status, msgspec.json.decode(await response.read())

    async def get(self, endpoint: str, **query: Any) -> Any:
        status, answer = await self.ask("GET", endpoint, **query)
        assert status == 200, answer
        return answer

    async def post(self, endpoint: str, **body: Any) -> Any:
        status, answer = await self.ask("POST", endpoint, body)
        assert status == 200, answer
        return answer

    async def order(self, side: str, kind: str, terms: dict[str, Any], **fields: Any) -> Any:
        return await self.post("orders", **order_of(side, kind, terms, **fields))

    async def placed(self, side: str, kind: str, terms: dict[str, Any], **fields: Any) -> str:
        answer = await self.order(side, kind, terms, **fields)
        assert answer["success"], answer
        return str(answer["success_response"]["order_id"])

    async def row(self, order_id: str) -> Any:
        return (await self.get(f"orders/historical/{order_id}"))["order"]

    def free(self, asset: str) -> int:
        return self.exchange.venue.account("company").free(asset)

    def quote(self, side: Side, price: float, size: float, account: str = "other") -> Order:
        order = NewOrder("BTC/USD", side, OrderType.LIMIT, round(size * ONE), price=round(price * 10))
        return self.exchange.venue.place(account, order)

    def trade_at(self, price: float) -> None:
        """Let two others trade at a price inside the spread."""
        self.quote(Side.SELL, price, 0.001)
        self.quote(Side.BUY, price, 0.001, "third")


def order_of(side: str, kind: str, terms: dict[str, Any], **fields: Any) -> dict[str, Any]:
    named = {"client_order_id": uuid.uuid4().hex, "product_id": "BTC-USD", "side": side}
    return named | {"order_configuration": {kind: terms}} | fields


@asynccontextmanager
async def desk_at(*, memory: Path | None = None, key: tuple[str, str] | None = None) -> AsyncIterator[Desk]:
    """The exchange with a key of an account; with a key that was given out before it goes on where it was."""
    local = build(background=False, enforce_limits=False, memory=memory)
    exchange = local.exchanges["coinbase"]
    async with serve(local, moving=False), aiohttp.ClientSession() as http:
        if key is not None:
            yield Desk(exchange, http, *key)
            return
        for account in ("other", "third"):
            for asset in ("BTC", "USD"):
                exchange.venue.deposit(account, asset, 10**6 * ONE)
        desk = Desk(exchange, http, *local.open_account("coinbase", "company", {"USD": "100000", "BTC": "10"}))
        desk.trade_at(60_000)
        desk.quote(Side.BUY, 59_990, 1)
        desk.quote(Side.SELL, 60_010, 1)
        yield desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with desk_at() as made:
        yield made


LIMIT = {"base_size": "0.01", "limit_price": "50000"}
STOP = {**LIMIT, "stop_direction": "STOP_DIRECTION_STOP_UP"}
DOWN = {**LIMIT, "stop_direction": "STOP_DIRECTION_STOP_DOWN"}
BRACKET = {"base_size": "0.1", "limit_price": "61000", "stop_trigger_price": "59000"}


# New orders.


async def test_a_market_order_spends_the_sum_that_it_is_given_fees_included(desk: Desk) -> None:
    before = desk.free("USD")
    row = await desk.row(await desk.placed("BUY", "market_market_ioc", {"quote_size": "1000.25"}))
    spent = before - desk.free("USD")
    assert 0 <= 100_025_000_000 - spent < DUST
    assert (row["status"], row["size_in_quote"], row["size_inclusive_of_fees"]) == ("FILLED", True, True)
    assert row["order_configuration"] == {"market_market_ioc": {"quote_size": "1000.25"}}
    assert round(float(row["total_value_after_fees"]) * ONE) == spent
    fills = (await desk.get("orders/historical/fills", order_ids=row["order_id"]))["fills"]
    assert [f["size_in_quote"] for f in fills] == [True]
    assert fills[0]["size"] == row["filled_value"]
    assert fills[0]["price"] == "60010"
    assert fills[0]["commission"] == row["total_fees"]
    assert len(row["total_fees"].partition(".")[2]) > 2


async def test_a_sum_that_the_book_cannot_take_fills_what_there_is(desk: Desk) -> None:
    row = await desk.row(await desk.placed("BUY", "market_market_ioc", {"quote_size": "90000"}))
    assert (row["status"], row["filled_size"]) == ("CANCELLED", "1")
    assert 0 < float(row["completion_percentage"]) < 100


async def test_a_market_order_of_a_base_size_is_told_in_base_size(desk: Desk) -> None:
    row = await desk.row(await desk.placed("SELL", "market_market_ioc", {"base_size": "0.02"}))
    assert (row["size_in_quote"], row["filled_size"], row["average_filled_price"]) == (False, "0.02", "59990")
    fill = (await desk.get("orders/historical/fills"))["fills"][0]
    assert (fill["size"], fill["size_in_quote"], fill["liquidity_indicator"]) == ("0.02", False, "TAKER")


@pytest.mark.parametrize(
    ("side", "kind", "terms", "fields", "reason"),
    [
        ("BUY", "market_market_ioc", {"quote_size": "100.001"}, {}, "PREVIEW_INVALID_QUOTE_SIZE_PRECISION"),
        ("BUY", "market_market_ioc", {"quote_size": "0.1"}, {}, "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"),
        ("BUY", "market_market_ioc", {"quote_size": "200000"}, {}, "PREVIEW_INSUFFICIENT_FUND"),
        ("SELL", "market_market_ioc", {"quote_size": "100"}, {}, "PREVIEW_INVALID_ORDER_CONFIG"),
        ("BUY", "market_market_ioc", {"quote_size": "100", "base_size": "1"}, {}, "PREVIEW_INVALID_ORDER_CONFIG"),
        (
            "SELL", "market_market_ioc", {"base_size": "0.1", "reduce_only": True}, {},
            "PREVIEW_REDUCE_ONLY_NOT_ALLOWED_ON_SPOT_PRODUCTS",
        ),
        ("BUY", "limit_limit_gtc", {**LIMIT, "limit_price": "50000.55"}, {}, "PREVIEW_INVALID_PRICE_PRECISION"),
        ("BUY", "limit_limit_gtc", {**LIMIT, "limit_price": "0"}, {}, "PREVIEW_INVALID_LIMIT_PRICE"),
        ("BUY", "limit_limit_gtc", {**LIMIT, "base_size": "0.123456789"}, {}, "PREVIEW_INVALID_SIZE_PRECISION"),
        ("BUY", "limit_limit_gtc", {**LIMIT, "base_size": "0.00001"}, {}, "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"),
        ("BUY", "limit_limit_gtc", {**LIMIT, "base_size": "100"}, {}, "PREVIEW_INSUFFICIENT_FUND"),
        (
            "BUY", "limit_limit_gtc", {**LIMIT, "limit_price": "60010", "post_only": True}, {},
            "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY",
        ),
        ("BUY", "limit_limit_gtd", LIMIT, {}, "PREVIEW_GTD_ORDERS_MUST_HAVE_END_TIME"),
        (
            "BUY", "limit_limit_gtd", {**LIMIT, "end_time": "2020-01-01T00:00:00Z"}, {},
            "PREVIEW_END_TIME_IS_IN_THE_PAST",
        ),
        ("BUY", "limit_limit_gtc", LIMIT, {"leverage": "2.0"}, "PREVIEW_INVALID_LEVERAGE"),
        ("BUY", "limit_limit_gtc", LIMIT, {"margin_type": "CROSS"}, "PREVIEW_INVALID_MARGIN_TYPE"),
        ("BUY", "limit_limit_gtc", LIMIT, {"product_id": "DOGE-USD"}, "PREVIEW_INVALID_PRODUCT_ID"),
        ("HOLD", "limit_limit_gtc", LIMIT, {}, "PREVIEW_INVALID_SIDE"),
        (
            "BUY", "limit_limit_gtc", LIMIT, {"attached_order_configuration": {"trigger_bracket_gtc": {}}},
            "PREVIEW_BRACKET_ORDER_NOT_SUPPORTED",
        ),
        (
            "SELL", "limit_limit_gtc", LIMIT, {"attached_order_configuration": {"trigger_bracket_gtc": {}}},
            "PREVIEW_INVALID_ORDER_SIDE_FOR_ATTACHED_TPSL",
        ),
        ("BUY", "stop_limit_stop_limit_gtc", STOP, {}, "PREVIEW_INVALID_STOP_PRICE"),
        ("BUY", "stop_limit_stop_limit_gtc", {**LIMIT, "stop_price": "61000"}, {}, "PREVIEW_INVALID_ORDER_CONFIG"),
        (
            "BUY", "stop_limit_stop_limit_gtc", {**STOP, "stop_price": "61000"}, {},
            "PREVIEW_STOP_PRICE_ABOVE_LIMIT_PRICE",
        ),
        (
            "SELL", "stop_limit_stop_limit_gtc", {**DOWN, "stop_price": "49000"}, {},
            "PREVIEW_STOP_PRICE_BELOW_LIMIT_PRICE",
        ),
        (
            "BUY", "stop_limit_stop_limit_gtc", {**STOP, "limit_price": "65000", "stop_price": "60000"}, {},
            "PREVIEW_STOP_PRICE_BELOW_LAST_TRADE_PRICE",
        ),
        (
            "SELL", "stop_limit_stop_limit_gtc", {**DOWN, "stop_price": "60000"}, {},
            "PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE",
        ),
        (
            "SELL", "stop_limit_stop_limit_gtc", {**STOP, "stop_price": "59000"}, {},
            "PREVIEW_STOP_PRICE_BELOW_LAST_TRADE_PRICE",
        ),
        ("BUY", "trigger_bracket_gtc", BRACKET, {}, "PREVIEW_INVALID_BRACKET_ORDER_SIDE"),
        ("SELL", "trigger_bracket_gtc", {**BRACKET, "limit_price": "58000"}, {}, "PREVIEW_INVALID_BRACKET_PRICES"),
        ("SELL", "trigger_bracket_gtc", {**BRACKET, "limit_price": "59500"}, {}, "PREVIEW_INVALID_BRACKET_LIMIT_PRICE"),
        (
            "SELL", "trigger_bracket_gtc", {**BRACKET, "stop_trigger_price": "60500"}, {},
            "PREVIEW_INVALID_BRACKET_STOP_TRIGGER_PRICE",
        ),
        (
            "SELL", "trigger_bracket_gtc", {"quote_size": "100", "limit_price": "61000", "stop_trigger_price": "59000"},
            {}, "PREVIEW_QUOTE_SIZE_NOT_ALLOWED_FOR_BRACKET",
        ),
    ],
)  # fmt: skip
async def test_what_is_refused_is_refused_in_the_venues_words(
    desk: Desk, side: str, kind: str, terms: dict[str, Any], fields: dict[str, Any], reason: str
) -> None:
    asked = order_of(side, kind, terms, **fields)
    answer = await desk.post("orders", **asked)
    assert answer["success"] is False
    assert answer["error_response"]["preview_failure_reason"] == reason
    assert answer["order_configuration"] == asked["order_configuration"]
    assert not desk.exchange.venue.account("company").orders
    preview = await desk.post("orders/preview", **{k: v for k, v in asked.items() if k != "client_order_id"})
    assert preview["errs"] == [reason]


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [("base_size", "100"), ("limit_price", "50000.55")],
)
async def test_an_error_has_its_name_of_new_orders_too(desk: Desk, reason: str, wanted: str) -> None:
    error = (await desk.order("BUY", "limit_limit_gtc", {**LIMIT, reason: wanted}))["error_response"]
    names = {"base_size": "INSUFFICIENT_FUND", "limit_price": "INVALID_PRICE_PRECISION"}
    assert (error["error"], error["new_order_failure_reason"]) == (names[reason], names[reason])


@pytest.mark.parametrize("kind", ["twap_limit_gtd", "scaled_limit_gtc"])
async def test_orders_that_the_venue_would_slice_are_refused(desk: Desk, kind: str) -> None:
    error = (await desk.order("BUY", kind, LIMIT))["error_response"]
    assert error["error"] == "UNSUPPORTED_ORDER_CONFIGURATION"


@pytest.mark.parametrize(
    ("field", "where"), [("reduceOnly", "order"), ("max_floor", "terms"), ("limit_limit_ioc", "configuration")]
)
async def test_a_field_that_the_venue_does_not_have_is_refused(desk: Desk, field: str, where: str) -> None:
    asked: Any = order_of("BUY", "limit_limit_gtc", dict(LIMIT))
    places = {"order": asked, "configuration": asked["order_configuration"]}
    places["terms"] = asked["order_configuration"]["limit_limit_gtc"]
    places[where][field] = {} if where == "configuration" else "1"
    status, answer = await desk.ask("POST", "orders", asked)
    column = msgspec.json.encode(asked).decode().index(f'"{field}"') + 1
    assert status == 400
    assert answer["error"] == "unknown"
    assert answer["message"] == f'proto: (line 1:{column}): unknown field "{field}"'
    assert not desk.exchange.venue.account("company").orders


@pytest.mark.parametrize(("field", "value"), [("post_only", "true"), ("base_size", 0.01), ("end_time", "soon")])
async def test_a_value_of_the_wrong_kind_is_refused(desk: Desk, field: str, value: Any) -> None:
    terms = {**LIMIT, "end_time": "2099-01-01T00:00:00Z", field: value}
    status, _ = await desk.ask("POST", "orders", order_of("BUY", "limit_limit_gtd", terms))
    assert status == 400
    assert not desk.exchange.venue.account("company").orders


async def test_two_configurations_are_not_one_order(desk: Desk) -> None:
    asked = order_of("BUY", "limit_limit_gtc", LIMIT)
    asked["order_configuration"]["market_market_ioc"] = {"quote_size": "100"}
    status, answer = await desk.ask("POST", "orders", asked)
    assert status == 400
    assert "oneof" in answer["message"]


async def test_an_order_is_for_the_keys_own_portfolio(desk: Desk) -> None:
    own = (await desk.get("portfolios"))["portfolios"][0]["uuid"]
    await desk.placed("BUY", "limit_limit_gtc", LIMIT, retail_portfolio_id=own)
    other = order_of("BUY", "limit_limit_gtc", LIMIT, retail_portfolio_id=str(uuid.uuid4()))
    status, answer = await desk.ask("POST", "orders", other)
    assert (status, answer["error"]) == (403, "PERMISSION_DENIED")


async def test_a_client_id_brings_its_first_order_back_whatever_is_left_of_the_money(desk: Desk) -> None:
    asked = order_of("BUY", "market_market_ioc", {"quote_size": "60000"})
    first = await desk.post("orders", **asked)
    assert await desk.post("orders", **asked) == first
    assert len(desk.exchange.venue.account("company").orders) == 1


@pytest.mark.parametrize(
    ("side", "kind", "terms", "status", "in_force", "order_type"),
    [
        ("BUY", "market_market_fok", {"base_size": "0.1"}, "FILLED", "FILL_OR_KILL", "MARKET"),
        ("SELL", "market_market_fok", {"base_size": "5"}, "CANCELLED", "FILL_OR_KILL", "MARKET"),
        ("BUY", "sor_limit_ioc", LIMIT, "CANCELLED", "IMMEDIATE_OR_CANCEL", "LIMIT"),
        ("BUY", "limit_limit_fok", {**LIMIT, "limit_price": "60010"}, "FILLED", "FILL_OR_KILL", "LIMIT"),
        ("BUY", "limit_limit_gtc", {**LIMIT, "post_only": True}, "OPEN", "GOOD_UNTIL_CANCELLED", "LIMIT"),
        (
            "BUY", "limit_limit_gtd", {**LIMIT, "end_time": "2099-01-01T00:00:00.000000000Z", "post_only": False},
            "OPEN", "GOOD_UNTIL_DATE_TIME", "LIMIT",
        ),
        (
            "SELL", "stop_limit_stop_limit_gtd",
            {**DOWN, "stop_price": "55000", "end_time": "2099-01-01T00:00:00.000000000Z"},
            "OPEN", "GOOD_UNTIL_DATE_TIME", "STOP_LIMIT",
        ),
        ("SELL", "trigger_bracket_gtc", BRACKET, "OPEN", "GOOD_UNTIL_CANCELLED", "BRACKET"),
        (
            "SELL", "trigger_bracket_gtd", {**BRACKET, "end_time": "2099-01-01T00:00:00.000000000Z"},
            "OPEN", "GOOD_UNTIL_DATE_TIME", "BRACKET",
        ),
    ],
)  # fmt: skip
async def test_each_configuration_is_carried_out_and_told_as_it_was_asked_for(
    desk: Desk, side: str, kind: str, terms: dict[str, Any], status: str, in_force: str, order_type: str
) -> None:
    row = await desk.row(await desk.placed(side, kind, terms))
    assert (row["status"], row["time_in_force"], row["order_type"]) == (status, in_force, order_type)
    assert row["order_configuration"] == {kind: terms}


# Stops and brackets.


async def test_a_stop_waits_until_the_last_trade_reaches_it(desk: Desk) -> None:
    terms = {**DOWN, "base_size": "0.1", "stop_price": "59995"}
    order = await desk.placed("SELL", "stop_limit_stop_limit_gtc", terms)
    assert (await desk.row(order))["trigger_status"] == "STOP_PENDING"
    desk.trade_at(59_995)
    row = await desk.row(order)
    assert (row["status"], row["trigger_status"], row["average_filled_price"]) == ("FILLED", "STOP_TRIGGERED", "59990")


async def test_a_bracket_takes_its_profit_and_its_stop_is_gone(desk: Desk) -> None:
    order = await desk.placed("SELL", "trigger_bracket_gtc", BRACKET)
    desk.quote(Side.BUY, 61_000, 1.1, "third")
    row = await desk.row(order)
    assert (row["status"], row["average_filled_price"], row["trigger_status"]) == ("FILLED", "61000", "STOP_PENDING")
    desk.trade_at(58_000)
    assert (await desk.row(order))["number_of_fills"] == "1"


async def test_a_bracket_that_is_stopped_sells_at_most_five_percent_below(desk: Desk) -> None:
    order = await desk.placed("SELL", "trigger_bracket_gtc", BRACKET)
    desk.exchange.venue.cancel_all("other")
    desk.quote(Side.BUY, 56_049, 1)
    desk.trade_at(59_000)
    row = await desk.row(order)
    assert (row["status"], row["trigger_status"], row["filled_size"]) == ("OPEN", "STOP_TRIGGERED", "0")
    assert desk.exchange.venue.books["BTC/USD"].best(is_buy=False) == 560_500
    assert row["order_configuration"] == {"trigger_bracket_gtc": BRACKET}
    desk.quote(Side.BUY, 56_050, 1)
    assert (await desk.row(order))["status"] == "FILLED"


async def test_a_canceled_bracket_leaves_nothing_behind(desk: Desk) -> None:
    order = await desk.placed("SELL", "trigger_bracket_gtc", BRACKET)
    await desk.post("orders/batch_cancel", order_ids=[order])
    desk.trade_at(59_000)
    assert (await desk.row(order))["status"] == "CANCELLED"
    assert desk.free("BTC") == 10 * ONE


async def test_brackets_and_sums_outlive_a_kill_of_the_exchange(tmp_path: Path) -> None:
    async with desk_at(memory=tmp_path) as desk:
        bracket = await desk.placed("SELL", "trigger_bracket_gtc", BRACKET)
        bought = await desk.placed("BUY", "market_market_ioc", {"quote_size": "100"})
        before = [await desk.row(order) for order in (bracket, bought)]
    async with desk_at(memory=tmp_path, key=(desk.key, desk.secret)) as desk:
        assert [await desk.row(order) for order in (bracket, bought)] == before
        desk.exchange.venue.cancel_all("other")
        desk.quote(Side.BUY, 58_000, 1)
        desk.trade_at(59_000)
        row = await desk.row(bracket)
        assert (row["status"], row["trigger_status"]) == ("FILLED", "STOP_TRIGGERED")


# Previews, edits, cancels.


async def test_a_preview_tells_the_costs_and_places_nothing(desk: Desk) -> None:
    asked = order_of("BUY", "market_market_ioc", {"base_size": "0.1"})
    del asked["client_order_id"]
    preview = await desk.post("orders/preview", **asked)
    assert preview["errs"] == []
    assert (preview["best_bid"], preview["best_ask"]) == ("59990", "60010")
    assert (preview["quote_size"], preview["commission_total"]) == ("6001", "72.012")
    assert (preview["order_total"], preview["est_average_filled_price"]) == ("6073.012", "60010")
    assert not desk.exchange.venue.account("company").orders
    asked |= {"client_order_id": "one", "preview_id": preview["preview_id"]}
    assert (await desk.post("orders", **asked))["success"]
    refused = await desk.post("orders", **{**asked, "client_order_id": "two", "preview_id": "unheard-of"})
    assert refused["error_response"]["error"] == "INVALID_REQUEST"


async def test_an_edit_changes_price_and_size_and_is_remembered(desk: Desk) -> None:
    order = await desk.placed("BUY", "limit_limit_gtc", LIMIT)
    edit = {"order_id": order, "price": "51000", "size": "0.02"}
    preview = await desk.post("orders/edit_preview", **edit)
    assert (preview["errors"], preview["base_size"], preview["quote_size"]) == ([], "0.02", "1020")
    assert (await desk.row(order))["edit_history"] == []
    assert await desk.post("orders/edit", **edit) == {"success": True, "errors": []}
    row = await desk.row(order)
    assert row["order_configuration"]["limit_limit_gtc"] == {
        "base_size": "0.02",
        "limit_price": "51000",
        "post_only": False,
    }
    assert [(e["price"], e["size"]) for e in row["edit_history"]] == [("51000", "0.02")]


@pytest.mark.parametrize(
    ("kind", "terms", "price"),
    [
        ("stop_limit_stop_limit_gtc", {**DOWN, "base_size": "0.1", "stop_price": "59995"}, "59980"),
        ("trigger_bracket_gtc", BRACKET, "62000"),
    ],
)
async def test_a_stop_that_waits_can_be_edited_and_one_that_was_reached_cannot(
    desk: Desk, kind: str, terms: dict[str, str], price: str
) -> None:
    order = await desk.placed("SELL", kind, terms)
    assert (await desk.post("orders/edit", order_id=order, price=price, size="0.2"))["success"]
    assert (await desk.row(order))["order_configuration"][kind]["limit_price"] == price
    desk.exchange.venue.cancel_all("other")
    desk.trade_at(58_000)
    row = await desk.row(order)
    assert (row["trigger_status"], row["status"]) == ("STOP_TRIGGERED", "OPEN")
    refused = await desk.post("orders/edit", order_id=order, price=price, size="0.3")
    assert refused["errors"][0]["edit_failure_reason"] == "CANNOT_EDIT_TRIGGERED_ORDER"


EDIT = {"price": "51000", "size": "0.02"}


@pytest.mark.parametrize(
    ("kind", "terms", "edit", "reason"),
    [
        ("limit_limit_gtc", LIMIT, {"order_id": "unheard-of"}, "ORDER_NOT_FOUND"),
        ("limit_limit_gtc", LIMIT, {"size": "0"}, "INVALID_EDITED_SIZE"),
        ("limit_limit_gtc", LIMIT, {"size": ""}, "INVALID_EDITED_SIZE"),
        ("limit_limit_gtc", LIMIT, {"price": ""}, "INVALID_EDITED_PRICE"),
        ("limit_limit_gtc", LIMIT, {"price": "51000.123"}, "INVALID_EDITED_PRICE"),
        ("limit_limit_gtc", LIMIT, {"price": "50000", "size": "0.01"}, "EDIT_REQUEST_EQUAL_TO_ORIGINAL_REQUEST"),
        ("limit_limit_gtc", LIMIT, {"stop_price": "52000"}, "FIELD_STOPPRICE_NOT_SUPPORTED"),
        ("limit_limit_gtc", LIMIT, {"size": "1000"}, "COMMANDER_REJECTED_EDIT_ORDER"),
        ("limit_limit_gtc", {**LIMIT, "post_only": True}, {"price": "60010"}, "COMMANDER_REJECTED_EDIT_ORDER"),
        ("limit_limit_gtd", {**LIMIT, "end_time": "2099-01-01T00:00:00Z"}, {}, "ORDER_EDIT_ORDER_TYPE_NOT_SUPPORTED"),
        ("market_market_ioc", {"base_size": "0.01"}, {}, "ONLY_OPEN_ORDERS_CAN_BE_EDITED"),
    ],
)
async def test_an_edit_that_is_refused_changes_nothing(
    desk: Desk, kind: str, terms: dict[str, Any], edit: dict[str, str], reason: str
) -> None:
    order = await desk.placed("BUY", kind, terms)
    before = await desk.row(order)
    answer = await desk.post("orders/edit", **{"order_id": order, **EDIT, **edit})
    assert (answer["success"], answer["errors"][0]["edit_failure_reason"]) == (False, reason)
    assert await desk.row(order) == before


async def test_an_order_cannot_be_made_smaller_than_what_it_has_filled(desk: Desk) -> None:
    order = await desk.placed("BUY", "limit_limit_gtc", {"base_size": "0.5", "limit_price": "60000"})
    desk.quote(Side.SELL, 60_000, 0.3)
    answer = await desk.post("orders/edit", order_id=order, price="60000", size="0.3")
    assert answer["errors"][0]["edit_failure_reason"] == "CANNOT_EDIT_TO_BELOW_FILLED_SIZE"


async def test_orders_are_canceled_each_for_itself(desk: Desk) -> None:
    open_one = await desk.placed("BUY", "limit_limit_gtc", LIMIT)
    filled = await desk.placed("BUY", "market_market_ioc", {"base_size": "0.01"})
    answer = await desk.post("orders/batch_cancel", order_ids=[open_one, filled, "unheard-of", open_one])
    assert [(r["order_id"], r["success"], r["failure_reason"]) for r in answer["results"]] == [
        (open_one, True, "UNKNOWN_CANCEL_FAILURE_REASON"),
        (filled, False, "ORDER_IS_FULLY_FILLED"),
        ("unheard-of", False, "UNKNOWN_CANCEL_ORDER"),
        (open_one, False, "DUPLICATE_CANCEL_REQUEST"),
    ]


async def test_a_spot_market_has_no_position_to_close(desk: Desk) -> None:
    answer = await desk.post("orders/close_position", client_order_id="one", product_id="BTC-USD", size="1")
    assert (answer["success"], answer["error_response"]["error"]) == (False, "CANNOT_CLOSE_ZERO_POSITION")


# Lists.


async def test_open_orders_are_asked_for_alone(desk: Desk) -> None:
    order = await desk.placed("BUY", "limit_limit_gtc", LIMIT)
    done = await desk.placed("BUY", "market_market_ioc", {"base_size": "0.01"})
    future = "2099-01-01T00:00:00Z"
    found = await desk.get("orders/historical/batch", order_status="OPEN", start_date=future)
    assert [o["order_id"] for o in found["orders"]] == [order]
    assert [o["order_id"] for o in (await desk.get("orders/historical/batch"))["orders"]] == [done, order]
    status, answer = await desk.ask("GET", "orders/historical/batch", order_status=["OPEN", "FILLED"])
    assert (status, answer["error"]) == (400, "INVALID_ARGUMENT")


async def test_an_order_on_its_way_is_pending_then_queued_and_not_among_the_open(desk: Desk) -> None:
    faults = desk.exchange.faults
    faults.pending, faults.slow_s = {"pending_order": 1}, 3600.0
    order = await desk.placed("BUY", "limit_limit_gtc", LIMIT)
    assert (await desk.row(order))["status"] == "PENDING"
    assert (await desk.get("orders/historical/batch", order_status="OPEN"))["orders"] == []
    faults.pending, faults.slow_s = {"pending_order": 1}, 1e-3
    other = await desk.placed("BUY", "limit_limit_gtc", LIMIT)
    seen = {(await desk.row(other))["status"] for _ in range(3)}
    assert seen <= {"PENDING", "QUEUED", "OPEN"}
    listed = await desk.get("orders/historical/batch", order_status=["PENDING", "QUEUED"])
    assert order in [o["order_id"] for o in listed["orders"]]


async def test_orders_are_filtered_sorted_and_come_in_pages(desk: Desk) -> None:
    bids = [await desk.placed("BUY", "limit_limit_gtc", {**LIMIT, "limit_price": p}) for p in ("50000", "52000")]
    ask = await desk.placed("SELL", "limit_limit_gtc", {**LIMIT, "limit_price": "70000"})
    taken = await desk.placed("BUY", "market_market_ioc", {"quote_size": "100"})
    everything = [taken, ask, *reversed(bids)]
    asked: list[tuple[dict[str, Any], list[str]]] = [
        ({"order_side": "SELL"}, [ask]),
        ({"order_types": "MARKET"}, [taken]),
        ({"time_in_forces": "IMMEDIATE_OR_CANCEL"}, [taken]),
        ({"order_status": ["FILLED", "CANCELLED"]}, [taken]),
        ({"order_ids": [bids[0], ask]}, [ask, bids[0]]),
        ({"product_ids": "ETH-USD"}, []),
        ({"product_ids": ["ETH-USD", "BTC-USD"]}, everything),
        ({"start_date": "2099-01-01T00:00:00Z"}, []),
        ({"end_date": "2099-01-01T00:00:00Z"}, everything),
        ({"order_status": "OPEN", "sort_by": "LIMIT_PRICE"}, [ask, bids[1], bids[0]]),
    ]
    for query, wanted in asked:
        found = await desk.get("orders/historical/batch", **query)
        assert [o["order_id"] for o in found["orders"]] == wanted, query
    first = await desk.get("orders/historical/batch", limit=3)
    assert (first["has_next"], len(first["orders"])) == (True, 3)
    await desk.placed("BUY", "limit_limit_gtc", LIMIT)
    rest = await desk.get("orders/historical/batch", limit=3, cursor=first["cursor"])
    assert (rest["has_next"], rest["cursor"]) == (False, "")
    assert [o["order_id"] for o in first["orders"] + rest["orders"]] == everything


async def test_fills_are_filtered_sorted_and_come_in_pages(desk: Desk) -> None:
    orders = [await desk.placed(side, "market_market_ioc", {"base_size": "0.01"}) for side in ("BUY", "SELL", "BUY")]
    listed = (await desk.get("orders/historical/fills"))["fills"]
    assert [f["order_id"] for f in listed] == orders[::-1]
    assert {f["trade_id"] for f in listed} == {f["trade_id"] for f in listed if len(f["trade_id"]) == 36}
    asked: list[tuple[dict[str, Any], list[int]]] = [
        ({"order_ids": [orders[0], orders[2]]}, [0, 2]),
        ({"trade_ids": listed[1]["trade_id"]}, [1]),
        ({"product_ids": "ETH-USD"}, []),
        ({"start_sequence_timestamp": listed[1]["sequence_timestamp"]}, [0, 1]),
        ({"end_sequence_timestamp": listed[1]["sequence_timestamp"]}, [1, 2]),
        ({"sort_by": "PRICE"}, [0, 2, 1]),
    ]
    for query, wanted in asked:
        found = (await desk.get("orders/historical/fills", **query))["fills"]
        assert [f["entry_id"] for f in found] == [listed[n]["entry_id"] for n in wanted], query
    page = await desk.get("orders/historical/fills", limit=2)
    rest = await desk.get("orders/historical/fills", limit=2, cursor=page["cursor"])
    assert page["fills"] + rest["fills"] == listed
    assert rest["cursor"] == ""


# Accounts.


async def test_a_vault_stands_beside_the_wallet_of_its_currency_and_does_not_trade(desk: Desk) -> None:
    desk.exchange.venue.deposit("company", "BTC:vault", 3 * ONE)
    rows = (await desk.get("accounts"))["accounts"]
    bitcoin = [r for r in rows if r["currency"] == "BTC"]
    told = {(r["type"], r["available_balance"]["value"], r["ready"], r["active"]) for r in bitcoin}
    assert told == {("ACCOUNT_TYPE_CRYPTO", "10", True, True), ("ACCOUNT_TYPE_VAULT", "3", True, True)}
    refused = await desk.order("SELL", "limit_limit_gtc", {"base_size": "11", "limit_price": "70000"})
    assert refused["error_response"]["error"] == "INSUFFICIENT_FUND"
    assert (await desk.get(f"accounts/{bitcoin[1]['uuid']}"))["account"] == bitcoin[1]


async def test_accounts_come_in_pages(desk: Desk) -> None:
    for number in range(60):
        desk.exchange.venue.deposit("company", f"COIN{number}", ONE)
    first = await desk.get("accounts")
    assert (first["size"], first["has_next"]) == (49, True)
    rest = await desk.get("accounts", cursor=first["cursor"])
    assert (rest["size"], rest["has_next"], rest["cursor"]) == (13, False, "")
    assert (await desk.get("accounts", limit=250))["accounts"] == first["accounts"] + rest["accounts"]


async def test_an_order_holds_what_it_may_cost(desk: Desk) -> None:
    order = await desk.placed("BUY", "limit_limit_gtc", LIMIT)
    dollars = next(r for r in (await desk.get("accounts"))["accounts"] if r["currency"] == "USD")
    assert (dollars["type"], dollars["hold"]["value"]) == ("ACCOUNT_TYPE_FIAT", "506")
    assert dollars["available_balance"]["value"] == "99494"
    assert (await desk.row(order))["outstanding_hold_amount"] == "506"


async def test_fees_portfolios_and_rights_of_a_key(desk: Desk) -> None:
    await desk.placed("BUY", "market_market_ioc", {"base_size": "0.1"})
    summary = await desk.get("transaction_summary", product_type="SPOT")
    assert (summary["total_volume"], summary["total_fees"]) == (6001, 72.012)
    assert (summary["fee_tier"]["maker_fee_rate"], summary["fee_tier"]["taker_fee_rate"]) == ("0.006", "0.012")
    [portfolio] = (await desk.get("portfolios"))["portfolios"]
    rights = await desk.get("key_permissions")
    assert (rights["can_view"], rights["can_trade"], rights["can_transfer"]) == (True, True, False)
    assert rights["portfolio_uuid"] == portfolio["uuid"]
    assert (await desk.get(f"portfolios/{portfolio['uuid']}"))["breakdown"]["portfolio"] == portfolio
    assert (await desk.get("payment_methods"))["payment_methods"] == []


# Products and market data.


async def test_products_of_one_book_name_each_other(desk: Desk) -> None:
    dollar, coin = [await desk.get(f"products/BTC-{quote}") for quote in ("USD", "USDC")]
    assert (dollar["alias"], dollar["alias_to"]) == ("", ["BTC-USDC"])
    assert (coin["alias"], coin["alias_to"], coin["quote_currency_id"]) == ("BTC-USD", [], "USDC")
    book = await desk.get("product_book", product_id="BTC-USDC")
    assert (book["pricebook"]["product_id"], book["last"]) == ("BTC-USD", "60000")
    trades = await desk.get("products/BTC-USDC/ticker")
    assert {t["product_id"] for t in trades["trades"]} == {"BTC-USD"}


async def test_an_order_in_the_other_product_is_paid_in_its_own_coin(desk: Desk) -> None:
    desk.exchange.venue.deposit("company", "USDC", 1_000 * ONE)
    dollars, bitcoin = desk.free("USD"), desk.free("BTC")
    order = await desk.placed("BUY", "market_market_ioc", {"quote_size": "500"}, product_id="BTC-USDC")
    row = await desk.row(order)
    assert (row["product_id"], row["status"]) == ("BTC-USDC", "FILLED")
    assert desk.free("USD") == dollars
    assert 0 <= desk.free("USDC") - 500 * ONE < DUST
    assert desk.free("BTC") > bitcoin
    assert (await desk.get("orders/historical/fills"))["fills"][0]["product_id"] == "BTC-USDC"
    sold = await desk.placed("SELL", "market_market_ioc", {"base_size": "0.001"}, product_id="BTC-USDC")
    assert (await desk.row(sold))["status"] == "FILLED"
    assert desk.free("USD") == dollars


async def test_products_are_filtered_and_come_in_parts(desk: Desk) -> None:
    everything = await desk.get("products", get_all_products="true")
    names = [p["product_id"] for p in everything["products"]]
    assert everything["num_products"] == len(names) == 8
    part = await desk.get("products", limit=2, offset=1)
    assert [p["product_id"] for p in part["products"]] == names[1:3]
    two = await desk.get("products", product_ids=["ETH-USD", "BTC-USD"])
    assert {p["product_id"] for p in two["products"]} == {"ETH-USD", "BTC-USD"}
    assert (await desk.get("products", product_type="FUTURE"))["products"] == []
    status, _ = await desk.ask("GET", "products/DOGE-USD")
    assert status == 404


async def test_the_book_comes_as_deep_and_as_coarse_as_it_is_asked_for(desk: Desk) -> None:
    desk.quote(Side.BUY, 59_985, 2)
    desk.quote(Side.SELL, 60_012, 2)
    whole = await desk.get("product_book", product_id="BTC-USD")
    assert [level["price"] for level in whole["pricebook"]["bids"]] == ["59990", "59985"]
    assert (whole["mid_market"], whole["spread_absolute"]) == ("60000", "20")
    top = await desk.get("product_book", product_id="BTC-USD", limit=1)
    assert [len(top["pricebook"][side]) for side in ("bids", "asks")] == [1, 1]
    coarse = await desk.get("product_book", product_id="BTC-USD", aggregation_price_increment="100")
    assert coarse["pricebook"]["bids"] == [{"price": "59900", "size": "3"}]
    assert coarse["pricebook"]["asks"] == [{"price": "60100", "size": "3"}]
    best = await desk.get("best_bid_ask", product_ids=["BTC-USD", "ETH-USD"])
    assert [b["product_id"] for b in best["pricebooks"]] == ["BTC-USD", "ETH-USD"]
    assert best["pricebooks"][0]["asks"] == [{"price": "60010", "size": "1"}]


async def test_candles_want_their_bounds_and_are_at_most_350(desk: Desk) -> None:
    now = int(time.time())
    bounds = {"start": now - 300 * 60, "end": now}
    candles = (await desk.get("products/BTC-USD/candles", granularity="ONE_MINUTE", **bounds))["candles"]
    assert [c["close"] for c in candles] == ["60000"]
    for wrong in (
        {**bounds, "granularity": "ONE_WEEK"},
        {"end": now, "granularity": "ONE_MINUTE"},
        {"start": now - 351 * 60, "end": now, "granularity": "ONE_MINUTE"},
    ):
        status, answer = await desk.ask("GET", "products/BTC-USD/candles", **wrong)
        assert (status, answer["error"]) == (400, "INVALID_ARGUMENT")


async def test_a_public_trade_tells_the_makers_side(desk: Desk) -> None:
    await desk.placed("BUY", "market_market_ioc", {"base_size": "0.01"})
    await desk.placed("SELL", "market_market_ioc", {"base_size": "0.01"})
    trades = (await desk.get("products/BTC-USD/ticker", limit=2))["trades"]
    assert [(t["price"], t["side"]) for t in trades] == [("59990", "BUY"), ("60010", "SELL")]


# Sockets.


class Feed:
    """One socket at the face."""

    def __init__(self, desk: Desk, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._desk = desk
        self._socket = socket
        self.sequences: list[int] = []

    async def say(self, kind: str, channel: str, *products: str, **fields: Any) -> None:
        await self._socket.send_json({"type": kind, "channel": channel, "product_ids": list(products), **fields})

    async def hear(self, channel: str) -> Any:
        """Return the next message of a channel."""
        while True:
            message = await self._socket.receive(timeout=PATIENCE_S)
            assert message.type is aiohttp.WSMsgType.TEXT, message
            told = msgspec.json.decode(message.data)
            self.sequences.append(told.get("sequence_num", -1))
            if told.get("channel", told.get("type")) == channel:
                return told

    async def event(self, channel: str) -> Any:
        return (await self.hear(channel))["events"][0]

    async def subscribe(self, channel: str, *products: str) -> Any:
        fields = {"jwt": self._desk.token()} if channel == "user" else {}
        await self.say("subscribe", channel, *products, **fields)
        return (await self.event("subscriptions"))["subscriptions"]


@pytest.fixture
async def feed(desk: Desk) -> AsyncIterator[Feed]:
    async with desk.http.ws_connect(desk.exchange.ws_url) as socket:
        yield Feed(desk, socket)


async def test_trades_on_the_socket_tell_the_makers_side(desk: Desk, feed: Feed) -> None:
    await feed.subscribe("market_trades", "BTC-USD")
    assert (await feed.event("market_trades"))["type"] == "snapshot"
    await desk.placed("BUY", "market_market_ioc", {"base_size": "0.01"})
    [trade] = (await feed.event("market_trades"))["trades"]
    assert (trade["side"], trade["price"], trade["size"], trade["product_id"]) == ("SELL", "60010", "0.01", "BTC-USD")


async def test_subscriptions_are_listed_and_can_be_given_up(feed: Feed) -> None:
    assert await feed.subscribe("level2", "BTC-USD", "ETH-USD") == {"level2": ["BTC-USD", "ETH-USD"]}
    first, second = await feed.event("l2_data"), await feed.event("l2_data")
    assert [e["product_id"] for e in (first, second)] == ["BTC-USD", "ETH-USD"]
    assert {(u["side"], u["price_level"], u["new_quantity"]) for u in first["updates"]} == {
        ("bid", "59990", "1"),
        ("offer", "60010", "1"),
    }
    listed = await feed.subscribe("heartbeats")
    assert listed == {"level2": ["BTC-USD", "ETH-USD"], "heartbeats": ["heartbeats"]}
    await feed.say("unsubscribe", "level2", "ETH-USD")
    assert (await feed.event("subscriptions"))["subscriptions"]["level2"] == ["BTC-USD"]
    await feed.say("unsubscribe", "level2")
    await feed.say("unsubscribe", "heartbeats")
    await feed.event("subscriptions")
    assert (await feed.event("subscriptions"))["subscriptions"] == {}
    assert feed.sequences == list(range(len(feed.sequences)))


async def test_a_level_that_is_gone_has_no_quantity_left(desk: Desk, feed: Feed) -> None:
    await feed.subscribe("level2", "BTC-USD")
    await feed.hear("l2_data")
    desk.exchange.venue.cancel_all("other")
    event = await feed.event("l2_data")
    assert event["type"] == "update"
    assert {u["new_quantity"] for u in event["updates"]} == {"0"}


async def test_the_other_product_answers_under_the_name_of_the_book(desk: Desk, feed: Feed) -> None:
    assert await feed.subscribe("ticker", "BTC-USDC") == {"ticker": ["BTC-USD"]}
    [ticker] = (await feed.event("ticker"))["tickers"]
    assert (ticker["product_id"], ticker["best_bid"], ticker["best_ask_quantity"]) == ("BTC-USD", "59990", "1")


async def test_batched_tickers_come_every_five_seconds_when_something_changed(desk: Desk, feed: Feed) -> None:
    await feed.subscribe("ticker_batch", "BTC-USD")
    [ticker] = (await feed.event("ticker_batch"))["tickers"]
    assert "best_bid" not in ticker
    desk.face.beat(50)
    assert (await feed.event("ticker_batch"))["tickers"][0]["price"] == "60000"
    desk.face.beat(100)
    await desk.placed("BUY", "market_market_ioc", {"base_size": "0.01"})
    desk.face.beat(150)
    assert (await feed.event("ticker_batch"))["tickers"][0]["price"] == "60010"


async def test_heartbeats_are_counted(feed: Feed) -> None:
    await feed.subscribe("heartbeats")
    first, second = [(await feed.event("heartbeats"))["heartbeat_counter"] for _ in range(2)]
    assert second == first + 1


async def test_the_status_of_all_products_is_told_and_told_again_when_it_changes(desk: Desk, feed: Feed) -> None:
    await feed.subscribe("status")
    products = (await feed.event("status"))["products"]
    assert {(p["id"], p["status"]) for p in products} >= {("BTC-USD", "online"), ("BTC-USDC", "online")}
    desk.exchange.venue.state = "cancel_only"
    products = (await feed.event("status"))["products"]
    assert {p["status"] for p in products} == {"offline"}


async def test_candles_of_five_minutes_are_told_each_second_that_has_a_trade(desk: Desk, feed: Feed) -> None:
    await feed.subscribe("candles", "BTC-USD")
    [candle] = (await feed.event("candles"))["candles"]
    assert int(candle["start"]) % 300 == 0
    await desk.placed("BUY", "market_market_ioc", {"base_size": "0.01"})
    while (event := await feed.event("candles"))["candles"][0]["close"] != "60010":
        assert event["type"] == "update"
    assert event["candles"][0]["product_id"] == "BTC-USD"


async def test_the_user_channel_begins_with_open_orders_in_batches_of_fifty(desk: Desk, feed: Feed) -> None:
    for _ in range(50):
        await desk.placed("BUY", "limit_limit_gtc", {**LIMIT, "base_size": "0.0001"})
    listed = await feed.subscribe("user")
    assert list(listed) == ["user"]
    sizes = [len((await feed.event("user"))["orders"]) for _ in range(2)]
    assert sizes == [50, 0]


async def test_the_user_channel_tells_how_an_order_stands(desk: Desk, feed: Feed) -> None:
    await feed.subscribe("user", "BTC-USD")
    await feed.hear("user")
    order = await desk.placed("BUY", "limit_limit_gtc", {**LIMIT, "limit_price": "60000"})
    [row] = (await feed.event("user"))["orders"]
    assert (row["order_id"], row["status"], row["leaves_quantity"], row["order_type"]) == (
        order,
        "OPEN",
        "0.01",
        "Limit",
    )
    desk.quote(Side.SELL, 60_000, 0.01)
    [row] = (await feed.event("user"))["orders"]
    assert (row["status"], row["cumulative_quantity"], row["avg_price"]) == ("FILLED", "0.01", "60000")
    assert (row["total_fees"], row["completion_percentage"], row["number_of_fills"]) == ("3.6", "100", "1")


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("{", "failure to parse message"),
        ('{"type": "subscribe"}', "failure to parse message"),
        ('{"type": "subscribe", "channel": "user"}', "authentication failure"),
        ('{"type": "subscribe", "channel": "ticker", "jwt": "a.b.c"}', "authentication failure"),
        ('{"type": "subscribe", "channel": "full", "product_ids": ["BTC-USD"]}', "authentication failure"),
        ('{"type": "subscribe", "channel": "ticker", "product_ids": ["DOGE-USD"]}', "invalid product id"),
    ],
)
async def test_what_a_socket_does_not_understand_is_an_error(desk: Desk, message: str, error: str) -> None:
    async with desk.http.ws_connect(desk.exchange.ws_url) as socket:
        await socket.send_str(message)
        told = await socket.receive_json(timeout=PATIENCE_S)
    assert told == {"type": "error", "message": error}


async def test_a_socket_that_subscribes_to_nothing_is_closed() -> None:
    ahead = {"ns": 0}
    local = build(background=False, clock=lambda: time.time_ns() + ahead["ns"])
    async with (
        serve(local, moving=False),
        aiohttp.ClientSession() as http,
        http.ws_connect(local.exchanges["coinbase"].ws_url) as socket,
    ):
        ahead["ns"] = 6 * 10**9
        message = await socket.receive(timeout=PATIENCE_S)
    assert message.type is aiohttp.WSMsgType.CLOSE
