"""Writes what a GPU has accepted into torchconv/gpu_accepted.json.

    python -m tools.accept CSV [--gpu NAME] [--file PATH]

CSV is what `python -m benchmarks.cuda` wrote after the tests had passed on that GPU with the same
library; tools/gpu_accept.sh sees to that order. A kernel gets one entry for each operator, dtype
and memory format, with the lowest ratio of any layer; one below 1.0 is written down, too, and keeps
the kernel from running by itself.
"""

from __future__ import annotations

import argparse
import csv
import datetime
from collections import defaultdict
from pathlib import Path

import torch

from torchconv import _accepted


def entries_of(rows: list[dict[str, str]], gpu: str, torch_version: str, date: str):
    """An entry for every (algorithm, op, dtype, layout) among the rows of a CSV."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        if not row["source"]:
            raise ValueError(f"{row['case']}: no hash of {row['algorithm']}'s source")
        groups[row["algorithm"], row["op"], row["dtype"], row["layout"]].append(row)
    entries = []
    for (algorithm, op, dtype, layout), group in groups.items():
        hashes = {row["source"] for row in group}
        if len(hashes) > 1:
            raise ValueError(f"{algorithm} was measured from several sources: {sorted(hashes)}")
        ratio = min(float(row["ratio"]) for row in group)
        entries.append(
            _accepted.Entry(
                gpu, algorithm, op, dtype, layout, hashes.pop(), ratio, len(group),
                torch_version, date,
            )
        )  # fmt: skip
    return entries


def update(path: Path, new: list[_accepted.Entry]) -> list[_accepted.Entry]:
    """Puts entries into the file, each in the place of an earlier one; returns all of them."""
    merged = {entry.key: entry for entry in (*_accepted.read(path), *new)}
    _accepted.write(list(merged.values()), path)
    return list(merged.values())


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.accept", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("csv", type=Path)
    parser.add_argument("--gpu", help="default: the GPU of this machine")
    parser.add_argument("--file", type=Path, default=_accepted.FILE)
    arguments = parser.parse_args(argv)
    with arguments.csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    gpu = arguments.gpu or torch.cuda.get_device_name()
    today = datetime.date.today().isoformat()
    try:
        new = entries_of(rows, gpu, torch.__version__, today)
    except (KeyError, ValueError) as error:
        raise SystemExit(f"{arguments.csv}: nothing was accepted: {error}") from None
    update(arguments.file, new)
    faster = [entry for entry in new if entry.ratio >= _accepted.LEAST_RATIO]
    for entry in sorted(new, key=lambda entry: entry.key):
        print(
            f"{entry.algorithm:24} {entry.op:11} {entry.dtype:8} {entry.layout} {entry.layers:3} "
            f"layers, lowest {entry.ratio:.2f}x{'' if entry in faster else ': stays with ATen'}"
        )
    print(f"{arguments.file}: {len(new)} kernels on {gpu}, {len(faster)} of them run by themselves")


if __name__ == "__main__":
    main()
