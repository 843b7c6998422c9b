"""Layers of real networks, torchconv.Conv2d against nn.Conv2d."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import torch

from benchmarks import readme, report
from benchmarks.machine import environment, fma_peak
from benchmarks.models import measure_models
from benchmarks.rows import Row, measure_layer
from benchmarks.subjects import MEMORY_FORMATS, WHATS
from tests.cases import Conv2dCase
from tests.layer_names import layer_name
from tests.networks import HELD_OUT, NETWORKS, layers

# What `--readme` measures: set, dtype and seconds for a row; then whole models. The seconds are
# chosen for a quarter of an hour on two cores.
README_SETS = (("main", "float32", 0.3), ("held_out", "float32", 0.3), ("main", "bfloat16", 0.15))
README_MODELS = ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "convnext_tiny")
README_MODEL_SECONDS = 2.0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ["main", "held_out", *NETWORKS, *HELD_OUT]
    add = parser.add_argument
    # fmt: off
    add("--set", default="main", metavar="NAME", choices=names,
        help=f"which layers: {', '.join(names)}")
    add("--cases", default="", metavar="REGEX",
        help="only layers whose name matches, such as mobilenet_v2/b7.dw or 'depthwise 7x7'")
    add("--what", default="forward,train", help=f"of {','.join(WHATS)}")
    add("--layout", default="nchw,nhwc",
        help=f"of {','.join(MEMORY_FORMATS)}; nhwc is channels_last")
    add("--dtype", default="float32", help="of float32,float64,bfloat16,float16")
    add("--batch", type=int, help="replaces the batch of every layer")
    add("--threads", type=int, help="default: what torch uses")
    add("--repeats", type=int, default=7, help="fewest pairs per row")
    add("--seconds", type=float, default=0.7, help="time for one row")
    add("--quick", action="store_true", help="0.25 s per row, no errors")
    add("--csv", type=Path, nargs="?", const=readme.RESULTS, metavar="PATH",
        help="a file, or a folder for one file per what, dtype and layout")
    add("--readme", type=Path, nargs="?", const=readme.ROOT / "README.md", metavar="FILE",
        help="measure all that README.md shows (without whole models if --cases is given), store "
        "it in benchmarks/results or the folder --csv, and write the figures into FILE")
    # fmt: on
    return parser.parse_args()


def select_cases(arguments: argparse.Namespace, set_name: str) -> list[Conv2dCase]:
    named = {"main": layers(NETWORKS), "held_out": layers(HELD_OUT), **NETWORKS, **HELD_OUT}
    pattern = re.compile(arguments.cases)
    cases = [
        case
        for case in named[set_name]
        if pattern.search(case.name) or pattern.search(layer_name(case))
    ]
    return [case.with_batch(arguments.batch) for case in cases] if arguments.batch else cases


def measure(arguments: argparse.Namespace, set_name: str, dtype: str, seconds: float) -> list[Row]:
    rows = []
    print(report.HEADER)
    for case in select_cases(arguments, set_name):
        layouts, whats = arguments.layout.split(","), arguments.what.split(",")
        for row in measure_layer(
            case, dtype, layouts, whats, seconds, arguments.repeats, not arguments.quick
        ):
            rows.append(row)
            print(report.table_line(row), flush=True)
    return rows


def measure_for_readme(arguments: argparse.Namespace) -> None:
    folder, start = arguments.csv or readme.RESULTS, time.monotonic()
    for set_name, dtype, seconds in README_SETS:
        if rows := measure(arguments, set_name, dtype, seconds):
            report.print_summary(rows)
            report.write_results(folder, set_name, environment(), rows)
    if not arguments.cases:
        for name, apart in (("models", False), ("apart", True)):
            rows = measure_models(
                README_MODELS, "float32", ["nchw", "nhwc"], README_MODEL_SECONDS, apart
            )
            report.write_csv(folder / f"{name}-float32-{environment()}.csv", rows)
    readme.update(folder, arguments.readme)
    print(f"measured in {(time.monotonic() - start) / 60:.1f} minutes")


def main() -> None:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"{environment()}, FMA peak {fma_peak(torch.float32):.0f} GF/s in float32")
    if arguments.readme:
        measure_for_readme(arguments)
        return
    seconds = 0.25 if arguments.quick else arguments.seconds
    rows = [
        row
        for dtype in arguments.dtype.split(",")
        for row in measure(arguments, arguments.set, dtype, seconds)
    ]
    if not rows:
        sys.exit("no layer matches")
    report.print_summary(rows)
    if arguments.csv and arguments.csv.suffix == ".csv":
        report.write_csv(arguments.csv, rows)
    elif arguments.csv:
        for path in report.write_results(arguments.csv, arguments.set, environment(), rows):
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
