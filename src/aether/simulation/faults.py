"""What goes wrong in a world: drawn from its seed, one thing after the other and several at once."""

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from aether.domain.events import CapitalMoved
from aether.domain.identifiers import AccountId, AssetCode
from aether.domain.scaled import AMOUNT_SCALE, format_amount
from aether.simulation.coverage import known_awaits, pair
from aether.simulation.firm import ACCOUNTS, VENUES
from aether.simulation.machine import Machine
from aether.simulation.memory import Loss
from aether.simulation.process import Process

if TYPE_CHECKING:
    from aether.simulation.world import World

BETWEEN_S = (0.5, 6.5)
ORDER_WITHIN_S = 10.0
LASTS_S = 4.0
STEPS, STEPS_WITHIN_S = 3_000, 2.0
FIRST_STEPS = 2_000
PLACES = sorted(known_awaits())
PLACE_WITHIN_S = 15.0
COINS = AMOUNT_SCALE // 50
ASKS_AGAIN_S, ASKS_TIMES = 3.0, 60
TAKEN_UP_S = (2.0, 15.0)
"""A key is withdrawn so long after the next was given."""
"""A step is drawn from so many; a node that is not there by then has been spared."""
STREAM_FAULTS = ("skip_message", "duplicate_message", "reorder_message", "disconnect", "wrong_checksum")
SPOIL = "rows nobody reads"
KINDS = (
    "node killed",
    "node killed at a step",
    "node killed at a place",
    "node killed as it starts",
    "node frozen at a step",
    "node frozen after a commit",
    "node restarted",
    "node cut from the database",
    "node cut from the venues",
    "database away",
    "database slow",
    "database full",
    "commit lost",
    "venue unreachable",
    "connections cut",
    "connections silent",
    "slow link",
    "venue's answers",
    "venue's stream",
    "maintenance",
    "clock jump",
    "foreign order",
    "venue's limits",
    "money comes in",
    "key rotated",
    SPOIL,
)
"""What may go wrong."""
SPOILED_EVERY = 3
"""In one world of so many a venue says of an order, now and then, what nobody can read."""


