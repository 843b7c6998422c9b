"""Runs every CUDA kernel for each of its operators once, each pair in a process of its own, so that
one that reads where it must not takes nothing with it.

    python -m tools.gpu_smoke --csv PATH [--seconds SECONDS] [--device cpu]

A row for each of them is appended to the CSV when it ends. Exits with 1 if any did not pass.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.cuda import csv_rows
from benchmarks.cuda.machine import Machine, machine
from tests.cases import Conv2dCase
from tests.cuda.gpu.operators import algorithms, applicable, forced, kernel_of, on_device
from tests.reference import DTYPES, OPS, assert_accurate, random_operands, run
from tools.gpu_processes import Ended, run_all
from tools.gpu_small_cases import CASES, MORE
from torchconv._gpu import acceptance

LIMIT = 60  # seconds of one process, of which starting PyTorch may take the most
AT_ONCE = 8

Job = tuple[Conv2dCase, torch.dtype, bool]


@dataclass(frozen=True)
class SmokeRow(Machine):
    kernel: str
    op: str
    source: str
    status: str  # passed, or what went wrong
    detail: str
    seconds: float


def jobs() -> dict[tuple[str, str], list[Job]]:
    """What to run for each (kernel, operator): a case of each size and stride, in every dtype and
    format."""
    found: dict[tuple[str, str], list[Job]] = {}
    for case in (*CASES, *MORE):
        for dtype in DTYPES:
            for channels_last in (False, True):
                for op in OPS:
                    for name in applicable(op, case, dtype, channels_last):
                        with forced(name):
                            kernel = kernel_of(op, case, dtype, channels_last)
                        group = found.setdefault((kernel, op), [])
                        job = (case, dtype, channels_last)
                        if all(alike(job) != alike(other) for other in group):
                            group.append(job)
    return found


def alike(job: Job) -> tuple:
    """What decides which code of a kernel runs."""
    case, *rest = job
    return case.r, case.s, case.stride, case.dilation, case.groups == 1, *rest


def run_job(kernel: str, op: str, device: str) -> None:
    """Raises AssertionError where a result is wrong."""
    algorithm = kernel.partition(".")[0]
    for case, dtype, channels_last in jobs()[kernel, op]:
        t = on_device(random_operands(case, dtype), channels_last, device)
        with forced(algorithm):
            found = run(op, case, t, channels_last)
        try:
            assert_accurate(found.cpu(), op, case)
        except AssertionError as error:
            layout = "nhwc" if channels_last else "nchw"
            raise AssertionError(f"{kernel}, {layout}: {error}") from None


def status_of(ended: Ended) -> str:
    if ended.code is None:
        return "out of time"
    if ended.code < 0:
        return f"ended by signal {-ended.code}"
    return "passed" if ended.code == 0 else "failed"


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_smoke", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--seconds", type=float, default=120, help="for all of them")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: to try it")
    parser.add_argument("--job", nargs=2, metavar=("KERNEL", "OP"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.job:
        return run_job(*arguments.job, arguments.device)
    if not arguments.csv:
        parser.error("--csv is needed")
    end = time.monotonic() + arguments.seconds
    sources = acceptance.sources(torch.ops.torchconv._algorithms_cuda())
    here = asdict(machine(arguments.device))
    bad = 0

    def tell(name: str, ended: Ended) -> None:
        nonlocal bad
        kernel, op = name.split()
        status = status_of(ended)
        bad += status != "passed"
        lines = ended.output.strip().splitlines() or [""]
        detail = "" if status == "passed" else lines[-1][:300]
        source = sources[kernel.partition(".")[0]]
        row = SmokeRow(
            **here, kernel=kernel, op=op, source=source, status=status, detail=detail,
            seconds=ended.seconds,
        )  # fmt: skip
        csv_rows.append(arguments.csv, row)
        print(f"{kernel:30} {op:11} {ended.seconds:5.1f} s {status} {detail}", flush=True)
        if status != "passed":
            print("\n".join(lines[-12:]), flush=True)

    command = [sys.executable, "-m", "tools.gpu_smoke", "--device", arguments.device, "--job"]
    # The kernels that are likely to run by themselves first.
    order = sorted(jobs(), key=lambda pair: algorithms().index(pair[0].partition(".")[0]))
    commands = {f"{kernel} {op}": [*command, kernel, op] for kernel, op in order}
    left = run_all(commands, LIMIT, end, AT_ONCE, tell, {"OMP_NUM_THREADS": "2"})
    print(f"{len(commands) - left} of {len(commands)} kernels ran, {bad} of them did not pass")
    raise SystemExit(bool(bad or left))


if __name__ == "__main__":
    main()
