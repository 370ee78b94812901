"""Rate limits modelled before sending (requirement T9): what a request costs, and how long it has to wait.

Each venue counts in its own way; the two kinds are a counter that decays (Kraken) and a count within a window
(Binance, Coinbase). The state of a limit is a level and a time, so it can lie in a file that several processes share.
Cancels may use the whole limit, exits nearly all of it, everything else less, so neither waits behind an entry.

Sources: Kraken API Center "Spot REST rate limits" and "Spot trading rate limits"; binance-spot-api-docs rest-api.md
"LIMITS" and the `rateLimits` of `exchangeInfo`; Coinbase "Advanced Trade REST API rate limits".
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from aether.domain.orders import Side
from aether.venues.actions import (
    CANCELS,
    PRIVATE,
    TRADING,
    Action,
    Amend,
    Balances,
    Cancel,
    CancelAllOrders,
    Fates,
    GetOrder,
    Request,
    Submit,
    SubmitBatch,
)

CANCELS_SHARE, EXITS_SHARE, SHARE, BALANCES_SHARE = 1.0, 0.9, 0.8, 0.6
"""How much of a limit may be used by cancels, by exits, and by everything else: entries never stand in their way."""


CANCELS_KNOCK_S, EXITS_KNOCK_S, LONGEST_KNOCK_S, QUIET_S = 5.0, 30.0, 120.0, 60.0
LONGEST_BLOCK_S = 900.0
"""Kraken's support pages name a quarter of an hour."""


