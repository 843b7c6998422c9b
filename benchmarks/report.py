"""Prints and stores rows: the aligned table, the geometric means, the CSV files."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks import own_cores
from benchmarks.rows import AnyRow, Row, as_strings, from_strings
from benchmarks.subjects import FORMAT_NAMES, OPERATORS
from benchmarks.timing import geometric_mean
from tests.layer_names import layer_name, network_name
from tests.networks import HELD_OUT, NETWORKS, layers

LAYERS = {case.name: case for case in layers(NETWORKS) + layers(HELD_OUT)}

ALLOWED = 1.25  # times the error of nn.Conv2d

HEADER = (
    f"{'layer':52} {'what':8} {'dtype':8} {'format':13} {'speed-up':>8} {'quartiles':>13} "
    f"{'ms':>9} {'torch ms':>9} {'GF/s':>7} {'torch':>7} {'% peak':>6} "
    f"{'error':>8} {'torch':>8} {'error dx':>8} {'torch':>8} {'error dw':>8} {'torch':>8}  "
    "algorithms"
)


def name_of(row: Row) -> str:
    """The layer, as people call it."""
    return layer_name(LAYERS[row.case]) if row.case in LAYERS else row.case


def table_line(row: Row) -> str:
    quartiles = f"{row.low:.2f}-{row.high:.2f}"
    errors = " ".join(_error(error) for op in OPERATORS for error in row.errors(op))
    return (
        f"{name_of(row):52} {row.what:8} {row.dtype:8} {FORMAT_NAMES[row.layout]:13} "
        f"{row.speedup:7.2f}x {quartiles:>13} {row.ms:9.4g} {row.torch_ms:9.4g} "
        f"{row.gflops:7.1f} {row.torch_gflops:7.1f} {row.percent_of_peak:6.1f} "
        f"{errors}  {row.algorithms}"
    )


def _error(error: float) -> str:
    return f"{error:8.1e}" if math.isfinite(error) else " " * 8


def grouped_means(rows: Iterable[Row], key: Callable[[Row], tuple]) -> dict[tuple, float]:
    groups: dict[tuple, list[float]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row.speedup)
    return {name: geometric_mean(values) for name, values in groups.items()}


def mean_error(errors: Iterable[float]) -> float:
    """The geometric mean of those that were measured and are not zero; else NaN."""
    return geometric_mean(error for error in errors if error > 0 and math.isfinite(error))


@dataclass(frozen=True)
class Inexact:
    """A result whose error is more than ALLOWED times that of nn.Conv2d."""

    row: Row
    op: str
    error: float
    torch_error: float

    @property
    def ratio(self) -> float:
        return self.error / self.torch_error if self.torch_error else math.inf

    @property
    def algorithm(self) -> str:
        """That of the operator, of those that the row names."""
        measured = [op for op in OPERATORS if math.isfinite(self.row.errors(op)[0])]
        return self.row.algorithms.split()[measured.index(self.op)]


def inexact(rows: Iterable[Row]) -> tuple[list[Inexact], int]:
    """Those results, the worst first, and how many were measured. A forward pass, which is also a
    part of a training step, counts once."""
    measured = {}
    for row in rows:
        for op in OPERATORS:
            error, torch_error = row.errors(op)
            if math.isfinite(error):
                key = row.case, row.dtype, row.layout, row.batch, op
                measured.setdefault(key, Inexact(row, op, error, torch_error))
    found = [it for it in measured.values() if it.error > ALLOWED * it.torch_error]
    return sorted(found, key=lambda it: it.ratio, reverse=True), len(measured)


def print_errors(rows: list[Row], worst: int) -> None:
    found, measured = inexact(rows)
    if not measured:
        return
    for op in OPERATORS:
        ours, theirs = (mean_error(row.errors(op)[i] for row in rows) for i in (0, 1))
        if math.isfinite(ours):
            print(f"error of {op}: {ours:.1e}, nn.Conv2d {theirs:.1e} (geometric means)")
    print(f"{len(found)} of {measured} results have more than {ALLOWED} times nn.Conv2d's error")
    for it in found[:worst]:
        print(
            f"{name_of(it.row):52} {it.op:11} {it.row.dtype:8} {FORMAT_NAMES[it.row.layout]:13} "
            f"{it.error:8.1e} {it.torch_error:8.1e} {it.ratio:6.2f}x  {it.algorithm}"
        )


def print_means(rows: list[Row], title: str, label: Callable[[Row], str]) -> None:
    """A small table of geometric means: one line per label, one column per what/dtype/format."""
    columns = list(dict.fromkeys((row.what, row.dtype, row.layout) for row in rows))
    means = grouped_means(rows, lambda row: (label(row), row.what, row.dtype, row.layout))
    titles = (f"{what} {dtype} {FORMAT_NAMES[layout]}" for what, dtype, layout in columns)
    print(f"\n{title:22}" + "".join(f"{title:>32}" for title in titles))
    for name in dict.fromkeys(map(label, rows)):
        cells = (means.get((name, *column)) for column in columns)
        print(f"{name:22}" + "".join(f"{cell:31.2f}x" if cell else f"{'':>32}" for cell in cells))


def print_summary(rows: list[Row], worst: int = 12) -> None:
    print_means(rows, "geometric mean by net", lambda row: network_name(row.network))
    print_means(rows, "by kind of layer", lambda row: row.kind)
    print_means(rows, "all", lambda row: "all")
    slower = sum(row.speedup < 1 for row in rows)
    print(f"\n{len(rows)} rows, {slower} below 1.0; the slowest:")
    print(HEADER)
    for row in sorted(rows, key=lambda row: row.speedup)[:worst]:
        print(table_line(row))
    print(f"{own_cores.summary()}\n")
    print_errors(rows, worst)


def write_csv(path: Path, rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        names = [field.name for field in fields(rows[0])]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(as_strings, rows))


def read_csv(path: Path, kind: type[AnyRow]) -> list[AnyRow]:
    with path.open(newline="") as file:
        return [from_strings(kind, values) for values in csv.DictReader(file)]


def write_results(folder: Path, set_name: str, environment: str, rows: list[Row]) -> list[Path]:
    """One file per what, dtype and layout, whose name says on what it was measured."""
    files: dict[Path, list[Row]] = defaultdict(list)
    for row in rows:
        name = f"conv2d-{set_name}-{row.what}-{row.dtype}-{row.layout}-{environment}.csv"
        files[folder / name].append(row)
    for path, selected in files.items():
        write_csv(path, selected)
    return list(files)
