"""What a venue says of a pair while it is traded: other steps, a halt, a pair that is gone (T6, R6)."""

import msgspec
import pytest

from aether.domain.commands import RaiseAlert
from aether.domain.events import PairTold
from aether.domain.instruments import Instrument, TradingState, make_instrument
from aether.engine.core import Engine
from aether.engine.stops import Stop
from aether.engine.strategy import Enter, Exit
from tests.desk import BTC, Desk, submitted

ONE = 10**8


def told(desk: Desk, definition: Instrument = BTC, state: TradingState = TradingState.ONLINE, detail: str = "") -> str:
    """Tell the account of the pair; return what people are told."""
    event = PairTold(ts_ns=desk.now, instrument=definition.id, definition=definition, state=state, detail=detail)
    return " ".join(c.message for c in desk.tell(event) if isinstance(c, RaiseAlert))


@pytest.mark.parametrize("state", [s for s in TradingState if s not in (TradingState.ONLINE, TradingState.LIMIT_ONLY)])
def test_nothing_enters_a_pair_that_is_not_open_and_what_is_held_leaves_it(state: TradingState) -> None:
    desk = Desk()
    (bought,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.accept(bought)
    desk.fill(bought)
    desk.tell(msgspec.structs.replace(PairTold(ts_ns=desk.now, instrument=BTC.id, definition=BTC, state=state)))
    assert submitted(desk.want(Enter(instrument=BTC.id))) == []
    (sold,) = submitted(desk.want(Exit(instrument=BTC.id)))
    assert sold.size == bought.size


def test_people_are_told_when_a_pair_is_halted_and_when_it_is_open_again_each_once() -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    assert told(desk) == "", "it was open before"
    assert "maintenance at the venue (HALT); nothing is entered" in told(desk, BTC, TradingState.MAINTENANCE, "HALT")
    assert told(desk, BTC, TradingState.MAINTENANCE, "HALT") == ""
    assert "online at the venue; everything is traded" in told(desk)
    (bought,) = submitted(desk.want(Enter(instrument=BTC.id)))
    assert bought.size


def test_a_pair_with_other_steps_is_traded_by_those_and_what_is_held_is_the_same() -> None:
    desk = Desk()
    (bought,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.accept(bought)
    desk.fill(bought)
    held = desk.engine.state.ledger.positions[BTC.id]
    coarse = msgspec.structs.replace(BTC, tick=50, lot=1_000, min_size=1_000)
    news = told(desk, coarse)
    assert "tick 0.01 is 0.5 now" in news
    assert "lot 0.00000001 is 0.00001 now" in news
    assert desk.engine.state.ledger.positions[BTC.id] == held
    (sold,) = submitted(desk.want(Exit(instrument=BTC.id)))
    assert sold.size % 1_000 == 0
    assert 0 <= bought.size - sold.size < 1_000, "what is less than a lot stays"


def test_an_account_whose_prices_the_market_tells_in_another_scale_sends_nothing_any_more() -> None:
    """Every price would be wrong by a power of ten."""
    desk = Desk()
    (bought,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.accept(bought)
    desk.fill(bought)
    finer = make_instrument(BTC.venue, BTC.symbol, price_decimals=4, size_decimals=8)
    told(desk, finer)
    assert "told in 4 and 8 decimals, and kept in 2 and 8" in desk.engine.state.stops[Stop.FAULT].reason
    assert submitted(desk.want(Exit(instrument=BTC.id))) == []


def test_a_snapshot_and_a_replay_know_what_a_pair_allows() -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    told(desk, msgspec.structs.replace(BTC, tick=10), TradingState.CANCEL_ONLY, "reduce_only")
    again = Engine(desk.catalogue)
    for event in desk.events:
        again.apply(event)
    restored = Engine(desk.catalogue, desk.engine.snapshot())
    assert again.state_hash() == restored.state_hash() == desk.engine.state_hash()
    assert restored.state.market[BTC.id].allows is TradingState.CANCEL_ONLY


def test_what_is_told_of_a_pair_that_the_account_does_not_have_is_nothing_to_it() -> None:
    desk = Desk()
    before = desk.engine.state_hash()
    other = make_instrument(BTC.venue, "DOGE/USD", price_decimals=5, size_decimals=8)
    assert told(desk, other, TradingState.DELISTED) == ""
    assert desk.engine.state_hash() == before
