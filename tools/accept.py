"""Writes what a GPU has accepted into torchconv/gpu_accepted.json; needs no GPU itself.

    python -m tools.accept FOLDER... [--file PATH]

The folders hold what tools/gpu_accept.sh wrote on the GPU: smoke.csv, tests.csv and benchmark.csv,
of one run or of several, whole or cut off. A kernel gets an entry for each kernel size, stride,
dilation, operator, dtype and memory format, with the lowest ratio of the layers that were measured
inside a CUDA graph; layers of one image are left out, for what decides there is the launch. An
entry below 1.0, or of a kernel that has failed or was not tried, is written down, too: it keeps
that kernel, and no other, from running by itself.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterable
from pathlib import Path

from benchmarks.cuda import csv_rows
from torchconv._gpu import acceptance

Row = dict[str, str]
FILES = ("smoke.csv", "tests.csv", "benchmark.csv")


def key_of(row: Row) -> acceptance.Key:
    return acceptance.Key(*(row[name] for name in acceptance.Key._fields))


def entries_of(
    benchmark: Iterable[Row], smoke: Iterable[Row], tests: Iterable[Row], date: str
) -> list[acceptance.Entry]:
    """An entry for every key among the rows of a benchmark.

    Raises:
        ValueError: a row does not say from which source its kernel was compiled, or one kernel was
            measured from several.
    """
    smoke, tests = list(smoke), list(tests)
    groups: dict[acceptance.Key, list[Row]] = {}
    for row in benchmark:
        if not row["source"]:
            raise ValueError(f"{row['case']}: no hash of {row['kernel']}'s source")
        groups.setdefault(key_of(row), []).append(row)
    entries = []
    for key, group in groups.items():
        if len(hashes := {row["source"] for row in group}) > 1:
            raise ValueError(f"{key.kernel} was measured from several sources: {sorted(hashes)}")
        problem = (
            problem_of(smoke, group[0], kernel=key.kernel, op=key.op)
            or problem_of(tests, group[0], algorithm=key.algorithm)
            or next((f"{r['case']}: {r['status']}" for r in group if r["status"] != "ok"), "")
        )
        timed = [row for row in group if row["status"] == "ok" and row["batch"] != "1"]
        if not timed and not problem:
            continue
        ratio, eager = (
            min((float(row[name]) for row in timed), default=0.0)
            for name in ("ratio", "eager_ratio")
        )
        machines = (" + ".join(sorted({row[name] for row in group})) for name in ("gpu", "torch"))
        layers = len({row["case"] for row in timed})
        entries.append(
            acceptance.Entry(
                *key, group[0]["source"], ratio, eager, layers, problem, *machines, date
            )
        )
    return entries


def problem_of(rows: list[Row], measured: Row, **place: str) -> str:
    """Why the tries of one kernel forbid it to run, or an empty text: none but of this very source
    and on GPUs of this kind counts, and one that failed counts for more than one that passed."""
    place = {**place, "source": measured["source"], "capability": measured["capability"]}
    tried = [row for row in rows if all(row[name] == value for name, value in place.items())]
    ended = [row for row in tried if row["status"] != "out of time"]  # which another try may fix
    for row in ended or tried:
        if row["status"] != "passed":
            return f"{row['status']}: {row['detail']}".rstrip(": ")
    return "" if tried else f"no {'tests' if 'algorithm' in place else 'smoke run'} of it"


def update(path: Path, new: list[acceptance.Entry]) -> None:
    """Puts entries into the file, each in the place of an earlier one."""
    merged = {entry.key: entry for entry in (*acceptance.read(path), *new)}
    acceptance.write(list(merged.values()), path)


def rows_of(folders: list[Path], name: str) -> list[Row]:
    return [row for folder in folders for row in csv_rows.read(folder / name)]


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.accept", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--file", type=Path, default=acceptance.FILE)
    arguments = parser.parse_args(argv)
    smoke, tests, benchmark = (rows_of(arguments.folders, name) for name in FILES)
    names = ", ".join(map(str, arguments.folders))
    for rows, name in ((smoke, FILES[0]), (tests, FILES[1]), (benchmark, FILES[2])):
        if not rows:
            raise SystemExit(f"nothing was accepted: there is no row of {name} in {names}")
    try:
        new = entries_of(benchmark, smoke, tests, datetime.date.today().isoformat())
    except (KeyError, ValueError) as error:
        raise SystemExit(f"nothing was accepted: {error}") from None
    update(arguments.file, new)
    measured = {entry.key.algorithm: entry.source for entry in new}
    judge = acceptance.Accepted(new, measured)
    for entry in sorted(new, key=lambda entry: entry.key):
        why = judge.why_not(entry.key)
        print(
            f"{entry.layers:2} layers, lowest {entry.ratio:.2f}x (eager {entry.eager_ratio:.2f}x): "
            f"{entry.key}{f': stays with ATen: {why}' if why else ''}"
        )
    faster = sum(judge.why_not(entry.key) is None for entry in new)
    print(f"{arguments.file}: {len(new)} entries, {faster} of them let a kernel run by itself")


if __name__ == "__main__":
    main()
