"""What a venue knows and the books do not: balances in any order, ids given and found, executions read again (O3)."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from aether.domain.identifiers import (
    AccountId,
    AssetCode,
    ClientOrderId,
    InstrumentId,
    TradeId,
    VenueOrderId,
    client_order_id,
)
from aether.domain.orders import Liquidity, OrderRequest, OrderState, OrderType, Purpose, Side, TimeInForce
from aether.venues.messages import Balance, Execution, OrderUpdate
from aether.venues.protocol import hashed_id
from aether.venues.reconciliation import AHEAD, Held, Ids, Remembered, foreign_fill, foreign_request
from aether.venues.tracker import Tracker

ACCOUNT = AccountId("company")
BTC, USD = AssetCode("BTC"), AssetCode("USD")
moments = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), min_size=1, max_size=20)


@given(moments=moments, draw=st.randoms(use_true_random=False))
def test_the_newest_balance_stands_whatever_arrives_when(moments: list[tuple[int, int]], draw: object) -> None:
    """Read over REST or told by a stream, each with the moment that it speaks of."""
    shuffled = list(moments)
    draw.shuffle(shuffled)  # type: ignore[attr-defined]
    held = Held()
    news = [held.told(Balance(ts_ns=0, asset=BTC, total=total), float(at)) for at, total in shuffled]
    latest = max(at for at, _ in moments)
    assert held.totals["BTC"] in {total for at, total in moments if at == latest}
    assert news[0]


@given(steps=st.lists(st.integers(0, 3), min_size=1, max_size=10), settled=st.integers(0, 9))
def test_what_moved_since_everything_was_explained_wants_an_explanation(steps: list[int], settled: int) -> None:
    """However often it is told in between, and by whom: only what is held then and now counts."""
    held = Held()
    at = min(settled, len(steps) - 1)
    for n, total in enumerate(steps):
        held.told(Balance(ts_ns=0, asset=USD, total=total), float(n))
        if n == at:
            held.settle(float(n), dict(held.totals))
    assert held.have_moved() == (steps[-1] != steps[at])


@given(
    next_order=st.integers(1, 10_000),
    known=st.lists(st.integers(1, 12_000), max_size=30),
    given_out=st.integers(0, 20),
)
def test_only_ids_that_were_never_given_out_show_that_the_books_are_older(
    next_order: int, known: list[int], given_out: int
) -> None:
    ids = Ids(Remembered(account=ACCOUNT, next_order=next_order, since_ns=0), hashed_id)
    for n in range(next_order, next_order + given_out):
        ids.given(client_order_id(ACCOUNT, n))
    for n in known:
        ids.seen(hashed_id(client_order_id(ACCOUNT, n)))
        ids.seen(hashed_id(ClientOrderId(f"somebody-{n}")))
    first = next_order + given_out
    assert ids.highest == max((n for n in known if first <= n < next_order + AHEAD), default=0)


@given(order=st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_a_foreign_execution_is_told_once_and_under_the_venues_own_numbers(order: list[int]) -> None:
    tracker = Tracker(lambda i: i, lambda _report: None)
    told = []
    for n in order:
        execution = Execution(
            ts_ns=1,
            instrument=InstrumentId("v:BTC/USD"),
            client_id=ClientOrderId("" if n % 2 else f"hand-{n}"),
            venue_order_id=VenueOrderId(f"v{n // 2}"),
            trade_id=TradeId(f"t{n}"),
            side=Side.BUY,
            price=5,
            size=1 + n,
            fee=0,
            fee_asset=USD,
            liquidity=Liquidity.TAKER,
        )
        tracker.executed(execution, 1.0)
        told += [foreign_fill(e) for e in tracker.take_foreign_fills()]
    assert sorted(f.trade_id for f in told) == sorted({f"t{n}" for n in order})
    assert all(f.order_id == f"foreign-{f.venue_order_id}" for f in told)


def update(**fields: object) -> OrderUpdate:
    told = OrderUpdate(
        ts_ns=7,
        instrument=InstrumentId("kraken:BTC/USD"),
        client_id=ClientOrderId(""),
        venue_order_id=VenueOrderId("OAB-1"),
        state=OrderState.ACCEPTED,
        side=Side.BUY,
        size=1,
        limit_price=5_000_000,
    )
    return msgspec.structs.replace(told, **fields)


def test_an_order_that_is_not_ours_is_taken_up_as_the_venue_tells_it() -> None:
    assert foreign_request(update()) == OrderRequest(
        id=ClientOrderId("foreign-OAB-1"),
        instrument=InstrumentId("kraken:BTC/USD"),
        side=Side.BUY,
        type=OrderType.LIMIT,
        size=1,
        limit_price=5_000_000,
        time_in_force=TimeInForce.GTC,
        purpose=Purpose.ENTRY,
    )
    sale = foreign_request(update(side=Side.SELL, type=OrderType.MARKET, time_in_force=TimeInForce.IOC, size=9))
    assert sale is not None
    assert (sale.side, sale.type, sale.time_in_force) == (Side.SELL, OrderType.MARKET, TimeInForce.IOC)
    assert (sale.purpose, sale.size) == (Purpose.EXIT, 9)


def test_an_order_of_which_too_little_is_told_is_not_taken_up() -> None:
    assert foreign_request(update(side=None)) is None
    assert foreign_request(update(size=0)) is None
    assert foreign_request(update(size=-1)) is None


def test_a_foreign_execution_is_reported_with_its_own_pair_and_side() -> None:
    execution = Execution(
        ts_ns=7,
        instrument=InstrumentId("kraken:BTC/USD"),
        client_id=ClientOrderId(""),
        venue_order_id=VenueOrderId("OAB-1"),
        trade_id=TradeId("T1"),
        side=Side.SELL,
        price=5_000_000,
        size=3,
        fee=4,
        fee_asset=USD,
        liquidity=Liquidity.MAKER,
    )
    told = foreign_fill(execution)
    assert (told.order_id, told.venue_order_id, told.trade_id) == ("foreign-OAB-1", "OAB-1", "T1")
    assert (told.instrument, told.side, told.price, told.size) == ("kraken:BTC/USD", Side.SELL, 5_000_000, 3)


def test_balances_are_news_once_and_explained_up_to_when_they_were_asked_for() -> None:
    held = Held()
    assert (held.settled_s, held.totals, held.have_moved()) == (0.0, {}, False)
    assert held.told(Balance(ts_ns=0, asset=USD, total=5), 2.0)
    assert not held.told(Balance(ts_ns=0, asset=USD, total=5), 3.0), "told again, it is no news"
    assert not held.told(Balance(ts_ns=0, asset=USD, total=4), 2.5), "what is older is none"
    assert held.told(Balance(ts_ns=0, asset=BTC, total=5), 2.5), "another asset is"
    assert held.have_moved()
    held.settle(3.0, dict(held.totals))
    assert (held.settled_s, held.have_moved()) == (3.0, False)


def test_no_id_is_ahead_before_one_was_seen() -> None:
    ids = Ids(Remembered(account=ACCOUNT, next_order=1, since_ns=0), hashed_id)
    assert ids.highest == 0
