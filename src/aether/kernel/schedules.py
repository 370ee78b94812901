"""When a parent order should have traded how much: schedules as functions of numbers, in the compilable subset."""

from aether.domain.scaled import BPS, mul_div


def twap_target(amount: int, elapsed_ns: int, duration_ns: int, slices: int) -> int:
    """Return what a TWAP should have sent by now: the first part at once, the last one part before the end."""
    if elapsed_ns >= duration_ns:
        return amount
    begun = min(slices, mul_div(elapsed_ns, slices, duration_ns) + 1)
    return mul_div(amount, begun, slices)


def vwap_target(amount: int, elapsed_ns: int, duration_ns: int, profile: tuple[int, ...]) -> int:
    """Return what a VWAP should have sent by now: the volume profile's share up to the part of time that has begun."""
    total = 0
    for weight in profile:
        total += weight
    if elapsed_ns >= duration_ns or total == 0:
        return amount
    begun = mul_div(elapsed_ns, len(profile), duration_ns) + 1
    share = 0
    for n in range(begun):
        share += profile[n]
    return mul_div(amount, share, total)


def pov_target(amount: int, seen_volume: int, participation_bps: int) -> int:
    """Return what a POV should have sent by now: its share of what all trade, itself included."""
    return min(amount, mul_div(seen_volume, participation_bps, BPS - participation_bps))


def oco_hit(price_e8: int, profit_e8: int, stop_e8: int) -> int:
    """Return 1 when the profit price is reached, -1 when the stop is, 0 for neither; 0 prices are never reached."""
    if profit_e8 and price_e8 >= profit_e8:
        return 1
    if stop_e8 and price_e8 <= stop_e8:
        return -1
    return 0
