"""Where an order should trade: the books of all venues as one, with fees in the price (requirement T5).

A level's all-in price is what a unit costs after the taker's fee. Levels are taken best first, each venue as far as its
balance reaches; a part that is below its venue's minimum goes elsewhere. The plan is never worse than the best single
venue: when that venue alone can fill as much for less, it is the plan.

Prices of different precision are compared as exact integers of 10^-8 of the quote asset times parts per million.
"""

from collections.abc import Iterator
from heapq import merge
from itertools import chain
from typing import NamedTuple

from aether.domain.identifiers import InstrumentId
from aether.domain.instruments import Instrument
from aether.domain.scaled import (
    PPM,
    amount_of_size,
    before_fee,
    fee_of,
    price_e8,
    round_down,
    round_up,
    size_for_notional,
    size_of_amount,
)


class Depth(NamedTuple):
    """One venue's side of the book that an order could take, and what the account has there.

    Attributes:
        levels: best first, (price, size) in the instrument's units.
        taker_ppm: the account's fee rate there.
        free: quote asset for buys, base asset for sells, a ledger amount.
    """

    instrument: Instrument
    levels: tuple[tuple[int, int], ...]
    taker_ppm: int
    free: int


class Slice(NamedTuple):
    """A part of the plan: `size` at one venue, at `limit_price` or better; `cost` is all in (paid, or received)."""

    instrument: InstrumentId
    size: int
    limit_price: int
    cost: int


def all_in_price(price: int, price_decimals: int, taker_ppm: int, is_buy: bool) -> int:
    """Return what a unit costs (or brings) after the fee, in 10^-8 of the quote asset times parts per million."""
    return price_e8(price, price_decimals) * (PPM + taker_ppm if is_buy else PPM - taker_ppm)


def route(*, is_buy: bool, amount: int, depths: list[Depth], limit_e8: int = 0) -> list[Slice]:
    """Return how to trade `amount` (of the base asset, a ledger amount) at once, as much of it as can be.

    Args:
        limit_e8: worst price, before fees, in 10^-8 of the quote asset; 0 for any.
    """
    split = _split(is_buy=is_buy, amount=amount, depths=depths, limit_e8=limit_e8)
    traded = _traded(split, depths)
    cost = sum(part.cost for part in split)
    for depth in depths:
        single = _split(is_buy=is_buy, amount=amount, depths=[depth], limit_e8=limit_e8)
        alone, paid = _traded(single, depths), sum(part.cost for part in single)
        better = alone > traded or (alone == traded and (paid < cost if is_buy else paid > cost))
        if better:
            split, traded, cost = single, alone, paid
    return split


def _traded(parts: list[Slice], depths: list[Depth]) -> int:
    decimals = {d.instrument.id: d.instrument.size_decimals for d in depths}
    return sum(amount_of_size(part.size, decimals[part.instrument]) for part in parts)


def _split(*, is_buy: bool, amount: int, depths: list[Depth], limit_e8: int) -> list[Slice]:
    """Take the levels of all venues best first; leave out venues whose part is too small and begin again."""
    left_out: set[InstrumentId] = set()
    while True:
        chosen = [d for d in depths if d.instrument.id not in left_out]
        parts = _greedy(is_buy=is_buy, amount=amount, depths=chosen, limit_e8=limit_e8)
        by_id = {d.instrument.id: d.instrument for d in chosen}
        small = {part.instrument for part in parts if _is_too_small(by_id[part.instrument], part)}
        if not small:
            return parts
        left_out |= {min(small, key=lambda i: next(p.cost for p in parts if p.instrument == i))}


def _is_too_small(instrument: Instrument, part: Slice) -> bool:
    notional = instrument.notional(part.limit_price, part.size)
    return part.size < instrument.min_size or notional < instrument.min_notional


def _greedy(*, is_buy: bool, amount: int, depths: list[Depth], limit_e8: int) -> list[Slice]:
    left = amount
    sizes, costs, worst = [0] * len(depths), [0] * len(depths), [0] * len(depths)
    free = [d.free for d in depths]
    spent: set[int] = set()
    """Venues that can take no more: what is left, payable and allowed there only shrinks from level to level."""
    levels = [_levels(n, depth, limit_e8, is_buy=is_buy) for n, depth in enumerate(depths)]
    for _, n, price, shown in merge(*levels) if len(levels) > 1 else chain(*levels):
        if left <= 0 or len(spent) == len(depths):
            break
        if n in spent:
            continue
        depth = depths[n]
        instrument = depth.instrument
        most = min(size_of_amount(left, instrument.size_decimals), instrument.max_size - sizes[n])
        most = min(most, payable(instrument, price, free[n], depth.taker_ppm, is_buy=is_buy))
        if most < instrument.lot:
            spent.add(n)
            continue
        size = round_down(min(shown, most), instrument.lot)
        if size <= 0:
            continue
        notional = instrument.notional(price, size)
        fee = fee_of(notional, depth.taker_ppm)
        quantity = amount_of_size(size, instrument.size_decimals)
        sizes[n] += size
        costs[n] += notional + fee if is_buy else notional - fee
        worst[n] = price
        free[n] -= notional + fee if is_buy else quantity
        left -= quantity
    step = round_up if is_buy else round_down
    """Levels may be finer than what new orders may have."""
    return [
        Slice(d.instrument.id, sizes[n], step(worst[n], d.instrument.tick), costs[n])
        for n, d in enumerate(depths)
        if sizes[n]
    ]


def _levels(n: int, depth: Depth, limit_e8: int, *, is_buy: bool) -> Iterator[tuple[int, int, int, int]]:
    """Yield the levels of venue number `n` as far as the limit allows: what ranks them, then price and size."""
    decimals, sign = depth.instrument.price_decimals, 1 if is_buy else -1
    for price, size in depth.levels:
        if limit_e8 and sign * price_e8(price, decimals) > sign * limit_e8:
            return
        yield sign * all_in_price(price, decimals, depth.taker_ppm, is_buy), n, price, size


def payable(instrument: Instrument, price: int, free: int, taker_ppm: int, *, is_buy: bool) -> int:
    """Return the size that `free` pays for at a price, fee included: quote asset for buys, base asset for sells."""
    if not is_buy:
        return size_of_amount(max(0, free), instrument.size_decimals)
    if price <= 0:
        return 0
    budget = before_fee(max(0, free), taker_ppm)
    return size_for_notional(budget, price, instrument.price_decimals, instrument.size_decimals)
