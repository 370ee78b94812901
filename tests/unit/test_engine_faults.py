"""Nothing leaves `apply` but commands: errors stop an account, never the platform, and leave no half-done step (O1)."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from aether.domain.accounts import Limits
from aether.domain.commands import CancelAll, CancelOrder, RaiseAlert, SubmitOrder
from aether.domain.errors import InvalidValueError, ReplayMismatchError
from aether.domain.events import (
    AccountOpened,
    Bar,
    BookUpdate,
    CapitalMoved,
    EngineFaulted,
    Event,
    KillSwitchEngaged,
    ParentOrderRequested,
    Quote,
    StrategyEnabled,
    Timer,
    Trade,
    TradingResumed,
    as_given,
    decode_event,
    encode_event,
)
from aether.domain.identifiers import AssetCode, StrategyName, Symbol, VenueId
from aether.domain.instruments import Instrument, make_instrument
from aether.domain.orders import Purpose, Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.core import CHECKPOINT_EVERY, Engine
from aether.engine.intents import Intents
from aether.engine.state import encode_state
from aether.engine.step import digest, restep, step
from aether.engine.stops import Stop
from aether.engine.strategy import Enter, Exit, Intent, Rebalance, StrategyDefinition
from aether.matching.simulator import FillModel
from aether.venues.paper import PaperVenue
from tests.desk import BTC, ETH, SECOND, Desk, NoParams, account, alerts, canceled, scripted, submitted

ONE = AMOUNT_SCALE


def parent(**fields: Any) -> ParentRequest:
    values: dict[str, Any] = {
        "id": ParentId("p"),
        "symbol": Symbol("BTC/USD"),
        "side": Side.BUY,
        "amount": ONE,
        "algorithm": Algorithm.ROUTE,
    }
    return ParentRequest(**{**values, **fields})


# A strategy's exception (finding 7).


class Touchy:
    """A strategy that counts its bars and breaks at the third."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, bar: Any, view: Any) -> list[Any]:
        self.seen += 1
        if self.seen == 3:
            raise KeyError("no such thing")
        return [Enter(instrument=bar.instrument)] if self.seen == 1 else []


def test_a_strategy_that_raises_is_switched_off_and_its_holding_stays_protected() -> None:
    desk = Desk(script=Touchy())
    desk.quote("49999.99", "50000.01")
    (order,) = submitted(desk.bar(50_000))
    desk.fill(order)
    desk.quote("49999.99", "50000.01")
    desk.bar(50_000)
    commands = desk.bar(50_000)
    (alert,) = [c for c in commands if isinstance(c, RaiseAlert)]
    assert (alert.code, alert.severity) == ("strategy_failed", "critical")
    assert "KeyError: 'no such thing'" in alert.message
    assert "close=50000.0" in alert.message, "the bar"
    assert "with state NoState()" in alert.message
    assert not desk.engine.state.stops, "the account trades on"
    desk.restart()
    assert "KeyError" in desk.engine.state.disabled[StrategyName("scripted")]
    level = desk.plan().stop / 100
    (sale,) = submitted(desk.quote(f"{level:.2f}", f"{level + 0.01:.2f}"))
    assert sale.purpose is Purpose.STOP
    desk.fill(sale)
    desk.now += 3_600 * SECOND
    desk.quote("49999.99", "50000.01")
    desk.tell(StrategyEnabled(ts_ns=desk.now, strategy=StrategyName("scripted"), enabled=True, actor="ada"))
    assert not desk.engine.state.disabled


@pytest.mark.parametrize(
    "wish",
    [
        "nonsense",
        Enter(instrument=BTC.id, limit_price=float("nan")),
        Enter(instrument=BTC.id, strength=float("inf")),
        Rebalance(instrument=BTC.id, weight=float("nan")),
        Exit(instrument="paper:DOGE/USD"),  # type: ignore[arg-type]
    ],
)
def test_a_strategy_that_asks_for_what_cannot_be_is_switched_off(wish: Any) -> None:
    desk = Desk()
    commands = desk.want(wish)
    assert alerts(commands) == ["strategy_failed"]
    assert submitted(commands) == []
    assert not desk.engine.state.stops


