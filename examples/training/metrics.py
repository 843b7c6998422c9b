"""What a run measures: one JSON object per line in metrics.jsonl, and a TensorBoard log."""

import json
import os
import statistics
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from examples.training import folder
from examples.training.checkpoint import atomic_file

MOST_TILES = 64


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
        # An interrupt can take from the writer's thread what tells it that there is work; it then
        # looks only when it is to flush, and `close` waits for it.
        self._board = SummaryWriter(
            directory / folder.BOARD,
            flush_secs=1,
            purge_step=last_step + 1,
            filename_suffix=folder.BOARD_SUFFIX,
        )

    def write(self, record: dict[str, Any]) -> None:
        self._file.write(_line(record))
        for name, value in record.items():
            if isinstance(value, float):
                tag = f"{record['kind']}/{name}/{record['conv']}"
                self._board.add_scalar(tag, value, record["step"])

    def show_filters(self, conv: str, weight: Tensor, step: int) -> None:
        """Shows filters [k, c, r, s] as images in TensorBoard, each in its own range."""
        tiles = weight.float().cpu()
        if tiles.shape[1] != 3:
            tiles = tiles.flatten(0, 1)[:, None]
        tiles = F.interpolate(tiles[:MOST_TILES], scale_factor=8, mode="nearest")
        grid = make_grid(tiles, normalize=True, scale_each=True, pad_value=1)
        self._board.add_image(f"filters/{conv}", grid, step)

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
    ratios = [a["seconds"] / b["seconds"] for a, b in _steps_that_count(records)]
    return (statistics.median(ratios), len(ratios)) if ratios else None


def rates(records: list[dict[str, Any]]) -> tuple[float, float]:
    """Batches per second of nn.Conv2d and of torchconv, in the steps of which `speed` tells."""
    pairs = zip(*_steps_that_count(records), strict=True)
    theirs, ours = (1 / statistics.median(r["seconds"] for r in steps) for steps in pairs)
    return theirs, ours


def _steps_that_count(
    records: list[dict[str, Any]],
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    counted = {
        record["epoch"]
        for record in records
        if record["kind"] == "epoch" and record.get("computed", {}).get("torchconv")
    }
    return [pair for pair in steps_of_both(records) if pair[0]["epoch"] in counted]
