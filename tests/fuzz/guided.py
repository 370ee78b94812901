"""The same decoders under a coverage-guided fuzzer (libFuzzer through atheris): it keeps what reaches new code.

Give libFuzzer's own options, such as `-runs=1000000 -seed=1`.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["aether.venues"]):
    from tests.fuzz.target import corpus, one_input


def main() -> None:
    """Fuzz until the bound that the options give."""
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(corpus()):
            (Path(folder) / f"{number:04}").write_bytes(seed)
        atheris.Setup([*sys.argv, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
