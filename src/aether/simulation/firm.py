"""The firm of every world: who trades what, and where."""

from aether.domain.identifiers import AccountId, FeedId, VenueId

VENUES = (VenueId("kraken"), VenueId("binance"), VenueId("coinbase"))
ACCOUNTS = (AccountId("one"), AccountId("two"))
SYMBOL = "BTC/USD"
PRICE = 60_000.0
CASH = 60_000
FEED = FeedId("exchange")
