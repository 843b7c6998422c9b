"""Checks random convolutions until the time is up, and makes one that fails as small as it can.

    python -m tests.fuzz --minutes 1
    python -m tests.fuzz --minutes 30 --seed 7
    python -m tests.fuzz --sanitize             the algorithms under the address sanitizer

Exits with 1 at the first failure, whose smallest form is printed as a line to paste into
tests/kernels/test_fuzz.py.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import sys
import time

from tests import cpu_host, sanitize
from tests.fuzz.checks import check
from tests.fuzz.run import fuzz
from tests.fuzz.sanitized import check_with


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="default: a fresh one, which is printed")
    parser.add_argument("--sanitize", action="store_true", help="see sanitized.py")
    arguments = parser.parse_args(argv)
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    sanitized = arguments.sanitize and sanitize.start("address", cpu_host.PARTS)
    with sanitized or contextlib.nullcontext() as running:
        start = time.monotonic()
        checked_by = check_with(running) if running else check
        checked, failure = fuzz(60 * arguments.minutes, seed, checked_by)
    print(f"{checked} convolutions in {time.monotonic() - start:.0f} s, seed {seed}")
    if failure is None:
        return 0
    print(f"\n{failure}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
