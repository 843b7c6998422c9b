"""What a run measures: one JSON object per line in metrics.jsonl, and a TensorBoard log."""

import json
import os
import statistics
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from examples.checkpoint import atomic_file


class MetricsLog:
    """Appends records to metrics.jsonl and draws their numbers in TensorBoard.

    A record has `kind` ("step" or "epoch"), `conv`, `epoch`, `step` and its measurements. When a
    run is resumed, what was recorded after its last checkpoint is dropped first.
    """

    def __init__(self, directory: Path, last_epoch: int, last_step: int):
        self.path = directory / "metrics.jsonl"
        kept = [r for r in read_records(self.path) if r["epoch"] <= last_epoch]
        with atomic_file(self.path) as file:
            file.writelines(_line(record) for record in kept)
        self._file = open(self.path, "ab")
        self._board = SummaryWriter(directory / "tensorboard", purge_step=last_step + 1)

    def write(self, record: dict[str, Any]) -> None:
        self._file.write(_line(record))
        for name, value in record.items():
            if isinstance(value, float):
                tag = f"{record['kind']}/{name}/{record['conv']}"
                self._board.add_scalar(tag, value, record["step"])

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._board.flush()

    def close(self) -> None:
        self._file.close()
        self._board.close()


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False).encode() + b"\n"


def read_records(path: Path) -> list[dict[str, Any]]:
    """All complete records of a file; a last line cut off by a crash is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def compare(records: list[dict[str, Any]], slow: str, fast: str) -> tuple[float, float]:
    """Compares two convolutions that were trained on the same batches.

    Returns the median over the steps of the time of `slow` over that of `fast`, and the largest
    difference of their losses in any step.
    """
    steps = {conv: [] for conv in (slow, fast)}
    for record in records:
        if record["kind"] == "step":
            steps[record["conv"]].append(record)
    pairs = list(zip(steps[slow], steps[fast], strict=True))
    ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)
    return ratio, max(abs(a["loss"] - b["loss"]) for a, b in pairs)
