"""`python -m tests.contract.ccxt_table FILE`: what each of ccxt's spot methods does at the local exchange's faces.

Made of the tables that the tests run by: what stands in it has been called, at the face, with unmodified ccxt.
"""

import sys
from pathlib import Path
from typing import Any

import ccxt

from tests.contract import test_ccxt_binance as binance
from tests.contract import test_ccxt_coinbase as coinbase
from tests.contract import test_ccxt_kraken as kraken

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "ccxt.md"
WORKS = "works"


def _word(expected: Any) -> str:
    if isinstance(expected, type) and issubclass(expected, Exception):
        return f"refused, as at the venue ({expected.__name__})"
    return f"refused, as at the venue ({expected})" if isinstance(expected, str) else WORKS


def _kraken() -> dict[str, str]:
    found: dict[str, str] = {}
    for method, _, expected in kraken.METHODS:
        if found.get(method) != WORKS:
            found[method] = _word(expected)
    return found | kraken.NOT_OFFERED


def _binance() -> dict[str, str]:
    called = {name: _word(expected) for name, (_, expected) in binance.METHODS.items()}
    return called | dict.fromkeys((*binance.AFTER, *binance.USER_STREAMS), WORKS) | binance.NOT_OFFERED


def _coinbase() -> dict[str, str]:
    return {name: _word(expected) for name, (_, expected) in coinbase.METHODS.items()} | coinbase.NOT_OFFERED


def page() -> str:
    """Return the page."""
    venues = {"Kraken": _kraken(), "Binance": _binance(), "Coinbase": _coinbase()}
    lines = [
        "# ccxt at the local exchange",
        "",
        f"Unmodified ccxt {ccxt.__version__} (REST and pro) at the three faces of the local exchange: every method",
        "that ccxt declares for the venue's spot market. Made of the tables that `tests/contract/test_ccxt_*.py` run",
        "by; `make docs` writes it anew.",
    ]
    for venue, methods in venues.items():
        works = sum(word == WORKS for word in methods.values())
        lines += ["", f"## {venue}: {works} of {len(methods)} work", "", "| method | |", "| --- | --- |"]
        lines += [f"| `{name}` | {methods[name]} |" for name in sorted(methods)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