class Faults:
    """Faults of a world.

    Args:
        kinds: those that may come; None for all.

    Attributes:
        happened: by kind, how often.
    """

    def __init__(self, world: "World", kinds: frozenset[str] | None) -> None:
        self._world = world
        self._random = random.Random(world.seed + 7)  # noqa: S311  a world to be repeated exactly
        self._odd = random.Random(world.seed + 17)  # noqa: S311  a world to be repeated exactly
        self.happened: Counter[str] = Counter()
        work: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (
            self._kill,
            self._kill_at_a_step,
            self._kill_at_a_place,
            self._kill_as_it_starts,
            self._freeze_at_a_step,
            self._freeze_after_a_commit,
            self._restart,
            self._cut_from_database,
            self._cut_from_venues,
            self._database_away,
            self._database_slow,
            self._database_full,
            self._commit_lost,
            self._venue_unreachable,
            self._cut,
            self._silence,
            self._slow_link,
            self._answers,
            self._stream,
            self._maintenance,
            self._clock_jump,
            self._foreign_order,
            self._limits,
            self._money_comes_in,
            self._rotate,
            self._spoil,
        )
        self._every = {kind: one for kind, one in zip(KINDS, work, strict=True) if kinds is None or kind in kinds}
        spoil = self._every.pop(SPOIL, None)
        self._spoils = {SPOIL: spoil} if spoil and world.seed % SPOILED_EVERY == 0 else {}
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._running: dict[asyncio.Task[None], str] = {}

    async def run(self, seconds: float) -> None:
        """Let things go wrong for so long."""
        until = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(
            self._one_after_another(self._every, self._random, until),
            self._one_after_another(self._spoils, self._odd, until),
        )
        if self._running:
            await asyncio.wait(self._running)

    async def _one_after_another(
        self, every: Mapping[str, Callable[[], Coroutine[Any, Any, None]]], random_: random.Random, until: float
    ) -> None:
        while every and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(random_.uniform(*BETWEEN_S))
            kind = random_.choice(list(every))
            self.happened[kind] += 1
            self._world.report.coverage.pairs.update(
                {pair(kind, other) for other in self._running.values() if other != kind}
            )
            task = asyncio.create_task(self._at_work(every[kind]))
            self._running[task] = kind
            task.add_done_callback(self._running.pop)

    async def _at_work(self, one: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let something go wrong; what it leads to lasts a little longer."""
        await one()
        await asyncio.sleep(LASTS_S)

    async def _spoil(self) -> None:
        """Let a venue say of the first order of each list what nobody can read."""
        venue = self._odd.choice(VENUES)
        self._note(f"{venue} says of an order what nobody can read")
        self._world.spoiled.add(venue)
        await asyncio.sleep(self._odd.uniform(2.0, 20.0))
        self._world.spoiled.discard(venue)

    def end(self) -> None:
        """Let everything be well."""
        world = self._world
        world.store.is_away, world.store.is_full, world.store.slow_s = False, False, 0.0
        world.store.losses.clear()
        world.network.away.clear()
        world.network.slow_s.clear()
        world.spoiled.clear()
        for machine in world.machines:
            machine.clock.ahead_ns = 0
        for exchange in world.exchange.exchanges.values():
            exchange.faults.clear()
            exchange.venue.state = "online"

    def _host(self) -> str:
        return f"{self._random.choice(VENUES)}.test"

    def _note(self, text: str) -> None:
        self._world.note(f"FAULT {text}")

    async def _kill(self) -> None:
        machine = self._machine()
        machine.crash("with -9")
        await self._back(machine)

    async def _kill_at_a_step(self) -> None:
        """Kill a node between any two steps of it, wherever it waits then."""
        machine = self._machine()
        process = machine.process
        steps = self._random.randrange(1, STEPS)

        def crash() -> None:
            if machine.process is process:
                machine.crash(f"at its step {steps} from now")

        process.after(steps, crash)
        await asyncio.sleep(STEPS_WITHIN_S)
        process.after(0, crash)
        await self._back(machine)

    async def _kill_at_a_place(self) -> None:
        """Kill a node where it waits for something: once it comes to one of all places where it can wait."""
        machine, place = self._machine(), self._random.choice(PLACES)
        process = machine.process
        machine.kill_at(place)
        await asyncio.sleep(PLACE_WITHIN_S)
        machine.spare(process)
        await self._back(machine)

    async def _kill_as_it_starts(self) -> None:
        """Kill a node, and the next one in the middle of its start."""
        machine = self._machine()
        machine.crash("with -9")
        await asyncio.sleep(self._random.uniform(0.2, 3.0))
        if machine.is_down:
            steps, place = self._random.randrange(1, FIRST_STEPS), self._random.choice(PLACES)
            at_a_place = self._random.random() < 0.7
            await machine.start(0 if at_a_place else steps, place if at_a_place else "")
            machine.spare(machine.process)
        await self._back(machine)

    async def _freeze_at_a_step(self) -> None:
        """Let a node stand still between any two steps of it."""
        machine, for_s = self._machine(), self._random.uniform(0.2, 20.0)
        process, steps = machine.process, self._random.randrange(1, STEPS)
        process.after(steps, lambda: self._freeze(machine, process, for_s))
        await asyncio.sleep(STEPS_WITHIN_S)
        process.after(0, lambda: None)
        await asyncio.sleep(for_s)

    async def _freeze_after_a_commit(self) -> None:
        """Let a node stand still when an order of it is durable, and it has not heard of that yet."""
        machine, for_s = self._machine(), self._random.uniform(0.2, 20.0)
        process = machine.process

        def freeze(committing: Process | None) -> None:
            if committing is process:
                self._world.store.after_order = lambda _process: None
                self._freeze(machine, process, for_s)

        self._world.store.after_order = freeze
        await asyncio.sleep(ORDER_WITHIN_S)
        self._world.store.after_order = lambda _process: None
        await asyncio.sleep(for_s)

    async def _restart(self) -> None:
        """End a node cleanly and start it again, as for a new version."""
        machine = self._machine()
        self._note(f"{machine.name} is ended")
        await machine.end()
        await self._back(machine)

    def _freeze(self, machine: Machine, process: Process, for_s: float) -> None:
        if process.is_dead or process.is_frozen or machine.process is not process:
            return
        self._note(f"{machine.name} stands still for {for_s:.1f} s")
        process.freeze()
        self._loop.call_later(for_s, self._thaw, process, context=self._context)

    def _thaw(self, process: Process) -> None:
        if not process.is_dead:
            process.thaw()

    async def _cut_from_database(self) -> None:
        machine, for_s = self._machine(), self._random.uniform(0.5, 15.0)
        self._note(f"{machine.name} does not reach the database for {for_s:.1f} s")
        process = machine.process
        process.wire.clear()
        await asyncio.sleep(for_s)
        process.wire.set()

    async def _cut_from_venues(self) -> None:
        machine, for_s = self._machine(), self._random.uniform(0.5, 15.0)
        self._note(f"{machine.name} reaches no venue for {for_s:.1f} s")
        name = machine.process.name
        self._world.network.leave_alone(name)
        await asyncio.sleep(for_s)
        self._world.network.lonely.discard(name)

    async def _back(self, machine: Machine) -> None:
        await asyncio.sleep(self._random.uniform(0.2, 12.0))
        if machine.is_down:
            await machine.start()

    def _machine(self) -> Machine:
        """Return a machine, the owner more often than another."""
        owner = self._world.owner()
        if owner is not None and self._random.random() < 0.7:
            return owner
        return self._random.choice(self._world.machines)

    async def _database_away(self) -> None:
        for_s = self._random.uniform(0.1, 8.0)
        self._note(f"the database is away for {for_s:.1f} s")
        self._world.store.go_away()
        await asyncio.sleep(for_s)
        self._world.store.is_away = False

    async def _database_slow(self) -> None:
        for_s, by_s = self._random.uniform(0.5, 5.0), self._random.uniform(0.05, 1.5)
        self._note(f"each commit takes {by_s:.2f} s for {for_s:.1f} s")
        self._world.store.slow_s = by_s
        await asyncio.sleep(for_s)
        self._world.store.slow_s = 0.0

    async def _database_full(self) -> None:
        for_s = self._random.uniform(0.5, 12.0)
        self._note(f"the database's disk is full for {for_s:.1f} s")
        self._world.store.is_full = True
        await asyncio.sleep(for_s)
        self._world.store.is_full = False

    async def _commit_lost(self) -> None:
        loss = self._random.choice(list(Loss))
        self._note(loss)
        self._world.store.losses.append(loss)

    async def _venue_unreachable(self) -> None:
        host, for_s = self._host(), self._random.uniform(0.2, 12.0)
        self._note(f"{host} is unreachable for {for_s:.1f} s")
        self._world.network.away.add(host)
        self._world.network.cut(host)
        await asyncio.sleep(for_s)
        self._world.network.away.discard(host)

    async def _cut(self) -> None:
        host = self._host()
        self._note(f"all connections to {host} are cut")
        self._world.network.cut(host)

    async def _silence(self) -> None:
        host = self._host()
        self._note(f"all connections to {host} go silent")
        self._world.network.silence(host)

    async def _slow_link(self) -> None:
        host, by_s, for_s = self._host(), self._random.uniform(0.1, 3.0), self._random.uniform(0.5, 8.0)
        self._note(f"{host} is {by_s:.1f} s away for {for_s:.1f} s")
        self._world.network.slow_s[host] = by_s
        await asyncio.sleep(for_s)
        self._world.network.slow_s.pop(host, None)

    async def _answers(self) -> None:
        name = self._random.choice(VENUES)
        kind = self._random.choice(("lose_request", "slow_request", "lose_response", "slow_response", "reject"))
        times = self._random.randrange(1, 4)
        self._note(f"{name}: {kind}, {times} times")
        faults = self._world.exchange.exchanges[name].faults
        faults.slow_s = self._random.uniform(0.2, 7.0)
        faults.pending[kind] = faults.pending.get(kind, 0) + times

    async def _stream(self) -> None:
        name = self._random.choice(VENUES)
        kind = self._random.choice(STREAM_FAULTS)
        self._note(f"{name}: {kind}")
        faults = self._world.exchange.exchanges[name].faults
        faults.pending[kind] = faults.pending.get(kind, 0) + 1

    async def _maintenance(self) -> None:
        name, for_s = self._random.choice(VENUES), self._random.uniform(1.0, 10.0)
        state = self._random.choice(("maintenance", "cancel_only", "post_only"))
        self._note(f"{name}: {state} for {for_s:.1f} s")
        venue = self._world.exchange.exchanges[name].venue
        venue.state = state
        await asyncio.sleep(for_s)
        venue.state = "online"

    async def _clock_jump(self) -> None:
        by_s, for_s = self._random.choice((-3600, -90, -2, 2, 90, 3600)), self._random.uniform(1.0, 20.0)
        machine = self._machine()
        self._note(f"{machine.name}'s clock jumps by {by_s} s for {for_s:.1f} s")
        machine.clock.ahead_ns = by_s * 1_000_000_000
        await asyncio.sleep(for_s)
        machine.clock.ahead_ns = 0

    async def _foreign_order(self) -> None:
        self._world.checks.foreign(self._random)

    async def _limits(self) -> None:
        name = self._random.choice(VENUES)
        self._note(f"{name}: rate limit")
        faults = self._world.exchange.exchanges[name].faults
        faults.pending["rate_limit"] = faults.pending.get("rate_limit", 0) + 1

    async def _money_comes_in(self) -> None:
        """Let money or coins come in at a venue, and have it booked before or afterwards."""
        account, venue = self._random.choice(ACCOUNTS), self._random.choice(VENUES)
        asset, moved = self._random.choice((("USD", self._random.randrange(1, 5_000) * AMOUNT_SCALE), ("BTC", COINS)))
        self._note(f"{format_amount(moved)} {asset} come in for {account} at {venue}")
        booked = CapitalMoved(
            ts_ns=0, venue=venue, asset=AssetCode(asset), amount=moved, reason="told by the bank", actor="ada"
        )
        is_told_first = self._random.random() < 0.5
        checks = self._world.checks
        if asset != "USD":
            checks.coins_come_in(account)
        if is_told_first:
            checks.on_its_way[account] += moved * (asset == "USD")
            await self._book(account, booked)
        await asyncio.sleep(self._random.uniform(0.0, 12.0))
        if is_told_first:
            checks.on_its_way[account] -= moved * (asset == "USD")
        self._world.exchange.exchanges[venue].venue.deposit(account, asset, moved)
        await asyncio.sleep(self._random.uniform(0.0, 12.0))
        if not is_told_first:
            await self._book(account, booked)

    async def _book(self, account: AccountId, moved: CapitalMoved) -> None:
        """Have money booked; whoever is refused, since there is no price yet, asks again."""
        store = self._world.store
        number = store.ask(account, moved)
        for _ in range(ASKS_TIMES):
            await asyncio.sleep(ASKS_AGAIN_S)
            answer = store.applied.get(number)
            if answer is not None and not answer[1]:
                return
            if answer is not None:
                self._world.note(f"{account}: {answer[1]}")
                number = store.ask(account, moved)

    async def _rotate(self) -> None:
        """Give an account another key at a venue, and withdraw the old one a while later."""
        account, venue = self._random.choice(ACCOUNTS), self._random.choice(VENUES)
        self._note(f"{account} has another key at {venue}")
        before = self._world.keys.give(account, venue, {})
        await asyncio.sleep(self._random.uniform(*TAKEN_UP_S))
        self._world.exchange.exchanges[venue].face.keys.pop(before, None)
