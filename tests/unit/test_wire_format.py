"""The journal's text: golden forms of every event. A change here breaks the reading of old journals; add, never
alter."""

import msgspec
import pytest

from aether.domain import events as ev
from aether.domain.accounts import Review
from aether.domain.commands import Severity
from aether.domain.events import Event, decode_event, encode_event
from aether.domain.identifiers import Symbol, VenueId
from aether.domain.instruments import FeeTier, TradingState, make_instrument
from aether.domain.orders import Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest
from tests.desk import BTC, START, account

TS = 1_700_000_000_123_456_789
FREE = (FeeTier(volume=0, maker_ppm=0, taker_ppm=0),)

GOLDEN: list[tuple[Event, str]] = [
    (
        ev.Quote(ts_ns=TS, instrument=BTC.id, bid=1, ask=2, bid_size=3, ask_size=4),
        '{"type":"Quote","ts_ns":1700000000123456789,"instrument":"paper:BTC/USD","bid":1,"ask":2,"bid_size":3,'
        '"ask_size":4}',
    ),
    (
        ev.Trade(ts_ns=TS, instrument=BTC.id, price=5, size=6, side=Side.SELL),
        '{"type":"Trade","ts_ns":1700000000123456789,"instrument":"paper:BTC/USD","price":5,"size":6,"side":"sell"}',
    ),
    (
        ev.Trade(ts_ns=TS, instrument=BTC.id, price=5, size=6),
        '{"type":"Trade","ts_ns":1700000000123456789,"instrument":"paper:BTC/USD","price":5,"size":6}',
    ),
    (
        ev.BookUpdate(ts_ns=TS, instrument=BTC.id, bids=((1, 2),), asks=((3, 4), (5, 6))),
        '{"type":"BookUpdate","ts_ns":1700000000123456789,"instrument":"paper:BTC/USD","bids":[[1,2]],'
        '"asks":[[3,4],[5,6]]}',
    ),
    (
        ev.Bar(ts_ns=TS, instrument=BTC.id, interval_s=60, open=1, high=4, low=1, close=3, volume=9),
        '{"type":"Bar","ts_ns":1700000000123456789,"instrument":"paper:BTC/USD","interval_s":60,"open":1,"high":4,'
        '"low":1,"close":3,"volume":9}',
    ),
    (
        msgspec.convert(
            {"type": "OrderAccepted", "ts_ns": TS, "order_id": "a-1", "venue_order_id": "V1"}, ev.OrderAccepted
        ),
        '{"type":"OrderAccepted","ts_ns":1700000000123456789,"order_id":"a-1","venue_order_id":"V1"}',
    ),
    (
        msgspec.convert(
            {
                "type": "OrderAdopted",
                "ts_ns": TS,
                "request": {
                    "id": "foreign-V1",
                    "instrument": "paper:BTC/USD",
                    "side": "buy",
                    "type": "limit",
                    "size": 6,
                    "limit_price": 5,
                },
                "venue_order_id": "V1",
                "filled": 2,
                "filled_notional": 10,
                "trade_ids": ["T1"],
            },
            ev.OrderAdopted,
        ),
        '{"type":"OrderAdopted","ts_ns":1700000000123456789,"request":{"id":"foreign-V1","instrument":"paper:BTC/USD",'
        '"side":"buy","type":"limit","size":6,"limit_price":5,"trigger_price":0,"trail":0,"display_size":0,'
        '"expire_ns":0,"time_in_force":"gtc","post_only":false,"purpose":"entry","strategy":"","parent":"",'
        '"owner":"operator"},"venue_order_id":"V1","filled":2,"filled_notional":10,"trade_ids":["T1"]}',
    ),
    (
        msgspec.convert({"type": "OrderRejected", "ts_ns": TS, "order_id": "a-1", "reason": "no"}, ev.OrderRejected),
        '{"type":"OrderRejected","ts_ns":1700000000123456789,"order_id":"a-1","reason":"no"}',
    ),
    (
        msgspec.convert(
            {"type": "OrderRejected", "ts_ns": TS, "order_id": "a-1", "reason": "down", "by": "failure"},
            ev.OrderRejected,
        ),
        '{"type":"OrderRejected","ts_ns":1700000000123456789,"order_id":"a-1","reason":"down","by":"failure"}',
    ),
    (
        msgspec.convert(
            {
                "type": "OrderFilled",
                "ts_ns": TS,
                "order_id": "a-1",
                "venue_order_id": "V1",
                "trade_id": "T1",
                "price": 10,
                "size": 20,
                "fee": 30,
                "fee_asset": "USD",
                "liquidity": "maker",
            },
            ev.OrderFilled,
        ),
        '{"type":"OrderFilled","ts_ns":1700000000123456789,"order_id":"a-1","venue_order_id":"V1","trade_id":"T1",'
        '"price":10,"size":20,"fee":30,"fee_asset":"USD","liquidity":"maker"}',
    ),
    (
        msgspec.convert({"type": "OrderCanceled", "ts_ns": TS, "order_id": "a-1"}, ev.OrderCanceled),
        '{"type":"OrderCanceled","ts_ns":1700000000123456789,"order_id":"a-1"}',
    ),
    (
        msgspec.convert({"type": "OrderExpired", "ts_ns": TS, "order_id": "a-1", "reason": "x"}, ev.OrderExpired),
        '{"type":"OrderExpired","ts_ns":1700000000123456789,"order_id":"a-1","reason":"x"}',
    ),
    (
        msgspec.convert({"type": "CancelRejected", "ts_ns": TS, "order_id": "a-1", "reason": "x"}, ev.CancelRejected),
        '{"type":"CancelRejected","ts_ns":1700000000123456789,"order_id":"a-1","reason":"x"}',
    ),
    (
        ev.VenueNoted(ts_ns=TS, severity=Severity.WARNING, code="foreign_order", text="x"),
        '{"type":"VenueNoted","ts_ns":1700000000123456789,"severity":"warning","code":"foreign_order","text":"x"}',
    ),
    (
        msgspec.convert({"type": "BalanceReported", "ts_ns": TS, "key": "paper:USD", "total": 7}, ev.BalanceReported),
        '{"type":"BalanceReported","ts_ns":1700000000123456789,"key":"paper:USD","total":7}',
    ),
    (
        msgspec.convert(
            {"type": "CapitalMoved", "ts_ns": TS, "venue": "paper", "asset": "USD", "amount": 7}, ev.CapitalMoved
        ),
        '{"type":"CapitalMoved","ts_ns":1700000000123456789,"venue":"paper","asset":"USD","amount":7}',
    ),
    (
        ev.KillSwitchEngaged(ts_ns=TS, reason="r", actor="a", flatten=True),
        '{"type":"KillSwitchEngaged","ts_ns":1700000000123456789,"reason":"r","actor":"a","flatten":true}',
    ),
    (
        ev.KillSwitchEngaged(ts_ns=TS, reason="r", actor="a", pull="12-34"),
        '{"type":"KillSwitchEngaged","ts_ns":1700000000123456789,"reason":"r","actor":"a","pull":"12-34"}',
    ),
    (
        ev.KillSwitchReleased(ts_ns=TS, reason="r", actor="a", engaged_ns=7),
        '{"type":"KillSwitchReleased","ts_ns":1700000000123456789,"reason":"r","actor":"a","engaged_ns":7}',
    ),
    (
        ev.KillSwitchReleased(ts_ns=TS, reason="r", actor="a"),
        '{"type":"KillSwitchReleased","ts_ns":1700000000123456789,"reason":"r","actor":"a"}',
    ),
    (
        ev.VenueStopped(ts_ns=TS, venue=VenueId("paper"), reason="r", actor="a"),
        '{"type":"VenueStopped","ts_ns":1700000000123456789,"venue":"paper","reason":"r","actor":"a"}',
    ),
    (
        ev.VenueReleased(ts_ns=TS, venue=VenueId("paper"), reason="r", actor="a", stopped_ns=7),
        '{"type":"VenueReleased","ts_ns":1700000000123456789,"venue":"paper","reason":"r","actor":"a","stopped_ns":7}',
    ),
    (
        ev.TradingResumed(ts_ns=TS, reason="r", actor="a"),
        '{"type":"TradingResumed","ts_ns":1700000000123456789,"reason":"r","actor":"a"}',
    ),
    (
        ev.ParentOrderRequested(
            ts_ns=TS,
            request=ParentRequest(
                id=ParentId("p"), symbol=Symbol("BTC/USD"), side=Side.BUY, amount=5, algorithm=Algorithm.TWAP
            ),
            actor="a",
        ),
        '{"type":"ParentOrderRequested","ts_ns":1700000000123456789,"request":{"id":"p","symbol":"BTC/USD",'
        '"side":"buy","amount":5,"algorithm":"twap","limit_price":0,"duration_s":0,"slices":10,"profile":[],'
        '"participation_bps":1000,"display":0,"profit_price":0,"stop_price":0},"actor":"a"}',
    ),
    (
        ev.ParentOrderCanceled(ts_ns=TS, parent_id=ParentId("p"), actor="a"),
        '{"type":"ParentOrderCanceled","ts_ns":1700000000123456789,"parent_id":"p","actor":"a"}',
    ),
    (
        msgspec.convert(
            {"type": "Trade", "ts_ns": TS, "instrument": "kraken:BTC/USD", "price": 1, "size": 2, "trade_id": "7"},
            ev.Trade,
        ),
        '{"type":"Trade","ts_ns":1700000000123456789,"instrument":"kraken:BTC/USD","price":1,"size":2,"trade_id":"7"}',
    ),
    (
        ev.IntentDecided(ts_ns=TS, number=4, approved=True, reason="r", actor="a"),
        '{"type":"IntentDecided","ts_ns":1700000000123456789,"number":4,"approved":true,"reason":"r","actor":"a"}',
    ),
    (ev.Timer(ts_ns=TS), '{"type":"Timer","ts_ns":1700000000123456789}'),
    (
        ev.Timer(ts_ns=TS, taken_ns=TS + 1),
        '{"type":"Timer","ts_ns":1700000000123456789,"taken_ns":1700000000123456790}',
    ),
    (
        ev.FeedInterrupted(ts_ns=TS, instrument=BTC.id, reason="r"),
        '{"type":"FeedInterrupted","ts_ns":1700000000123456789,"instrument":"paper:BTC/USD","reason":"r"}',
    ),
    (
        ev.PairTold(
            ts_ns=TS,
            instrument=BTC.id,
            definition=make_instrument(VenueId("paper"), "BTC/USD", price_decimals=2, size_decimals=8, fee_tiers=FREE),
            state=TradingState.CANCEL_ONLY,
            detail="HALT",
        ),
        '{"type":"PairTold","ts_ns":1700000000123456789,"instrument":"paper:BTC/USD","definition":{"id":"paper:BTC/USD",'
        '"venue":"paper","symbol":"BTC/USD","base":"BTC","quote":"USD","price_decimals":2,"size_decimals":8,"tick":1,'
        '"lot":1,"min_size":1,"max_size":100000000000000000000000,"min_notional":100000000,"fee_tiers":[{"volume":0,'
        '"maker_ppm":0,"taker_ppm":0}],"base_decimals":8,"quote_decimals":8},"state":"cancel_only","detail":"HALT"}',
    ),
    (
        msgspec.convert(
            {
                "type": "BalanceBooked",
                "ts_ns": TS,
                "venue": "paper",
                "asset": "USD",
                "amount": 12_345,
                "reason": "interest",
                "actor": "a",
                "reference": "L1",
            },
            ev.BalanceBooked,
        ),
        '{"type":"BalanceBooked","ts_ns":1700000000123456789,"venue":"paper","asset":"USD","amount":12345,'
        '"reason":"interest","actor":"a","reference":"L1"}',
    ),
    (
        ev.BreakAssigned(ts_ns=TS, name="balance|paper:USD", owner="ada", actor="a"),
        '{"type":"BreakAssigned","ts_ns":1700000000123456789,"name":"balance|paper:USD","owner":"ada","actor":"a"}',
    ),
    (
        ev.SafeModeEngaged(ts_ns=TS, reason="r", actor="a"),
        '{"type":"SafeModeEngaged","ts_ns":1700000000123456789,"reason":"r","actor":"a"}',
    ),
    (
        ev.SafeModeReleased(ts_ns=TS, reason="r", actor="a"),
        '{"type":"SafeModeReleased","ts_ns":1700000000123456789,"reason":"r","actor":"a"}',
    ),
    (
        ev.EngineFaulted(ts_ns=TS, event='{"type":"Timer","ts_ns":1}', error="ZeroDivisionError"),
        '{"type":"EngineFaulted","ts_ns":1700000000123456789,"event":"{\\"type\\":\\"Timer\\",\\"ts_ns\\":1}",'
        '"error":"ZeroDivisionError"}',
    ),
    (
        msgspec.convert(
            {
                "type": "CapitalMoved",
                "ts_ns": TS,
                "venue": "paper",
                "asset": "BNB",
                "amount": 7,
                "value": 9,
                "reference": "t1",
                "actor": "a",
            },
            ev.CapitalMoved,
        ),
        '{"type":"CapitalMoved","ts_ns":1700000000123456789,"venue":"paper","asset":"BNB","amount":7,"value":9,'
        '"reference":"t1","actor":"a"}',
    ),
    (
        msgspec.convert(
            {
                "type": "OrderFilled",
                "ts_ns": TS,
                "venue_ns": TS - 5,
                "order_id": "a-1",
                "venue_order_id": "V1",
                "trade_id": "T1",
                "price": 10,
                "size": 20,
                "fee": -30,
                "fee_asset": "BNB",
                "liquidity": "taker",
                "instrument": "paper:BTC/USD",
                "side": "sell",
            },
            ev.OrderFilled,
        ),
        '{"type":"OrderFilled","ts_ns":1700000000123456789,"venue_ns":1700000000123456784,"order_id":"a-1",'
        '"venue_order_id":"V1","trade_id":"T1","price":10,"size":20,"fee":-30,"fee_asset":"BNB","liquidity":"taker",'
        '"instrument":"paper:BTC/USD","side":"sell"}',
    ),
]


