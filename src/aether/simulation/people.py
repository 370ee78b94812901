"""People of a world: they trade by hand, stop and release, at any moment."""

import asyncio
import random
from typing import TYPE_CHECKING, Any

import msgspec

from aether.domain.events import (
    KillSwitchEngaged,
    KillSwitchReleased,
    LimitsChanged,
    OperatorEvent,
    ParentOrderCanceled,
    ParentOrderRequested,
    SafeModeEngaged,
    SafeModeReleased,
    StrategyEnabled,
    TradingResumed,
    VenueReleased,
    VenueStopped,
)
from aether.domain.identifiers import AccountId, Symbol
from aether.domain.orders import Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest
from aether.domain.scaled import AMOUNT_SCALE
from aether.simulation.firm import ACCOUNTS, LIMITS, PRICE, SYMBOL, VENUES
from aether.simulation.strategy import COIN

if TYPE_CHECKING:
    from aether.simulation.world import World

WHO = "ada"
LOOK_S = (0.3, 4.0)
POSITIONS_BPS = (500, 2_000, 10_000)
GOES_ON = 0.5
"""How often a killed account is let go on, whatever else people would like."""
ALGORITHMS = (Algorithm.ROUTE, Algorithm.ROUTE, Algorithm.ICEBERG, Algorithm.TWAP, Algorithm.BRACKET, Algorithm.OCO)


class People:
    """Whoever may decide."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._random = random.Random(world.seed + 5)  # noqa: S311  a world to be repeated exactly
        self._number = 0
        self._killed: set[AccountId] = set()

    async def run(self, seconds: float) -> None:
        """Decide something now and then."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await asyncio.sleep(self._random.uniform(*LOOK_S))
            account = self._random.choice(ACCOUNTS)
            wish = self._wish()
            if account in self._killed and self._random.random() < GOES_ON:
                wish = KillSwitchReleased(ts_ns=0, reason="go on", actor=WHO)
            self.ask(account, wish)
            if isinstance(wish, KillSwitchEngaged):
                self._killed.add(account)
            elif isinstance(wish, KillSwitchReleased):
                self._killed.discard(account)

    def stop_all(self) -> None:
        """Let nothing stay open: everything that works is taken back."""
        for account in ACCOUNTS:
            self.ask(account, KillSwitchEngaged(ts_ns=0, reason="the end", actor=WHO))

    def ask(self, account: AccountId, event: OperatorEvent) -> None:
        """Ask for something, as the API does."""
        told = {k: v for k, v in msgspec.to_builtins(event).items() if k not in ("ts_ns", "actor", "taken_ns")}
        self._world.note(f"{account}: {WHO} asks {type(event).__name__} {told}")
        self._world.store.ask(account, event)

    def _wish(self) -> OperatorEvent:
        draw = self._random.random()
        if self._number and draw < 0.04:
            name = ParentId(f"p{self._random.randrange(max(0, self._number - 5), self._number) + 1}")
            return ParentOrderCanceled(ts_ns=0, parent_id=name, actor=WHO)
        if draw < 0.62:
            return ParentOrderRequested(ts_ns=0, request=self._trade(), actor=WHO)
        if draw < 0.70:
            flatten = self._random.random() < 0.4
            return KillSwitchEngaged(ts_ns=0, reason="a kill", actor=WHO, flatten=flatten)
        if draw < 0.82:
            return KillSwitchReleased(ts_ns=0, reason="go on", actor=WHO)
        venue = self._random.choice(VENUES)
        if draw < 0.86:
            return VenueStopped(ts_ns=0, venue=venue, reason="a stop", actor=WHO)
        if draw < 0.92:
            return VenueReleased(ts_ns=0, venue=venue, reason="go on", actor=WHO)
        if draw < 0.94:
            return SafeModeEngaged(ts_ns=0, reason="careful", actor=WHO)
        if draw < 0.96:
            return SafeModeReleased(ts_ns=0, reason="go on", actor=WHO)
        if draw < 0.975:
            limits = msgspec.structs.replace(LIMITS, max_position_bps=self._random.choice(POSITIONS_BPS))
            return LimitsChanged(ts_ns=0, limits=limits, actor=WHO)
        if draw < 0.985:
            return StrategyEnabled(ts_ns=0, strategy=COIN, enabled=self._random.random() < 0.5, actor=WHO)
        return TradingResumed(ts_ns=0, reason="looked at", actor=WHO)

    def _trade(self) -> ParentRequest:
        self._number += 1
        algorithm = self._random.choice(ALGORITHMS)
        side = self._random.choice((Side.BUY, Side.SELL))
        amount = round(self._random.uniform(0.002, 0.2) * AMOUNT_SCALE)
        price = PRICE * (1 + self._random.uniform(-0.002, 0.002))
        extra: dict[str, Any] = {}
        if algorithm is Algorithm.ICEBERG:
            extra = {"display": amount // 3, "limit_price": round(price * AMOUNT_SCALE)}
        elif algorithm is Algorithm.TWAP:
            extra = {"duration_s": 20, "slices": 5}
        elif algorithm is Algorithm.BRACKET:
            extra, side = _between(price), Side.BUY
        elif algorithm is Algorithm.OCO:
            extra, side = _between(price), Side.SELL
        elif self._random.random() < 0.5:
            extra = {"limit_price": round(price * AMOUNT_SCALE)}
        name, symbol = ParentId(f"p{self._number}"), Symbol(SYMBOL)
        return ParentRequest(id=name, symbol=symbol, side=side, amount=amount, algorithm=algorithm, **extra)


def _between(price: float) -> dict[str, int]:
    """Return where a position is to end."""
    return {"profit_price": round(price * 1.001 * AMOUNT_SCALE), "stop_price": round(price * 0.999 * AMOUNT_SCALE)}
