"""Rows, not answers (T6): one row that is not understood spoils no other, and can still be counted and canceled."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether.domain.events import VenueNoted, VenueReport
from aether.domain.identifiers import VenueId
from aether.domain.instruments import make_instrument
from aether.domain.orders import OrderType, Side
from aether.exchange.server import Exchange, LocalExchange
from aether.exchange.venue import NewOrder
from aether.venues import actions as a
from aether.venues.messages import OrderUpdate, Unread
from aether.venues.protocol import Response, VenueProtocol, decoded
from aether.venues.registry import protocol_of
from tests.contract.venue_desk import ONE, VENUES, Trader, local_exchange, trader_at
from tests.waiting import until

DAY = "2026-05-04T10:19:47.423220Z"


def kraken_order(n: int) -> dict[str, Any]:
    descr = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": f"5000{n}.5", "price2": "0", "order": ""}
    return {
        "status": "open", "opentm": 1764000000.5, "vol": "1.25", "vol_exec": "0.25", "descr": descr,
        "cl_ord_id": f"c{n}", "reason": None, "cost": "1", "fee": "0",
    }  # fmt: skip


def kraken_fill(n: int) -> dict[str, Any]:
    return {
        "ordertxid": f"O{n}", "pair": "XXBTZUSD", "time": 1764000000.5 + n, "type": "sell", "price": "50000.1",
        "cost": "1", "fee": "0.02", "vol": "0.5", "maker": True,
    }  # fmt: skip


def binance_order(n: int) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT", "orderId": n + 1, "clientOrderId": f"c{n}", "price": "60000.00000000", "origQty": "0.01",
        "executedQty": "0.00000000", "status": "NEW", "timeInForce": "GTC", "type": "LIMIT", "side": "BUY",
        "time": 1764000000000, "updateTime": 1764000000001,
    }  # fmt: skip


def binance_fill(n: int) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT", "id": n + 1, "orderId": 7, "price": "60000.1", "qty": "0.1", "commission": "0.00012345678",
        "commissionAsset": "BNB", "time": 1764000000000, "isBuyer": True, "isMaker": False,
    }  # fmt: skip


def coinbase_order(n: int) -> dict[str, Any]:
    return {
        "order_id": f"o{n}", "product_id": "BTC-USD", "side": "BUY", "client_order_id": f"c{n}", "status": "OPEN",
        "order_configuration": {"limit_limit_gtc": {"base_size": "10", "limit_price": "0.392"}}, "filled_size": "0",
        "created_time": DAY, "time_in_force": "GOOD_UNTIL_CANCELLED", "order_type": "LIMIT", "last_fill_time": None,
    }  # fmt: skip


def coinbase_fill(n: int) -> dict[str, Any]:
    return {
        "trade_id": f"t{n}", "order_id": "o", "trade_time": DAY, "price": "60000.1", "size": "0.1",
        "commission": "0.031", "product_id": "BTC-USD", "liquidity_indicator": "TAKER",
        "size_in_quote": False, "side": "SELL",
    }  # fmt: skip


class Answer(NamedTuple):
    """A list answer: what asks for it, a row of it, and how rows are put together."""

    venue: str
    action: a.Action
    row: Callable[[int], Any]
    body: Callable[[list[Any]], Any]


def keyed(name: str) -> Callable[[list[Any]], Any]:
    return lambda found: {"error": [], "result": {name: {f"ID-{n}": row for n, row in enumerate(found)}, "count": 3}}


def of_pair(found: list[Any]) -> Any:
    return {"error": [], "result": {"XXBTZUSD": found, "last": "1"}}


def assets(found: list[Any]) -> Any:
    return {"error": [], "result": dict(zip(("ZUSD", "XXBT", "XETH"), found, strict=True))}


ANSWERS = (
    Answer("kraken", a.OpenOrders(), kraken_order, keyed("open")),
    Answer("kraken", a.ClosedOrders(), kraken_order, keyed("closed")),
    Answer("kraken", a.Fills(), kraken_fill, keyed("trades")),
    Answer("kraken", a.Balances(), lambda n: {"balance": f"{n}.1234567891", "hold_trade": "0"}, assets),
    Answer("kraken", a.Candles(symbol="BTC/USD"), lambda n: [n, "1", "2", "1", "2", "1", "0.5", 3], of_pair),
    Answer("kraken", a.RecentTrades(symbol="BTC/USD"), lambda n: ["5.1", "0.5", 1.5, "b", "l", "", n], of_pair),
    Answer("binance", a.OpenOrders(), binance_order, list),
    Answer("binance", a.ClosedOrders(symbol="BTC/USDT"), binance_order, list),
    Answer("binance", a.Fills(symbol="BTC/USDT"), binance_fill, list),
    Answer(
        "binance", a.Balances(), lambda n: {"asset": f"A{n}", "free": "1", "locked": "0"}, lambda f: {"balances": f}
    ),
    Answer("binance", a.Candles(symbol="BTC/USDT"), lambda n: [n, "1", "2", "1", "2", "0.1", 5, "1"], list),
    Answer(
        "binance",
        a.RecentTrades(symbol="BTC/USDT"),
        lambda n: {"id": n, "price": "1", "qty": "2", "time": 5, "isBuyerMaker": True},
        list,
    ),
    Answer("coinbase", a.OpenOrders(), coinbase_order, lambda f: {"orders": f}),
    Answer("coinbase", a.ClosedOrders(), coinbase_order, lambda f: {"orders": f}),
    Answer("coinbase", a.Fills(), coinbase_fill, lambda f: {"fills": f}),
    Answer(
        "coinbase",
        a.Balances(),
        lambda n: {"currency": f"A{n}", "available_balance": {"value": "1.123456789"}, "hold": {"value": "0"}},
        lambda f: {"accounts": f},
    ),
    Answer(
        "coinbase",
        a.Candles(symbol="BTC/USD"),
        lambda n: {"start": str(n), "open": "1", "high": "2", "low": "1", "close": "2", "volume": "3"},
        lambda f: {"candles": f},
    ),
    Answer(
        "coinbase",
        a.RecentTrades(symbol="BTC/USD"),
        lambda n: {"trade_id": n, "product_id": "BTC-USD", "price": "1", "size": "2", "time": DAY, "side": "SELL"},
        lambda f: {"trades": f},
    ),
)
NONSENSE: tuple[Any, ...] = (
    None,
    {},
    [],
    [[]],
    "",
    "nonsense",
    "1e999",
    "0x1",
    "-",
    True,
    -1,
    10**30,
    {"a": 1},
    "TRIGGERED",
)
NAMES = {"kraken": ("BTC/USD", "XBTUSD", "XXBTZUSD"), "binance": ("BTCUSDT",), "coinbase": ("BTC-USD",)}


def listing(venue: str) -> VenueProtocol:
    """A protocol that lists BTC with coarse steps: rows are finer than those."""
    protocol = protocol_of(venue)
    symbol = "BTC/USDT" if venue == "binance" else "BTC/USD"
    for name in NAMES[venue]:
        pair = make_instrument(VenueId(venue), symbol, price_decimals=0, size_decimals=1)
        protocol.listings.add_in_scale(name, pair)
    return protocol


def read(answer: Answer, found: list[Any]) -> list[Any]:
    body = json.dumps(answer.body(found)).encode()
    told: list[Any] = decoded(listing(answer.venue), answer.action, Response(status=200, headers={}, body=body))
    return told


@pytest.mark.parametrize("answer", ANSWERS, ids=[f"{n.venue} {type(n.action).__name__}" for n in ANSWERS])
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_row_spoils_no_other_of_any_list(answer: Answer, data: st.DataObject) -> None:
    good = [answer.row(n) for n in range(3)]
    whole = read(answer, good)
    assert len(whole) == 3
    assert not any(isinstance(row, Unread) or getattr(row, "unread", "") for row in whole), "finer than a step is good"
    at = data.draw(st.integers(0, 2), "row")
    damaged = json.loads(json.dumps(good[at]))
    if data.draw(st.integers(0, 9), "whole") == 0:
        damaged = data.draw(st.sampled_from(NONSENSE), "in its place")
    elif isinstance(damaged, list):
        damaged[data.draw(st.integers(0, len(damaged) - 1), "field")] = data.draw(st.sampled_from(NONSENSE))
    else:
        name = data.draw(st.sampled_from(sorted(damaged)), "field")
        if data.draw(st.booleans(), "left out"):
            del damaged[name]
        else:
            damaged[name] = data.draw(st.sampled_from(NONSENSE), "value")
    found = read(answer, [damaged if n == at else row for n, row in enumerate(good)])
    assert len(found) == 3, "no row vanishes"
    assert sum(row in found for row in whole) >= 2, "the others are what they were"


@pytest.mark.parametrize("answer", [x for x in ANSWERS if isinstance(x.action, a.OpenOrders)], ids=VENUES)
def test_an_order_of_a_status_that_nobody_knows_keeps_its_ids(answer: Answer) -> None:
    odd = answer.row(1) | {"status": "BEING_HALVED"}
    found = read(answer, [answer.row(0), odd, answer.row(2)])
    order = next(row for row in found if row.unread)
    assert isinstance(order, OrderUpdate)
    assert order.venue_order_id in ("ID-1", "2", "o1")
    assert (order.client_id, "BEING_HALVED" in order.unread) == ("c1", True)


class Odd:
    """A protocol whose venue tells one order in a way that nobody knows."""

    def __init__(self, protocol: VenueProtocol) -> None:
        self._protocol = protocol
        self._decode = protocol.decode
        self.number = ""
        protocol.decode = self.decode  # type: ignore[method-assign]

    def decode(self, action: a.Action, response: Response) -> Any:
        if self.number and isinstance(action, a.OpenOrders | a.GetOrder | a.Fates | a.ClosedOrders):
            parsed = json.loads(response.body)
            self._spoil(parsed)
            response = Response(status=response.status, headers=response.headers, body=json.dumps(parsed).encode())
        return self._decode(action, response)

    def _spoil(self, value: Any, key: str = "") -> None:
        if isinstance(value, list):
            for one in value:
                self._spoil(one)
        elif isinstance(value, dict):
            if self.number in (key, str(value.get("order_id")), str(value.get("orderId"))) and "status" in value:
                value["status"] = "BEING_HALVED"
            for name, one in value.items():
                self._spoil(one, name)


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    async with local_exchange(enforce_limits=False) as exchange:
        yield exchange


def told(trader: Trader, code: str) -> list[VenueReport]:
    while not trader.session.reports.empty():
        trader.reports.append(trader.session.reports.get_nowait())
    return [r for r in trader.reports if isinstance(r, VenueNoted) and r.code == code]


def number_of(exchange: Exchange, order: Any) -> str:
    face: Any = exchange.face
    return str(face.order_id(order)) if hasattr(face, "order_id") else str(order.number)


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("is_own", [False, True], ids=["a stranger's", "our own"])
async def test_a_session_gets_ready_and_a_stop_empties_the_venue_whatever_it_says_of_one_order(
    local: LocalExchange, venue: str, is_own: bool
) -> None:
    exchange = local.exchanges[venue]
    for n in range(3):
        exchange.venue.deposit("company", "USD", 10**6 * ONE)
        order = NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, ONE // 10, price=500_000 + n)
        exchange.venue.place("company", order)
    held = exchange.venue.account("company")
    odd: Odd

    def spoil(session: Any) -> None:
        nonlocal odd
        odd = Odd(session._protocol)
        odd.number = "" if is_own else number_of(exchange, next(iter(held.open.values())))

    async with trader_at(local, venue, before=spoil) as trader:
        if is_own:
            own = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=49_000)
            await until(lambda: len(held.open) == 4)
            odd.number = number_of(exchange, trader.at_venue(own))
            await trader.session.compare()
        assert len(trader.session.tracker.foreign) == 3, "the others arrive, and the odd one is counted"
        if not is_own:
            assert any("not understood" in str(r) for r in told(trader, "foreign_order"))
        trader.session.ready.clear()
        await trader.session.connection.close()
        await until(trader.session.ready.is_set)
        trader.session.stop()
        await until(lambda: not held.open)
        await until(lambda: trader.session.is_still)


@pytest.mark.parametrize("venue", VENUES)
async def test_what_is_not_understood_is_told_once(local: LocalExchange, venue: str) -> None:
    async with trader_at(local, venue) as trader:
        rows = [Unread(what="execution", reason="number: 'x' is no decimal number", text="{'id': 5}")]
        trader.client.on_unread(rows)
        trader.client.on_unread(rows)
        (note,) = told(trader, "not_understood")
        assert "execution" in str(note)
        assert "{'id': 5}" in str(note)


async def test_a_private_message_that_cannot_be_read_has_executions_read_again(local: LocalExchange) -> None:
    """Kraken tells executions on its socket: one in a message that nobody can read is asked for."""
    async with trader_at(local, "kraken") as trader:
        trader.quote("sell", 60_000, 1)
        stream = trader.session.connection
        whole = stream._make_stream

        def deaf() -> Any:
            made: Any = whole()
            receive = made.receive
            made.receive = lambda payload: receive(
                payload.replace(b'"executions"', b'"executed"') if b'"trade"' in payload else payload
            )
            return made

        stream._make_stream = deaf
        trader.session.ready.clear()
        await stream.close()
        await until(trader.session.ready.is_set)
        order = await trader.send("buy", OrderType.LIMIT, "0.1", limit_price=60_000)
        await trader.filled(order)
