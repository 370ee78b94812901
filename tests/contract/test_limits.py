"""Rate limits modelled before sending, and what processes that share a key agree on (T9)."""

import multiprocessing
from pathlib import Path

import pytest

from aether.domain.identifiers import ClientOrderId
from aether.domain.orders import OrderType, Side
from aether.venues.actions import Balances, Cancel, Depth, Fills, GetOrder, Request, Submit
from aether.venues.keystate import KeyState
from aether.venues.kraken.protocol import KrakenProtocol
from aether.venues.limits import (
    CANCELS_KNOCK_S,
    CANCELS_SHARE,
    EXITS_SHARE,
    SHARE,
    BinanceLimits,
    CoinbaseLimits,
    KrakenLimits,
    Level,
    Limit,
    charge,
    level_at,
    share_of,
    wait_s,
)

DECAYING = Limit(name="decaying", capacity=10, decay_per_s=2.0)
WINDOW = Limit(name="window", capacity=10, window_s=60)
ORDER = Submit(symbol="BTC/USD", side=Side.BUY, type=OrderType.MARKET, size="1")
CANCEL = Cancel(symbol="BTC/USD")


def test_a_decaying_counter_falls_with_time() -> None:
    level = charge(DECAYING, Level(), 8, 100.0)
    assert level_at(DECAYING, level, 102.0) == 4
    assert level_at(DECAYING, level, 200.0) == 0


def test_a_window_starts_anew() -> None:
    level = charge(WINDOW, Level(), 7, 59.0)
    assert level_at(WINDOW, level, 59.9) == 7
    assert level_at(WINDOW, level, 60.0) == 0
    assert wait_s(WINDOW, level, 5, 59.0, SHARE) == pytest.approx(1.0)


def test_the_reserve_is_for_cancels() -> None:
    level = charge(DECAYING, Level(), 8, 0.0)
    assert wait_s(DECAYING, level, 1, 0.0, SHARE) == pytest.approx(0.5)
    assert wait_s(DECAYING, level, 1, 0.0, CANCELS_SHARE) == 0


def test_what_is_dearer_than_the_limit_goes_when_the_limit_is_empty() -> None:
    assert wait_s(DECAYING, Level(), 25, 0.0, SHARE) == 0
    full = charge(DECAYING, Level(), 1, 0.0)
    assert wait_s(DECAYING, full, 25, 0.0, SHARE) == pytest.approx(0.5)


def test_the_fate_of_an_order_is_asked_before_balances() -> None:
    """`aether simulate --seed 10`: balances, asked at each movement, kept every other question waiting (O9, T9)."""
    limit = Limit(name="rest", capacity=20, decay_per_s=0.5)
    balances, fate = share_of(Balances()), share_of(GetOrder(symbol="BTC/USD"))
    level = charge(limit, Level(), 0, 0.0)
    while wait_s(limit, level, 1, 0.0, balances) == 0:
        level = charge(limit, level, 1, 0.0)
    assert wait_s(limit, level, 5, 0.0, fate) == 0, "there is room for it whatever balances take"
    assert wait_s(limit, level, 1, 0.0, share_of(Cancel(symbol="BTC/USD"))) == 0


def test_krakens_costs() -> None:
    limits = KrakenLimits("intermediate")
    assert [(limit.name, part, cost) for limit, part, cost in limits.costs(ORDER, [], 0)] == [("trading", "BTC/USD", 1)]
    assert [limits.costs(CANCEL, [], age)[0][2] for age in (1, 7, 12, 30, 60, 200, 400)] == [8, 6, 5, 4, 2, 1, 0]
    kraken = KrakenProtocol()
    assert limits.costs(Fills(), kraken.requests(Fills()), 0)[0][2] == 4
    unknown = GetOrder(symbol="BTC/USD", client_order_id=ClientOrderId("one-1"))
    assert limits.costs(unknown, kraken.requests(unknown), 0)[0][2] == 1 + 4, "open orders, then closed ones"
    assert limits.costs(Balances(), [Request(method="POST", path="/")], 0)[0][2] == 1


def test_binances_costs_and_what_its_headers_tell() -> None:
    limits = BinanceLimits()
    depth = [Request(method="GET", path="/", weight=25)]
    assert [(limit.name, cost) for limit, _, cost in limits.costs(Depth(symbol="BTC/USD"), depth, 0)] == [
        ("weight", 25)
    ]
    order = [Request(method="POST", path="/", weight=1)]
    assert [limit.name for limit, _, _ in limits.costs(ORDER, order, 0)] == ["weight", "orders_10s", "orders_day"]
    told = limits.told({"x-mbx-used-weight-1m": "812", "x-mbx-order-count-10s": "3"})
    assert [(limit.name, level) for limit, level in told] == [("weight", 812), ("orders_10s", 3)]


