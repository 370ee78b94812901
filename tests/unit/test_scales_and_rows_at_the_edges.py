"""What a hostile reading of scales, rows, limits and pairs found (T1, T6, R1)."""

import msgspec

from aether.compose.accounts import _narrowed
from aether.compose.markets import keep_scales
from aether.domain.events import VenueNoted, VenueReport
from aether.domain.identifiers import AccountId, ClientOrderId, InstrumentId, VenueId, VenueOrderId
from aether.domain.instruments import make_instrument
from aether.domain.orders import OrderRequest, OrderState, OrderType, Side
from aether.venues.book import OrderBook, written_units
from aether.venues.messages import BookSnapshot, OrderUpdate
from aether.venues.tracked import ListOpen, ReadFills
from aether.venues.tracker import LACKS_S, Tracker
from aether.venues.wire import Listings

BTC = InstrumentId("kraken:BTC/USD")
KRAKEN = VenueId("kraken")


def tracker() -> tuple[Tracker, list[VenueReport]]:
    reports: list[VenueReport] = []
    made = Tracker(lambda i: i, reports.append)
    made.may_send = True
    return made, reports


def order(name: str, side: Side = Side.SELL) -> OrderRequest:
    return OrderRequest(
        id=ClientOrderId(name), instrument=BTC, side=side, type=OrderType.LIMIT, size=10, limit_price=5
    )  # fmt: skip


def told(name: str, state: OrderState, *, number: str = "", filled: int = 0) -> OrderUpdate:
    return OrderUpdate(
        ts_ns=1,
        instrument=BTC,
        client_id=ClientOrderId(name),
        venue_order_id=VenueOrderId(number or f"V-{name}"),
        state=state,
        filled=filled,
        side=Side.SELL,
        size=10,
    )


def test_a_row_of_an_order_that_is_over_does_not_stand_for_a_strangers_that_is_open() -> None:
    """A stop goes on while anything works at the venue."""
    made, _ = tracker()
    made.submit(order("exit"), 1.0)
    made.due(1.0)
    made.accepted(made.orders[ClientOrderId("exit")], VenueOrderId("V-exit"), 1.0)
    made.stop(1.0)
    made.orders[ClientOrderId("exit")].unwanted_s = 0.0  # an exit that the account wants, under the stop
    made.swept(1.1)
    assert any(isinstance(ask, ListOpen) for ask in made.due(5.0))
    rows = [told("stranger", OrderState.ACCEPTED), told("exit", OrderState.FILLED, filled=10)]
    made.listed(rows, 5.0, 5.1, is_of_stop=True)
    assert made.stopped_s, "it is not over"


def test_an_order_whose_executions_are_never_told_ends_with_those_that_are_and_people_are_told() -> None:
    made, reports = tracker()
    made.submit(order("a"), 1.0)
    made.due(1.0)
    tracked = made.orders[ClientOrderId("a")]
    made.accepted(tracked, VenueOrderId("V-a"), 1.0)
    made.updated(told("a", OrderState.CANCELED, filled=5), 2.0)
    now, asked = 2.0, 0
    while made.next_s() is not None and now < 2 * LACKS_S:
        now += 1.0
        for ask in made.due(now):
            assert isinstance(ask, ReadFills)
            asked += 1
            made.fills_read(ask.order, (), now)
    assert [r.code for r in reports if isinstance(r, VenueNoted)] == ["executions_lack"]
    assert type(reports[-1]).__name__ == "OrderCanceled"
    assert now < LACKS_S + 20, "not for ever"
    assert asked > 10


def test_accounts_that_keep_a_pair_in_different_scales_do_not_share_a_market() -> None:
    coarse, fine = (make_instrument(KRAKEN, "BTC/USD", price_decimals=d, size_decimals=8) for d in (1, 2))
    accounts = [(AccountId("old"), [coarse]), (AccountId("new"), [fine]), (AccountId("other"), [coarse])]
    misfits = keep_scales([], accounts)
    assert set(misfits) == {AccountId("new")}
    assert "in 2 and 8 decimals, and old in 1 and 8" in misfits[AccountId("new")]


def test_the_checksum_holds_where_the_venue_writes_more_digits_than_the_books_keep() -> None:
    sums = set()
    for kept in (1, 2, 8):
        listings = Listings(KRAKEN)
        pair = make_instrument(KRAKEN, "BTC/USD", price_decimals=kept, size_decimals=8)
        listings.add("BTC/USD", pair, (2, 8))
        book = OrderBook(BTC, 10, written_units(listings["BTC/USD"]))
        asks = [(n * 10**kept, 5 * 10**8) for n in range(50_000, 50_010)]
        book.load(BookSnapshot(instrument=BTC, ts_ns=1, bids=[], asks=asks, checksum=0))
        sums.add(book.checksum())
    assert len(sums) == 1


def test_sizes_of_a_recording_fit_into_64_bits() -> None:
    values, decimals = _narrowed([184_467_440_737 * 10**8], 8)
    assert (int(values[0]), decimals) == (184_467_440_737 * 100, 2)
    values, decimals = _narrowed([12_345_678], 8)
    assert (int(values[0]), decimals) == (12_345_678, 8), "exact"
    assert msgspec.json.encode(int(values[0]))
