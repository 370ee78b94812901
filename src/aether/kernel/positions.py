"""A holding at average cost, and how far a venue's rounding may take its books from ours.

A holding may be below zero: spot never means it to be, but a venue's fact is booked whatever it makes of our books.
Below zero, `cost` is what the coins that are owed were sold for, as a negative amount.
"""

from aether.domain.scaled import AMOUNT_DECIMALS, POW10, mul_div

ROUNDINGS_TOLERATED = 1_000
"""Postings after which the tolerance grows no further: a difference as large as that is no rounding."""


def traded(quantity: int, cost: int, change: int, value: int) -> tuple[int, int, int]:
    """Return quantity, cost and realized profit of a holding after `change` was bought (or sold, below 0) for `value`.

    Args:
        quantity, cost: of the holding before, ledger amounts of the base and the quote asset.
        change: ledger amount of the base asset.
        value: ledger amount of the quote asset paid or received, not negative.
    """
    if change == 0:
        return quantity, cost, 0
    if quantity == 0 or (quantity > 0) == (change > 0):
        return quantity + change, cost + (value if change > 0 else -value), 0
    held, moved = abs(quantity), abs(change)
    closing = min(held, moved)
    share = mul_div(abs(cost), closing, held)
    part = value if closing == moved else mul_div(value, closing, moved)
    rest = value - part
    if quantity > 0:
        return quantity + change, cost - share - rest, part - share
    return quantity + change, cost + share + rest, share - part


def rounding_tolerance(postings: int, decimals: int) -> int:
    """Return by how much a venue that keeps an asset to `decimals` may differ from exact books, a ledger amount.

    Args:
        postings: amounts booked since the venue's figure last agreed; each may be rounded by one last unit.
    """
    unit = 1 if decimals >= AMOUNT_DECIMALS else POW10[AMOUNT_DECIMALS - decimals]
    return unit * (1 + min(postings, ROUNDINGS_TOLERATED))
