"""The accounts that a market begins with."""

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from aether.clock import wall_ns
from aether.domain.accounts import AccountConfig, AccountKind, AccountPlan, Limits, Mode, StrategyAssignment
from aether.domain.errors import UnknownNameError
from aether.domain.identifiers import AccountId, FeedId, InstrumentId, StrategyName, Symbol
from aether.domain.instruments import Instrument
from aether.domain.orders import Side
from aether.domain.scaled import AMOUNT_SCALE
from aether.market.dataset import Dataset, DatasetKind
from aether.market.replay import feed_id, replay_trades
from aether.market.synthetic import SYNTHETIC_FEED, synthetic_instruments
from aether.venues.client import VenueClient
from aether.venues.recording import Replayed

DEFAULT_CASH = 100_000 * AMOUNT_SCALE
DEFAULT_BAR_S = 900
SYNTHETIC_HISTORY_S = 3 * 3600
VENUE_HISTORY_S = 3 * 3600
SILENT_MARKET_MS = 300_000
LIVE_MARKET_MS = 5_000

Params = Mapping[str, float | int | str | bool]


def assign(
    strategy: str, instruments: tuple[InstrumentId, ...], params: Params | None = None, bar_s: int = DEFAULT_BAR_S
) -> StrategyAssignment:
    """Return a strategy at work on `instruments`."""
    return StrategyAssignment(
        strategy=StrategyName(strategy), instruments=instruments, params=dict(params or {}), bar_s=bar_s
    )


def recording_limits(dataset: Dataset) -> dict[str, float | int | str | bool]:
    """Return the limits that differ for a recording: one of trades has silences, and no quotes in between."""
    return {"market_data_max_age_ms": SILENT_MARKET_MS} if dataset.kind is DatasetKind.TRADES else {}


def recording_account(
    account: str, dataset: Dataset, assignment: StrategyAssignment, mode: Mode, limits: Limits, seed: int
) -> AccountConfig:
    """Return an account that trades a recording, the same for a back-test and for a replay."""
    return AccountConfig(
        id=AccountId(account),
        name=account.split(".", 1)[0].replace("-", " ").title(),
        kind=AccountKind.COMPANY if account.startswith(("company", "backtest")) else AccountKind.DIRECTOR,
        mode=mode,
        feed=feed_id(dataset),
        currency=dataset.instrument().quote,
        strategies=(assignment,),
        limits=limits,
        seed=seed,
    )


def replay_plans(dataset: Dataset, seed: int) -> list[AccountPlan]:
    """Return three paper accounts that trade a recording, one strategy each, named after the recording."""
    instrument = dataset.instrument()
    suffix = dataset.digest[:8]
    limits = msgspec.convert(recording_limits(dataset), Limits)
    opened_ns = next(iter(replay_trades(dataset, instrument.id))).ts_ns
    names = ("company", "director-1", "director-2")
    strategies = ("ema_cross", "mean_reversion", "vol_target_basket")
    return [
        AccountPlan(
            config=recording_account(
                f"{name}.{suffix}", dataset, assign(strategy, (instrument.id,)), Mode.PAPER, limits, seed
            ),
            instruments=(instrument,),
            cash=DEFAULT_CASH,
            opened_ns=opened_ns,
        )
        for name, strategy in zip(names, strategies, strict=True)
    ]


def synthetic_plans(seed: int) -> list[AccountPlan]:
    """Return the three paper accounts of the reference firm on the synthetic market."""
    instruments = synthetic_instruments()
    btc, eth, sol, xrp = (i.id for i in instruments)
    desk = (
        ("company", "Company", AccountKind.COMPANY, assign("vol_target_basket", (btc, eth, sol, xrp), {}, 60)),
        ("director-1", "Director 1", AccountKind.DIRECTOR, assign("ema_cross", (btc, sol), {}, 60)),
        ("director-2", "Director 2", AccountKind.DIRECTOR, assign("mean_reversion", (eth, xrp), {}, 30)),
    )
    opened_ns = wall_ns() - (SYNTHETIC_HISTORY_S + 60) * 1_000_000_000
    return [
        AccountPlan(
            config=AccountConfig(
                id=AccountId(account),
                name=name,
                kind=kind,
                mode=Mode.PAPER,
                feed=SYNTHETIC_FEED,
                currency=instruments[0].quote,
                strategies=(assignment,),
                limits=Limits(max_daily_fees_bps=500),
                seed=seed + n,
            ),
            instruments=tuple(i for i in instruments if i.id in assignment.instruments),
            cash=DEFAULT_CASH,
            opened_ns=opened_ns,
        )
        for n, (account, name, kind, assignment) in enumerate(desk)
    ]


