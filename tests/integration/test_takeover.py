"""Two nodes, one firm: whatever becomes of the owner, the other trades on, and never both (O4).

Processes, sockets, PostgreSQL and the local exchange are real; `python -m tests.takeover --rounds 50` is the same for
longer, with the times.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.takeover.parts import FAULTS, Takeovers

LASTS_S = 8.0
"""Longer than an order's deadline, with its margin."""


@contextmanager
def firm(folder: Path, *, planted: bool = False) -> Iterator[Takeovers]:
    """Two nodes at work."""
    made = Takeovers(folder, planted=planted)
    try:
        yield made
    finally:
        made.close()


def test_an_owner_that_is_killed_stopped_or_cut_off_and_comes_back_never_trades_beside_the_next(tmp_path: Path) -> None:
    with firm(tmp_path) as two:
        for fault in FAULTS:
            two.round(fault, LASTS_S)
        assert sum(node.fenced for node in two.nodes) >= len(FAULTS) - 1, "who was alive was fenced, and stood by"
        two.end()
        assert two.violations() == []
        assert two.epochs == len(FAULTS) + 1
        assert two.fills, "somebody traded"


def test_an_order_without_a_deadline_would_reach_the_venue_after_the_take_over(tmp_path: Path) -> None:
    """What the round above proves: the pause is where it hurts, and the venue's deadline is what holds."""
    with firm(tmp_path, planted=True) as two:
        two.round("paused before the socket", LASTS_S)
        two.end()
        assert any("after that had ended" in violation for violation in two.violations())
