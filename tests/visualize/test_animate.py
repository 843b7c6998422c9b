"""The values that animate() shows are those of PyTorch's convolutions and of NumPy's padding."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageColor, ImageDraw, features
from torch import nn

from torchconv.visualize import animate
from torchconv.visualize._movie import HOLD
from torchconv.visualize._numbers import MINUS
from torchconv.visualize._painter import Painter
from torchconv.visualize._sliding import MODES, slide
from torchconv.visualize._theme import THEMES

PLAIN = {
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "padding_mode": "zeros",
    "transposed": False,
}


def integers(*shape):
    return torch.randint(-9, 10, shape)


def sliding(image, kernel, **options):
    return slide(image, kernel, **{**PLAIN, **options})


SHAPES = [
    ((6, 6), (3, 3)),
    ((3, 5, 6), (3, 2, 3)),
    ((2, 5, 5), (4, 2, 3, 1)),
    ((5, 7), (2, 1, 3, 3)),
]
OPTIONS = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)},
    {"padding": "same", "dilation": 2},
]


def as_batch(image, kernel):
    image = image.reshape(1, -1, *image.shape[-2:]).double()
    return image, kernel.reshape(-1, image.shape[1], *kernel.shape[-2:]).double()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shapes", SHAPES)
def test_output_is_that_of_a_layer(shapes, options, mode):
    image, kernel = (integers(*shape) for shape in shapes)
    x, weight = as_batch(image, kernel)
    k, c, r, s = weight.shape
    layer = nn.Conv2d(c, k, (r, s), bias=False, padding_mode=mode, dtype=torch.float64, **options)
    layer.weight.data = weight
    shown = sliding(image, kernel, padding_mode=mode, **options)
    assert torch.equal(shown.output, layer(x)[0])
    for step in shown.steps():
        assert torch.equal(step.products, step.values * weight[step.filter])
        assert step.products.sum() == step.total == shown.output[step.filter, step.row, step.column]


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2}])
@pytest.mark.parametrize(
    "shapes", [((3, 4), (3, 3)), ((2, 3, 3), (2, 3, 3, 2)), ((4, 4), (2, 3, 3))]
)
def test_transposed(shapes, options):
    image, kernel = (integers(*shape) for shape in shapes)
    weight = kernel.reshape(-1, *kernel.shape[-3:]) if kernel.dim() > 2 else kernel[None, None]
    x = image.reshape(1, -1, *image.shape[-2:]).double()
    shown = sliding(image, kernel, transposed=True, **options)
    assert torch.equal(shown.output, F.conv_transpose2d(x, weight.double(), **options)[0])
    assert torch.equal(shown.source[:, shown.is_input], x[0].flatten(1))
    assert not shown.source[:, ~shown.is_input].any()
    assert all(step.products.sum() == step.total for step in shown.steps())


def test_transposed_with_more_padding_than_kernel():
    image, kernel = integers(5, 5), integers(2, 2)
    shown = sliding(image, kernel, transposed=True, padding=2)
    expected = F.conv_transpose2d(
        image[None, None].double(), kernel[None, None].double(), padding=2
    )
    assert torch.equal(shown.output, expected[0])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "dilation": 2}])
def test_one_dimension(options, transposed):
    image, kernel = integers(9), integers(3)
    function = F.conv_transpose1d if transposed else F.conv1d
    expected = function(image[None, None].double(), kernel[None, None].double(), **options)
    shown = sliding(image, kernel, transposed=transposed, **options)
    assert torch.equal(shown.output, expected)
    assert (shown.dims, shown.output.shape[1]) == (1, 1)


def test_pattern_matching():
    """The 1-d example of the source texts: the maximum marks where the pattern is."""
    shown = sliding([0, 0, 0, 1, 2, 3, 2, 1, 0, 0], [1, 2, 3, 2, 1], padding=4)
    assert shown.output[0, 0].tolist() == [0, 0, 0, 1, 4, 10, 16, 19, 16, 10, 4, 1, 0, 0]


@pytest.mark.parametrize("mode", MODES)
def test_padding_values(mode):
    image = integers(4, 5)
    shown = sliding(image, integers(3, 3), padding=(1, 2), padding_mode=mode)
    of_numpy = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}.get(mode, mode)
    expected = np.pad(image.numpy(), [(1, 1), (2, 2)], mode=of_numpy)
    assert np.array_equal(shown.source[0].numpy(), expected)
    inside = np.pad(np.ones((4, 5), bool), [(1, 1), (2, 2)])
    assert np.array_equal(shown.is_input.numpy(), inside)


def recorded(monkeypatch, painter):
    """For each frame, the text at each place where one was drawn; the last one drawn there."""
    texts = {}
    draw = ImageDraw.ImageDraw.text

    def text(self, xy, text, *arguments, **options):
        texts[xy] = text
        return draw(self, xy, text, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    for _ in painter.frames():
        yield texts


def number(text):
    return int(text.replace(MINUS, "-"))


def middle(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


@pytest.mark.parametrize(
    "shapes, options",
    [
        (((5, 5), (3, 3)), {"stride": 2, "padding": 1, "padding_mode": "reflect"}),
        (((2, 4, 4), (3, 2, 2, 2)), {"dilation": 2}),
        (((7,), (3,)), {"padding": 2, "dilation": 2}),
        (((3, 3), (3, 3)), {"stride": 2, "padding": 1, "transposed": True}),
    ],
)
def test_written_numbers(monkeypatch, shapes, options):
    """What is written into every cell, and that the sum written out has the value after it."""
    image, kernel = (integers(*shape) for shape in shapes)
    shown = sliding(image, kernel, **options)
    painter = Painter(shown, THEMES["light"])
    layout = painter.layout
    steps = zip(shown.steps(), painter.sums, recorded(monkeypatch, painter), strict=True)
    seen = 0
    for step, lines, texts in steps:
        seen += 1
        for block, values in (("kernel", step.weights), ("products", step.products)):
            for (c, i, j), value in np.ndenumerate(values.numpy()):
                assert number(texts[middle(layout.box(block, c, i, j, step))]) == value
        for (c, i, j), value in np.ndenumerate(shown.source.numpy()):
            assert number(texts[middle(layout.box("input", c, i, j))]) == value
        output = middle(layout.box("output", step.filter, step.row, step.column))
        assert number(texts[output]) == step.total
        place, terms, total = " ".join(line.strip() for line in lines).split(" = ")
        index = [int(digits) for digits in re.findall(r"\d+", place)]
        assert index == [step.filter, step.row, step.column][-len(index) :]
        assert terms.count("×") == step.products.numel()
        assert eval(terms.replace("×", "*").replace(MINUS, "-")) == step.total == number(total)
    assert seen == shown.output.numel()


def test_large_kernels_are_summed_by_rows():
    painter = Painter(sliding(integers(12, 12), integers(11, 11)), THEMES["light"])
    for step, lines in zip(painter.sliding.steps(), painter.sums, strict=True):
        place, terms, total = " ".join(line.strip() for line in lines).split(" = ")
        assert place == f"output[{step.row}, {step.column}], row by row,"
        values = [number(term.strip("()")) for term in terms.split(" + ")]
        assert values == step.products.sum(-1).flatten().tolist()
        assert sum(values) == number(total)


def test_rounded_sums_say_so():
    painter = Painter(sliding(torch.rand(3, 3), torch.rand(2, 2)), THEMES["light"])
    assert all("≈" in "".join(lines) for lines in painter.sums)


def colour_at(frame, box):
    """The colour of a cell, beside its number and its edge."""
    return frame.getpixel((round(box[0]) + 4, round(box[1]) + 4))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_file_shows_window_padding_and_output(tmp_path, suffix, theme):
    if suffix == ".webp" and not features.check("webp"):
        pytest.skip("Pillow without WebP")
    image, kernel = integers(4, 4), integers(2, 2)
    options = {"padding": 1, "dilation": 2, "stride": 2}
    path = animate(image, kernel, path=tmp_path / f"a{suffix}", theme=theme, **options)
    assert path == tmp_path / f"a{suffix}"
    shown = sliding(image, kernel, **options)
    layout, colours = Painter(shown, THEMES[theme]).layout, THEMES[theme]
    movie = Image.open(path)
    assert movie.n_frames == len(shown) == 4 and movie.info["loop"] == 0
    for frame, step in enumerate(shown.steps()):
        movie.seek(frame)
        picture = movie.convert("RGB")
        assert movie.info["duration"] == 600 * (HOLD if frame == 3 else 1)
        for row, column in np.ndindex(6, 6):
            under = row in step.rows and column in step.columns
            around = colours.input if shown.is_input[row, column] else colours.padding
            expected = ImageColor.getrgb(colours.window if under else around)
            assert colour_at(picture, layout.box("input", 0, row, column)) == expected
        for i, (row, column) in enumerate(np.ndindex(2, 2)):
            fill = colours.current if i == frame else colours.output if i < frame else colours.page
            found = colour_at(picture, layout.box("output", 0, row, column))
            assert found == ImageColor.getrgb(fill)


def test_numbers_of_any_type_are_taken(tmp_path):
    for values in (
        [[1, 2], [3, 4]],
        np.arange(4.0).reshape(2, 2),
        torch.ones(2, 2, dtype=torch.bool),
    ):
        assert animate(values, [[1]], path=tmp_path / "a.gif").stat().st_size > 0
    learned = torch.ones(1, 1, dtype=torch.bfloat16, requires_grad=True)
    assert animate([[0.5]], learned, path=str(tmp_path / "b.gif")) == tmp_path / "b.gif"
