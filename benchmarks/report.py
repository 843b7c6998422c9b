"""Prints and stores rows: the aligned table, the geometric means, the CSV files."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

from benchmarks.rows import AnyRow, Row, as_strings, from_strings
from benchmarks.subjects import FORMAT_NAMES
from benchmarks.timing import geometric_mean
from tests.layer_names import layer_name, network_name
from tests.networks import HELD_OUT, NETWORKS, layers

LAYERS = {case.name: case for case in layers(NETWORKS) + layers(HELD_OUT)}

HEADER = (
    f"{'layer':52} {'what':8} {'dtype':8} {'format':13} {'speed-up':>8} {'quartiles':>13} "
    f"{'ms':>9} {'torch ms':>9} {'GF/s':>7} {'torch':>7} {'% peak':>6} "
    f"{'error':>8} {'torch':>8}  algorithms"
)


def name_of(row: Row) -> str:
    """The layer, as people call it."""
    return layer_name(LAYERS[row.case]) if row.case in LAYERS else row.case


def table_line(row: Row) -> str:
    quartiles = f"{row.low:.2f}-{row.high:.2f}"
    return (
        f"{name_of(row):52} {row.what:8} {row.dtype:8} {FORMAT_NAMES[row.layout]:13} "
        f"{row.speedup:7.2f}x {quartiles:>13} {row.ms:9.4g} {row.torch_ms:9.4g} "
        f"{row.gflops:7.1f} {row.torch_gflops:7.1f} {row.percent_of_peak:6.1f} "
        f"{row.error:8.1e} {row.torch_error:8.1e}  {row.algorithms}"
    )


def grouped_means(rows: Iterable[Row], key: Callable[[Row], tuple]) -> dict[tuple, float]:
    groups: dict[tuple, list[float]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row.speedup)
    return {name: geometric_mean(values) for name, values in groups.items()}


def mean_error(errors: Iterable[float]) -> float:
    """The geometric mean of those that were measured and are not zero; else NaN."""
    return geometric_mean(error for error in errors if error > 0 and math.isfinite(error))


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
