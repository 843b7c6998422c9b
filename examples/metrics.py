"""What a run measures: one JSON object per line in metrics.jsonl, and a TensorBoard log."""

import json
import os
import statistics
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from examples import folder
from examples.checkpoint import atomic_file


class MetricsLog:
    """Appends records to metrics.jsonl and draws their numbers in TensorBoard.

    A record has `kind` ("step" or "epoch"), `conv`, `epoch`, `step` and its measurements. When a
    run is resumed, what was recorded after its last checkpoint is dropped first.
    """

    def __init__(self, directory: Path, last_epoch: int, last_step: int):
        self.path = directory / folder.METRICS
        kept = [r for r in read_records(self.path) if r["epoch"] <= last_epoch]
        with atomic_file(self.path) as file:
            file.writelines(_line(record) for record in kept)
        self._file = open(self.path, "ab")
        self._board = SummaryWriter(
            directory / folder.BOARD,
            purge_step=last_step + 1,
            filename_suffix=folder.BOARD_SUFFIX,
        )

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


def steps_of_both(records: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The steps of nn.Conv2d, each with that of torchconv on the same batch."""
    steps = {conv: [] for conv in ("torch", "torchconv")}
    for record in records:
        if record["kind"] == "step":
            steps[record["conv"]].append(record)
    return list(zip(steps["torch"], steps["torchconv"], strict=True))


def difference(records: list[dict[str, Any]]) -> float:
    """How far apart the losses of both convolutions were in any step."""
    return max(abs(a["loss"] - b["loss"]) for a, b in steps_of_both(records))


def speed(records: list[dict[str, Any]]) -> tuple[float, int] | None:
    """How many times as fast a step is with torchconv: the median, and of how many steps.

    Only epochs count in which torchconv has computed anything. None if there is none.
    """
    counted = {
        record["epoch"]
        for record in records
        if record["kind"] == "epoch" and record.get("computed", {}).get("torchconv")
    }
    ratios = [
        a["seconds"] / b["seconds"] for a, b in steps_of_both(records) if a["epoch"] in counted
    ]
    return (statistics.median(ratios), len(ratios)) if ratios else None
