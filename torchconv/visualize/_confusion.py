"""``confusion``: which classes a network confused."""

import csv
import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from torchconv.visualize import _theme

FILE = "predictions.csv"
COLUMNS = ["index", "label", "predicted", "probability"]
MOST_NUMBERS = 20  # classes, up to which each cell is written


def confusion(run: str | os.PathLike[str], *, theme: str = "light") -> Figure:
    r"""Draws how many test images of each class were taken for which class.

    A row is a class, a column what the network said; the colour is the share of the row. Right
    answers lie on the diagonal.

    Args:
        run: the directory of the run. Its ``predictions.csv`` has the header
            ``index,label,predicted,probability`` and one line for each test image, with the names
            of the classes as text.
        theme: ``'light'`` or ``'dark'``.

    Raises:
        FileNotFoundError: the directory holds no ``predictions.csv``.
        ValueError: the file has another header, a line that does not fit it, or no predictions; an
            unknown ``theme``.

    Example:
        >>> confusion("runs/digits-lenet-torchconv").savefig("confusion.png")  # doctest: +SKIP
    """
    colours = _theme.find(theme, "confusion")
    pairs = _read(Path(run))
    classes = _in_order({name for pair in pairs for name in pair})
    place = {name: i for i, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    for label, predicted in pairs:
        counts[place[label], place[predicted]] += 1
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)

    side = min(12.0, max(4.2, 2.0 + 0.42 * len(classes)))
    figure = _theme.new_figure(colours, side + 0.8, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap=colours.sequential, vmin=0, vmax=1)
    right = int(counts.trace())
    title = f"{right:,} of {len(pairs):,} right ({right / len(pairs):.2%})"
    axes.set(title=title, xlabel="predicted", ylabel="label")
    every = max(1, round(len(classes) / 50))
    ticks = range(0, len(classes), every)
    names = [classes[i] for i in ticks]
    size = 9 if len(classes) <= 20 else 6
    upright = max(map(len, names)) > 2
    axes.set_xticks(ticks, names, fontsize=size, rotation=90 if upright else 0)
    axes.set_yticks(ticks, names, fontsize=size)
    if len(classes) <= MOST_NUMBERS:
        for (i, j), count in np.ndenumerate(counts):
            if count:
                red, green, blue, _ = image.to_rgba(shares[i, j])
                ink = _theme.clearest(("#000000", "#ffffff"), (red, green, blue))
                axes.text(j, i, count, ha="center", va="center", fontsize=8, color=ink)
    bar = figure.colorbar(
        image,
        ax=axes,
        shrink=min(0.8, 3.5 / side),
        aspect=18,
        fraction=0.2 / side,
        pad=0.2 / side,
        label="share of the label",
        format="{x:.0%}",
    )
    bar.outline.set_edgecolor(colours.line)
    _theme.dress(axes, colours)
    _theme.dress(bar.ax, colours)
    return figure


def _read(run: Path) -> list[tuple[str, str]]:
    path = run / FILE
    if not path.is_file():
        raise FileNotFoundError(f"confusion(): there is no {FILE} in {run}")
    with open(path, newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        if header != COLUMNS:
            raise ValueError(
                f"confusion(): the first line of {path} must be {','.join(COLUMNS)}, "
                f"but is {','.join(header)!r}"
            )
        pairs = []
        for line in lines:
            if len(line) != len(COLUMNS):
                raise ValueError(
                    f"confusion(): line {lines.line_num} of {path} must have {len(COLUMNS)} "
                    f"values, but has {len(line)}"
                )
            pairs.append((line[1], line[2]))
    if not pairs:
        raise ValueError(f"confusion(): {path} holds no predictions")
    return pairs


def _in_order(names: set[str]) -> list[str]:
    """Numbers by their value, other names by the alphabet."""
    if all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names)
