"""What a venue is like is data with sources (requirement T9), and nobody believes what no code goes by."""

import re
from pathlib import Path

import pytest

from aether.exchange.server import RULES
from aether.venues.coinbase.protocol import CoinbaseProtocol
from aether.venues.profile import Profile
from aether.venues.registry import PROTOCOLS

FACTS = [name for name in Profile.__struct_fields__ if name != "sources"]
SOURCE = Path(__file__).parents[2] / "src" / "aether" / "venues"


@pytest.mark.parametrize("venue", PROTOCOLS)
def test_each_fact_names_its_source(venue: str) -> None:
    sources = PROTOCOLS[venue].profile.sources
    assert list(sources) == FACTS
    assert all(len(source) > 2 for source in sources.values())


@pytest.mark.parametrize("fact", FACTS)
def test_code_goes_by_each_fact(fact: str) -> None:
    """Data that nobody reads would be a belief that nobody tests."""
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py") if path.name != "profile.py")
    assert re.search(rf"(?:PROFILE|profile)\.{fact}\b", text), f"nothing asks for {fact}"


@pytest.mark.parametrize("venue", PROTOCOLS)
def test_balances_are_kept_as_the_local_exchange_keeps_them(venue: str) -> None:
    """Two copies of one fact: the exchange's own, and what the adapter goes by."""
    kept = PROTOCOLS[venue].profile.kept_decimals
    for asset, decimals in RULES[venue].kept_decimals.items():
        assert kept.get(asset, 8) == decimals


def test_a_client_order_id_is_as_the_venue_takes_it() -> None:
    for protocol in PROTOCOLS.values():
        longest = protocol.profile.longest_client_id
        for length in (1, longest, longest + 1, 200):
            wire = protocol().wire_id("x" * length)  # type: ignore[arg-type]
            assert len(wire) <= max(longest, 36)
            assert (wire == "x" * length) is (0 < length <= longest), (protocol, length)
    assert len(CoinbaseProtocol().wire_id("1")) == 36  # type: ignore[arg-type]
