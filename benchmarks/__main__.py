"""`python -m benchmarks`: every benchmark, one line a figure."""

import os
import platform

from aether.telemetry import configure_logging
from benchmarks import commit, engine, floods, kill, market_log, node, page, replay, venues


def main() -> None:
    """Run all and print."""
    configure_logging("warning", as_json=False)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for module in (engine, venues, replay, commit, node, market_log, kill, floods, page):
        for name, value in module.run():
            print(f"{name:95} {value}", flush=True)


if __name__ == "__main__":
    main()
