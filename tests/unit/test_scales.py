"""A pair's scale is chosen once and finer than the venue's steps, which are rules for new orders and change (T2)."""

import pytest

from aether.domain.identifiers import InstrumentId, Symbol, VenueId
from aether.domain.instruments import LARGEST_SIZE, Instrument, make_instrument
from aether.engine.routing import Depth, route
from aether.venues.book import OrderBook, written_units
from aether.venues.messages import BookSnapshot
from aether.venues.wire import Listings

VENUE = VenueId("kraken")
ONE = 10**8


def pair(price_decimals: int, size_decimals: int, symbol: str = "BTC/USD") -> Instrument:
    return make_instrument(VENUE, symbol, price_decimals=price_decimals, size_decimals=size_decimals)


def test_the_steps_stay_what_they_are_in_a_finer_scale() -> None:
    told = pair(1, 5)
    kept = told.with_room()
    assert (kept.price_decimals, kept.size_decimals) == (8, 8)
    assert kept.price_text(kept.tick) == told.price_text(told.tick) == "0.1"
    assert kept.size_text(kept.lot) == told.size_text(told.lot) == "0.00001"
    assert kept.size_text(kept.min_size) == told.size_text(told.min_size)
    assert kept.max_size == LARGEST_SIZE, "sizes fit into 64 bits"


@pytest.mark.parametrize(
    ("decimals", "tick", "scale", "text"),
    [
        (3, 1, 2, "0.01"),
        (3, 25, 2, "0.05"),
        (2, 5, 8, "0.05"),
        (0, 5, 8, "5"),
        (4, 15, 1, "0.3"),
        (10, 1, 8, "0.00000001"),
    ],
)
def test_a_step_that_a_scale_cannot_hold_becomes_one_that_the_venue_takes_too(
    decimals: int, tick: int, scale: int, text: str
) -> None:
    told = pair(decimals, 8)
    finer = Instrument(**{f: getattr(told, f) for f in told.__struct_fields__} | {"tick": tick})
    kept = finer.in_scale(scale, 8)
    assert kept.price_text(kept.tick) == text
    exact = kept.tick * 10**18 // 10**scale
    assert exact % (tick * 10**18 // 10**decimals) == 0, "a multiple of the venue's"


def test_a_tick_of_ten_decimals_has_room_too() -> None:
    assert pair(10, 8).with_room().price_decimals == 12


def test_text_has_the_decimals_of_the_step_and_more_only_where_it_needs_them() -> None:
    kept = pair(1, 5).with_room()
    assert kept.price_text(59_000 * ONE) == "59000.0"
    assert kept.price_text(59_000 * ONE + 12_345) == "59000.00012345"
    assert kept.price_text(-59_000 * ONE) == "-59000.0"
    assert kept.size_text(ONE // 8) == "0.12500"
    assert kept.average_text(59_000 * ONE + 5_000_000) == "59000.1", "half up"


def test_a_scale_is_chosen_once() -> None:
    listings = Listings(VENUE)
    listings.add_in_scale("BTC/USD", pair(1, 8))
    listings.add_in_scale("BTC/USD", pair(4, 8))
    listing = listings["BTC/USD"]
    assert (listing.instrument.price_decimals, listing.written) == (8, (4, 8))
    assert listing.instrument.price_text(listing.instrument.tick) == "0.0001", "its tick is the new one"


def test_what_the_books_have_is_kept_whatever_the_venue_says_now() -> None:
    listings = Listings(VENUE)
    for name in ("BTC/USD", "XBTUSD"):
        listings.add_in_scale(name, pair(2, 8))
    listings.keep_scale(pair(1, 8))
    for name in ("BTC/USD", "XBTUSD"):
        assert listings[name].instrument.price_decimals == 1
        assert listings[name].instrument.tick == 1, "0.1 is a multiple of 0.01"
        assert listings[name].written == (2, 8)
    listings.add_in_scale("BTC/USD", pair(3, 8))
    assert listings["BTC/USD"].instrument.price_decimals == 1


def test_the_checksum_is_over_the_digits_that_the_venue_writes() -> None:
    levels = [(45_285.2, 0.00100000), (45_286.4, 1.54571953)]
    told = {}
    for name, instrument in (("written", pair(1, 8)), ("kept", pair(1, 8).with_room())):
        listings = Listings(VENUE)
        listings.add("BTC/USD", instrument, (1, 8))
        listing = listings["BTC/USD"]
        book = OrderBook(listing.id, 10, written_units(listing))
        scale = 10**instrument.price_decimals
        asks = [(round(p * scale), round(s * ONE)) for p, s in levels]
        book.load(BookSnapshot(instrument=listing.id, ts_ns=1, bids=[], asks=asks, checksum=0))
        told[name] = book.checksum()
    assert told["written"] == told["kept"]


@pytest.mark.parametrize(("is_buy", "text"), [(True, "59000.2"), (False, "59000.1")])
def test_an_order_that_takes_a_finer_level_has_a_price_that_it_may_have(is_buy: bool, text: str) -> None:
    kept = pair(1, 5).with_room()
    level = (59_000 * ONE + 12_000_000, ONE + 7)
    depth = Depth(kept, (level,), 0, 10**6 * ONE)
    (part,) = route(is_buy=is_buy, amount=2 * ONE, depths=[depth])
    assert kept.price_text(part.limit_price) == text, "it covers the level"
    assert part.size == ONE, "no finer than a lot"
    assert part.instrument == InstrumentId("kraken:BTC/USD")
    assert kept.symbol == Symbol("BTC/USD")
