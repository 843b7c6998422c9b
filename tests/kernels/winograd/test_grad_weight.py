"""The weight gradient by Winograd's algorithm: its errors, its bits, and which layers it takes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import isa_levels
from tests.cases import Conv2dCase, case, ids
from tests.compare import same_bits
from tests.kernels.winograd.algorithms import errors
from tests.reference import Operands, exact, random_operands, run, threads

NAMES = {  # by the kernel
    (3, 3): "winograd_grad_weight",
    (5, 5): "winograd_5x5_grad_weight",
    (1, 3): "winograd_1x3_grad_weight",
    (3, 1): "winograd_3x1_grad_weight",
    (1, 5): "winograd_1x5_grad_weight",
    (5, 1): "winograd_5x1_grad_weight",
    (9, 8): "winograd_parts_3x3_grad_weight",
    (1, 9): "winograd_parts_1x3_grad_weight",
    (11, 1): "winograd_parts_3x1_grad_weight",
    (7, 7): "winograd_parts_4x4_grad_weight",
    (1, 7): "winograd_parts_1x4_grad_weight",
    (8, 1): "winograd_parts_4x1_grad_weight",
}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Of rms(result); a direct sum errs by a half to a quarter of it.
RMS_LIMIT, LARGEST_LIMIT = 1.2e-6, 1.5e-5

NETWORKS = (
    case("16_of_32", 16, 16, 32, 16, 3),
    case("64_of_56", 2, 64, 56, 64, 3),
    case("128_of_28", 4, 128, 28, 128, 3),
    case("256_of_14", 2, 256, 14, 256, 3),
    case("512_of_7", 16, 512, 7, 512, 3),
    case("one_image", 1, 96, 14, 64, 3),
    case("5x5_of_27", 4, 64, 27, 192, 5),
    case("5x5_of_35", 2, 48, 35, 64, 5),
    case("5x5_one_image", 1, 96, 14, 64, 5),
    case("1x3_sequence", 2, 64, (1, 500), 128, (1, 3)),
    case("3x1_of_28", 2, 128, 28, 64, (3, 1)),
    case("1x5_of_17", 2, 96, 17, 96, (1, 5)),
    case("5x1_of_28", 2, 64, 28, 64, (5, 1)),
    case("7x7_of_28", 2, 64, 28, 64, 7),
    case("1x7_of_57", 4, 64, (9, 57), 96, (1, 7)),
    case("1x9_sequence", 2, 96, (1, 400), 96, (1, 9)),
)
# Tiles that stick out, channels that fill no vector, all paddings, parts of images, more chunks
# than one wave takes, several blocks of both operands, as chunks and as the whole batch.
ODD = (
    case("odd", 3, 17, (11, 15), 35, 3),
    case("unpadded", 2, 33, (9, 18), 16, 3, padding=0),
    case("one_side", 2, 20, (8, 12), 50, 3, padding=(2, 0, 0, 1)),
    case("wide_padding", 2, 16, (5, 3), 18, 3, padding=(3, 4, 5, 2)),
    case("long_rows", 1, 16, (7, 150), 24, 3),
    case("parts", 2, 16, (61, 60), 40, 3),
    case("several_waves", 52, 16, 24, 16, 3),
    case("blocks", 5, 130, 8, 70, 3),
    case("whole_batch", 9, 300, 7, 258, 3),
    case("dilated", 3, 17, (23, 36), 35, 3, dilation=(2, 3)),
    case("dilated_rows", 2, 33, (25, 9), 16, 3, padding=(2, 3, 1, 0), dilation=(3, 1)),
    case("dilated_long_rows", 1, 16, (9, 300), 24, 3, dilation=(1, 25)),
    case("5x5_odd", 3, 17, (11, 15), 35, 5),
    case("5x5_unpadded", 2, 33, (12, 18), 16, 5, padding=0),
    case("5x5_one_side", 2, 20, (9, 14), 50, 5, padding=(4, 0, 1, 2)),
    case("5x5_parts", 2, 16, (40, 39), 40, 5),
    case("5x5_whole_batch", 9, 300, 7, 258, 5),
    case("1x3_odd", 3, 33, (3, 15), 35, (1, 3), padding=(0, 0, 2, 3)),
    case("1x3_dilated", 3, 33, (1, 60), 70, (1, 3), dilation=(1, 7)),
    case("3x1_frames", 2, 36, (64, 6), 33, (3, 1), dilation=(8, 1)),
    case("3x1_unpadded", 5, 130, (14, 7), 70, (3, 1), padding=0),
    case("1x5_one_side", 2, 70, (9, 28), 65, (1, 5), padding=(0, 0, 1, 4)),
    case("5x1_whole_batch", 9, 300, (16, 3), 258, (5, 1)),
    case("9x8_odd", 2, 17, (23, 15), 35, (9, 8)),
    case("9x8_dilated", 1, 33, (40, 30), 20, (9, 8), padding=(9, 8, 3, 2), dilation=(2, 3)),
    case("7x7_unpadded", 2, 33, (19, 18), 20, 7, padding=0),
    case("11x1_blocks", 3, 130, (24, 5), 70, (11, 1)),
    case("8x1_one_side", 2, 40, (26, 5), 65, (8, 1), padding=(0, 4, 1, 0)),
)


def reasons(shape: Conv2dCase, dtype=torch.float32, channels_last=False) -> dict[str, str]:
    """Of each algorithm up to the one that runs: why it does or does not."""
    lines = torch.ops.torchconv._explain(
        "grad_weight", shape.input_size, shape.weight_size, shape.geometry(channels_last),
        str(dtype).removeprefix("torch."),
    ).splitlines()  # fmt: skip
    return dict(line.split(": ", 1) for line in lines)


def name_of(shape: Conv2dCase) -> str:
    return NAMES[shape.r, shape.s]


def gradient(shape: Conv2dCase, t: Operands, channels_last=False) -> torch.Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    # Of bfloat16 kernels of one row or column, and of parts, are summed directly.
    forced = 1 in (shape.r, shape.s) or "parts" in name_of(shape)
    torch.ops.torchconv._force_algorithm(name_of(shape) if forced else "")
    try:
        assert reasons(shape, t.grad.dtype, channels_last)[name_of(shape)].endswith("runs")
        return run("grad_weight", shape, t.contiguous(layout), channels_last)
    finally:
        torch.ops.torchconv._force_algorithm("")


@pytest.mark.parametrize("kind", ["normal", "relu"])
@pytest.mark.parametrize("shape", NETWORKS + ODD, ids=ids(NETWORKS + ODD))
def test_errors_stay_within_the_limits(shape, kind):
    t = random_operands(shape, torch.float32)
    if kind == "relu":  # sums of nothing but positive inputs, as networks have them
        t = replace(t, input=t.input.relu())
    expected = exact("grad_weight", shape, t)
    rms, largest = errors(gradient(shape, t), expected)
    assert rms <= RMS_LIMIT and largest <= LARGEST_LIMIT, (rms, largest)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [(shape, torch.float32) for shape in NETWORKS] + [*itertools.product(ODD, DTYPES)],
    ids=lambda value: value.name if isinstance(value, Conv2dCase) else str(value),
)
def test_same_bits_on_any_threads_levels_and_layouts(shape, dtype):
    t = random_operands(shape, dtype)
    with threads(1):
        expected = gradient(shape, t)
    for count in (2, 5):
        with threads(count):
            assert same_bits(gradient(shape, t), expected), count
            assert same_bits(gradient(shape, t, channels_last=True), expected), count
    for level in isa_levels():
        torch.ops.torchconv._force_isa(level)
        assert same_bits(gradient(shape, t), expected), level
        assert same_bits(gradient(shape, t, channels_last=True), expected), level


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_half_types_are_summed_in_float_and_rounded_once(dtype):
    for shape in ODD:
        t = random_operands(shape, dtype)
        in_float = gradient(shape, t.map(torch.Tensor.float))
        assert same_bits(gradient(shape, t), in_float.to(dtype)), shape


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan], ids=str)
@pytest.mark.parametrize("operand", ["input", "grad"])
@pytest.mark.parametrize("kernel", NAMES)
def test_what_is_not_finite_is_not_lost(kernel, operand, value):
    """Every tap that sees it shows it. The other taps of its channel, which a direct sum would keep
    finite, may show it, too, other channels do not."""
    shape = case("", 2, 33, (11, 9), 20, kernel)
    ordinary = random_operands(shape, torch.float32)
    whole = getattr(ordinary, operand)
    height, width = whole.shape[2:]
    for row in range(height):
        for column in range(width):
            special = whole.clone()
            special[1, 7, row, column] = value
            t = replace(ordinary, **{operand: special})
            found, expected = gradient(shape, t), exact("grad_weight", shape, t)
            assert not found[~expected.isfinite()].isfinite().any(), (row, column)
            found.select(int(operand == "input"), 7).zero_()
            assert found.isfinite().all(), (row, column)


@pytest.mark.parametrize("kernel", NAMES)
def test_zeros_are_positive(kernel):
    shape = case("", 1, 96, 14, 64, kernel)
    zero = random_operands(shape, torch.float32).map(torch.zeros_like)
    for t in (zero, replace(zero, grad=-zero.grad), replace(zero, input=-zero.input)):
        assert same_bits(gradient(shape, t), torch.zeros(shape.weight_size))


def test_no_images_give_zeros():
    shape = NETWORKS[1].with_batch(0)
    assert not run("grad_weight", shape, random_operands(shape, torch.float32)).any()


@pytest.mark.parametrize(
    "shape",
    [
        case("few_inputs", 2, 15, 14, 64, 3),
        case("few_outputs", 2, 64, 14, 15, 3),
        case("small_image", 2, 64, 6, 64, 3),
        case("empty_tiles", 2, 64, 9, 64, 3),
        case("one_row", 2, 64, (1, 100), 64, 3),
        case("5x5_small_image", 2, 64, 5, 64, 5),
        case("5x5_few_inputs", 2, 15, 14, 64, 5),
        case("7x7_few_inputs", 2, 15, 14, 64, 7),
        case("7x7_stride", 2, 64, 28, 64, 7, 2),
        case("1x3_few_inputs", 2, 31, (1, 100), 64, (1, 3)),
        case("1x5_few_inputs", 2, 63, (1, 100), 64, (1, 5)),
        case("3x1_short", 2, 64, (9, 5), 64, (3, 1)),
        case("1x3_small_image", 2, 64, (1, 7), 64, (1, 3)),
        case("stride", 2, 64, 14, 64, 3, 2),
        case("dilation", 2, 64, 14, 64, 3, dilation=5),
        case("groups", 2, 64, 14, 64, 3, groups=2),
    ],
    ids=lambda shape: shape.name,
)
def test_other_layers_are_summed_directly(shape):
    assert reasons(shape)["grad_weight"].endswith("runs")


def test_float64_is_summed_directly():
    for shape in (NETWORKS[1], case("", 2, 64, 28, 64, 5)):
        assert reasons(shape, torch.float64)[name_of(shape)] == "float64 is summed directly"


# Odd kernels of parts are forced: their maps are small.
CHOSEN = NETWORKS + tuple(shape for shape in ODD if "parts" not in name_of(shape))


@pytest.mark.parametrize("shape", CHOSEN, ids=ids(CHOSEN))
def test_the_choice_does_not_depend_on_the_batch(shape):
    # Contiguous ones of kernels of one row or column are not taken in parts.
    contiguous = "parts" not in name_of(shape) or min(shape.r, shape.s) > 1
    for batch in (1, 2, 7, 64, 1000):
        for last in (False, True):
            found = reasons(shape.with_batch(batch), channels_last=last)[name_of(shape)]
            assert found.endswith("runs") == (last or contiguous)
