"""What a node does at its end, in a world of its own (O4)."""

import asyncio

import pytest

from aether.domain.events import ParentOrderRequested
from aether.domain.identifiers import Symbol
from aether.domain.orders import Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest
from aether.domain.scaled import AMOUNT_SCALE
from aether.simulation.firm import ACCOUNTS, FEED, SYMBOL
from aether.simulation.people import WHO, People
from aether.simulation.world import World

BUYS = ParentRequest(
    id=ParentId("p1"),
    symbol=Symbol(SYMBOL),
    side=Side.BUY,
    amount=AMOUNT_SCALE // 100,
    algorithm=Algorithm.ROUTE,
)


@pytest.mark.parametrize("is_slow", [True, False])
def test_a_lease_runs_out_where_an_order_may_still_arrive(is_slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given back at once, the next owner would trade while an order of the last is on its way to the venue."""
    ended: list[bool] = []

    async def live(people: People, _seconds: float) -> None:
        world = people._world
        if is_slow:
            for exchange in world.exchange.exchanges.values():
                exchange.faults.slow_s = 2.5
                exchange.faults.pending["slow_request"] = 50
        people.ask(ACCOUNTS[0], ParentOrderRequested(ts_ns=0, request=BUYS, actor=WHO))
        while not world.store.order_epochs:
            await asyncio.sleep(0.01)
        if not is_slow:
            await asyncio.sleep(5.0)
        owner = world.owner()
        assert owner is not None
        await owner.end()
        ended.append(world.store.leases[FEED].has_ended)
        for exchange in world.exchange.exchanges.values():
            exchange.faults.clear()
        await asyncio.sleep(8.0)
        await owner.start()

    monkeypatch.setattr(People, "run", live)
    world = World(1, frozenset())
    assert world.run().violations == []
    assert ended == [not is_slow]
