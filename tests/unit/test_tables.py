"""What is printed is read on 80 characters: no column is left out, and no number cut."""

import pytest
from rich.console import Console

from aether.cli import books, console

ORDERS = [
    {
        "id": f"company.exchange-{n}", "at": "2026-11-30 22:30:05", "venue": "coinbase", "symbol": "BTC/USD",
        "side": "sell", "type": "take_profit", "purpose": "take_profit", "size": "0.15829517", "filled": filled,
        "limit_price": "", "average_price": "63922.10000000", "fees": "0", "state": state, "reason": reason,
    }
    for n, (filled, state, reason) in enumerate(
        [("0.15829517", "filled", ""), ("0.02500000", "partially_filled", ""),
         ("0", "denied", "Limit max_order_value: the order is worth 10,118.44, the limit is 10,000")], 9_998)
]  # fmt: skip


@pytest.mark.parametrize("width", [80, 200])
def test_orders_are_whole_at_any_width(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found by a newcomer: at 80 characters the state was gone, the side empty and prices cut."""
    out = Console(width=width, color_system=None)
    monkeypatch.setattr(console, "out", out)
    columns, rows = books._wide(ORDERS) if width >= books.WIDE else books._narrow(ORDERS)
    console.table("Orders of company.exchange", columns, rows, "No orders.")
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines)
    text = " ".join(" ".join(lines).split())
    for words in ("-9998", "-10000", "coinbase", "BTC/USD", "sell", "0.15829517", "63922.1", "filled", "denied:"):
        assert words in text, words
    assert "0.025" in text, "how much of it was filled"
    assert "10,118.44" in text
