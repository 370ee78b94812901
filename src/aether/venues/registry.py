"""The venues with an adapter of their own, by name."""

from aether.domain.errors import UnknownNameError
from aether.venues.binance.protocol import BinanceProtocol
from aether.venues.coinbase.protocol import CoinbaseProtocol
from aether.venues.kraken.protocol import KrakenProtocol
from aether.venues.protocol import VenueProtocol

PROTOCOLS: dict[str, type[KrakenProtocol | BinanceProtocol | CoinbaseProtocol]] = {
    "kraken": KrakenProtocol,
    "binance": BinanceProtocol,
    "coinbase": CoinbaseProtocol,
}


def protocol_of(venue: str) -> VenueProtocol:
    """Return a new protocol of a venue, with no pair listed yet.

    Raises:
        UnknownNameError: when no adapter is of that name.
    """
    if venue not in PROTOCOLS:
        raise UnknownNameError(
            f"There is no adapter for the venue {venue!r}.",
            remedy=f"Choose one of {', '.join(PROTOCOLS)}; any other exchange goes through the ccxt bridge.",
        )
    return PROTOCOLS[venue]()
