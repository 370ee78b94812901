"""The background market of the local exchange over time."""

from aether.exchange.server import build


def test_what_makers_and_takers_are_done_with_is_forgotten() -> None:
    """It was kept for ever: an exchange grew by more than a gigabyte an hour."""
    local = build(enforce_limits=False, warm_steps=5)
    for _ in range(300):
        local.step()
    for exchange in local.exchanges.values():
        venue = exchange.venue
        placed = next(reversed(venue.orders))
        assert placed > 2_000, "the market stood still: the test shows nothing"
        assert len(venue.orders) < 200
        for account in venue.accounts.values():
            assert set(account.orders) == set(account.open)
            assert account.trades == []
        assert any(venue.trades.values())
