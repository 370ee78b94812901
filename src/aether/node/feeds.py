"""Where the market comes from: a synthetic one by the wall clock, live venues, or a recording at any speed.

All give trades and quotes with the bars built from them to the node's market (`sequencer.py`), in the same order that a
back-test sees.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from aether.clock import monotonic_s, wall_ns
from aether.domain.accounts import AccountConfig
from aether.domain.errors import InvalidValueError
from aether.domain.events import Bar, BookUpdate, FeedInterrupted, MarketEvent, PairTold, StrategyEnabled, Timer, Trade
from aether.domain.identifiers import InstrumentId
from aether.market.bars import BarAggregator, with_bars
from aether.market.synthetic import SyntheticMarket
from aether.node.sequencer import Sequencer
from aether.node.shard import Shard
from aether.venues.feed import FeedEvent, FeedTrouble, MarketFeed

TIMER_S = 1.0
YIELD_EVERY = 256
CHART_BAR_S = 60
HISTORY_STEP_S = 5
NS_PER_S = 1_000_000_000
HISTORY_LEAD_NS = 100_000_000
BOOK_EVERY_S = 0.25

BarSink = Callable[[Bar], None]


class Feed(Protocol):
    """A source of market events for a node."""

    async def run(self, market: Sequencer, shards: Sequence[Shard], on_bar: BarSink) -> None:
        """Give events to the node's market until the source ends or the task is canceled."""
        ...

    def admit(self, shard: Shard) -> None:
        """Hear of another account on the market, which needs bars of its own."""
        ...


def bar_intervals(shards: Iterable[Shard]) -> set[int]:
    """Return the bar lengths that the accounts' strategies decide on."""
    return {a.bar_s for shard in shards for a in shard.config.strategies}


def is_new(market: Sequencer, shards: Iterable[Shard]) -> bool:
    """Return whether nobody has seen anything of a market: the past comes first then."""
    return not market.pos and not any(shard.place.taken for shard in shards)


WARM_UP = "warm-up"


def warming(config: AccountConfig, ts_ns: int) -> list[StrategyEnabled]:
    """Return the events that keep an account's strategies from entering anything yet."""
    names = sorted({a.strategy for a in config.strategies})
    return [StrategyEnabled(ts_ns=ts_ns, strategy=name, enabled=False, actor=WARM_UP) for name in names]


def warmed_up(shard: Shard) -> list[StrategyEnabled]:
    """Return the events that let those strategies go on which only warmed up."""
    state = shard.engine.state
    waiting = [name for name, actor in state.disabled.items() if actor == WARM_UP]
    return [StrategyEnabled(ts_ns=wall_ns(), strategy=name, enabled=True, actor=WARM_UP) for name in waiting]


class SyntheticFeed:
    """The synthetic market in real time.

    New accounts are given the market's last hours first, at once and in coarse steps, so that strategies are warm when
    the present begins.

    Args:
        market: what moves.
        step_s: time between its steps, seconds.
        history_s: how much past new accounts are given.
    """

    def __init__(self, market: SyntheticMarket, step_s: float, history_s: int) -> None:
        self._market = market
        self._step_s = step_s
        self._history_s = history_s
        self._aggregator = BarAggregator(())

    async def run(self, market: Sequencer, shards: Sequence[Shard], on_bar: BarSink) -> None:
        """Step the market by the wall clock, with a timer event once a second."""
        self._aggregator = BarAggregator(bar_intervals(shards) | {CHART_BAR_S})
        if is_new(market, shards):
            await self._give_history(market, on_bar)
        next_step = monotonic_s()
        next_timer = next_step + TIMER_S
        while True:
            now_ns = wall_ns()
            for event in self._step(now_ns, self._step_s, on_bar):
                market.offer(event)
            if monotonic_s() >= next_timer:
                next_timer += TIMER_S
                market.offer(Timer(ts_ns=now_ns))
            next_step = max(next_step + self._step_s, monotonic_s() - TIMER_S)
            await asyncio.sleep(max(0.0, next_step - monotonic_s()))

    def admit(self, shard: Shard) -> None:
        """Make the bars of another account's strategies too, from now on."""
        self._aggregator.also(bar_intervals([shard]))

    async def _give_history(self, market: Sequencer, on_bar: BarSink) -> None:
        # Steps end just before whole multiples of their length, so that bars end on fresh quotes.
        step_ns = HISTORY_STEP_S * NS_PER_S
        end_ns = wall_ns() // step_ns * step_ns - HISTORY_LEAD_NS
        for age_s in range(self._history_s - HISTORY_STEP_S, -1, -HISTORY_STEP_S):
            for event in self._step(end_ns - age_s * NS_PER_S, HISTORY_STEP_S, on_bar):
                await market.put(event)
            await asyncio.sleep(0)

    def _step(self, now_ns: int, step_s: float, on_bar: BarSink) -> Iterable[MarketEvent]:
        for bar in self._aggregator.advance(now_ns):
            if bar.interval_s == CHART_BAR_S:
                on_bar(bar)
            yield bar
        for event in self._market.step(now_ns, step_s):
            if isinstance(event, Trade):
                self._aggregator.add(event)
            yield event


