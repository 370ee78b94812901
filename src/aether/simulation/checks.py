"""What must hold in every world: looked at when it happens, at the end, and in the past that is left.

Truth is what the exchange holds; the books are what the database holds. The two are compared by this file alone.
"""

import hashlib
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from aether.domain.errors import AetherError
from aether.domain.identifiers import AccountId, BalanceKey, ClientOrderId
from aether.domain.orders import OrderType, Side
from aether.domain.scaled import BPS, amount_of_size
from aether.engine.state import AccountState
from aether.engine.stops import Stop
from aether.exchange.venue import Listener, NewOrder, Order, Refused
from aether.node.live import LiveVenue
from aether.node.recovery import END, Until, replay_until
from aether.simulation.firm import ACCOUNTS, FEED, PRICE, SYMBOL
from aether.simulation.strategy import CATALOGUE
from aether.store.journal import verify
from aether.store.market_log import verify_log
from aether.venues.registry import protocol_of

if TYPE_CHECKING:
    from aether.node.runtime import Node
    from aether.simulation.world import World

FOREIGN_SIZE = 50_000
PRICE_MOVES = 0.03
"""How far prices are from where they began, at most."""
AT_ONCE = 0.3
"""How often what somebody else places executes."""


class _Watch(Listener):
    """Sees what reaches an exchange, and lets its face see it too."""

    def __init__(self, checks: "Checks", venue: str, face: Listener) -> None:
        self._checks = checks
        self._venue = venue
        self._face = face
        self.on_trade = face.on_trade  # type: ignore[method-assign]
        self.on_book = face.on_book  # type: ignore[method-assign]
        self.on_retick = face.on_retick  # type: ignore[method-assign]
        self.on_listed = face.on_listed  # type: ignore[method-assign]
        self.on_balance = face.on_balance  # type: ignore[method-assign]
        self.on_list = face.on_list  # type: ignore[method-assign]

    def on_order(self, order: Order, what: str) -> None:
        """Look at each new order."""
        if what == "new":
            self._checks.new_order(self._venue, order)
        self._face.on_order(order, what)


