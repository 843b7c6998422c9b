"""Draws the frames of an animation, one for each step of the window."""

import math
from collections.abc import Iterator

from PIL import Image, ImageDraw
from torch import Tensor

from torchconv.visualize import _layout
from torchconv.visualize._layout import LINE_HEIGHT, MARGIN, TEXT_SIZE, Box, font
from torchconv.visualize._numbers import Numbers
from torchconv.visualize._sliding import Sliding, Step
from torchconv.visualize._sum import write_sums
from torchconv.visualize._theme import Theme


class Painter:
    """Paints what does not change once, and on a copy of it what a step adds."""

    def __init__(self, sliding: Sliding, theme: Theme):
        self.sliding, self.theme = sliding, theme
        products = (step.products for step in sliding.steps())
        panels = {
            "input": sliding.source.flatten().tolist(),
            "kernel": sliding.kernel.flatten().tolist(),
            "products": [v for product in products for v in product.flatten().tolist()],
            "output": sliding.output.flatten().tolist(),
        }
        self.numbers = {name: Numbers(values) for name, values in panels.items()}
        texts = {name: set(map(self.numbers[name], values)) for name, values in panels.items()}
        self.layout = _layout.plan(sliding, texts)
        length = font(TEXT_SIZE).getlength
        # A sum that needs little more room than the panels is not broken into two lines.
        whole = write_sums(sliding, self.numbers, lambda line: True, most_lines=1)
        wanted = math.ceil(max(length(lines[0]) for lines in whole))
        room = self.layout.width - 2 * MARGIN
        room = wanted if room < wanted <= _layout.WIDEST_SUM else room
        self.sums = write_sums(
            sliding, self.numbers, lambda line: length(line) <= room, _layout.SUM_LINES
        )
        width = room + 2 * MARGIN
        height = self.layout.sum_top + max(map(len, self.sums)) * LINE_HEIGHT + MARGIN
        self.size = width + width % 2, height + height % 2  # as video encoders want it

    def frames(self) -> Iterator[Image.Image]:
        """RGB images of one size."""
        canvas = self._background()
        for step, lines in zip(self.sliding.steps(), self.sums, strict=True):
            frame = canvas.copy()
            draw = ImageDraw.Draw(frame)
            self._labels(draw, "kernel", step.filter)
            self._window(draw, step)
            for block, values in (("kernel", step.weights), ("products", step.products)):
                self._panel(draw, block, values, step)
            self._output(draw, step, self.theme.current)
            x0, y0, x1, y1 = self.layout.box("output", step.filter, step.row, step.column)
            draw.rectangle((x0, y0, x1, y1), outline=self.theme.current_edge, width=2)
            for i, line in enumerate(lines):
                self._text(draw, MARGIN, self.layout.sum_top + i * LINE_HEIGHT, line)
            yield frame
            self._output(ImageDraw.Draw(canvas), step, self.theme.output)

    def _background(self) -> Image.Image:
        canvas = Image.new("RGB", self.size, self.theme.page)
        draw = ImageDraw.Draw(canvas)
        self._text(draw, MARGIN, MARGIN, self.sliding.caption)
        for block in ("input", "products", "output"):
            self._labels(draw, block)
        for channel, row, column in _indices(self.sliding.source):
            box = self.layout.box("input", channel, row, column)
            value = self.numbers["input"](self.sliding.source[channel, row, column].item())
            if self.sliding.is_input[row, column]:
                self._cell(draw, box, self.theme.input, value)
            else:
                self._cell(draw, box, self.theme.padding, value, self.theme.muted)
        for index in _indices(self.sliding.output):
            self._cell(draw, self.layout.box("output", *index), self.theme.page, "")
        return canvas

    def _labels(self, draw: ImageDraw.ImageDraw, block: str, filter: int = 0) -> None:
        for channel, (x, y) in enumerate(self.layout.origins[block]):
            label = self.sliding.label(block, channel, filter)
            self._text(draw, x, y - _layout.LABEL_HEIGHT, label, self.theme.muted)

    def _window(self, draw: ImageDraw.ImageDraw, step: Step) -> None:
        """The elements that the window touches, and a frame around them and the gaps."""
        for channel, i, j in _indices(step.values):
            row, column = step.rows[i], step.columns[j]
            box = self.layout.box("input", channel, row, column)
            text = self.numbers["input"](step.values[channel, i, j].item())
            self._cell(draw, box, self.theme.window, text)
        for channel in range(step.values.shape[0]):
            first = self.layout.box("input", channel, step.rows[0], step.columns[0])
            last = self.layout.box("input", channel, step.rows[-1], step.columns[-1])
            draw.rectangle((*first[:2], *last[2:]), outline=self.theme.window_edge, width=3)

    def _panel(self, draw: ImageDraw.ImageDraw, block: str, values: Tensor, step: Step) -> None:
        colour = self.theme.kernel if block == "kernel" else self.theme.page
        edge = self.theme.kernel_edge if block == "kernel" else self.theme.muted
        for channel, i, j in _indices(values):
            box = self.layout.box(block, channel, i, j, step)
            text = self.numbers[block](values[channel, i, j].item())
            self._cell(draw, box, colour, text, edge=edge)

    def _output(self, draw: ImageDraw.ImageDraw, step: Step, colour: str) -> None:
        box = self.layout.box("output", step.filter, step.row, step.column)
        self._cell(draw, box, colour, self.numbers["output"](step.total))

    def _cell(
        self,
        draw: ImageDraw.ImageDraw,
        box: Box,
        colour: str,
        text: str,
        ink: str | None = None,
        edge: str | None = None,
    ) -> None:
        draw.rectangle(box, fill=colour, outline=edge or self.theme.line)
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        number_font = font(self.layout.number_size)
        draw.text(middle, text, fill=ink or self.theme.ink, font=number_font, anchor="mm")

    def _text(
        self, draw: ImageDraw.ImageDraw, x: float, y: float, text: str, ink: str | None = None
    ) -> None:
        draw.text((x, y), text, fill=ink or self.theme.ink, font=font(TEXT_SIZE))


def _indices(values: Tensor) -> Iterator[tuple[int, int, int]]:
    channels, rows, columns = values.shape
    for channel in range(channels):
        for row in range(rows):
            for column in range(columns):
                yield channel, row, column
