"""`make planted`: small faults are planted one by one, and the tests that should find each are run; all must be found.

A fault that no test finds is a hole in the tests; a text that no longer stands in the code is a stale entry here.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Fault(NamedTuple):
    """A change of one place, and the tests that have to find it."""

    what: str
    file: str
    right: str
    wrong: str
    tests: str


FAULTS = (
    Fault(
        "fee left out of what a buy must cover",
        "engine/risk.py",
        "reserve = worst + fee_of(worst, taker_ppm)",
        "reserve = worst",
        "tests/unit/test_risk.py",
    ),
    Fault(
        "third-asset fee posted twice",
        "engine/ledger.py",
        "            payer.free -= charge.amount\n            payer.fees += charge.amount\n",
        "            payer.free -= 2 * charge.amount\n            payer.fees += 2 * charge.amount\n",
        "tests/unit/test_facts.py",
    ),
    Fault(
        "fees of the day not counted",
        "engine/desk.py",
        "        risk.fees_today += charge.worth\n",
        "",
        "tests/unit/test_marks.py",
    ),
    Fault(
        "fee volume never counted",
        "engine/desk.py",
        "        risk.day_volume[day] = risk.day_volume.get(day, 0) + notional\n",
        "",
        "tests/unit/test_marks.py",
    ),
    Fault(
        "peak NAV follows the last sample",
        "engine/safety.py",
        "risk.peak_nav = max(risk.peak_nav, point.nav)",
        "risk.peak_nav = point.nav",
        "tests/unit/test_marks.py",
    ),
    Fault(
        "max position ignores open buys",
        "engine/risk.py",
        "held + working + c.notional, c.nav, c.limits.max_position_bps",
        "held + c.notional, c.nav, c.limits.max_position_bps",
        "tests/unit/test_risk.py",
    ),
    Fault(
        "fee window a day short",
        "engine/valuation.py",
        "first = state.now_ns // NS_PER_DAY - FEE_WINDOW_DAYS + 1",
        "first = state.now_ns // NS_PER_DAY - FEE_WINDOW_DAYS + 2",
        "tests/unit/test_marks.py",
    ),
    Fault(
        "a parent's fees not counted",
        "engine/parents.py",
        "        parent.fees += fee\n",
        "",
        "tests/unit/test_owners.py",
    ),
    Fault(
        "two own orders filled from one trade",
        "matching/simulator.py",
        "left -= self._fill_from_trade(now_ns, event, order, left)",
        "self._fill_from_trade(now_ns, event, order, left)",
        "tests/unit/test_matching.py",
    ),
    Fault(
        "the collar's rounding: what is locked",
        "engine/risk.py",
        "return mul_div_ceil(notional, BPS + collar_bps, BPS)",
        "return notional * (BPS + collar_bps) // BPS",
        "tests/unit/test_risk.py",
    ),
    Fault(
        "the collar's rounding: what is allowed",
        "engine/risk.py",
        "away = ratio_bps(abs(c.price - price), price)",
        "away = abs(c.price - price) * BPS // price",
        "tests/unit/test_risk.py",
    ),
    Fault(
        "an execution told again is booked again",
        "engine/desk.py",
        "if memory in state.trades or (order is not None and event.trade_id in order.trade_ids):",
        "if not memory:",
        "tests/property/test_facts.py",
    ),
    Fault(
        "an execution gives back nothing of what was locked for it",
        "engine/desk.py",
        "            self._release(order, max(0, order.remaining - event.size))\n",
        "            pass\n",
        "tests/property/test_facts.py",
    ),
    Fault(
        "a break stops exits",
        "engine/stops.py",
        "    Stop.BREAK: Permit(exits=True, ",
        "    Stop.BREAK: Permit(exits=False, ",
        "tests/property/test_facts.py",
    ),
    Fault(
        "a strategy sells what it does not own",
        "engine/valuation.py",
        "        held = min(held, state.ledger.holding(instrument.id, owner).quantity)\n",
        "        held = min(held, state.ledger.position(instrument.id).quantity)\n",
        "tests/unit/test_owners.py",
    ),
    Fault(
        "losses are looked at only when an order is asked for",
        "engine/safety.py",
        "                self._note_mark(event.instrument, position.quantity, market.watched - price)\n",
        "",
        "tests/unit/test_marks.py",
    ),
    Fault(
        "an event's own stamp makes a book fresh",
        "engine/market.py",
        "        market.book_ns = min(ts_ns, self._state.now_ns)\n",
        "        market.book_ns = ts_ns\n",
        "tests/unit/test_marks.py",
    ),
    Fault(
        "an error leaves half a step",
        "engine/core.py",
        "            self._go_back()\n",
        "            pass\n",
        "tests/unit/test_engine_faults.py",
    ),
)


def is_found(fault: Fault, source: Path) -> bool:
    """Return whether the tests find a fault planted in a copy of the source."""
    path = source / "aether" / fault.file
    text = path.read_text()
    if text.count(fault.right) != 1:
        sys.exit(f"{fault.file} has {text.count(fault.right)} times: {fault.right!r}; mend tests/planted.py")
    path.write_text(text.replace(fault.right, fault.wrong))
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *fault.tests.split()],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    finally:
        path.write_text(text)
    return ran.returncode == 1


def main() -> None:
    """Plant all, print what was found, end with 1 when one was not."""
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "ui"))
        for fault in FAULTS:
            found = is_found(fault, source)
            missed += not found
            print(f"{'found ' if found else 'MISSED'}  {fault.what}", flush=True)
    print(f"{len(FAULTS) - missed} passed, {missed} failed")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