def test_the_state_of_a_strategy_that_raised_is_what_it_was_before() -> None:
    class State(msgspec.Struct):
        count: int = 0
        seen: list[int] = []

    def on_bar(_params: Any, state: State, _bar: Any, _view: Any) -> list[Any]:
        state.count += 1
        state.seen.append(state.count)
        if state.count == 2:
            raise RuntimeError("half way")
        return []

    desk = Desk()
    definition = StrategyDefinition(name="scripted", summary="", params=NoParams, state=State, on_bar=on_bar)
    catalogue = {**desk.catalogue, StrategyName("scripted"): definition}
    engine = Engine(catalogue, desk.engine.snapshot())
    desk.engine = engine
    for _ in range(2):
        desk.quote("49999.99", "50000.01")
        desk.bar(50_000)
    (state,) = engine.state.strategy_states.values()
    assert (state.count, state.seen) == (1, [1])


def test_a_mended_strategy_replays_through_the_bar_at_which_it_raised() -> None:
    """After a kill there is no snapshot to begin from: what the strategy raised is in the journal (O8)."""
    desk = Desk(script=Touchy())
    opened = desk.engine.snapshot()
    journal: list[tuple[bytes, bytes]] = []
    venue = PaperVenue(FillModel(), 1)

    def told(event: Event) -> None:
        journal.extend((encode_event(t.event), t.decided) for t in step(venue, desk.engine, event))

    def bar() -> None:
        desk.now += SECOND
        told(Quote(ts_ns=desk.now, instrument=BTC.id, bid=4_999_999, ask=5_000_001, bid_size=10**9, ask_size=10**9))
        told(one_bar(desk))

    for _ in range(4):
        bar()
    told(StrategyEnabled(ts_ns=desk.now, strategy=StrategyName("scripted"), enabled=True, actor="ada"))
    bar()
    assert sum(b"KeyError: 'no such thing'" in payload for payload, _ in journal) == 1
    gives: Iterator[list[Intent]] = iter([[Enter(instrument=BTC.id)], [], [], []])
    mended = Engine(scripted(lambda _bar, _view: next(gives)), opened)
    venue = PaperVenue(FillModel(), 1)
    for seq, (payload, decided) in enumerate(journal):
        restep(venue, mended, decode_event(payload), decided, seq)
    assert mended.state_hash() == desk.engine.state_hash()
    assert next(gives, None) is None, "it was asked at each bar but the one at which it had raised"


# What cannot be is refused at the door.


def quote(**fields: Any) -> Quote:
    values: dict[str, Any] = {"bid": 4_999_999, "ask": 5_000_001, "bid_size": ONE, "ask_size": ONE, **fields}
    return Quote(ts_ns=0, instrument=BTC.id, **values)


def bar(**fields: Any) -> Bar:
    values: dict[str, Any] = {"open": 5, "high": 7, "low": 4, "close": 6, "volume": 1, "interval_s": 60, **fields}
    return Bar(ts_ns=0, instrument=BTC.id, **values)


