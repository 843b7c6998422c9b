"""Winograd's algorithms for a stride of two, forced: errors within their limits, the same bits in
any batch, layout, level and number of threads, at every size and padding, in every dtype; and which
layers they take."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import isa_levels
from tests.cases import Conv2dCase, ids
from tests.cases import case as build_case
from tests.compare import same_bits
from tests.kernels.test_winograd import both_layouts, errors, every_gather, explanation
from tests.reference import Operands, exact, random_operands, run, threads

SQUARE = "winograd_stride2"
KERNELS = {SQUARE: (3, 3), "winograd_4x4_stride2": (4, 4), "winograd_1x3_stride2": (1, 3)}
# Of the rms of the exact result: the rms error and the largest; F(4, 3) has twice as much.
RMS_LIMIT, LARGEST_LIMIT = 6e-7, 8e-6
every_kernel = pytest.mark.parametrize("name", KERNELS)

LAYERS = (
    build_case("64", 2, 64, 56, 64, 3, 2),
    build_case("64_to_128", 2, 64, 28, 128, 3, 2),
    build_case("256", 2, 256, 14, 256, 3, 2),
    build_case("512_to_64", 3, 512, 19, 64, 3, 2),
    build_case("whole_batch", 9, 300, 14, 258, 3, 2),
    build_case("unpadded", 3, 96, 35, 80, 3, 2, padding=0),
)


@pytest.fixture(autouse=True)
def _forced(request):
    if "name" in request.fixturenames:
        torch.ops.torchconv._force_algorithm(request.getfixturevalue("name"))


def with_kernel(shape: Conv2dCase, name: str) -> Conv2dCase:
    """The same layer, with as much padding, with the kernel and the stride of an algorithm."""
    (r, s), (top, _, left, _) = KERNELS[name], shape.padding
    down = 1 if r == 1 else 2
    padding = (top, top, left, left) if down == 2 else (0, 0, left, left)
    return replace(shape, r=r, s=s, stride=(down, 2), padding=padding)


def random_cases(name: str, count: int, seed: int, batch: int | None = None) -> list[Conv2dCase]:
    """Any size from 1 x 1 on, any padding, even and odd, channels around the lanes."""
    generator = random.Random(seed)
    pick = generator.choice
    found, kernel = [], KERNELS[name]
    for _ in range(count):
        top, bottom, left, right = padding = [generator.randint(0, 4) for _ in range(4)]
        size = [generator.randint(1, 22) for _ in range(2)]
        if generator.random() < 0.1:
            size[1] = generator.randint(400, 600)  # rows of tiles that one job does not take
        for axis in (0, 1):
            size[axis] = max(size[axis], 5 - padding[2 * axis] - padding[2 * axis + 1])
        channels = (1, 2, 7, 15, 16, 17, 31, 33, 48, 50, 64, 65, 70, 130)
        found.append(build_case("random", batch or generator.randint(1, 5), pick(channels),
                                (size[0], size[1]), pick(channels), kernel,
                                (1 if kernel[0] == 1 else 2, 2),
                                padding=(top, bottom, left, right),
                                bias=pick([True, False])))  # fmt: skip
    return found


@both_layouts
@every_gather
@pytest.mark.parametrize("shape", LAYERS, ids=ids(LAYERS))
@every_kernel
def test_errors(shape, name, op, channels_last):
    shape = with_kernel(shape, name)
    t = random_operands(shape, torch.float32)
    assert explanation(op, shape)[0] == f"{name}: forced, runs"
    rms, largest = errors(run(op, shape, t, channels_last), exact(op, shape, t))
    assert rms < RMS_LIMIT and largest < LARGEST_LIMIT, (rms, largest)


@every_gather
@every_kernel
def test_any_size_and_padding(name, op):
    for index, shape in enumerate(random_cases(name, 30, seed=1)):
        t = random_operands(shape, torch.float32, seed=index)
        value, found = exact(op, shape, t), run(op, shape, t, index % 2 == 1)
        assert found.shape == value.shape
        # A tile's errors are relative to its largest products.
        scale = exact(op, shape, t.map(torch.abs)).max()
        assert (found.double() - value).abs().max() <= 3e-6 * scale, shape


@every_gather
@every_kernel
def test_any_batch_and_layout(name, op):
    """A sample has the same bits in any batch, at any place in it, in both layouts."""
    shapes = [
        *random_cases(name, 15, seed=2, batch=9),
        with_kernel(build_case("", 9, 512, 14, 512, 3), name),  # weights transformed by jobs
        with_kernel(build_case("", 40, 64, 16, 64, 3), name),  # more than one group of tiles
    ]
    for index, shape in enumerate(shapes):
        t = random_operands(shape, torch.float32, seed=index)
        together = run(op, shape, t)
        assert same_bits(run(op, shape, t, True), together), shape
        for begin, end in ((0, 1), (4, 5), (shape.n - 1, shape.n), (1, 4)):
            part = Operands(t.input[begin:end], t.weight, t.bias, t.grad[begin:end])
            found = run(op, shape.with_batch(end - begin), part, index % 2 == 1)
            assert same_bits(found, together[begin:end]), (begin, end, shape)


@every_gather
@every_kernel
def test_any_number_of_threads_layout_and_level(name, op):
    some = [with_kernel(shape, name) for shape in LAYERS[1:]]
    for index, shape in enumerate((*random_cases(name, 15, seed=3), *some)):
        t = random_operands(shape, torch.float32, seed=index)
        with threads(1):
            expected = run(op, shape, t)
        for level in isa_levels():
            torch.ops.torchconv._force_isa(level)
            for count in (1, 3):
                with threads(count):
                    found = run(op, shape, t, count == 3)
                assert same_bits(found, expected), (level, count, shape)
        torch.ops.torchconv._force_isa("")


@both_layouts
@every_gather
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_kernel
def test_half_types_are_float32_inside(dtype, name, op, channels_last):
    """The result is that of the widened operands, rounded once."""
    for index, shape in enumerate(random_cases(name, 15, seed=4)):
        t = random_operands(shape, dtype, seed=index)
        expected = run(op, shape, t.map(torch.Tensor.float), channels_last).to(dtype)
        assert same_bits(run(op, shape, t, channels_last), expected), shape


@every_gather
@every_kernel
def test_weights_of_any_strides(name, op):
    for index, shape in enumerate(random_cases(name, 12, seed=5)):
        t = random_operands(shape, torch.float32, seed=index)
        expected, w = run(op, shape, t), t.weight
        for strided in (
            w.contiguous(memory_format=torch.channels_last),
            w.transpose(0, 1).contiguous().transpose(0, 1),
            w.flip(2, 3).contiguous().flip(2, 3),
        ):
            assert same_bits(run(op, shape, replace(t, weight=strided)), expected), shape


@both_layouts
@every_gather
@pytest.mark.parametrize("padding", [1, 2], ids=["odd", "even"])
@pytest.mark.parametrize("value", [torch.inf, torch.nan], ids=str)
@every_kernel
def test_what_is_not_finite_is_not_lost(value, padding, name, op, channels_last):
    """It reaches every element of the result that sees it, and no other image."""
    shape = with_kernel(build_case("", 3, 20, (17, 20), 24, 3, 2, padding=padding), name)
    t = random_operands(shape, torch.float32)
    ordinary = run(op, shape, t, channels_last)
    source = t.input if op == "forward" else t.grad
    for row, column in ((0, 0), (3, 4), (7, 9)):
        kept = source[1, 7, row, column].clone()
        source[1, 7, row, column] = value
        found, expected = run(op, shape, t, channels_last), exact(op, shape, t)
        source[1, 7, row, column] = kept
        assert not found[~expected.isfinite()].isfinite().any(), (row, column)
        assert same_bits(found[::2], ordinary[::2])


@both_layouts
@every_gather
@every_kernel
def test_zeros_are_positive(name, op, channels_last):
    shape = with_kernel(build_case("", 2, 17, 11, 18, 3, 2), name)
    t = random_operands(shape, torch.float32)
    for zero in (0.0, -0.0):
        nothing = t.map(lambda x, zero=zero: torch.full_like(x, zero))
        for weight in (t.weight, nothing.weight):
            found = run(op, shape, replace(nothing, weight=weight, bias=None), channels_last)
            assert same_bits(found, torch.zeros_like(found))


@every_gather
@every_kernel
def test_other_layers_are_refused(name, op):
    plain = with_kernel(build_case("", 2, 32, 24, 32, 3, 2), name)
    r, s = KERNELS[name]
    for shape, dtype, reason in (
        (replace(plain, stride=(2, 1)), torch.float32, "the stride is not two"),
        (replace(plain, stride=(1, 1)), torch.float32, "the stride is not two"),
        (replace(plain, stride=(3, 3)), torch.float32, "the stride is not two"),
        (replace(plain, dilation=(2, 2)), torch.float32, "dilation"),
        (replace(plain, r=5), torch.float32, f"{r} x {s}"),
        (replace(plain, groups=2), torch.float32, "groups"),
        (plain, torch.float64, "float64"),
    ):
        assert reason in explanation(op, shape, dtype)[0], shape


@pytest.mark.parametrize("batch", [1, 300])
def test_full_tiles_and_many_channels_repay_the_transforms(batch):
    wide, half = torch.float32, torch.bfloat16
    for c, k, size, dtype, fast in (
        (64, 64, 56, wide, True),
        (64, 64, 56, torch.float16, True),
        (64, 64, 56, half, False),
        (64, 256, 16, wide, True),
        (63, 64, 56, wide, False),
        (64, 32, 56, wide, False),
        (3, 64, 224, wide, False),
        (128, 128, 28, wide, False),  # 14 x 14 outputs fill 77 % of their tiles
        (256, 256, 28, wide, True),
        (256, 512, 14, wide, True),
        (256, 256, 18, wide, False),
        (512, 512, 8, wide, False),  # one tile
    ):
        shape = build_case("", batch, c, size, k, 3, 2)
        for gather in ("forward", "grad_input"):
            for channels_last in (False, True):
                last = explanation(gather, shape, dtype, channels_last)[-1]
                assert last.startswith(SQUARE) == fast, (gather, shape, dtype)


@pytest.mark.parametrize("batch", [1, 300])
def test_which_other_kernels_are_taken(batch):
    for kernel, c, k, size, fast in (
        (4, 64, 128, 64, True),
        (4, 256, 512, 16, True),
        (4, 63, 64, 64, False),
        (4, 256, 256, 14, True),
        (4, 256, 256, 20, False),  # 10 x 10 outputs fill 69 % of their tiles
        (4, 512, 512, 8, False),  # one tile
        ((1, 3), 512, 512, (1, 3000), True),
        ((1, 3), 128, 256, (1, 100), True),
        ((1, 3), 127, 256, (1, 100), False),
        ((1, 3), 128, 256, (1, 60), False),
    ):
        stride = 2 if kernel == 4 else (1, 2)
        shape = build_case("", batch, c, size, k, kernel, stride)
        for gather in ("forward", "grad_input"):
            for dtype in (torch.float32, torch.float16, torch.bfloat16):
                name = explanation(gather, shape, dtype)[-1].partition(":")[0]
                expected = fast and dtype is not torch.bfloat16
                assert (name in KERNELS) == expected, (gather, shape, dtype, name)


def test_f2_and_off_leave_it_out():
    shape = build_case("", 2, 64, 32, 64, 3, 2)
    t = random_operands(shape, torch.float32)
    for gather in ("forward", "grad_input"):
        direct, f2, fast = (run(gather, shape, t, winograd=mode) for mode in ("off", "f2", "auto"))
        assert same_bits(f2, direct) and not same_bits(fast, direct)
