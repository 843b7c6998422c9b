"""How animate() lays its panels out and writes numbers, and what it refuses to draw."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.visualize.test_animate import integers, middle, sliding
from torchconv.visualize import animate
from torchconv.visualize._numbers import MINUS, Numbers
from torchconv.visualize._painter import Painter
from torchconv.visualize._theme import THEMES


@pytest.mark.parametrize("options", [{}, {"stride": 3, "dilation": 2, "padding": 1}])
def test_in_one_dimension_all_lies_below_its_window(options):
    shown = sliding(integers(12), integers(4), **options)
    layout = Painter(shown, THEMES["light"]).layout
    for step in shown.steps():
        window = [layout.box("input", 0, 0, column) for column in step.columns]
        for block in ("kernel", "products"):
            lefts = [layout.box(block, 0, 0, j, step)[0] for j in range(4)]
            assert lefts == [box[0] for box in window]
        output = layout.box("output", 0, 0, step.column)
        centre = (middle(window[0])[0] + middle(window[-1])[0]) / 2
        assert middle(output)[0] == pytest.approx(centre, abs=1)


@pytest.mark.parametrize(
    "shapes, options",
    [
        (((6, 6), (3, 3)), {}),
        (((3, 6, 6), (2, 3, 3, 3)), {"padding": 1}),
        (((1, 14), (1, 2)), {}),
        (((14, 1), (2, 1)), {}),
        (((12, 12), (11, 11)), {}),
        (((2, 3, 3), (2, 3, 2, 2)), {"transposed": True, "stride": 2}),
    ],
)
def test_panels_lie_apart_and_inside_the_picture(shapes, options):
    shown = sliding(*(torch.randn(shape) for shape in shapes), **options)
    painter = Painter(shown, THEMES["light"])
    width, height = painter.size
    extents = {
        "input": shown.source.shape,
        "kernel": shown.kernel.shape[1:],
        "products": shown.kernel.shape[1:],
        "output": shown.output.shape,
    }
    taken = np.zeros((height, width), dtype=int)
    for block, (grids, rows, columns) in extents.items():
        for grid in range(grids):
            left, top = painter.layout.box(block, grid, 0, 0)[:2]
            right, bottom = painter.layout.box(block, grid, rows - 1, columns - 1)[2:]
            assert 0 <= left < right < width and 0 <= top < bottom < height
            taken[top : bottom + 1, left : right + 1] += 1
    sums = painter.layout.sum_top
    taken[sums : sums + 20 * max(map(len, painter.sums))] += 1
    assert taken.max() == 1


@pytest.mark.parametrize("size", range(1, 12))
def test_kernels_from_1_to_11(size):
    painter = Painter(
        sliding(torch.rand(size + 2, size + 2), torch.rand(size, size)), THEMES["dark"]
    )
    frames = list(painter.frames())
    assert len(frames) == 9
    assert {frame.size for frame in frames} == {painter.size}
    assert all(side % 2 == 0 for side in painter.size)  # for video encoders
    assert all((a.tobytes() != b.tobytes()) for a, b in pairwise(frames))


@pytest.mark.parametrize(
    "values, written",
    [
        ([0, 3, -12], ["0", "3", f"{MINUS}12"]),
        ([0.5, 0, -2], ["0.5", "0", f"{MINUS}2.0"]),
        ([1 / 9], ["0.111"]),
        ([0.123456, 7.5], ["0.12", "7.50"]),
        ([250.25, 0.01], ["250.2", "0.0"]),
        ([12345.678], ["12346"]),
        ([1.5e7], ["1.5e7"]),
        ([2.5e-5, 0], [f"2.5e{MINUS}5", "0"]),
        ([float("nan"), float("-inf"), 1], ["nan", f"{MINUS}∞", "1"]),
        ([-0.0, -0.001, 5.25], ["0", "0.00", "5.25"]),
    ],
)
def test_how_numbers_are_written(values, written):
    assert list(map(Numbers(values), values)) == written


def test_what_is_exact():
    assert Numbers([1, 2.5]).is_exact and Numbers([0.25]).is_exact
    assert not Numbers([1 / 3]).is_exact and not Numbers([100.25]).is_exact
    assert Numbers([-3]).factor(-3) == f"({MINUS}3)"


IMAGE = [[1, 2, 3]] * 3


@pytest.mark.parametrize(
    "arguments, options, error, message",
    [
        (
            (IMAGE, [1, 2]),
            {},
            RuntimeError,
            r"got an input of size \[3, 3\] and a kernel of size \[2\]",
        ),
        ((IMAGE, [[1] * 4]), {}, RuntimeError, "Kernel size can't be greater"),
        ((torch.zeros(2, 3, 3), [[1]]), {}, RuntimeError, "channels"),
        ((torch.zeros(0, 3), [[1]]), {}, RuntimeError, "elements"),
        ((IMAGE, [[1]]), {"stride": 0}, RuntimeError, r"stride must be positive, but got \(0, 0\)"),
        ((IMAGE, [[1]]), {"padding": -1}, RuntimeError, "padding must not be negative"),
        ((IMAGE, [[1]]), {"padding": 3, "padding_mode": "reflect"}, RuntimeError, "[Pp]adding"),
        ((IMAGE, [[1]]), {"padding": "full"}, RuntimeError, "'full'"),
        ((IMAGE, [[1]]), {"padding_mode": "mirror"}, ValueError, "'mirror'"),
        ((IMAGE, [[1]]), {"padding_mode": "reflect", "transposed": True}, ValueError, "'reflect'"),
        ((IMAGE, [[1]]), {"padding": "same", "transposed": True}, TypeError, "'same'"),
        ((torch.zeros(3, 3, dtype=torch.complex64), [[1]]), {}, TypeError, "complex64"),
        ((IMAGE, [[1]]), {"dilation": 1.5}, TypeError, "dilation"),
        ((IMAGE, [[1]]), {"theme": "blue"}, ValueError, "'light', 'dark', but got 'blue'"),
        ((IMAGE, [[1]]), {"seconds_per_step": 0}, ValueError, "seconds_per_step"),
        ((torch.zeros(21, 21), [[1]]), {}, ValueError, "takes 441 steps, and at most 400"),
        ((torch.zeros(70, 70), torch.ones(64, 64)), {}, ValueError, "cannot be drawn"),
        ((torch.zeros(40, 5, 5), torch.ones(40, 3, 3)), {}, ValueError, "40 input channel"),
    ],
)
def test_refusals(tmp_path, arguments, options, error, message):
    with pytest.raises(error, match=message):
        animate(*arguments, path=tmp_path / "a.gif", **options)
    assert list(tmp_path.iterdir()) == []


def test_paths_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"must end in .gif, .webp, .mp4, but got .*a.png"):
        animate(IMAGE, [[1]], path=tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        animate(IMAGE, [[1]], path=tmp_path / "none" / "a.gif")
    from matplotlib.animation import FFMpegWriter

    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(RuntimeError, match="needs the program ffmpeg"):
        animate(IMAGE, [[1]], path=tmp_path / "a.mp4")


def test_video(tmp_path):
    from matplotlib.animation import FFMpegWriter

    if not FFMpegWriter.isAvailable():
        pytest.skip("needs ffmpeg")
    path = animate(IMAGE, [[1, 2]], path=tmp_path / "a.mp4")
    assert b"ftyp" in path.read_bytes()[:16]
