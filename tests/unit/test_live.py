"""What a page is sent makes of the state before the state after (U12)."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aether.api.live import difference, totals
from tests.follower import patched

LEAVES = st.one_of(st.text(max_size=3), st.integers(), st.booleans(), st.lists(st.integers(), max_size=2))
STATES = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), LEAVES, max_size=4),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), st.one_of(LEAVES, inner), max_size=4),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first states are slow to make on a busy machine
@given(STATES, STATES)
def test_the_difference_makes_one_state_of_another(before: dict[str, Any], after: dict[str, Any]) -> None:
    found = difference(before, after)
    assert patched(before, found) == after
    assert (not found) == (before == after)


def test_what_is_in_different_currencies_is_not_added_up() -> None:
    zeros = dict.fromkeys(
        ("cash", "exposure", "realized", "unrealized", "fees", "capital", "day_start_nav", "day"), "0"
    )
    accounts = [
        {**zeros, "currency": currency, "nav": nav, "profit": "-0.00000001", "shadow_of": shadow_of}
        for currency, nav, shadow_of in (
            ("USD", "0.1", ""),
            ("EUR", "5", ""),
            ("USD", "0.20000001", ""),
            ("USD", "9", "a"),
        )
    ]
    found = totals(accounts)
    assert {c: (t["nav"], t["profit"], t["accounts"]) for c, t in found.items()} == {
        "EUR": ("5.00000000", "-0.00000001", 1),
        "USD": ("0.30000001", "-0.00000002", 2),
    }
