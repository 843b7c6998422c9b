"""Random layers of the kinds that networks have, torchconv.Conv2d against nn.Conv2d: how the ratios
of their times are distributed, and the layers with the lowest.

    python -m benchmarks.random
    python -m benchmarks.random --seed 7 --count 300
    python -m benchmarks.random --layer 'n=8 c=64 h=56 w=57 k=64 r=1 s=7 padding=0,3 bias'
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks import own_cores, report
from benchmarks.kinds import kind_of
from benchmarks.layer_text import from_text
from benchmarks.machine import environment, fma_peak
from benchmarks.random_layers import random_layers
from benchmarks.rows import Row, measure_layer
from benchmarks.subjects import FORMAT_NAMES, MEMORY_FORMATS, WHATS
from benchmarks.timing import geometric_mean
from tests.cases import Conv2dCase

DTYPES = ("float32", "float64", "bfloat16", "float16")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.random", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    # fmt: off
    add("--seed", type=int, default=0, help="another one gives other layers")
    add("--count", type=int, default=150, help="how many layers")
    add("--layer", type=_layer, action="append", metavar="TEXT",
        help="this layer instead, spelled as in the last lines of a run; may be repeated")
    add("--what", type=_names(WHATS), default="forward,train", help=f"of {','.join(WHATS)}")
    add("--layout", type=_names(MEMORY_FORMATS), default="nchw,nhwc",
        help=f"of {','.join(MEMORY_FORMATS)}; nhwc is channels_last")
    add("--dtype", type=_names(DTYPES), default="float32", help=f"of {','.join(DTYPES)}")
    add("--threads", type=int, help="default: what torch uses")
    add("--repeats", type=int, default=7, help="fewest pairs per row")
    add("--seconds", type=float, default=0.4, help="time for one row")
    add("--lowest", type=int, default=15, help="how many of the lowest ratios are listed")
    add("--csv", type=Path, metavar="PATH", help="a file for all rows")
    # fmt: on
    return parser.parse_args(argv)


def _names(allowed: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in allowed]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(allowed)}")
        return names

    return parse


def _layer(text: str) -> Conv2dCase:
    try:
        return from_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def measure(arguments: argparse.Namespace, layers: list[tuple[str, Conv2dCase]]) -> list[Row]:
    rows = []
    print(report.HEADER)
    for kind, case in layers:
        for dtype in arguments.dtype:
            for row in measure_layer(
                case, dtype, arguments.layout, arguments.what, arguments.seconds,
                arguments.repeats, with_errors=False,
            ):  # fmt: skip
                rows.append(replace(row, kind=kind))
                print(report.table_line(row), flush=True)
    return rows


@dataclass(frozen=True)
class Distribution:
    """Of speed-ups: a tenth of them are below `tenth`; `slower` is the share below 1."""

    count: int
    mean: float  # geometric
    lowest: float
    tenth: float
    median: float
    slower: float

    @classmethod
    def of(cls, values: list[float]) -> Distribution:
        several = values if len(values) > 1 else values * 2
        return cls(
            len(values), geometric_mean(values), min(values),
            statistics.quantiles(several, n=10, method="inclusive")[0], statistics.median(values),
            sum(value < 1 for value in values) / len(values),
        )  # fmt: skip


def distributions(rows: list[Row]) -> dict[tuple[str, str, str, str], Distribution]:
    """By kind, pass, dtype and layout, and of all kinds together."""
    values: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.kind):
        values[row.kind, row.what, row.dtype, row.layout].append(row.speedup)
    for row in rows:
        values["all", row.what, row.dtype, row.layout].append(row.speedup)
    return {key: Distribution.of(found) for key, found in values.items()}


def print_distributions(rows: list[Row]) -> None:
    print("\ntime of nn.Conv2d / time of torchconv.Conv2d")
    print(
        f"{'kind':15} {'what':11} {'dtype':8} {'format':13} {'rows':>5} {'mean':>6} {'lowest':>6} "
        f"{'tenth':>6} {'median':>6} {'below 1':>8}"
    )
    for (kind, what, dtype, layout), it in distributions(rows).items():
        print(
            f"{kind:15} {what:11} {dtype:8} {FORMAT_NAMES[layout]:13} {it.count:5} {it.mean:6.2f} "
            f"{it.lowest:6.2f} {it.tenth:6.2f} {it.median:6.2f} {it.slower:8.0%}"
        )


def command(row: Row, threads: int | None) -> str:
    """What measures the row again."""
    options = f"--what {row.what} --layout {row.layout} --dtype {row.dtype}"
    options += f" --threads {threads}" if threads else ""
    return f"python -m benchmarks.random --layer '{row.case}' {options}"


def print_lowest(rows: list[Row], count: int, threads: int | None) -> None:
    """As commands for a shell, to which everything behind them is a comment."""
    lowest = sorted(rows, key=lambda row: row.speedup)[:count]
    print(f"\nthe lowest of {len(rows)}:")
    commands = [command(row, threads) for row in lowest]
    width = max(map(len, commands), default=0)
    for row, text in zip(lowest, commands, strict=True):
        print(
            f"{text:{width}} # {row.speedup:.2f}x ({row.low:.2f}-{row.high:.2f}), {row.ms:.3g} ms, "
            f"torch {row.torch_ms:.3g} ms, {row.kind}: {row.algorithms}"
        )


def main(argv: Sequence[str] | None = None) -> None:
    arguments, start = parse_arguments(argv), time.monotonic()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"{environment()}, FMA peak {fma_peak(torch.float32):.0f} GF/s in float32")
    if arguments.layer:
        layers = [(kind_of(layer), layer) for layer in arguments.layer]
    else:
        layers = random_layers(arguments.seed, arguments.count)
        print(f"{len(layers)} layers of seed {arguments.seed}")
    rows = measure(arguments, layers)
    print_distributions(rows)
    print_lowest(rows, arguments.lowest, arguments.threads)
    print(f"\n{own_cores.summary()}\nmeasured in {(time.monotonic() - start) / 60:.1f} minutes")
    if arguments.csv:
        report.write_csv(arguments.csv, rows)
        print(f"wrote {arguments.csv}")


if __name__ == "__main__":
    main()
