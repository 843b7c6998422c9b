"""Inference of whole models: torchconv beside PyTorch, torch.compile, ONNX Runtime and OpenVINO.

python -m benchmarks.inference resnet18 --batch 1
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks import own_cores, report
from benchmarks.inference import networks
from benchmarks.inference.rows import (
    Built,
    InferenceRow,
    by_model_and_batch,
    measure,
    of_best_peer,
)
from benchmarks.inference.subjects import OURS, PEERS, SUBJECTS
from benchmarks.machine import environment, fma_peak
from benchmarks.readme import RESULTS
from benchmarks.timing import geometric_mean
from tests.layer_names import network_name

HEADER = (
    f"{'model':16} {'images':>6} {'subject':32} {'ms':>9} {'quartiles':>17} {'p90 ms':>9} "
    f"{'p99 ms':>9} {'optimized':>9} {'quartiles':>13} {'compiled':>9} {'converted':>9} "
    f"{'difference':>10}"
)
LEGEND = (
    "optimized, compiled, converted: how many times as long it takes as torchconv, optimized; "
    "optimized and compiled; converted only. difference: from float64, over the largest element"
)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__)
    add = parser.add_argument
    # fmt: off
    add("models", nargs="*", default=networks.NAMES, metavar="MODEL",
        help=f"of torchvision; default: {', '.join(networks.NAMES)}")
    add("--batch", type=int, nargs="+", default=[1, 4, 16], metavar="N", help="images at a time")
    add("--dtype", choices=("float32", "bfloat16"), default="float32")
    add("--peers", nargs="*", choices=PEERS, default=list(PEERS), metavar="PEER",
        help=f"beside which torchconv is measured; default: {', '.join(PEERS)}")
    add("--threads", type=int, help="default: what torch uses")
    add("--seconds", type=float, default=3.0, help="time for one row")
    add("--csv", type=Path, nargs="?", const=RESULTS, metavar="PATH",
        help="a file, or a folder for one with the dtype and the machine in its name; default: "
        "benchmarks/results")
    # fmt: on
    options = parser.parse_args(arguments)
    if unknown := set(options.models) - set(networks.known()):
        parser.error(f"torchvision has no classification network {', '.join(unknown)}")
    return options


def table_line(row: InferenceRow) -> str:
    low, high = _times(row.optimized_low), _times(row.optimized_high)
    return (
        f"{network_name(row.model):16} {row.batch:6} {SUBJECTS[row.subject].name:32} "
        f"{row.ms:9.4g} {f'{row.low_ms:.4g}-{row.high_ms:.4g}':>17} {row.p90_ms:9.4g} "
        f"{row.p99_ms:9.4g} {_times(row.optimized):>9} {f'{low}-{high}'.strip('-'):>13} "
        f"{_times(row.optimized_compile):>9} {_times(row.torchconv):>9} {row.difference:10.1e}"
    )


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x" if math.isfinite(ratio) else ""


def means(rows: list[InferenceRow]) -> list[str]:
    """For each batch and way of torchconv's, how it compares with the best peer of each model."""
    lines = []
    for batch in dict.fromkeys(row.batch for row in rows):
        groups = [group for key, group in by_model_and_batch(rows).items() if key[1] == batch]
        for ours in OURS:
            best = [peer for group in groups if (peer := of_best_peer(group, ours))]
            if best:
                ratios = [getattr(peer, ours) for peer in best]
                lines.append(
                    f"{batch:6} {SUBJECTS[ours].name:32} {geometric_mean(ratios):7.2f}x "
                    f"(slower in {sum(ratio < 1 for ratio in ratios)} of {len(ratios)})"
                )
    return lines


def installed(wanted: list[str]) -> list[str]:
    """Those subjects that are, each named with its release and settings."""
    found = []
    for name in wanted:
        try:
            print(f"{SUBJECTS[name].name}: {SUBJECTS[name].about}")
            found.append(name)
        except ImportError as error:
            print(f"left out: {SUBJECTS[name].name}: {error} (pip install 'torchconv[peers]')")
    return found


def measure_model(
    options: argparse.Namespace, name: str, wanted: list[str]
) -> Iterator[tuple[Built, list[InferenceRow]]]:
    """What was built and the rows, batch by batch, printed as soon as they are measured."""
    model, dtype = networks.build(name), getattr(torch, options.dtype)
    for batch in options.batch:
        images = networks.images(batch)
        built = Built.build(model, images, dtype, wanted)
        rows = measure(name, batch, dtype, built, options.seconds)
        print(*map(table_line, rows), sep="\n")
        for kind, reasons in (("left out", built.left_out), ("WRONG", built.wrong)):
            for subject, reason in reasons.items():
                what = f"{kind}: {SUBJECTS[subject].name}: {reason}"
                print(f"{network_name(name):16} {batch:6} {what}")
        sys.stdout.flush()
        yield built, rows


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    print(
        f"{environment()}, {torch.get_num_threads()} threads for each, "
        f"FMA peak {fma_peak(torch.float32):.0f} GF/s in float32, load {os.getloadavg()[0]:.1f}"
    )
    wanted = installed([*options.peers, *OURS])
    print(f"{LEGEND}\n{HEADER}")
    found = [pair for name in options.models for pair in measure_model(options, name, wanted)]
    rows = [row for _, measured in found for row in measured]
    print("\nbeside the best peer of each model, geometric means by number of images")
    print(*means(rows), own_cores.summary(), sep="\n")
    if options.csv and rows:
        path = options.csv
        if path.suffix != ".csv":
            path = path / f"inference-{options.dtype}-{environment()}.csv"
        report.write_csv(path, rows)
        print(f"wrote {path}")
    if any(built.wrong for built, _ in found):
        sys.exit("an output is wrong")


if __name__ == "__main__":
    main()