IMPOSSIBLE: dict[str, Event] = {
    "a bar with close 0": bar(close=0, low=0),
    "a bar upside down": bar(low=9),
    "a bar of no length": bar(interval_s=0),
    "a negative bid": quote(bid=-1),
    "a huge ask": quote(ask=10**40),
    "a trade at 0": Trade(ts_ns=0, instrument=BTC.id, price=0, size=1),
    "a book level at 0": BookUpdate(ts_ns=0, instrument=BTC.id, bids=((0, 1),), asks=()),
    "no amount": CapitalMoved(ts_ns=0, venue=VenueId("paper"), asset=AssetCode("USD"), amount=0),
    "more than all money": CapitalMoved(ts_ns=0, venue=VenueId("paper"), asset=AssetCode("USD"), amount=10**40),
    "a venue that is none of ours": CapitalMoved(ts_ns=0, venue=VenueId("mars"), asset=AssetCode("USD"), amount=1),
    "worth less than nothing": CapitalMoved(
        ts_ns=0, venue=VenueId("paper"), asset=AssetCode("BNB"), amount=1, value=-1
    ),
    "a parent beyond all coins": ParentOrderRequested(ts_ns=0, request=parent(amount=10**40), actor="a"),
    "a second opening": AccountOpened(ts_ns=0, config=account()),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_cannot_be_is_refused_with_a_reason_and_changes_nothing(what: str) -> None:
    desk = Desk()
    desk.want(Enter(instrument=BTC.id))
    before = msgspec.structs.replace(desk.engine.state, told={})
    text = msgspec.json.encode(before)
    commands = desk.tell(msgspec.structs.replace(IMPOSSIBLE[what], ts_ns=desk.now))
    (alert,) = commands
    assert isinstance(alert, RaiseAlert)
    assert alert.code == "refused"
    assert "nothing changed" in alert.message
    assert msgspec.json.encode(msgspec.structs.replace(desk.engine.state, told={})) == text


def test_a_flood_of_impossible_events_is_told_once_a_minute() -> None:
    desk = Desk()
    told = []
    for _ in range(150):
        desk.now += SECOND
        told += desk.tell(Trade(ts_ns=desk.now, instrument=BTC.id, price=0, size=1))
    assert len(told) == 3


@pytest.mark.parametrize("algorithm", [a for a in Algorithm if a not in (Algorithm.OCO, Algorithm.BRACKET)])
def test_a_parent_with_a_price_below_one_tick_is_refused(algorithm: Algorithm) -> None:
    """It came out of `apply` as ZeroDivisionError, again at each start."""
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    request = parent(algorithm=algorithm, limit_price=1, display=ONE // 10, duration_s=60, profile=(1, 1))
    commands = desk.tell(ParentOrderRequested(ts_ns=desk.now, request=request, actor="a"))
    assert alerts(commands) == ["parent_refused"]
    desk.restart()
    desk.quote("49999.99", "50000.01")
    assert not desk.engine.state.stops


def test_a_huge_price_with_a_parent_breaks_nothing() -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    desk.tell(ParentOrderRequested(ts_ns=desk.now, request=parent(limit_price=10**29, algorithm="pegged"), actor="a"))
    for price in (1, 10**20):
        desk.now += SECOND
        desk.tell(Quote(ts_ns=desk.now, instrument=BTC.id, bid=price, ask=price + 1, bid_size=10**20, ask_size=10**20))
        desk.tell(Trade(ts_ns=desk.now, instrument=BTC.id, price=price, size=10**20))
    assert not desk.faulted


# An error that nobody foresaw.


def one_bar(desk: Desk) -> Bar:
    price = 5_000_000
    return Bar(
        ts_ns=desk.now, instrument=BTC.id, interval_s=60, open=price, high=price, low=price, close=price, volume=1
    )


class BrokenError(Exception):
    """An error of our own."""


def broken(monkeypatch: pytest.MonkeyPatch, at: Instrument = BTC) -> None:
    """Let the engine break in the middle of what a bar leads to, after an order has been asked for."""

    def follow(self: Any, intent: Any, instrument: Any, runner: Any) -> None:
        real(self, intent, instrument, runner)
        if instrument.id == at.id:
            raise BrokenError("half way")

    real = Intents._follow
    monkeypatch.setattr(Intents, "_follow", follow)


def test_an_unforeseen_error_leaves_the_state_as_it_was_and_stops_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.quote("3000", "3000.01", ETH)
    desk.intents = [Enter(instrument=ETH.id, limit_price=2_990)]
    (resting,) = submitted(desk.bar(3_000, ETH))
    desk.quote("49999.99", "50000.01")
    desk.changes()
    desk.fill(resting, size=resting.size // 2)
    state = desk.engine.state
    before = {k: (b.free, b.locked) for k, b in state.ledger.balances.items()}
    number = state.next_order
    broken(monkeypatch)
    desk.intents = [Enter(instrument=BTC.id)]
    commands = desk.bar(50_000)
    assert submitted(commands) == []
    assert canceled(commands) == ["all"]
    assert "BrokenError: half way" in desk.faulted
    assert "follow" in desk.faulted, "it says where"
    state = desk.engine.state
    assert {k: (b.free, b.locked) for k, b in state.ledger.balances.items()} == before
    assert state.next_order == number, "nothing of the step is left"
    assert desk.order(resting.id).filled == resting.size // 2
    changes = desk.changes()
    assert len(changes.fills) == 1, "what had happened before is still told, once"
    assert {v.order_id for v in changes.verdicts} == set()
    faulted = desk.engine.applied
    assert isinstance(faulted, EngineFaulted)
    assert isinstance(as_given(faulted), Bar), "the event stands in the journal with its error"


def test_a_stopped_account_is_still_booked_cancelled_and_killable(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    (first,) = submitted(desk.want(Enter(instrument=BTC.id)))
    with monkeypatch.context() as patch:
        broken(patch, ETH)
        desk.intents = [Enter(instrument=ETH.id)]
        desk.quote("3000", "3000.01", ETH)
        desk.bar(3_000, ETH)
    assert desk.faulted
    desk.fill(first)
    assert desk.held() == first.size / ONE, "booked"
    desk.restart()
    assert submitted(desk.want(Exit(instrument=BTC.id))) == [], "nothing of its own accord"
    commands = desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="drill", actor="ada", flatten=True))
    assert canceled(commands) == ["all"]
    (sale,) = submitted(commands)
    assert sale.purpose is Purpose.FLATTEN
    desk.fill(sale)
    assert desk.held() == 0
    desk.tell(TradingResumed(ts_ns=desk.now, reason="mended", actor="ada"))
    assert not desk.faulted


def test_an_error_long_after_a_checkpoint_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.fill(submitted(desk.want(Enter(instrument=BTC.id)))[0])
    for _ in range(CHECKPOINT_EVERY + 100):
        desk.quote("49999.99", "50000.01", after_s=0.01)
        desk.changes()
    before = msgspec.structs.replace(desk.engine.state)
    text = encode_state(before)
    monkeypatch.setattr("aether.engine.protection.Protection.on_time", fail_always)
    desk.tell(Timer(ts_ns=desk.now))
    after = desk.engine.state
    assert after.stops.pop(Stop.FAULT).reason.startswith("Timer: BrokenError")
    assert encode_state(after) == text


def test_an_error_that_comes_again_and_again_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    monkeypatch.setattr("aether.engine.market.Market.quote", fail_always)
    for _ in range(5):
        commands = desk.quote("49999.99", "50000.01")
        assert "faulted" in alerts(commands)
        assert "BrokenError: always" in desk.faulted


def fail_always(*_: Any) -> None:
    raise BrokenError("always")


def test_when_even_going_back_fails_the_account_is_stopped_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.want(Enter(instrument=BTC.id))
    monkeypatch.setattr("aether.engine.market.Market.quote", fail_always)
    commands = desk.quote("49999.99", "50000.01")
    assert canceled(commands) == ["all"]
    assert "restart the platform" in desk.faulted
    assert len(desk.engine.state.open_orders) == 1


def test_a_replay_stops_where_the_engine_stopped_also_by_mended_code(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    journal: list[tuple[Event, bytes]] = []
    venue = PaperVenue(FillModel(), 1)
    engine = Engine(desk.catalogue)
    desk.engine = engine
    for event in desk.events:
        journal += [(t.event, t.decided) for t in step(venue, engine, event)]

    def take(event: Event) -> None:
        journal.extend((t.event, t.decided) for t in step(venue, engine, event))

    with monkeypatch.context() as patch:
        broken(patch)
        desk.intents = [Enter(instrument=BTC.id)]
        take(Quote(ts_ns=desk.now, instrument=BTC.id, bid=4_999_999, ask=5_000_001, bid_size=ONE, ask_size=ONE))
        take(one_bar(desk))
    assert isinstance(journal[-1][0], EngineFaulted)
    again, venue_again = Engine(desk.catalogue), PaperVenue(FillModel(), 1)
    for n, (event, decided) in enumerate(journal):
        restep(venue_again, again, decode_event(encode_event(event)), decided, n)
    assert again.state_hash() == engine.state_hash()
    assert Stop.FAULT in again.state.stops


def test_a_fill_that_could_not_be_applied_is_kept_over_restarts_and_booked_on_resuming(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    with monkeypatch.context() as patch:
        patch.setattr("aether.engine.protection.Protection.on_fact", fail_always)
        desk.fill(order)
        assert desk.faulted
        assert desk.held() == 0
        desk.restart()
        patch.setattr("aether.engine.desk.Desk.book", fail_always)
        desk.tell(TradingResumed(ts_ns=desk.now, reason="not mended yet", actor="ada"))
        assert desk.faulted, "it fails again, and nothing is lost"
    desk.restart()
    commands = desk.tell(TradingResumed(ts_ns=desk.now, reason="mended", actor="ada"))
    assert not desk.faulted
    assert "booked_late" in alerts(commands)
    assert desk.held() == order.size / ONE
    assert order.id not in desk.engine.state.open_orders
    assert desk.plan().stop, "and it is protected"
    assert desk.engine.state.unbooked == []


def test_a_strategy_whose_state_no_snapshot_can_hold_is_switched_off() -> None:
    class State(msgspec.Struct):
        mean: Any = 0.0

    def on_bar(_params: Any, state: State, _bar: Any, _view: Any) -> list[Any]:
        state.mean = object()
        return []

    desk = Desk()
    definition = StrategyDefinition(name="scripted", summary="", params=NoParams, state=State, on_bar=on_bar)
    desk.engine = Engine({**desk.catalogue, StrategyName("scripted"): definition}, desk.engine.snapshot())
    desk.quote("49999.99", "50000.01")
    assert "strategy_failed" in alerts(desk.bar(50_000))
    assert desk.engine.snapshot()


# Decisions are proven (finding 8).


def test_other_code_that_decides_otherwise_is_found_at_the_first_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """BTC became ETH in one probe."""
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    desk.intents = [Enter(instrument=BTC.id)]
    commands = desk.bar(50_000)
    decided = digest(commands)
    assert len(decided) == 16
    twin = Desk()
    twin.quote("49999.99", "50000.01")
    twin.intents = [Enter(instrument=BTC.id, strength=0.5)]
    venue = PaperVenue(FillModel(), 1)
    with pytest.raises(ReplayMismatchError) as caught:
        restep(venue, twin.engine, desk.events[-1], decided, 9)
    assert "sequence 9 (Bar)" in str(caught.value)
    assert decided.hex() in str(caught.value)
    assert "SubmitOrder" in str(caught.value)
    assert "leaves a snapshot" in str(caught.value)


@pytest.mark.parametrize(("decided", "fits"), [(None, True), (b"", False)])
def test_a_row_that_decided_nothing_says_so_and_an_old_row_says_nothing(decided: bytes | None, fits: bool) -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    desk.intents = [Enter(instrument=BTC.id)]
    event = one_bar(desk)
    venue = PaperVenue(FillModel(), 1)
    if fits:
        restep(venue, desk.engine, event, decided, 1)
    else:
        with pytest.raises(ReplayMismatchError):
            restep(venue, desk.engine, event, decided, 1)


def test_words_are_no_decision() -> None:
    alert = RaiseAlert(1, "info", "x", "y")  # type: ignore[arg-type]
    assert digest([alert]) == b""
    assert digest([alert, CancelAll(1)]) == digest([CancelAll(1)]) != digest([CancelOrder(1, "a-1", "x:Y/Z")])  # type: ignore[arg-type]


def test_the_first_event_of_a_journal_is_the_opening() -> None:
    engine = Engine({})
    with pytest.raises(InvalidValueError):
        engine.apply(Timer(ts_ns=1))
    with pytest.raises(Exception, match="no strategy"):
        engine.apply(AccountOpened(ts_ns=1, config=account("nonsense")))
    assert engine.state.config is None
    assert engine.apply(AccountOpened(ts_ns=1, config=account(strategies=()))) == []


# No 64-bit cliff (finding 4).

CHEAP = make_instrument(VenueId("paper"), "PEPE/USD", price_decimals=12, size_decimals=2)
MANY = 10**13 * ONE
"""Ten trillion coins."""


def test_ten_trillion_coins_of_a_cheap_asset_are_traded_and_snapshotted() -> None:
    wide = Limits(max_order_notional_bps=10_000, max_position_bps=10_000)
    desk = Desk(
        config=account(strategies=(), tradable=(CHEAP.id,), limits=wide), instruments=(CHEAP,), cash=95_000_000_000
    )
    desk.now += SECOND
    book = BookUpdate(ts_ns=desk.now, instrument=CHEAP.id, bids=((9_000_000, 10**16),), asks=((9_000_001, 10**16),))
    desk.tell(book)
    amount = 10**13 * ONE
    request = parent(symbol="PEPE/USD", amount=amount)
    (order,) = submitted(desk.tell(ParentOrderRequested(ts_ns=desk.now, request=request, actor="a")))
    desk.fill(order)
    held = desk.engine.state.ledger.position(CHEAP.id)
    assert held.quantity == amount > 2**64
    before = desk.engine.state_hash()
    desk.restart()
    assert desk.engine.state_hash() == before
    assert desk.engine.state.ledger.position(CHEAP.id).quantity == amount
    (sale,) = submitted(desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="r", actor="a", flatten=True)))
    assert sale.size == 10**15


def test_a_review_limit_of_two_to_the_seventy_is_a_limit() -> None:
    from aether.domain.accounts import Review

    desk = Desk(config=account(review=Review(notional=2**70)))
    assert submitted(desk.want(Enter(instrument=BTC.id)))
    desk.restart()
    assert desk.engine.config.review.notional == 2**70


def test_a_strategys_large_numbers_and_nan_survive_a_snapshot() -> None:
    desk = Desk()
    desk.engine.state.strategy_states["a"] = {"n": 2**80}
    desk.engine.state.strategy_states["b"] = {"x": float("nan"), "y": float("inf")}
    desk.restart()
    assert desk.engine.state.strategy_states["a"] == {"n": 2**80}
    again = desk.engine.state.strategy_states["b"]
    assert again["x"] != again["x"]
    assert again["y"] == float("inf")


def test_a_paper_venue_of_large_numbers_is_snapshotted() -> None:
    from aether.domain.identifiers import BalanceKey

    venue = PaperVenue(FillModel(), 1)
    venue._simulator.move_capital(BalanceKey("paper:PEPE"), 10**25)
    assert PaperVenue(FillModel(), 1, venue.snapshot()).reported_balances() == {"paper:PEPE": 10**25}


def test_submit_orders_are_what_a_digest_is_of() -> None:
    desk = Desk()
    commands = desk.want(Enter(instrument=BTC.id))
    (only,) = [c for c in commands if isinstance(c, SubmitOrder)]
    assert digest([only]) == digest(commands)