def venue_plans(venues: list[VenueClient], name: str, seed: int, *, warms_up: bool) -> list[AccountPlan]:
    """Return three paper accounts on live venues: on one venue all on it, on several one each.

    The company's may trade its pairs at the other venues too, with its cash in equal parts at all of them.

    Raises:
        UnknownNameError: when a venue lists none of the pairs that they trade.
    """
    desk = (
        ("company", "Company", AccountKind.COMPANY, "vol_target_basket", ("BTC", "ETH", "SOL", "XRP"), 60),
        ("director-1", "Director 1", AccountKind.DIRECTOR, "ema_cross", ("BTC", "SOL"), 60),
        ("director-2", "Director 2", AccountKind.DIRECTOR, "mean_reversion", ("ETH", "XRP"), 60),
    )
    plans = []
    for n, (account, title, kind, strategy, bases, bar_s) in enumerate(desk):
        client = venues[n % len(venues)]
        listed = {listing.instrument.symbol: listing.instrument for listing in client.protocol.listings.values()}
        quote = next((q for q in ("USD", "USDT", "USDC") if f"BTC/{q}" in listed), None)
        chosen = tuple(listed[Symbol(f"{b}/{quote}")] for b in bases if f"{b}/{quote}" in listed)
        if not chosen or quote is None:
            raise UnknownNameError(
                f"{client.protocol.venue.capitalize()} lists none of {', '.join(bases)} against dollars.",
                remedy="Choose another venue.",
            )
        more: tuple[Instrument, ...] = ()
        if n == 0:
            more = tuple(
                {
                    listing.id: listing.instrument
                    for other in venues
                    if other is not client
                    for listing in other.protocol.listings.values()
                    if listing.instrument.base in bases and listing.instrument.quote == quote
                }.values()
            )
        plans.append(
            AccountPlan(
                config=AccountConfig(
                    id=AccountId(f"{account}.{name}"),
                    name=title,
                    kind=kind,
                    mode=Mode.PAPER,
                    feed=FeedId(name),
                    currency=chosen[0].quote,
                    strategies=(assign(strategy, tuple(i.id for i in chosen), {}, bar_s),),
                    limits=Limits(market_data_max_age_ms=LIVE_MARKET_MS),
                    seed=seed + n,
                    tradable=tuple(i.id for i in more),
                ),
                instruments=chosen + more,
                warms_up=warms_up,
                cash=DEFAULT_CASH,
                opened_ns=wall_ns() - (VENUE_HISTORY_S + 60) * 1_000_000_000,
            )
        )
    return plans


def trades_dataset(found: Replayed, source: str) -> Dataset:
    """Return the trades of a venue's raw recording as a recording to trade on, in as few decimals as they need."""
    prices, decimals = _narrowed([t.price for t in found.trades], found.price_decimals)
    sizes, size_decimals = _narrowed([t.size for t in found.trades], found.size_decimals)
    sides = {Side.BUY: 1, Side.SELL: -1, None: 0}
    return Dataset(
        kind=DatasetKind.TRADES,
        symbol=Symbol(found.symbol),
        price_decimals=decimals,
        size_decimals=size_decimals,
        interval_s=0,
        ts_ns=np.array([t.ts_ns for t in found.trades], dtype=np.int64),
        columns={
            "price": prices,
            "size": sizes,
            "side": np.array([sides[t.side] for t in found.trades], dtype=np.int64),
        },
        source=source,
    )


def _narrowed(values: list[int], decimals: int) -> tuple[NDArray[np.int64], int]:
    """Return exact numbers in as few decimals as they need, two at least: so they fit into 64 bits."""
    while decimals > 2 and not any(value % 10 for value in values):
        values, decimals = [value // 10 for value in values], decimals - 1
    return np.array(values, dtype=np.int64), decimals
