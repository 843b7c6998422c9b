"""Prints and stores rows: the aligned table, the geometric means, the CSV files."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.rows import COLUMNS, Row, as_strings, from_strings
from benchmarks.timing import geometric_mean

HEADER = (
    f"{'layer':26} {'what':8} {'dtype':8} {'layout':6} {'speed-up':>8} {'quartiles':>13} "
    f"{'ms':>9} {'torch ms':>9} {'GF/s':>7} {'torch':>7} {'% peak':>6} "
    f"{'error':>8} {'torch':>8}  algorithms"
)


def table_line(row: Row) -> str:
    quartiles = f"{row.low:.2f}-{row.high:.2f}"
    return (
        f"{row.case:26} {row.what:8} {row.dtype:8} {row.layout:6} {row.speedup:7.2f}x "
        f"{quartiles:>13} {row.ms:9.4g} {row.torch_ms:9.4g} {row.gflops:7.1f} "
        f"{row.torch_gflops:7.1f} {row.percent_of_peak:6.1f} {row.error:8.1e} "
        f"{row.torch_error:8.1e}  {row.algorithms}"
    )


def grouped_means(rows: Iterable[Row], key: Callable[[Row], tuple]) -> dict[tuple, float]:
    groups: dict[tuple, list[float]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row.speedup)
    return {name: geometric_mean(values) for name, values in groups.items()}


def print_means(rows: list[Row], title: str, label: Callable[[Row], str]) -> None:
    """A small table of geometric means: one line per label, one column per what/dtype/layout."""
    columns = list(dict.fromkeys((row.what, row.dtype, row.layout) for row in rows))
    means = grouped_means(rows, lambda row: (label(row), row.what, row.dtype, row.layout))
    labels = list(dict.fromkeys(map(label, rows)))
    print(f"\n{title:22}" + "".join(f"{' '.join(column):>24}" for column in columns))
    for name in labels:
        cells = (means.get((name, *column)) for column in columns)
        print(f"{name:22}" + "".join(f"{cell:23.2f}x" if cell else f"{'':>24}" for cell in cells))


def print_summary(rows: list[Row], worst: int = 12) -> None:
    print_means(rows, "geometric mean by net", lambda row: row.network)
    print_means(rows, "by kind of layer", lambda row: row.kind)
    print_means(rows, "all", lambda row: "all")
    slower = sum(row.speedup < 1 for row in rows)
    print(f"\n{len(rows)} rows, {slower} below 1.0; the slowest:")
    print(HEADER)
    for row in sorted(rows, key=lambda row: row.speedup)[:worst]:
        print(table_line(row))


def write_csv(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(as_strings, rows))


def read_csv(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return [from_strings(values) for values in csv.DictReader(file)]


def write_results(folder: Path, set_name: str, environment: str, rows: list[Row]) -> list[Path]:
    """One file per what, dtype and layout, whose name says on what it was measured."""
    files: dict[Path, list[Row]] = defaultdict(list)
    for row in rows:
        name = f"conv2d-{set_name}-{row.what}-{row.dtype}-{row.layout}-{environment}.csv"
        files[folder / name].append(row)
    for path, selected in files.items():
        write_csv(path, selected)
    return list(files)