def test_coinbase_counts_by_the_second() -> None:
    limits = CoinbaseLimits()
    state = KeyState(None, "key", lambda: 1_000.25)
    request = [Request(method="GET", path="/")]
    sent = 0
    while state.acquire(limits.costs(Balances(), request, 0), SHARE) == 0:
        sent += 1
    assert sent == 24
    assert state.acquire(limits.costs(CANCEL, request, 0), CANCELS_SHARE) == 0


def test_what_the_venue_counts_is_taken_in() -> None:
    limits = BinanceLimits()
    state = KeyState(None, "key", lambda: 1_000.0)
    state.told(limits.told({"x-mbx-used-weight-1m": "5999"}))
    assert state.acquire(limits.costs(Balances(), [Request(method="GET", path="/", weight=20)], 0), SHARE) > 0


def test_a_venue_that_says_wait_is_obeyed() -> None:
    now = [100.0]
    state = KeyState(None, "key", lambda: now[0])
    costs = [(WINDOW, "", 1.0)]
    state.block(costs, 30.0)
    assert state.acquire(costs, CANCELS_SHARE) == pytest.approx(30.0)
    now[0] = 131.0
    assert state.acquire(costs, CANCELS_SHARE) == 0


def test_a_venue_that_does_not_say_how_long_is_asked_less_and_less_until_it_answers() -> None:
    now = [1_000.0]
    state = KeyState(None, "key", lambda: now[0])
    costs = [(WINDOW, "", 1.0)]
    waits = []
    for _ in range(8):
        state.block(costs, 0.0, 60.0)
        waits.append(state.acquire(costs, SHARE))
        now[0] += waits[-1]
    assert waits == [60, 120, 240, 480, 900, 900, 900, 900], "seconds"
    now[0] += 901
    state.block(costs, 0.0, 60.0)
    assert state.acquire(costs, SHARE) == 60, "it was quiet for as long as the last wait"


def test_a_refusal_a_day_does_not_add_up() -> None:
    now = [1_000.0]
    costs = [(WINDOW, "", 1.0)]
    state = KeyState(None, "key", lambda: now[0])
    for _ in range(30):
        state.block(costs, 0.0)
        assert state.acquire(costs, SHARE) == 1
        now[0] += 86_400


def test_a_cancel_knocks_on_a_door_that_is_closed_for_nobody_knows_how_long() -> None:
    """R1: a lockout of a quarter of an hour must not keep orders open for as long."""
    now = [1_000.0]
    state = KeyState(None, "key", lambda: now[0])
    costs = [(WINDOW, "", 1.0)]
    for _ in range(5):
        state.block(costs, 0.0, 60.0)
    assert state.acquire(costs, SHARE) > 800
    knock_s = state.acquire(costs, CANCELS_SHARE)
    assert knock_s == CANCELS_KNOCK_S * 2**4, "more seldom each time: asking on makes a lockout longer"
    now[0] += knock_s
    assert state.acquire(costs, CANCELS_SHARE) == 0
    assert state.acquire(costs, SHARE) > 800, "nobody else goes"
    assert 0 < state.acquire(costs, EXITS_SHARE) < 60, "exits knock too"


def _take(folder: str, count: int, queue: "multiprocessing.Queue[list[int]]") -> None:
    state = KeyState(Path(folder), "key", lambda: 1_700_000_000.0)
    queue.put([state.next_nonce() for _ in range(count)])


def test_nonces_are_unique_and_rising_across_processes_and_restarts(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[list[int]] = context.Queue()
    workers = [context.Process(target=_take, args=(str(tmp_path), 300, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    taken = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    flat = [nonce for nonces in taken for nonce in nonces]
    assert len(set(flat)) == len(flat) == 900
    assert all(nonces == sorted(nonces) for nonces in taken)
    earlier_clock = KeyState(tmp_path, "key", lambda: 1.0)
    assert earlier_clock.next_nonce() > max(flat)


def test_limits_are_shared_by_processes_with_one_key(tmp_path: Path) -> None:
    first, second = (KeyState(tmp_path, "key", lambda: 50.0) for _ in range(2))
    other = KeyState(tmp_path, "another", lambda: 50.0)
    costs = [(DECAYING, "", 4.0)]
    assert first.acquire(costs, SHARE) == 0
    assert second.acquire(costs, SHARE) == 0
    assert first.acquire(costs, SHARE) > 0
    assert other.acquire(costs, SHARE) == 0
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_damaged_state_file_never_gives_an_old_nonce(tmp_path: Path) -> None:
    state = KeyState(tmp_path, "key", lambda: 2_000.0)
    first = state.next_nonce()
    next(tmp_path.iterdir()).write_text("{broken")
    assert state.next_nonce() > first
