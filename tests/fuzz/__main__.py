"""Checks random convolutions until the time is up, and makes one that fails as small as it can.

    python -m tests.fuzz --minutes 1
    python -m tests.fuzz --minutes 30 --seed 7

Exits with 1 at the first failure, whose smallest form is printed as a line to paste into
tests/kernels/test_fuzz.py.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time

from tests.fuzz.run import fuzz


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="default: a fresh one, which is printed")
    arguments = parser.parse_args(argv)
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    start = time.monotonic()
    checked, failure = fuzz(60 * arguments.minutes, seed)
    print(f"{checked} convolutions in {time.monotonic() - start:.0f} s, seed {seed}")
    if failure is None:
        return 0
    print(f"\n{failure}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
