"""No order of answers has a coin sold twice while stops rest at the venue (R1, T6): coins that nobody bought lie beside
what is held, and stay there whatever happens."""

import random

import msgspec
import pytest

from aether.domain.accounts import Exits
from aether.domain.events import (
    CancelRejected,
    KillSwitchEngaged,
    KillSwitchReleased,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderRejected,
    SafeModeEngaged,
    SafeModeReleased,
    Timer,
    TradingResumed,
)
from aether.domain.identifiers import DEPOSITS, VenueOrderId
from aether.domain.orders import OrderRequest, OrderState, Side
from aether.engine.exits import rests
from aether.engine.strategy import Enter, Exit, Rebalance
from tests.desk import SECOND, submitted
from tests.property.joint_states import WIDE
from tests.unit.test_resting import KRAKEN, Resting, moved_in

STEPS = 2_500
KINDS = (
    Exits(trailing_multiple=0.0, take_profit_multiple=0.0, cool_down_s=5, at_venue=True),
    Exits(stop_multiple=0.0, take_profit_multiple=0.0, trailing_multiple=0.5, cool_down_s=5, at_venue=True),
    Exits(stop_multiple=0.5, take_profit_multiple=0.5, trailing_multiple=0.5, cool_down_s=5, at_venue=True),
)


class Walk:
    """A desk, and a venue that answers when and as it likes, though never against what it said before."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        limits = msgspec.structs.replace(WIDE, market_data_max_age_ms=2_000, repeated_order_limit=10_000)
        self.desk = Resting(exits=self.draw.choice(KINDS), limits=limits)
        self.price = 50_000.0
        self.desk.at(self.price)
        moved_in(self.desk, 1)
        self.works: dict[str, OrderRequest] = {}
        """What the venue works, with what is left of it."""
        self.seen = len(self.desk.commands)
        self.stops = self.sold = 0

    def run(self) -> None:
        for _ in range(STEPS):
            self.act()
            for request in submitted(self.desk.commands[self.seen :]):
                self.works[request.id] = request
                self.stops += rests(request)
            self.seen = len(self.desk.commands)
            self.look()

    def act(self) -> None:
        desk, draw = self.desk, self.draw
        choice = draw.random()
        if choice < 0.35:
            self.price *= 1 + draw.gauss(0, 0.004)
            desk.at(round(self.price, 2), draw.choice((0.2, 1, 3, 20)))
        elif choice < 0.45:
            desk.now += round(draw.choice((1, 5, 30)) * SECOND)
            desk.tell(Timer(ts_ns=desk.now))
        elif choice < 0.57:
            weight = draw.choice((0.0, 0.02, 0.1, 0.2))
            wish = draw.choice((Enter(instrument=KRAKEN.id), Rebalance(instrument=KRAKEN.id, weight=weight)))
            desk.want(Exit(instrument=KRAKEN.id) if draw.random() < 0.2 else wish, price=round(self.price, 2))
        elif choice < 0.97 and self.works:
            self.answer(draw.choice(list(self.works.values())))
        elif choice < 0.98:
            desk.restart()
        elif choice < 0.99:
            desk.tell(KillSwitchEngaged(ts_ns=desk.now, actor="ada", reason="a walk", flatten=False))
            desk.tell(KillSwitchReleased(ts_ns=desk.now, actor="ada", reason="a walk"))
            desk.tell(TradingResumed(ts_ns=desk.now, actor="ada", reason="a walk"))
        else:
            desk.tell(SafeModeEngaged(ts_ns=desk.now, actor="ada", reason="a walk"))
            desk.tell(SafeModeReleased(ts_ns=desk.now, actor="ada", reason="a walk"))

    def answer(self, request: OrderRequest) -> None:
        """Let the venue say something of an order that it works."""
        desk, now = self.desk, self.desk.now
        order = desk.order(request.id)
        draw = self.draw.random()
        if not order.venue_order_id and draw < 0.6:
            desk.tell(OrderAccepted(ts_ns=now, order_id=request.id, venue_order_id=VenueOrderId(f"V{request.id}")))
        elif not order.venue_order_id and draw < 0.7:
            del self.works[request.id]
            desk.tell(OrderRejected(ts_ns=now, order_id=request.id, reason="no"))
        elif order.state is OrderState.PENDING_CANCEL and draw < 0.5:
            del self.works[request.id]
            desk.tell(OrderCanceled(ts_ns=now, order_id=request.id))
        elif order.state is OrderState.PENDING_CANCEL and draw < 0.6:
            desk.tell(CancelRejected(ts_ns=now, order_id=request.id, reason="not now"))
        elif draw > 0.97:
            del self.works[request.id]
            desk.tell(OrderExpired(ts_ns=now, order_id=request.id))
        elif draw > 0.6:
            size = request.size if self.draw.random() < 0.6 else max(1, request.size // 3)
            self.sold += request.side is Side.SELL
            desk.fill(request, size=size, price=round(self.price * 100))
            left = request.size - size
            if left:
                self.works[request.id] = msgspec.structs.replace(request, size=left)
            else:
                del self.works[request.id]

    def look(self) -> None:
        beside = self.desk.engine.state.ledger.holding(KRAKEN.id, DEPOSITS).quantity
        assert beside == 10**8, f"{10**8 - beside} of what nobody bought here was sold"
        assert not self.desk.faulted


@pytest.mark.parametrize("seed", range(6))
def test_what_lies_beside_is_never_sold(seed: int) -> None:
    walk = Walk(seed)
    walk.run()
    assert walk.stops > 5
    assert walk.sold > 5