_KNOCK_S = {CANCELS_SHARE: CANCELS_KNOCK_S, EXITS_SHARE: EXITS_KNOCK_S}


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of a venue.

    Attributes:
        capacity: the level that must not be passed.
        decay_per_s: how fast the level falls; 0 for a count that starts anew each `window_s`.
    """

    name: str
    capacity: float
    decay_per_s: float = 0.0
    window_s: float = 0.0


class Level(msgspec.Struct, kw_only=True):
    """How full a limit is: `level` at the time `at_s`, nothing to be sent before `blocked_until_s`.

    Attributes:
        blocked_s: when the venue said last that it was too much.
        refusals: how often it has, one after the other.
    """

    level: float = 0.0
    at_s: float = 0.0
    blocked_until_s: float = 0.0
    blocked_s: float = 0.0
    refusals: int = 0


def set_back(level: Level, now_s: float) -> None:
    """Bring a level that was kept by a clock ahead of this one to this clock: nothing waits for the difference."""
    ahead_s = level.at_s - now_s
    if ahead_s > 0:
        level.at_s = now_s
        level.blocked_until_s -= ahead_s
        level.blocked_s -= ahead_s


def level_at(limit: Limit, level: Level, now_s: float) -> float:
    """Return how full a limit is at a time."""
    if limit.decay_per_s:
        return max(0.0, level.level - limit.decay_per_s * max(0.0, now_s - level.at_s))
    same_window = now_s // limit.window_s == level.at_s // limit.window_s
    return level.level if same_window else 0.0


def wait_s(limit: Limit, level: Level, cost: float, now_s: float, share: float) -> float:
    """Return how long a request of `cost` that may use a `share` of the limit has to wait, 0 when it may go now.

    Cancels, and exits more seldom, knock again on a door that is closed for nobody knows how long.
    """
    blocked_until_s = level.blocked_until_s
    if (first_s := _KNOCK_S.get(share)) is not None:
        knock_s = min(LONGEST_KNOCK_S, first_s * 2 ** max(0, level.refusals - 1))
        blocked_until_s = min(blocked_until_s, level.blocked_s + knock_s)
    if now_s < blocked_until_s:
        return blocked_until_s - now_s
    room = limit.capacity * share
    over = level_at(limit, level, now_s) + cost - max(room, cost)
    if over <= 1e-9:
        return 0.0
    if limit.decay_per_s:
        return over / limit.decay_per_s
    return (now_s // limit.window_s + 1) * limit.window_s - now_s


def charge(limit: Limit, level: Level, cost: float, now_s: float) -> Level:
    """Return the level after a request."""
    return msgspec.structs.replace(level, level=level_at(limit, level, now_s) + cost, at_s=now_s)


def blocked(level: Level, now_s: float, told_s: float, first_s: float) -> None:
    """Let a limit rest after the venue said that it was too much.

    Args:
        told_s: for how long, the venue's own word, which cancels keep to as well; 0 without one.
        first_s: for how long without one; twice as long each time.
    """
    if now_s - level.blocked_until_s > max(QUIET_S, level.blocked_until_s - level.blocked_s):
        level.refusals = 0  # it has been quiet for as long as the last wait was
    seconds = told_s or min(LONGEST_BLOCK_S, first_s * 2**level.refusals)
    level.refusals = min(level.refusals + 1, 16)
    level.blocked_until_s = max(level.blocked_until_s, now_s + seconds)
    level.blocked_s = level.blocked_until_s if told_s else now_s


Costs = list[tuple[Limit, str, float]]
"""Limit, the part of it that is counted apart (a pair), and the cost."""


class KrakenLimits:
    """Kraken: a counter for the REST API, one a pair for the matching engine, both decaying.

    Args:
        tier: the account's verification: starter, intermediate or pro.
    """

    _REST: ClassVar = {"starter": (15, 0.33), "intermediate": (20, 0.5), "pro": (20, 1.0)}
    _TRADING: ClassVar = {"starter": (60, 1.0), "intermediate": (125, 2.34), "pro": (180, 3.75)}
    _CANCEL_PENALTY = ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))
    _AMEND_PENALTY = ((5, 3), (10, 2), (15, 1))

    def __init__(self, tier: str = "intermediate") -> None:
        rest, trading = self._REST[tier], self._TRADING[tier]
        self._rest = Limit(name="rest", capacity=rest[0], decay_per_s=rest[1])
        self._trading = Limit(name="trading", capacity=trading[0], decay_per_s=trading[1])
        self._public = Limit(name="public", capacity=15, decay_per_s=1.0)

    def costs(self, action: Action, requests: list[Request], order_age_s: float) -> Costs:
        """Return what an action costs; a young order is dearer to cancel."""
        if not isinstance(action, PRIVATE):
            return [(self._public, "", len(requests))]
        if isinstance(action, CancelAllOrders) or not isinstance(action, TRADING):
            return [(self._rest, "", float(max(1, sum(r.weight for r in requests))))]
        if isinstance(action, SubmitBatch):
            return [(self._trading, action.orders[0].symbol, 1 + len(action.orders) / 2)]
        if isinstance(action, Submit):
            return [(self._trading, action.symbol, 1.0)]
        if isinstance(action, Cancel):
            return [(self._trading, action.symbol, _by_age(self._CANCEL_PENALTY, order_age_s))]
        if isinstance(action, Amend):
            return [(self._trading, action.symbol, 1.0 + _by_age(self._AMEND_PENALTY, order_age_s))]
        return []

    def told(self, headers: Mapping[str, str]) -> list[tuple[Limit, float]]:
        """Return levels that response headers tell: Kraken tells none."""
        return []


class BinanceLimits:
    """Binance: request weight a minute, counted by address; orders in ten seconds and a day, counted by account."""

    def __init__(self, weight: int = 6_000, orders_10s: int = 100, orders_day: int = 200_000) -> None:
        self._weight = Limit(name="weight", capacity=weight, window_s=60)
        self._orders = Limit(name="orders_10s", capacity=orders_10s, window_s=10)
        self._day = Limit(name="orders_day", capacity=orders_day, window_s=86_400)

    def costs(self, action: Action, requests: list[Request], order_age_s: float) -> Costs:
        """Return what an action costs: its weight, and one order if it is one."""
        costs: Costs = [(self._weight, "", float(sum(r.weight for r in requests)))]
        if isinstance(action, Submit):
            costs += [(self._orders, "", 1.0), (self._day, "", 1.0)]
        return costs

    def told(self, headers: Mapping[str, str]) -> list[tuple[Limit, float]]:
        """Return the levels of `X-MBX-USED-WEIGHT-1M` and `X-MBX-ORDER-COUNT-*`."""
        names = (
            ("x-mbx-used-weight-1m", self._weight),
            ("x-mbx-order-count-10s", self._orders),
            ("x-mbx-order-count-1d", self._day),
        )
        return [(limit, float(headers[name])) for name, limit in names if headers.get(name, "").isdigit()]


class CoinbaseLimits:
    """Coinbase: requests a second, 30 with a key and 10 without."""

    def __init__(self, private: int = 30, public: int = 10) -> None:
        self._private = Limit(name="private", capacity=private, window_s=1)
        self._public = Limit(name="public", capacity=public, window_s=1)

    def costs(self, action: Action, requests: list[Request], order_age_s: float) -> Costs:
        """Return what an action costs: its requests."""
        limit = self._private if isinstance(action, PRIVATE) else self._public
        return [(limit, "", float(len(requests)))]

    def told(self, headers: Mapping[str, str]) -> list[tuple[Limit, float]]:
        """Return levels that response headers tell: Coinbase tells none that we count by."""
        return []


class NoLimits:
    """No limit at all: for a local exchange that counts nothing."""

    def costs(self, action: Action, requests: list[Request], order_age_s: float) -> Costs:
        """Return nothing."""
        return []

    def told(self, headers: Mapping[str, str]) -> list[tuple[Limit, float]]:
        """Return nothing."""
        return []


VenueLimits = KrakenLimits | BinanceLimits | CoinbaseLimits | NoLimits

LIMITS: dict[str, type[KrakenLimits] | type[BinanceLimits] | type[CoinbaseLimits]] = {
    "kraken": KrakenLimits,
    "binance": BinanceLimits,
    "coinbase": CoinbaseLimits,
}
"""The limits of each venue with an adapter."""


def share_of(action: Action) -> float:
    """Return how much of a limit an action may use.

    Cancels come first, then what sells and what resolves an order's fate; balances, which are asked for at each
    movement, leave room for everything else.
    """
    if isinstance(action, CANCELS):
        return CANCELS_SHARE
    if isinstance(action, GetOrder | Fates) or (isinstance(action, Submit) and action.side is Side.SELL):
        return EXITS_SHARE
    return BALANCES_SHARE if isinstance(action, Balances) else SHARE


def _by_age(table: tuple[tuple[int, int], ...], age_s: float) -> float:
    for below_s, cost in table:
        if age_s < below_s:
            return float(cost)
    return 0.0
