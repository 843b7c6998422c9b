"""Where the panels of an animation lie, in pixels, with the largest numbers that fit."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont

from torchconv.visualize._sliding import Sliding, Step

LARGEST = (1200, 900)  # pixels, width and height of a picture
# Height of the numbers in pixels, whether the cells of all blocks are alike, and whether square:
# the first that fits is taken.
STYLES = (
    *((size, alike, True) for size in (16, 14, 12, 11) for alike in (True, False)),
    *((size, alike, False) for size in (12, 11, 10, 9) for alike in (True, False)),
)
TEXT_SIZE = 14
LINE_HEIGHT = 21
LABEL_HEIGHT = 20
GAP = 26
MARGIN = 18
MIN_WIDTH = 480
SUM_LINES = 4
WIDEST_SUM = 900  # pixels, for which a picture is made wider than its panels

Box = tuple[float, float, float, float]
Cell = tuple[int, int]  # width and height
# Rows of blocks, and whether the grids of a block, one a channel, lie side by side.
ARRANGEMENTS: tuple[tuple[tuple[tuple[str, ...], ...], bool], ...] = (
    ((("input", "kernel", "products", "output"),), False),
    ((("input", "output"), ("kernel", "products")), False),
    ((("input", "output"), ("kernel", "products")), True),
    ((("input",), ("kernel", "products"), ("output",)), True),
    ((("input",), ("kernel",), ("products",), ("output",)), True),
)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the signs of arithmetic."""
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size
    )


@dataclass(frozen=True)
class Layout:
    """The picture's size in pixels and the place of every cell.

    In two dimensions every block of grids has its place. In one dimension kernel and products move
    along with the window, and an output lies below the middle of its window.
    """

    width: int
    height: int  # with as many lines for the sum as there may be
    cells: dict[str, Cell]  # of each block
    number_size: int
    origins: dict[str, list[tuple[int, int]]]  # of each grid of a block
    sum_top: int
    sliding: Sliding

    def box(self, block: str, grid: int, row: int, column: int, step: Step | None = None) -> Box:
        """Left, top, right and bottom of a cell."""
        x, y = self.origins[block][grid]
        width, height = self.cells[block]
        position: float = column
        if self.sliding.dims == 1:
            if block in ("kernel", "products") and step:
                position = step.columns[column]
            if block == "output":
                reach = self.sliding.dilation[1] * (self.sliding.kernel.shape[-1] - 1)
                position = column * self.sliding.stride[1] + reach / 2
        left, top = round(x + position * width), y + row * height
        return left, top, left + width, top + height


def plan(sliding: Sliding, texts: dict[str, set[str]]) -> Layout:
    """The layout with the largest numbers; ValueError if the smallest do not fit.

    `texts` are the numbers of each block, for which its cells must have room.
    """
    for size, alike, square in STYLES:
        cells = _cells(texts, size, alike or sliding.dims == 1, square)
        for layout in _candidates(sliding, cells, size):
            if layout.width <= LARGEST[0] and layout.height <= LARGEST[1]:
                return layout
    _, c, r, s = sliding.kernel.shape
    h, w = sliding.source.shape[-2:]
    k, p, q = sliding.output.shape
    raise ValueError(
        f"animate(): {c} input channel(s) of {h} x {w} with their padding, a kernel of {r} x {s} "
        f"and {k} output channel(s) of {p} x {q} cannot be drawn with readable numbers in "
        f"{LARGEST[0]} x {LARGEST[1]} pixels; show a smaller part"
    )


def _cells(texts: dict[str, set[str]], size: int, alike: bool, square: bool) -> dict[str, Cell]:
    """Width and height of each block's cells; input and kernel have the same, to be compared."""
    height = round(2.1 * size)
    widths = {
        block: max(round(font(size).getlength(text) + 0.7 * size) for text in some)
        for block, some in texts.items()
    }
    groups = [list(widths)] if alike else [["input", "kernel"], ["products"], ["output"]]
    cells = {}
    for group in groups:
        width = max(height, *(widths[block] for block in group))
        cells.update(dict.fromkeys(group, (width, width if square else height)))
    return cells


def _candidates(sliding: Sliding, cells: dict[str, Cell], size: int) -> Iterator[Layout]:
    _, c, r, s = sliding.kernel.shape
    k, p, q = sliding.output.shape
    h, w = sliding.source.shape[-2:]
    extents = {"input": (h, w), "kernel": (r, s), "products": (r, s), "output": (p, q)}
    counts = {"input": c, "kernel": c, "products": c, "output": k}
    top = MARGIN + LINE_HEIGHT + 8
    if sliding.dims == 1:
        width, height = cells["input"]
        origins = {
            name: [(MARGIN, top + LABEL_HEIGHT + i * (height + LABEL_HEIGHT + 8))]
            for i, name in enumerate(extents)
        }
        right, bottom = MARGIN + w * width, origins["output"][0][1] + height + 8
        yield _finish(sliding, right, bottom, cells, size, origins)
        return
    for rows, sideways in ARRANGEMENTS:
        origins, right, y = {}, 0, top
        for blocks in rows:
            x, bottom = MARGIN, y
            for name in blocks:
                height = extents[name][0] * cells[name][1]
                width = extents[name][1] * cells[name][0]
                label = sliding.label(name, counts[name] - 1, k - 1)
                wide = max(width, math.ceil(font(TEXT_SIZE).getlength(label)))
                if sideways:
                    steps = [(i * (wide + GAP // 2), 0) for i in range(counts[name])]
                else:
                    steps = [(0, i * (height + LABEL_HEIGHT + 8)) for i in range(counts[name])]
                origins[name] = [(x + dx, y + LABEL_HEIGHT + dy) for dx, dy in steps]
                last_x, last_y = origins[name][-1]
                x = last_x + wide + GAP
                bottom = max(bottom, last_y + height)
            right, y = max(right, x - GAP), bottom + 8
        yield _finish(sliding, right, y, cells, size, origins)


def _finish(
    sliding: Sliding,
    right: int,
    bottom: int,
    cells: dict[str, Cell],
    size: int,
    origins: dict[str, list[tuple[int, int]]],
) -> Layout:
    caption = math.ceil(font(TEXT_SIZE).getlength(sliding.caption))
    width = max(MIN_WIDTH, right + MARGIN, caption + 2 * MARGIN)
    height = bottom + 8 + SUM_LINES * LINE_HEIGHT + MARGIN
    return Layout(width, height, cells, size, origins, bottom + 8, sliding)