class VenueFeed:
    """The live public markets of one or several venues.

    Books are told at most every `BOOK_EVERY_S` and only when they changed; every event carries the time of its receipt,
    the clock that the node lives by. A book that cannot be relied on any more is taken back at once. New accounts are
    given the venues' last bars first, so that strategies are warm.

    Args:
        markets: one feed a venue.
        history: by time, the trades that stand for the venues' last bars.
    """

    def __init__(self, markets: Sequence[MarketFeed], history: Sequence[Trade]) -> None:
        self._markets = markets
        self._history = history
        self._aggregator = BarAggregator(())
        self._books: dict[InstrumentId, BookUpdate] = {}
        self._pairs: dict[InstrumentId, PairTold] = {}
        """What the venues said last of each pair: whoever comes later hears it too."""
        self._market: Sequencer | None = None

    async def run(self, market: Sequencer, shards: Sequence[Shard], on_bar: BarSink) -> None:
        """Give what the venues tell, until canceled, with a timer event once a second."""
        self._market = market
        intervals = bar_intervals(shards) | {CHART_BAR_S}
        if is_new(market, shards):
            for event in with_bars(iter(self._history), intervals):
                if isinstance(event, Bar) and event.interval_s == CHART_BAR_S:
                    on_bar(event)
                await market.put(event)
        self._aggregator = BarAggregator(intervals)
        for shard in shards:
            await shard.inbox.drained.wait()
            for enabled in warmed_up(shard):
                shard.inbox.put_request(enabled, 0)
        async with asyncio.TaskGroup() as group:
            for source in self._markets:
                group.create_task(self._read(source, market))
            group.create_task(self._pace(market, on_bar))

    def admit(self, shard: Shard) -> None:
        """Make the bars of another account's strategies too, from now on; they begin with what they see."""
        self._aggregator.also(bar_intervals([shard]))
        for enabled in warmed_up(shard):
            shard.inbox.put_request(enabled, 0)
        for told in self._pairs.values():
            if self._market is not None and told.instrument in shard.config.approved:
                self._market.offer(msgspec.structs.replace(told, ts_ns=wall_ns()))

    async def _read(self, source: MarketFeed, market: Sequencer) -> None:
        async for event in source.events():
            self._hear(source, event, market)

    def _hear(self, source: MarketFeed, event: FeedEvent, market: Sequencer) -> None:
        if isinstance(event, Trade):
            stamped = msgspec.structs.replace(event, ts_ns=wall_ns())
            self._aggregator.add(stamped)
            market.offer(stamped)
        elif isinstance(event, BookUpdate):
            self._books[event.instrument] = msgspec.structs.replace(event, ts_ns=wall_ns())
        elif isinstance(event, PairTold):
            self._pairs[event.instrument] = event
            market.offer(event)
        elif isinstance(event, FeedTrouble):
            for instrument in [i for i in source.books if event.instrument in ("", i)]:
                if self._books.pop(instrument, None) is not None:
                    market.offer(FeedInterrupted(ts_ns=wall_ns(), instrument=instrument, reason=event.reason))

    async def _pace(self, market: Sequencer, on_bar: BarSink) -> None:
        told: dict[InstrumentId, BookUpdate] = {}
        next_timer = monotonic_s()
        while True:
            now_ns = wall_ns()
            for source in self._markets:
                for event in source.take_found():  # a venue that is closed says nothing on its socket
                    self._hear(source, event, market)
            for bar in self._aggregator.advance(now_ns):
                if bar.interval_s == CHART_BAR_S:
                    on_bar(bar)
                market.offer(bar)
            for instrument, book in list(self._books.items()):
                if told.get(instrument) is not book:
                    told[instrument] = book
                    market.offer(book)
            if monotonic_s() >= next_timer:
                next_timer = monotonic_s() + TIMER_S
                market.offer(Timer(ts_ns=now_ns))
            await asyncio.sleep(BOOK_EVERY_S)


class ReplayFeed:
    """A recording.

    Args:
        trades: gives the recording's trades from its beginning.
        speed: times real time; None for as fast as the accounts take it.
    """

    def __init__(self, trades: Callable[[], Iterable[Trade]], speed: float | None) -> None:
        self._trades = trades
        self._speed = speed

    async def run(self, market: Sequencer, shards: Sequence[Shard], on_bar: BarSink) -> None:
        """Give the recording from where the market's log ends, waiting for slow accounts; nothing is shed."""
        began: tuple[float, int] | None = None
        written = market.pos
        for count, event in enumerate(with_bars(self._trades(), bar_intervals(shards) | {CHART_BAR_S}), 1):
            if isinstance(event, Bar) and event.interval_s == CHART_BAR_S:
                on_bar(event)
            if count > written:
                if self._speed is not None:
                    began = began or (monotonic_s(), event.ts_ns)
                    due = began[0] + (event.ts_ns - began[1]) / 1e9 / self._speed
                    await asyncio.sleep(max(0.0, due - monotonic_s()))
                await market.put(event)
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def admit(self, shard: Shard) -> None:
        """Refuse: everyone takes a recording from its beginning."""
        raise InvalidValueError(
            f"{shard.account} comes while the recording runs.", remedy="Open accounts before it starts."
        )
