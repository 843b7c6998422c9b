"""Many small images in one, side by side with gaps between them."""

import math
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from torchconv.visualize._theme import Theme

FINEST = 24  # each pixel is repeated until a tile has about so many, for gaps thinner than a pixel
GAP = 0.12  # of a tile's longer side


class Mosaic(NamedTuple):
    """What was drawn, and the middles of its columns and rows."""

    image: AxesImage
    x: list[float]
    y: list[float]


def draw(axes: Axes, tiles: np.ndarray, columns: int, theme: Theme, **options) -> Mosaic:
    """Draws tiles (n, h, w), or (n, h, w, 3) in colour, row by row, each in a thin frame."""
    n, h, w = tiles.shape[:3]
    rows = math.ceil(n / columns)
    repeat = max(1, FINEST // max(h, w))
    tiles = tiles.repeat(repeat, 1).repeat(repeat, 2)
    h, w = tiles.shape[1:3]
    gap = max(1, round(GAP * max(h, w)))
    height, width = rows * (h + gap) - gap, columns * (w + gap) - gap
    canvas = np.full((height, width, *tiles.shape[3:]), np.nan)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        canvas[top : top + h, left : left + w] = tile
        frame = [left, left + w, left + w, left, left], [top, top, top + h, top + h, top]
        axes.plot(*frame, color=theme.line, linewidth=0.8, clip_on=False)
    if tiles.ndim == 4:
        seen = ~np.isnan(canvas).any(-1, keepdims=True)
        canvas = np.concatenate([np.where(seen, canvas, 0.0), seen], axis=-1)
    extent = (0, width, height, 0)
    image = axes.imshow(canvas, extent=extent, **options)
    axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    x = [i * (w + gap) + w / 2 for i in range(columns)]
    y = [i * (h + gap) + h / 2 for i in range(rows)]
    return Mosaic(image, x, y)
