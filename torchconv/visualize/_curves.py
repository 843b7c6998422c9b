"""``curves``: loss and accuracy of a training run."""

import json
import os
from operator import itemgetter
from pathlib import Path
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from torchconv.visualize import _theme

FILE = "metrics.jsonl"
NAMES = {"torch": "nn.Conv2d", "torchconv": "torchconv.Conv2d"}
QUANTITIES = ("loss", "accuracy")

Record = dict[str, Any]


def curves(run: str | os.PathLike[str], *, theme: str = "light") -> Figure:
    r"""Draws loss and accuracy of a training run, as it is recorded in ``metrics.jsonl``.

    The loss of every step is drawn faintly, the averages of the epochs boldly. The first of two
    networks is drawn as a wide line, so that both are visible even where the second one follows it
    exactly.

    Args:
        run: the directory of the run. Each line of its ``metrics.jsonl`` is an object with
            ``kind`` (``"step"`` or ``"epoch"``), ``conv`` (which network), ``epoch`` and ``step``.
            A step has its ``loss``, an epoch ``train_loss``, ``test_loss``, ``train_accuracy`` and
            ``test_accuracy``, the last two from 0 to 1. Missing values are not drawn.
        theme: ``'light'`` or ``'dark'``.

    Raises:
        FileNotFoundError: the directory holds no ``metrics.jsonl``.
        ValueError: a line is not such a record, or no epoch is finished; an unknown ``theme``.

    Example:
        >>> curves("runs/digits-lenet-torchconv").savefig("curves.png")  # doctest: +SKIP
    """
    colours = _theme.find(theme, "curves")
    records = _read(Path(run))
    figure = _theme.new_figure(colours, 10, 4)
    axes = figure.subplots(1, 2)
    convs: list[str] = list(dict.fromkeys(record["conv"] for record in records))
    for i, conv in enumerate(convs):
        colour = colours.series[i % len(colours.series)]
        wide = len(convs) == 2 and i == 0
        look = {"color": colour, "linewidth": 5 if wide else 1.8, "alpha": 0.45 if wide else 1}
        own = [record for record in records if record["conv"] == conv]
        _draw_steps(axes[0], own, colour)
        for axis, quantity in zip(axes, QUANTITIES, strict=True):
            _draw_epochs(axis, own, quantity, NAMES.get(conv, conv), look)
    for axis, quantity in zip(axes, QUANTITIES, strict=True):
        axis.set(title=quantity, xlabel="epoch", xlim=(0, None))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(color=colours.line, alpha=0.4)
        axis.spines[["top", "right"]].set_visible(False)
    _scale_loss(axes[0])
    axes[1].set_ylim(None, 1.01)
    axes[1].yaxis.set_major_formatter(ticker.PercentFormatter(1))
    drawn = next((axis for axis in axes[::-1] if axis.get_legend_handles_labels()[0]), None)
    if drawn:
        drawn.legend(handlelength=3.5)
    for axis in axes:
        _theme.dress(axis, colours)
    return figure


def _read(run: Path) -> list[Record]:
    """All records; a last line that a crash has cut off is left out."""
    path = run / FILE
    if not path.is_file():
        raise FileNotFoundError(f"curves(): there is no {FILE} in {run}")
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            itemgetter("kind", "conv", "epoch", "step")(record)  # all are there
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"curves(): line {number} of {path} is not a record: {error!r}"
            ) from None
        records.append(record)
    if not any(record["kind"] == "epoch" for record in records):
        raise ValueError(f"curves(): {path} records no finished epoch")
    return records


def _draw_steps(axis: Axes, records: list[Record], colour: str) -> None:
    steps = [r for r in records if r["kind"] == "step" and "loss" in r]
    epochs = [r for r in records if r["kind"] == "epoch"]
    if not epochs:
        return
    per_epoch = epochs[0]["step"] / epochs[0]["epoch"]
    when = [r["step"] / per_epoch for r in steps]
    axis.plot(when, [r["loss"] for r in steps], color=colour, linewidth=0.7, alpha=0.45)


def _draw_epochs(
    axis: Axes, records: list[Record], quantity: str, name: str, look: dict[str, Any]
) -> None:
    for part, style in (("train", ".--"), ("test", ".-")):
        key = f"{part}_{quantity}"
        points = [(r["epoch"], r[key]) for r in records if r["kind"] == "epoch" and key in r]
        if points:
            axis.plot(*zip(*points, strict=True), style, label=f"{name}, {part}", **look)


def _scale_loss(axis: Axes) -> None:
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())
