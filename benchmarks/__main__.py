"""Layers of real networks, torchconv.Conv2d against nn.Conv2d."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import torch

from benchmarks import readme, report
from benchmarks.machine import environment, fma_peak
from benchmarks.rows import Row, measure_row
from benchmarks.subjects import MEMORY_FORMATS, WHATS, Subject
from tests.cases import Conv2dCase
from tests.networks import HELD_OUT, NETWORKS, layers

RESULTS = Path(__file__).parent / "results"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ["main", "held_out", *NETWORKS, *HELD_OUT]
    add = parser.add_argument
    # fmt: off
    add("--set", default="main", metavar="NAME", choices=names,
        help=f"which layers: {', '.join(names)}")
    add("--cases", default="", metavar="REGEX", help="only layers whose name matches")
    add("--what", default="forward,train", help=f"of {','.join(WHATS)}")
    add("--layout", default="nchw,nhwc", help=f"of {','.join(MEMORY_FORMATS)}")
    add("--dtype", default="float32", help="of float32,float64,bfloat16,float16")
    add("--batch", type=int, help="replaces the batch of every layer")
    add("--threads", type=int, help="default: what torch uses")
    add("--repeats", type=int, default=7, help="fewest pairs per row")
    add("--seconds", type=float, default=0.7, help="time for one row")
    add("--quick", action="store_true", help="0.25 s per row, no errors")
    add("--csv", type=Path, nargs="?", const=RESULTS, metavar="PATH",
        help="a file, or a folder for one file per what, dtype and layout")
    add("--readme", action="store_true",
        help="write benchmarks/results and the table of README.md")
    # fmt: on
    return parser.parse_args()


def select_cases(arguments: argparse.Namespace) -> list[Conv2dCase]:
    named = {"main": layers(NETWORKS), "held_out": layers(HELD_OUT), **NETWORKS, **HELD_OUT}
    pattern = re.compile(arguments.cases)
    cases = [case for case in named[arguments.set] if pattern.search(case.name)]
    return [case.with_batch(arguments.batch) for case in cases] if arguments.batch else cases


def measure(arguments: argparse.Namespace) -> list[Row]:
    budget = 0.25 if arguments.quick else arguments.seconds
    rows = []
    print(report.HEADER)
    for dtype in arguments.dtype.split(","):
        for case in select_cases(arguments):
            for layout in arguments.layout.split(","):
                subject = Subject.build(case, layout, getattr(torch, dtype))
                for what in arguments.what.split(","):
                    if what == "train_dx" and "first" not in case.tags:
                        continue  # train has the gradient of the input already
                    row = measure_row(subject, what, budget, arguments.repeats, not arguments.quick)
                    rows.append(row)
                    print(report.table_line(row), flush=True)
    return rows


def main() -> None:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"{environment()}, FMA peak {fma_peak(torch.float32):.0f} GF/s in float32")
    rows = measure(arguments)
    if not rows:
        sys.exit("no layer matches")
    report.print_summary(rows)
    folder = RESULTS if arguments.readme else arguments.csv
    if folder and folder.suffix == ".csv":
        report.write_csv(folder, rows)
    elif folder:
        for path in report.write_results(folder, arguments.set, environment(), rows):
            print(f"wrote {path}")
    if arguments.readme:
        readme.update()


if __name__ == "__main__":
    main()
