"""A journal that an earlier version wrote still replays, to the books that it had (O1)."""

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aether.domain.errors import ReplayMismatchError
from aether.domain.events import decode_event
from aether.engine.core import Engine
from aether.engine.step import restep
from aether.matching.simulator import FillModel
from aether.strategies import catalogue
from aether.venues.paper import PaperVenue

DATA = Path(__file__).parent / "data"
JOURNALS = sorted(p for p in DATA.glob("journal-0.1-*.jsonl.gz") if "otherwise" not in p.name)
MODEL = FillModel(latency_ms=300, jitter_ms=900, reject_ppm=100_000, level_share_ppm=50_000)
"""Under which version 0.1 wrote them."""


def test_there_are_journals_of_every_strategy() -> None:
    assert {p.name.split("-")[-1].partition(".")[0] for p in JOURNALS} == set(catalogue())


@pytest.mark.parametrize("path", JOURNALS, ids=lambda p: p.name)
def test_an_older_journal_replays_to_the_books_it_had(path: Path) -> None:
    first, *rows = gzip.decompress(path.read_bytes()).splitlines()
    then: dict[str, Any] = msgspec.json.decode(first)
    engine, venue = Engine(catalogue()), PaperVenue(MODEL, then["seed"])
    fills = 0
    for n, row in enumerate(rows, 1):
        restep(venue, engine, decode_event(row), None, n)
        fills += len(engine.take_changes().fills)
    assert fills > 10
    state = engine.state
    assert {
        key: [b.free, b.locked, b.capital, b.cost, b.realized, b.fees] for key, b in state.ledger.balances.items()
    } == then["balances"]
    assert {key: [p.quantity, p.cost, p.realized, p.fees] for key, p in state.ledger.positions.items()} == then[
        "positions"
    ]
    assert state.next_order == then["next_order"]
    assert not state.stops
    assert not state.breaks


def test_where_this_version_decides_otherwise_the_replay_stops_and_says_so() -> None:
    """Version 0.1 forgot an exit that a venue refused; this one asks again."""
    first, *rows = gzip.decompress((DATA / "journal-0.1-decides-otherwise.jsonl.gz").read_bytes()).splitlines()
    engine, venue = Engine(catalogue()), PaperVenue(MODEL, msgspec.json.decode(first)["seed"])
    with pytest.raises(ReplayMismatchError, match="the replayed paper venue gives OrderAccepted"):
        for n, row in enumerate(rows, 1):
            restep(venue, engine, decode_event(row), None, n)
