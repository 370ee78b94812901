"""What a running market offers to new accounts: its pairs, and what an account on it is like."""

from collections.abc import Sequence

import msgspec

from aether.domain.accounts import AccountConfig, AccountPlan, Mode
from aether.domain.errors import InvalidValueError, UnknownNameError
from aether.domain.identifiers import FeedId, InstrumentId
from aether.domain.instruments import Instrument


class MarketOffer(msgspec.Struct, frozen=True, kw_only=True):
    """What a running market offers, as its node tells it.

    Attributes:
        name: how people see the market.
        feed: under which its bars and accounts are kept.
        instruments: that its feed carries.
        is_recording: it ends, and takes no more accounts.
        is_simulated: no order reaches a real venue.
        max_age_ms: how old its market data may be for an account to trade on; None for the account's own limit.
    """

    name: str
    feed: FeedId
    instruments: tuple[Instrument, ...]
    is_recording: bool = False
    is_simulated: bool = True
    max_age_ms: int | None = None

    def plan(self, config: AccountConfig, wanted: Sequence[InstrumentId], cash: int) -> AccountPlan:
        """Return how an account would be opened.

        Raises:
            UnknownNameError: when the market has no such instrument.
            InvalidValueError: when the account cannot be on it.
        """
        if self.is_recording:
            raise InvalidValueError(
                "A recording takes no more accounts.", remedy="Start the platform on a market that goes on."
            )
        offered = {i.id: i for i in self.instruments}
        unknown = [i for i in wanted if i not in offered]
        if unknown:
            raise UnknownNameError(
                f"The market has no instrument {unknown[0]!r}.", remedy=f"It has {', '.join(offered)}."
            )
        chosen = tuple(offered[i] for i in dict.fromkeys(wanted))
        quotes = {i.quote for i in chosen}
        if len(quotes) != 1:
            raise InvalidValueError(
                f"The instruments are quoted in {', '.join(sorted(quotes))}.", remedy="Choose those of one currency."
            )
        is_live = config.mode is Mode.LIVE
        if is_live and self.is_simulated:
            raise InvalidValueError(
                f"The {self.name} is simulated: no account can be live on it.",
                remedy="Start the platform with --market kraken, binance or coinbase.",
            )
        if is_live and config.shadow_of:
            raise InvalidValueError("A shadow trades no real money.", remedy="Open a live account with its strategy.")
        limits = config.limits
        if self.max_age_ms is not None:
            limits = msgspec.structs.replace(limits, market_data_max_age_ms=self.max_age_ms)
        config = msgspec.structs.replace(config, currency=next(iter(quotes)), feed=self.feed, limits=limits)
        return AccountPlan(config=config, instruments=chosen, cash=0 if is_live else cash)