class Checks:
    """The checks of a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._sent: Counter[tuple[str, str, str]] = Counter()
        self._foreign: set[tuple[str, int]] = set()
        self._strangers_of: set[str] = set()
        """Accounts with whose key somebody traded beside the desk."""
        self._has_more: set[str] = set()
        """Accounts that held coins of which their books did not know."""
        self.on_its_way: Counter[AccountId] = Counter()
        """Money that the books have before the venue has it."""
        self._placing = False
        self._node: Node | None = None
        """That traded at the end."""
        self._ids: dict[str, dict[str, str]] = {name: {} for name in world.exchange.exchanges}
        for name, exchange in world.exchange.exchanges.items():
            exchange.venue.listener = _Watch(self, name, exchange.face)

    # While it happens.

    def new_order(self, venue: str, order: Order) -> None:
        """An order reached an exchange."""
        if order.account.startswith("background"):
            return
        if self._placing:
            self._foreign.add((venue, order.number))
            self._strangers_of.add(order.account)
            return
        world, wire = self._world, order.request.client_id
        world.report.orders += 1
        world.note(f"{order.account}: {venue} takes {wire} {order.request.side} {order.size} at {order.price}")
        self._sent[order.account, venue, wire] += 1
        if self._sent[order.account, venue, wire] > 1:
            world.violate(f"{order.account}: {wire} was sent to {venue} more than once")
        order_id = self._durable(venue).get(wire)
        if order_id is None:
            world.violate(f"{order.account}: {wire} reached {venue} before it was durable")
            return
        if order_id in world.store.ended:
            world.violate(f"{order.account}: {wire} reached {venue} after the account was told that it is over")
        epoch, lease = world.store.order_epochs[order_id], world.store.leases[FEED]
        if not lease.may_arrive(epoch, world.loop.now_s):
            owner = lease.epoch
            world.violate(f"{order.account}: {wire} of owner {epoch} reached {venue} when {owner} owned the account")

        if order.is_buy and order.account not in self._strangers_of | self._has_more:
            self._limit(AccountId(order.account), order_id, venue)

    def _limit(self, account: AccountId, order_id: str, venue: str) -> None:
        """Compare what an account holds and buys, in truth, with the limit under which its newest order was decided."""
        world = self._world
        bps, base, quote, buying = world.store.position_limit(account, order_id), 0, self.on_its_way[account], 0
        for exchange in world.exchange.exchanges.values():
            held = exchange.venue.account(account)
            base, quote = base + held.total.get("BTC", 0), quote + held.total.get("USD", 0)
            buying += sum(amount_of_size(o.left, o.market.size_decimals) for o in held.open.values() if o.is_buy)
        worth = quote + base * round(PRICE)
        if (base + buying) * round(PRICE) * BPS > worth * bps * (1 + PRICE_MOVES):
            share = (base + buying) * round(PRICE) * BPS // worth
            world.violate(f"{account}: {order_id} at {venue} makes a position of {share} bps, {bps} are allowed")

    def coins_come_in(self, account: AccountId) -> None:
        """Hear that an account holds coins that its books do not know."""
        self._has_more.add(account)

    def _durable(self, venue: str) -> dict[str, str]:
        """Return the ids of all orders that the database holds, by what the venue sees of them."""
        found, known = self._world.store.order_epochs, self._ids[venue]
        if len(known) < len(found):
            wire_id = protocol_of(venue).wire_id
            known.update({wire_id(ClientOrderId(i)): i for i in found})
        return known

    def foreign(self, random_: random.Random) -> None:
        """Somebody trades with an account's key beside the desk."""
        world = self._world
        name, account = random_.choice(list(world.exchange.exchanges)), random_.choice(ACCOUNTS)
        venue = world.exchange.exchanges[name].venue
        price = round(PRICE * (1 - random_.uniform(0.01, 0.03)) * 10 ** venue.markets[SYMBOL].price_decimals)
        order = NewOrder(market=SYMBOL, side=Side.BUY, type=OrderType.LIMIT, size=FOREIGN_SIZE, price=price)
        if random_.random() < AT_ONCE:
            order = NewOrder(market=SYMBOL, side=Side.BUY, type=OrderType.MARKET, size=FOREIGN_SIZE)
        self._placing = True
        with suppress(Refused):
            placed = venue.place(account, order)
            world.note(f"FAULT somebody places {placed.number} at {name} for {account}")
        self._placing = False

    # At the end: the faults are over, and a minute has passed since everything was stopped.

    def is_calm(self) -> bool:
        """Return whether everything seems to be in order."""
        world, owner = self._world, self._world.owner()
        if (
            owner is None
            or owner.node is None
            or any(m.node is None for m in world.machines)
            or len(world.store.asked) > len(world.store.applied)
        ):
            return False
        shards = owner.node.shards.values()
        return all(
            Stop.KILL in s.engine.state.stops and not s.engine.state.open_orders and not s._venue.unconfirmed()
            for s in shards
        )

    async def at_the_end(self) -> None:
        """Compare the books with the venues."""
        world = self._world
        owner = world.owner()
        if owner is None or owner.node is None:
            world.violate("no node trades at the end")
            return
        for machine in world.machines:
            if machine is not owner and (machine.node is None or not machine.node.stands_by_for):
                world.violate(f"{machine.name} neither trades nor stands by at the end")
        self._node = node = owner.node
        if left := len(world.store.asked) - len(world.store.applied):
            world.violate(f"{left} requests of people were never applied")
        for account, reason in node.failures().items():
            world.violate(f"{account} has failed: {reason}")
        for account, shard in node.shards.items():
            state = shard.engine.state
            if Stop.KILL not in state.stops:
                world.violate(f"{account}: the last kill was not taken")
            halts = [f"{account}: {s.reason}" for stop, s in state.stops.items() if stop is Stop.HALT]
            world.report.halts += halts
            world.report.needless += [] if account in self._strangers_of else halts
            venue = shard._venue
            assert isinstance(venue, LiveVenue)
            for waiting in venue.unconfirmed():
                world.violate(f"{account}: the stop is not confirmed: {waiting}")
            if state.open_orders:
                world.violate(f"{account}: the books have open orders: {', '.join(state.open_orders)}")
            self._compare(account, shard.engine.state)

    def _compare(self, account: AccountId, state: AccountState) -> None:
        world = self._world
        booked = Counter({trade: n for (who, trade), n in world.store.fills.items() if who == account})
        for trade, n in booked.items():
            if n > 1:
                world.violate(f"{account}: {trade} was booked {n} times")
        for name, exchange in world.exchange.exchanges.items():
            held = exchange.venue.account(account)
            if held.open:
                world.violate(f"{account}: {len(held.open)} orders are open at {name}")
            known = sum(1 for trade in booked if trade.startswith(f"{name}:"))
            if known != len(held.trades):
                world.violate(f"{account}: {len(held.trades)} executions at {name}, {known} are booked")
            ours = [(o, t) for o, t in held.trades if (name, o.number) not in self._foreign]
            world.report.fills += len(ours)
            for asset in ("USD", "BTC"):
                locked = world.store.locked.get((account, f"{name}:{asset}"), 0)
                if locked and not state.open_orders:
                    world.violate(f"{account}: {locked} {asset} at {name} are locked for no order")
                booked_there = state.ledger.balances.get(BalanceKey(f"{name}:{asset}"))
                difference = (booked_there.total if booked_there else 0) - held.total.get(asset, 0)
                kept = exchange.venue.rules.kept_decimals.get(asset, 8)
                rounded = (1 + len(held.trades)) * 10 ** (8 - kept) if kept < 8 else 0
                if abs(difference) > rounded:  # what is rounded is booked when the balance is seen
                    world.violate(f"{account}: the books hold {difference} too much {asset} at {name}")

    async def of_the_past(self) -> None:
        """Prove the chains, and replay every account from its first row."""
        world = self._world
        try:
            await verify_log(world.store, FEED)
            for account in world.store.journal:
                await verify(world.store, account)
                shard = self._node.shards.get(account) if self._node is not None else None
                until = END if shard is None else Until(market=shard.place.pos)
                found = await replay_until(
                    world.store, account, CATALOGUE, lambda _s: LiveVenue(lambda _b: {}), until, from_snapshot=False
                )
                if shard is not None and found.engine.state_hash() != shard.engine.state_hash():
                    world.violate(f"{account}: the replay comes out otherwise than the live account")
        except AetherError as error:
            world.violate(f"the past does not prove: {error}")

    def sum_up(self) -> None:
        """Digest the world: the same seed gives the same."""
        world = self._world
        digest = hashlib.sha256("\n".join(world.report.trace).encode())
        for account in sorted(world.store.journal):
            digest.update(world.store.journal[account][-1].hash)
        world.report.digest = digest.hexdigest()[:16]
