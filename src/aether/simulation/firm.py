"""The firm of every world: who trades what, and where."""

from aether.domain.accounts import Exits, Limits
from aether.domain.identifiers import AccountId, FeedId, VenueId

VENUES = (VenueId("kraken"), VenueId("binance"), VenueId("coinbase"))
ACCOUNTS = (AccountId("one"), AccountId("two"))
SYMBOL = "BTC/USD"
PRICE = 60_000.0
CASH = 60_000
LIMITS = Limits(
    market_data_max_age_ms=10_000,
    max_position_bps=10_000,
    max_order_notional_bps=5_000,
    max_daily_fees_bps=10_000,
    max_orders_per_minute=1_000,
)
NEAR = Exits(min_stop_bps=2, max_stop_bps=10, trailing_multiple=0.02, take_profit_multiple=0.0, at_venue=True)
"""Stops at the venue that a short life reaches."""
FEED = FeedId("exchange")
