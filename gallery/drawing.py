"""Drawing that several pages share."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes


def draw_matrix(
    axes: Axes,
    values: torch.Tensor,
    title: str = "",
    *,
    limits: tuple[float, float],
    cmap: str = "RdBu_r",
    form: str = ".0f",
    fontsize: int = 8,
) -> None:
    """A matrix as coloured cells with its numbers in them, from dark to light or by their sign."""
    image = axes.imshow(values, cmap=cmap, vmin=limits[0], vmax=limits[1])
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            red, green, blue, _ = image.cmap(image.norm(value))
            colour = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
            axes.text(
                column, row, f"{value:{form}}",
                ha="center", va="center", fontsize=fontsize, color=colour,
            )  # fmt: skip
    axes.set(title=title, xticks=[], yticks=[])
