"""The take-over drill: `python -m tests.takeover --rounds 50` strikes the owner so often and looks what came of it."""

import argparse
import random
import statistics
import sys
import tempfile
from pathlib import Path

from tests.takeover.parts import FAULTS, Takeovers

LASTS_S = {"killed": 0.0, "stopped": 30.0, "cut from the database": 12.0, "paused before the socket": 12.0}


def main() -> int:
    """Run the rounds; return 1 when something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    chance = random.Random(wanted.seed)
    with tempfile.TemporaryDirectory() as folder:
        drill = Takeovers(Path(folder), wanted.seed)
        try:
            for n in range(wanted.rounds):
                fault = FAULTS[n % len(FAULTS)] if n < len(FAULTS) else chance.choice(FAULTS)
                taken_s = drill.round(fault, LASTS_S[fault])
                print(f"{n + 1:3} {fault:26} taken over in {taken_s:4.1f} s", flush=True)
            drill.end()
            violations = drill.violations()
        finally:
            drill.close()
    for fault, taken in drill.taken_s.items():
        if taken:
            print(f"{fault}: {len(taken)} times, median {statistics.median(taken):.1f} s, longest {max(taken):.1f} s")
    print(f"{drill.epochs} owners, {drill.rows} rows, {drill.orders} orders, {drill.fills} executions")
    for violation in violations:
        print(f"VIOLATION {violation}")
    return int(bool(violations))


if __name__ == "__main__":
    sys.exit(main())
