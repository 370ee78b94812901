"""An account as configuration: who it is, which strategies it runs and under which limits.

All of it arrives in the journal (`AccountOpened`, `LimitsChanged`), so a journal alone says by which rules it was made.
Bounds stand in the types; a value outside them is refused when it is read.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from aether.domain.identifiers import AccountId, AssetCode, FeedId, InstrumentId, StrategyName, VenueId
from aether.domain.instruments import Instrument

Bps = Annotated[int, Meta(ge=0, le=1_000_000)]
Count = Annotated[int, Meta(ge=1, le=100_000)]


class AccountKind(StrEnum):
    """Whose account it is."""

    COMPANY = "company"
    DIRECTOR = "director"


class Mode(StrEnum):
    """Where an account's orders go."""

    BACKTEST = "backtest"
    PAPER = "paper"
    LIVE = "live"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the risk gate allows one account. Shares of NAV are in basis points; durations carry their unit.

    The defaults are those of requirement R1 where it names one, and a cautious desk's otherwise.

    Attributes:
        market_data_max_age_ms: the book that an entry is decided on is not older.
        price_collar_bps: an order's price is not further from the mark.
        max_order_notional_bps: worth of one order, of NAV.
        max_position_bps: worth of one asset with what is being bought of it, of NAV.
        max_gross_exposure_bps: worth of all positions with what is being bought, of NAV.
        max_open_orders: orders that work at the same time.
        max_orders_per_second, max_orders_per_minute: orders sent in that time.
        repeated_order_limit: orders of one strategy on one instrument within `repeated_order_window_s` before it is
            stopped.
        repeated_order_window_s: the time in which they are counted.
        duplicate_window_ms: the same order is not sent again within it.
        max_daily_loss_bps: loss since the day began, of the worth then; beyond it entries stop until a person resumes.
        max_drawdown_bps: fall from the highest worth, of that; beyond it entries stop until a person resumes.
        max_daily_fees_bps: fees paid since the day began, of NAV.
    """

    market_data_max_age_ms: Annotated[int, Meta(ge=1, le=3_600_000)] = 2_000
    price_collar_bps: Bps = 200
    max_order_notional_bps: Bps = 3_500
    max_position_bps: Bps = 3_500
    max_gross_exposure_bps: Bps = 10_000
    max_open_orders: Count = 50
    max_orders_per_second: Count = 10
    max_orders_per_minute: Count = 120
    repeated_order_limit: Count = 30
    repeated_order_window_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    duplicate_window_ms: Annotated[int, Meta(ge=0, le=60_000)] = 250
    max_daily_loss_bps: Bps = 300
    max_drawdown_bps: Bps = 1_500
    max_daily_fees_bps: Bps = 100


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """How large an entry is (requirement R2).

    Attributes:
        target_volatility: yearly volatility that one position at full strength should bring to NAV, a fraction.
        risk_per_trade_bps: share of NAV lost if the stop is hit.
        volatility_halflife_bars: half-life of the volatility estimate.
    """

    target_volatility: Annotated[float, Meta(gt=0, le=5)] = 0.30
    risk_per_trade_bps: Annotated[int, Meta(ge=1, le=10_000)] = 50
    volatility_halflife_bars: Annotated[int, Meta(ge=2, le=10_000)] = 60


class Exits(msgspec.Struct, frozen=True, kw_only=True):
    """How a position is protected (requirement T6): distances in multiples of the volatility over a horizon.

    Attributes:
        horizon_s: time over which the volatility is projected.
        stop_multiple: stop-loss distance; 0 switches the stop off.
        take_profit_multiple: take-profit distance; 0 switches it off.
        trailing_multiple: distance of the trailing stop from the best price; 0 switches it off.
        min_stop_bps, max_stop_bps: bounds of the stop's distance from the entry.
        cool_down_s: time without entries after a stop was hit.
        at_venue: the stop, or what it trails at, also rests at the venue as an order, where that has such orders: it
            protects while the platform is down. It locks the coins, so every other sale takes it back first.
    """

    horizon_s: Annotated[int, Meta(ge=60, le=2_592_000)] = 14_400
    stop_multiple: Annotated[float, Meta(ge=0, le=100)] = 2.5
    take_profit_multiple: Annotated[float, Meta(ge=0, le=100)] = 6.0
    trailing_multiple: Annotated[float, Meta(ge=0, le=100)] = 4.0
    min_stop_bps: Annotated[int, Meta(ge=1, le=9_000)] = 50
    max_stop_bps: Annotated[int, Meta(ge=1, le=9_000)] = 1_500
    cool_down_s: Annotated[int, Meta(ge=0, le=2_592_000)] = 900
    at_venue: bool = False


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries a person looks at before they are sent (requirement R12).

    Attributes:
        notional: entries of at least this worth wait, a ledger amount of the account's currency; 0 for none.
        wait_s: without a decision by then the entry is dropped.
    """

    notional: Annotated[int, Meta(ge=0)] = 0
    wait_s: Annotated[int, Meta(ge=5, le=86_400)] = 300


