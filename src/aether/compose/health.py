"""How the processes are: the node says it over the bus, the API tells whoever asks."""

from math import inf
from typing import TYPE_CHECKING

import msgspec

from aether.bus.local import LocalBus
from aether.bus.topics import HEALTH, SILENT_AFTER_S, Readiness
from aether.clock import monotonic_s, wall_ns
from aether.control.guards import Finding
from aether.domain.identifiers import VenueId
from aether.engine.breakers import holds_back
from aether.store.database import Database
from aether.store.patience import DATABASE_AWAY, within

if TYPE_CHECKING:
    from aether.node.runtime import Node  # the API tells of a node, and loads none

MARKET = "market data"
STALE_MARKET_S = 10.0
LAG_LIMIT_EVENTS = 3_000
DATABASE_ANSWERS_S = 2.0
SHOWN = 5
LOOKED_WITHIN_S = 10.0
"""A sign of life from the database that is older says nothing."""


class NodeHealth:
    """How a node is, as it says itself."""

    def __init__(self, node: "Node", database: Database, bus: LocalBus, *, wall_clock: bool) -> None:
        self._node = node
        self._database = database
        self._bus = bus
        self._wall_clock = wall_clock
        self._away = "not asked yet"
        self._asked_s = -inf

    def tell(self) -> None:
        """Say how the node is."""
        self._bus.publish(HEALTH, {"checks": msgspec.to_builtins(self._checks())})

    async def look(self) -> None:
        """Ask the database for a sign of life; `tell` says what came of it."""
        try:
            await within(DATABASE_ANSWERS_S, self._database.ping())
            self._away = ""
        except DATABASE_AWAY as error:
            self._away = str(error) or f"it does not answer within {DATABASE_ANSWERS_S:g} s"
        self._asked_s = monotonic_s()

    def _checks(self) -> list[Readiness]:
        return [
            self._database_check(),
            self._accounts_check(),
            *self._market_checks(),
            *self._order_checks(),
            self._lag_check(),
        ]

    def _database_check(self) -> Readiness:
        if self._node.committer.outage:
            return Readiness("database", False, f"trading is paused: {self._node.committer.outage}")
        if self._away:
            return Readiness("database", False, self._away)
        age_s = monotonic_s() - self._asked_s
        return Readiness("database", age_s < LOOKED_WITHIN_S, f"reachable {age_s:.0f} s ago")

    def _accounts_check(self) -> Readiness:
        failed = self._node.failures()
        if failed:
            return Readiness("accounts", False, "; ".join(f"{a}: {reason}" for a, reason in failed.items()))
        if self._node.stands_by_for:
            return Readiness("accounts", False, f"standing by for {self._node.stands_by_for}")
        if not self._node.is_ready:
            return Readiness("accounts", False, "starting")
        if not self._node.lease.is_held:
            late_s = -self._node.lease.left_s()
            return Readiness("accounts", False, f"the lease is not renewed for {late_s:.0f} s: nothing new is sent")
        return Readiness("accounts", True, f"{len(self._node.shards)} trading")

    def _market_checks(self) -> list[Readiness]:
        """Return how old what is known of the market is, at all and at each venue."""
        if self._node.feed_ended.is_set():
            return [Readiness(MARKET, True, "the recording has ended")]
        if not self._wall_clock:
            return [Readiness(MARKET, True, "replaying")]
        if not self._node.shards:
            return [Readiness(MARKET, True, "no account wants any yet")]
        venues: dict[VenueId, int] = {}
        troubles: dict[VenueId, dict[str, None]] = {}
        for shard in self._node.shards.values():
            for instrument in shard.engine.state.instruments.values():
                venue, market = instrument.venue, shard.engine.state.market.get(instrument.id)
                newest = max(market.book_ns, market.trade_ns) if market is not None else 0
                venues[venue] = max(venues.get(venue, 0), newest)
                if market is not None and market.in_the_way:
                    troubles.setdefault(venue, {})[f"{instrument.symbol}: {market.in_the_way}"] = None
        checks = [_market_check(MARKET, max(venues.values(), default=0))]
        if len(venues) > 1 or troubles:
            checks += [_venue_check(v, newest, list(troubles.get(v, ()))) for v, newest in sorted(venues.items())]
        return checks

    def _order_checks(self) -> list[Readiness]:
        """Return what keeps accounts from sending orders to a venue: its private channel, a circuit breaker."""
        troubles: dict[VenueId, list[str]] = {}
        for account, shard in self._node.shards.items():
            state, channels = shard.engine.state, shard.troubles()
            for venue in sorted({instrument.venue for instrument in state.instruments.values()}):
                held = holds_back(state, venue)
                if trouble := channels.get(venue) or (held and f"circuit breaker {held}"):
                    troubles.setdefault(venue, []).append(f"{account}: {trouble}")
        return [Readiness(f"orders at {v}", False, _few(told), is_needed=False) for v, told in sorted(troubles.items())]

    def _lag_check(self) -> Readiness:
        lag = max((s.lag for s in self._node.shards.values()), default=0)
        return Readiness("journal lag", lag <= LAG_LIMIT_EVENTS, f"{lag} events not durable yet")


def _market_check(name: str, newest_ns: int) -> Readiness:
    age_s = (wall_ns() - newest_ns) / 1e9
    detail = f"{age_s:.1f} s old" if newest_ns else "none yet"
    if age_s < -STALE_MARKET_S:
        detail = f"{-age_s:.0f} s ahead of this machine's clock: one of the two is wrong"
    return Readiness(name, abs(age_s) <= STALE_MARKET_S, detail)


def _venue_check(venue: VenueId, newest_ns: int, troubles: list[str]) -> Readiness:
    """Return how a venue is: nothing is entered there while it is not as it should be; the others go on."""
    check = _market_check(f"{MARKET} of {venue}", newest_ns)
    detail = f"{check.detail}; {_few(troubles)}" if troubles else check.detail
    return Readiness(check.name, check.ok and not troubles, detail, is_needed=False)


def _few(troubles: list[str]) -> str:
    """Return troubles in words, the first of many."""
    rest = f"; and {len(troubles) - SHOWN} more" if len(troubles) > SHOWN else ""
    return "; ".join(troubles[:SHOWN]) + rest


class PlatformHealth:
    """How the platform is, as the API knows it (`aether.api.ports.Health`)."""

    def __init__(self, bus: LocalBus) -> None:
        self.insecure: list[Finding] = []
        self._bus = bus

    def readiness(self) -> list[Readiness]:
        """Return what the node says of itself, or that it is silent; and security when it is not as it should be."""
        checks = self._node_checks()
        if self.insecure:
            checks.append(Readiness("security", False, "; ".join(f"{f.check}: {f.problem}" for f in self.insecure)))
        return checks

    def _node_checks(self) -> list[Readiness]:
        age_s = self._bus.age_s(HEALTH)
        if age_s > SILENT_AFTER_S:
            told = f"has not answered for {age_s:.0f} s" if age_s < inf else "has not answered yet"
            return [Readiness("trading process", False, told)]
        return msgspec.convert(self._bus.latest(HEALTH)[HEALTH]["checks"], list[Readiness])
