"""Measured rows in a file, as many as there are."""

from __future__ import annotations

import csv
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path


@contextmanager
def kept(path: Path, rows: list) -> Iterator[None]:
    """Writes the rows at the end, also where an error or the end of time (SIGTERM) comes before."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit("out of time"))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if rows:
            write_csv(path, rows)
            print(f"wrote {path}", flush=True)


def write_csv(path: Path, rows: list) -> None:
    """Rows of one dataclass; four significant digits of every measured number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(rows[0])], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in asdict(row).items()}
            )
