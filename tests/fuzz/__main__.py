"""A seeded flood of damaged payloads: bytes flipped, cut, doubled and swapped, values replaced by their worst kin."""

import argparse
import random
import sys
import time
from collections.abc import Iterator

from tests.fuzz.target import corpus, one_input

WORST = (
    b"null", b"true", b"-1", b"0", b"1e400", b"-0.0", b"123456789012345678901234567890", b'""', b'"\\u0000"', b"{}",
    b"[]", b"[[]]", b'"NaN"', b'"Infinity"', b"0.000000000000000000000001", b'"1e-9"', b"\xff", b'"BTC/USD"',
    b'"9999-99-99T99:99:99Z"', b'"' + b"9" * 60 + b'"', b"[" * 200,
)  # fmt: skip
MARKS = (b'"', b":", b",", b"{", b"}", b"[", b"]", b".", b"0", b"e")
REPORT_EVERY = 100_000


def damaged(seeds: list[bytes], draw: random.Random) -> Iterator[bytes]:
    """Yield inputs for ever."""
    while True:
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
            _damage(data, draw, seeds)
        if draw.random() < 0.1:
            data[0:1] = bytes([draw.randrange(256)])
        if draw.random() < 0.1:
            data[1:2] = bytes([draw.randrange(256)])
        yield bytes(data)


def _damage(data: bytearray, draw: random.Random, seeds: list[bytes]) -> None:
    at = draw.randrange(2, max(3, len(data)))
    kind = draw.randrange(7)
    if kind == 0:
        data[at : at + 1] = bytes([draw.randrange(256)])
    elif kind == 1:
        del data[at : at + draw.randrange(1, 40)]
    elif kind == 2:
        data[at:at] = data[at : at + draw.randrange(1, 60)]
    elif kind == 3:
        del data[at:]
    elif kind == 4:
        data[at:at] = draw.choice(MARKS)
    elif kind == 5:
        other = draw.choice(seeds)
        begin = draw.randrange(len(other))
        data[at:at] = other[begin : begin + 40]
    else:
        start = data.find(b":", at) + 1
        ends = [e for e in (data.find(m, start) for m in (b",", b"}", b"]")) if e > 0]
        if start and ends:
            data[start : min(ends)] = draw.choice(WORST)


def main() -> int:
    """Run and return 1 with the input that broke a decoder, 0 otherwise."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seeds = corpus()
    started = time.monotonic()
    for number, data in enumerate(damaged(seeds, random.Random(options.seed)), 1):
        try:
            one_input(data)
        except Exception as error:  # noqa: BLE001  that is what is looked for
            print(f"input {number} of seed {options.seed}: {error!r}\n{data!r}", file=sys.stderr)
            return 1
        if number % REPORT_EVERY == 0:
            print(f"{number:,} inputs, {time.monotonic() - started:.0f} s, nothing uncaught", flush=True)
        if number >= options.inputs:
            return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