@pytest.mark.parametrize(("event", "text"), GOLDEN, ids=lambda v: type(v).__name__ if not isinstance(v, str) else "")
def test_golden_text(event: Event, text: str) -> None:
    assert encode_event(event).decode() == text
    assert decode_event(text.encode()) == event


def test_configuration_events_survive_the_journal() -> None:
    config = account()
    for event in (
        *ev.opening_events(config, [BTC], 5, START),
        ev.LimitsChanged(ts_ns=TS, limits=config.limits, actor="a"),
        ev.AccountConfigured(
            ts_ns=TS,
            version=3,
            limits=config.limits,
            sizing=config.sizing,
            exits=config.exits,
            review=Review(notional=5, wait_s=60),
            strategies={config.strategies[0].strategy: {"fast": 5, "gap": 1.5, "name": "a", "is_on": True}},
            actor="a",
        ),
        ev.ModeChanged(ts_ns=TS, mode=config.mode, actor="a"),
        ev.StrategyEnabled(ts_ns=TS, strategy=config.strategies[0].strategy, enabled=False, actor="a"),
    ):
        assert decode_event(encode_event(event)) == event


def test_every_event_has_a_case() -> None:
    covered = {type(event) for event, _ in GOLDEN} | {
        ev.AccountOpened,
        ev.InstrumentListed,
        ev.AccountConfigured,
        ev.LimitsChanged,
        ev.ModeChanged,
        ev.StrategyEnabled,
    }
    assert covered == {*ev.MARKET_EVENTS, *ev.VENUE_REPORTS, *ev.OperatorEvent.__args__, ev.Timer, ev.EngineFaulted}


def test_a_field_from_a_newer_version_is_passed_over() -> None:
    assert decode_event(b'{"type":"Timer","ts_ns":1,"added_later":2}') == ev.Timer(ts_ns=1)


@pytest.mark.parametrize("payload", [b"", b"{", b'{"type":"Nonsense","ts_ns":1}', b'{"type":"Timer"}'])
def test_what_is_no_event_is_refused(payload: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_event(payload)
