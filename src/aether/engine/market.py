"""The only writer of what is known of markets: books, trades and bars, each with its own time.

A time is when the source says it was, but never later than the account's own clock: a stamp of tomorrow makes nothing
look fresh.
"""

import math

from aether.domain.errors import InvalidValueError
from aether.domain.events import Bar, BookUpdate, FeedInterrupted, PairTold, Quote, Trade
from aether.domain.identifiers import InstrumentId
from aether.domain.instruments import Instrument
from aether.domain.scaled import format_amount
from aether.engine.state import AccountState, MarketState
from aether.kernel.sizing import ewma_variance


class Market:
    """Writes the markets of one account."""

    def __init__(self, state: AccountState) -> None:
        self._state = state

    def _of(self, instrument: InstrumentId) -> MarketState:
        found = self._state.market.get(instrument)
        if found is None:
            found = self._state.market[instrument] = MarketState()
        return found

    def quote(self, event: Quote) -> None:
        """Take the top of the book; a side of price 0 is missing."""
        market = self._of(event.instrument)
        bid, ask = event.bid, event.ask
        market.bid, market.ask = bid, ask
        market.bids = ((bid, event.bid_size),) if bid else ()
        market.asks = ((ask, event.ask_size),) if ask else ()
        self._date_book(market, event.ts_ns)

    def book(self, event: BookUpdate) -> None:
        """Take the depth of the book."""
        market = self._of(event.instrument)
        market.bid = event.bids[0][0] if event.bids else 0
        market.ask = event.asks[0][0] if event.asks else 0
        market.bids, market.asks = event.bids, event.asks
        self._date_book(market, event.ts_ns)

    def _date_book(self, market: MarketState, ts_ns: int) -> None:
        market.book_ns = min(ts_ns, self._state.now_ns)
        market.trouble = ""
        market.kept_mid = 0

    def trade(self, event: Trade) -> None:
        """Take the last price."""
        market = self._of(event.instrument)
        market.last = event.price
        market.trade_ns = min(event.ts_ns, self._state.now_ns)

    def interrupted(self, event: FeedInterrupted) -> None:
        """Forget a book that cannot be relied on. Its mid stays to value by: an older trade would be no better."""
        market = self._of(event.instrument)
        market.kept_mid = market.mid
        market.bid = market.ask = 0
        market.bids = market.asks = ()
        market.trouble = event.reason or "interrupted"

    def told(self, event: PairTold) -> list[str]:
        """Take a pair's rules and what the venue allows in it; return in words what is new of it, nothing mostly.

        Raises:
            InvalidValueError: when the market tells the pair in another scale than the account keeps: every price would
                be wrong, so nothing is sent any more.
        """
        known, rules = self._state.instruments.get(event.instrument), event.definition
        if known is None:
            return []
        if (known.price_decimals, known.size_decimals) != (rules.price_decimals, rules.size_decimals):
            raise InvalidValueError(
                f"{event.instrument} is told in {rules.price_decimals} and {rules.size_decimals} decimals, and kept in "
                f"{known.price_decimals} and {known.size_decimals}.",
                remedy="Sell what is held at the venue, and open an account anew.",
            )
        news = []
        if rules != known:
            self._state.instruments[event.instrument] = rules
            news = [f"{what} {before} is {now} now" for what, before, now in _rules(known, rules) if before != now]
        market = self._of(event.instrument)
        if (market.allows, market.allows_detail) != (event.state, event.detail):
            if market.allows is not event.state:
                detail = f" ({event.detail})" if event.detail else ""
                news.append(f"{event.state.words} at the venue{detail}; {event.state.means}")
            market.allows, market.allows_detail = event.state, event.detail
        return news

    def bar(self, event: Bar) -> None:
        """Take a close, and the volatility that it shows."""
        market = self._of(event.instrument)
        if market.close:
            market.variance_per_s = ewma_variance(
                market.variance_per_s,
                math.log(event.close / market.close),
                event.interval_s,
                self._state.own.sizing.volatility_halflife_bars,
            )
        market.close = event.close
        market.bar_ns = min(event.ts_ns, self._state.now_ns)


def _rules(known: Instrument, new: Instrument) -> list[tuple[str, str, str]]:
    """Return the rules for new orders by name, as they were and as they are."""
    return [
        ("tick", known.price_text(known.tick), new.price_text(new.tick)),
        ("lot", known.size_text(known.lot), new.size_text(new.lot)),
        ("least size", known.size_text(known.min_size), new.size_text(new.min_size)),
        ("least worth", format_amount(known.min_notional), format_amount(new.min_notional)),
    ]