class ForeignOrders(StrEnum):
    """What becomes of an open order at a venue that the account did not place (requirement R5)."""

    ALERT = "alert"
    """It is somebody's: people are told, only a stop takes it back."""
    ADOPT = "adopt"
    """The account takes it up as an operator's order: its funds are locked, and it is driven as every other. What such
    orders execute before they are taken up is booked as an operator's too."""
    CANCEL = "cancel"
    """The account takes it up and cancels it."""


LEAST_DEAD_MAN_S = 10
"""A shorter silence is a fault of the network that passes, and would cancel everything."""


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What follows when an account and a venue lose sight of each other.

    Attributes:
        foreign_orders: of pairs that the account has; of others people are told.
        dead_man_s: a venue that can (Kraken) cancels every order of the account when it has not heard of the platform
            for so long, 0 for never (requirement R5). A choice between two risks: with it no entry fills while nobody
            looks, and no exit that rests at the venue protects; without it all of them stay.
    """

    foreign_orders: ForeignOrders = ForeignOrders.ALERT
    dead_man_s: Annotated[int, Meta(ge=0, le=86_400)] = 0


Parameters = dict[str, bool | int | float | str]
"""A strategy's parameters by name."""


class StrategyAssignment(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy at work in an account. An instrument belongs to at most one strategy of an account.

    Attributes:
        params: the strategy's parameters by name; those left out take the strategy's defaults.
        bar_s: length of the bars it decides on, seconds.
    """

    strategy: StrategyName
    instruments: tuple[InstrumentId, ...]
    params: Parameters = {}
    bar_s: Annotated[int, Meta(ge=1, le=86_400)] = 60


class AccountConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an account is when it is opened.

    Attributes:
        currency: the asset its NAV is counted in; every instrument it trades is quoted in it.
        feed: the market it trades on; an account never mixes two.
        seed: seeds its simulated venue.
        tradable: instruments that people and algorithms may trade besides those of the strategies.
        shadow_of: the account beside which this one runs a candidate strategy, with fills on paper; empty for none.
        live_approval: who approved that the account trades real money; without it mode `live` sends nothing.
    """

    id: AccountId
    name: str
    kind: AccountKind
    mode: Mode
    feed: FeedId
    currency: AssetCode
    strategies: tuple[StrategyAssignment, ...]
    limits: Limits = Limits()
    sizing: Sizing = Sizing()
    exits: Exits = Exits()
    seed: int = 1
    tradable: tuple[InstrumentId, ...] = ()
    review: Review = Review()
    reconciliation: Reconciliation = Reconciliation()
    live_approval: str = ""
    shadow_of: AccountId = AccountId("")

    @property
    def approved(self) -> set[InstrumentId]:
        """Every instrument that the account may trade."""
        return {i for s in self.strategies for i in s.instruments} | set(self.tradable)

    def may_trade(self, instrument: InstrumentId) -> bool:
        """Return whether the account may trade an instrument."""
        return instrument in self.tradable or any(instrument in s.instruments for s in self.strategies)

    @property
    def venues(self) -> set[VenueId]:
        """Every venue that the account trades at."""
        return {VenueId(i.partition(":")[0]) for i in self.approved}


class AccountPlan(msgspec.Struct, frozen=True, kw_only=True):
    """An account that a node runs, and how to open it if it is new.

    Attributes:
        cash: first capital, a ledger amount of the account's currency, in equal parts at its venues.
        capital: first capital by venue and asset, in place of `cash`; ledger amounts.
        opened_ns: time of its opening events; None for now.
        stopped: it begins with its kill switch engaged.
        warms_up: its strategies enter nothing until they have seen the market's past: it trades beyond this process.
    """

    config: AccountConfig
    instruments: tuple[Instrument, ...]
    cash: int
    opened_ns: int | None = None
    stopped: bool = False
    warms_up: bool = False
    capital: tuple[tuple[VenueId, AssetCode, int], ...] = ()
