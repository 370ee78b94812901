"""A small deterministic random source whose whole state is one integer (SplitMix64; Steele, Lea and Flood, 2014)."""

_MASK = (1 << 64) - 1


def next_state(state: int) -> int:
    """Return the state after one draw."""
    return (state + 0x9E3779B97F4A7C15) & _MASK


def draw_below(state: int, bound: int) -> int:
    """Return the number of this `state`, 0 to `bound` - 1."""
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) * bound) >> 64
