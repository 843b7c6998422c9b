"""Measured rows in a file, each there as soon as it was measured: whatever ends the program, even
SIGKILL or a machine that goes away, costs the row at work and no other."""

from __future__ import annotations

import csv
import os
from dataclasses import asdict, fields
from pathlib import Path


def append(path: Path, row: object) -> None:
    """Adds a dataclass to a file of its kind, with four significant digits of every number.

    Raises:
        ValueError: the file has other columns.
    """
    names = [field.name for field in fields(row)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if path.is_file():
        _drop_what_was_cut_off(path)
        if (found := columns(path)) and found != names:
            raise ValueError(f"{path} has the columns {found}, not {names}: move it away")
    values = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in asdict(row).items()}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(values)
        file.flush()
        if path.is_file():
            os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, str]]:
    """The whole rows of a file, none if there is no file; one that was cut off is left out."""
    if not path.is_file():
        return []
    text = path.read_text()
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [row for row in rows if None not in row.values()]


def columns(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return next(csv.reader(file), [])


def _drop_what_was_cut_off(path: Path) -> None:
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)
