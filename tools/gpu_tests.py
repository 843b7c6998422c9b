"""Runs tests/cuda/gpu for one algorithm after the other, each in a process of its own with a time
limit: one that fails is not accepted, and the others are.

    python -m tools.gpu_tests --csv PATH [--seconds SECONDS]

A row for each is appended to the CSV when it ends; the tests that are of no algorithm, such as
those of torch.compile, are a row named "-" that keeps nothing from being accepted.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.cuda import csv_rows
from benchmarks.cuda.machine import Machine, machine
from tools.gpu_processes import Ended, run_all
from torchconv._gpu import acceptance

AT_ONCE = 6  # more would only wait for their turns on the GPU
NO_ALGORITHM = "-"
# None of what happens to be installed beside pytest is needed, and any of it may not work there.
ENVIRONMENT = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "2", "PYTEST_ADDOPTS": ""}
PYTEST = (
    "-m", "pytest", "tests/cuda/gpu", "-m", "cuda", "-q", "-p", "no:cacheprovider", "--maxfail=5",
    "--tb=short", "--durations=3",
)  # fmt: skip


@dataclass(frozen=True)
class TestsRow(Machine):
    algorithm: str
    source: str
    status: str  # passed, or what went wrong
    detail: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def counts(output: str) -> dict[str, int]:
    """Of pytest's last line, such as `3 failed, 90 passed, 2 skipped in 12.34s`."""
    lines = [line for line in output.splitlines() if re.search(r" in [\d.]+s", line)]
    found = re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", lines[-1] if lines else "")
    number = {name.rstrip("s") if name.startswith("error") else name: int(n) for n, name in found}
    failed = number.get("failed", 0) + number.get("error", 0)
    return {"passed": number.get("passed", 0), "failed": failed,
            "skipped": number.get("skipped", 0)}  # fmt: skip


def status_of(ended: Ended, number: dict[str, int]) -> str:
    if ended.code is None:
        return "out of time"
    if ended.code < 0:
        return f"ended by signal {-ended.code}"
    if ended.code == 0:
        return "passed" if number["passed"] else "nothing was run"
    return "failed" if number["failed"] else f"pytest ended with {ended.code}"


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_tests", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=200, help="for all of them")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: to try it")
    arguments = parser.parse_args(argv)
    end = time.monotonic() + arguments.seconds
    sources = acceptance.sources(torch.ops.torchconv._algorithms_cuda())
    here = asdict(machine(arguments.device))
    bad = []

    def tell(name: str, ended: Ended) -> None:
        number = counts(ended.output)
        status = status_of(ended, number)
        lines = ended.output.strip().splitlines() or [""]
        told = [line for line in lines if line.startswith(("FAILED", "ERROR", "E  "))]
        detail = "" if status == "passed" else " ".join((told or lines)[-1].split())[:300]
        row = TestsRow(
            **here, algorithm=name, source=sources.get(name, ""), status=status, detail=detail,
            **number, seconds=ended.seconds,
        )  # fmt: skip
        csv_rows.append(arguments.csv, row)
        print(f"{name:32} {ended.seconds:6.1f} s {status} {number} {detail}", flush=True)
        if status != "passed":
            bad.append(name)
            print("\n".join(lines[-60:]), flush=True)

    commands = {
        name: [sys.executable, *PYTEST, "--algorithm", name] for name in (*sources, NO_ALGORITHM)
    }
    left = run_all(commands, arguments.seconds, end, AT_ONCE, tell, ENVIRONMENT)
    print(f"{len(commands) - left - len(bad)} of {len(commands)} passed; not: {' '.join(bad)}")
    raise SystemExit(bool(bad or left))


if __name__ == "__main__":
    main()
