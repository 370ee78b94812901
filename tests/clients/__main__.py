"""`make clients`: NautilusTrader, as it is published, streams from the local exchange and trades a round trip there.

It needs Python 3.12, so it runs in an environment of its own, and what it prints is held against what the exchange saw.
"""

import json
import subprocess
import sys
from pathlib import Path

from aether.domain.scaled import format_amount
from aether.exchange.venue import Venue
from tests.integration.outside import Exchange

ACCOUNT = "nautilus"
WITHIN_S = 120


def main() -> int:
    """Run it, and return 0 when it did what it should."""
    exchange = Exchange()
    try:
        done = subprocess.run(
            [sys.argv[1], str(Path(__file__).with_name("nautilus.py")), exchange.admin, ACCOUNT],
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        told = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), "")
        if not told:
            print(done.stdout[-3_000:] + done.stderr[-3_000:])
            print("It did not come to its end.")
            return 1
        result = json.loads(told.removeprefix("RESULT "))
        seen = exchange.at("binance", _trades)
    finally:
        exchange.close()
    for name, count in result["heard"].items():
        print(f"{name:18} {count}")
    for fill in result["fills"]:
        print(f"{'execution':18} {' '.join(fill)}")
    for trade in seen:
        print(f"{'at the exchange':18} {' '.join(trade)}")
    is_whole = [fill[0] for fill in result["fills"]] == ["BUY", "SELL"] == [trade[0].upper() for trade in seen]
    if is_whole and all(result["heard"].values()):
        print("NautilusTrader streamed from Binance and Kraken, and traded a round trip at Binance.")
        return 0
    print("Something of it is missing.")
    return 1


def _trades(core: Venue) -> list[tuple[str, str, str]]:
    rows = core.account(ACCOUNT).trades
    return [(o.request.side.value, format_amount(t.size), o.market.price_text(t.price)) for o, t in rows]


if __name__ == "__main__":
    sys.exit(main())
