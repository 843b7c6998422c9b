"""Padding that repeats elements of the input, in the operators: as on an input padded before."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from benchmarks.machine import isa_levels
from tests.cases import Conv2dCase, Pair, pair
from tests.compare import same_bits
from tests.kernels.memory.test_memory import surrounded
from tests.reference import Operands, assert_accurate, random_operands, threads

MODES = {"reflect": 128, "replicate": 256, "circular": 384}


def case(
    name, c, size, k, kernel, stride=1, padding=(1, 1, 1, 1), dilation: Pair = 1, groups=1, n=2
):
    (h, w), (r, s) = size, kernel
    steps = (stride, stride)
    return Conv2dCase(name, n, c, h, w, k, r, s, steps, padding, pair(dilation), groups, bias=True)


CASES = [
    case("dense_channels", 16, (6, 9), 32, (3, 3)),
    case("one_side", 5, (6, 7), 17, (3, 2), padding=(0, 2, 1, 0)),
    case("few_planes", 3, (9, 10), 16, (7, 7), 2, (3, 3, 3, 3)),
    case("dense_pixels", 4, (6, 19), 3, (3, 3)),
    case("dense_pixels_stride_2", 2, (9, 21), 3, (3, 3), 2, (2, 1, 1, 2)),
    case("winograd", 16, (16, 17), 16, (3, 3), padding=(1, 1, 2, 0)),
    case("winograd_f2", 16, (6, 6), 20, (3, 3)),
    case("winograd_dilated", 16, (17, 18), 20, (3, 3), 1, (3, 1, 2, 5), (2, 3)),
    case("winograd_5x5", 16, (8, 9), 20, (5, 5), padding=(2, 2, 3, 1)),
    case("winograd_1x3", 40, (1, 37), 33, (1, 3), padding=(0, 0, 3, 2)),
    case("winograd_3x1_dilated", 32, (24, 5), 32, (3, 1), 1, (4, 5, 0, 2), (3, 1)),
    case("winograd_5x1", 64, (16, 6), 64, (5, 1), padding=(2, 3, 0, 0)),
    case("winograd_parts_4x4", 64, (16, 15), 64, (7, 7), padding=(3, 2, 4, 3)),
    case("winograd_parts_1x3", 64, (1, 40), 64, (1, 9), padding=(0, 0, 6, 4)),
    case("winograd_stride2", 64, (16, 15), 66, (3, 3), 2, (1, 1, 2, 1)),
    case("winograd_4x4_stride2", 64, (16, 15), 66, (4, 4), 2, (1, 1, 2, 1)),
    case("dilation", 16, (9, 9), 16, (3, 3), 2, (4, 3, 2, 5), 3),
    case("pointwise", 16, (5, 5), 16, (1, 1), 2, (2, 2, 2, 2)),
    case("groups", 16, (7, 6), 16, (3, 3), groups=4),
    case("groups_far", 32, (12, 40), 32, (3, 3), 1, (5, 2, 11, 10), groups=8),
    case("groups_stride_2", 64, (9, 35), 64, (3, 3), 2, (2, 1, 1, 2), groups=8),
    case("groups_dilation", 32, (9, 40), 32, (3, 3), 1, (4, 3, 5, 2), 2, 8),
    case("groups_1x1", 32, (5, 6), 32, (1, 1), 2, (2, 2, 2, 2), groups=8),
    case("depthwise", 16, (7, 20), 16, (3, 3), groups=16),
    case("depthwise_5x5_stride_2", 18, (9, 8), 18, (5, 5), 2, (2, 2, 2, 2), groups=18),
    case("depthwise_3x9_stride_2", 33, (9, 20), 33, (3, 9), 2, (1, 1, 4, 4), groups=33),
    case("depthwise_7x7", 16, (9, 30), 16, (7, 7), 1, (3, 3, 3, 3), groups=16),
    case("depthwise_strips", 17, (9, 56), 17, (5, 5), 1, (2, 2, 2, 2), groups=17),
    case("depthwise_far", 17, (24, 70), 17, (3, 3), 1, (5, 2, 23, 20), groups=17),
    case("depthwise_wide_7x7", 16, (9, 75), 16, (7, 7), 1, (3, 2, 3, 3), groups=16),
    case("depthwise_in_parts", 70, (40, 41), 70, (3, 3), groups=70),
    case("groups_in_parts", 72, (40, 41), 72, (3, 3), groups=18),
    case("depthwise_dilation", 33, (9, 40), 33, (3, 3), 1, (4, 3, 5, 2), 2, 33),
    case("depthwise_short_rows", 33, (9, 3), 33, (3, 3), groups=33),
    case("depthwise_blocks", 70, (7, 7), 70, (3, 3), groups=70, n=3),
    case("depthwise_blocks_7x7", 48, (14, 13), 48, (7, 7), 1, (3, 3, 3, 3), groups=48, n=3),
    case("depthwise_5x4_stride_3", 40, (11, 12), 40, (5, 4), 3, (2, 3, 1, 2), groups=40, n=3),
    case("groups_of_two", 36, (12, 11), 36, (3, 3), groups=18, n=3),
    case("depthwise_multiplier", 5, (6, 9), 10, (3, 3), 3, (2, 1, 0, 2), groups=5),
    case("widest_reflect", 16, (4, 5), 16, (3, 3), 1, (3, 3, 4, 4)),
    case("one_pixel", 16, (1, 1), 16, (3, 3)),
]


def fits(case: Conv2dCase, mode: str) -> bool:
    least = 1 if mode == "reflect" else 0
    return mode == "replicate" or (
        case.h - least >= max(case.padding[:2]) and case.w - least >= max(case.padding[2:])
    )


def with_modes(cases):
    return [
        pytest.param(each, mode, id=f"{each.name}-{mode}")
        for each, mode in itertools.product(cases, MODES)
        if fits(each, mode)
    ]


def padded(case: Conv2dCase, input: torch.Tensor, mode: str) -> torch.Tensor:
    top, bottom, left, right = case.padding
    return F.pad(input, (left, right, top, bottom), mode=mode)


def unpadded(case: Conv2dCase) -> Conv2dCase:
    top, bottom, left, right = case.padding
    return Conv2dCase(
        case.name, case.n, case.c, case.h + top + bottom, case.w + left + right, case.k, case.r,
        case.s, case.stride, (0, 0, 0, 0), case.dilation, case.groups, case.bias,
    )  # fmt: skip


def run(op: str, case: Conv2dCase, t: Operands, mode: str, channels_last: bool) -> torch.Tensor:
    ops, geometry = torch.ops.torchconv, list(case.geometry(channels_last))
    geometry[-1] += MODES.get(mode, 0)
    if op == "forward":
        return ops.conv2d.default(t.input, t.weight, t.bias, geometry)
    if op == "grad_input":
        return ops.conv2d_grad_input.default(t.grad, t.weight, case.input_size, geometry)
    return ops.conv2d_grad_weight.default(t.grad, t.input, case.weight_size, geometry)


def operands(case: Conv2dCase, dtype: torch.dtype, channels_last: bool) -> Operands:
    t = random_operands(case, dtype)
    return t.contiguous(torch.channels_last) if channels_last else t


def grad_input(case: Conv2dCase, t: Operands, mode: str) -> torch.Tensor:
    """In float64, by PyTorch."""
    x = torch.zeros(case.input_size, dtype=torch.float64, requires_grad=True)
    weight, grad = t.weight.double(), t.grad.double()
    y = F.conv2d(padded(case, x, mode), weight, None, case.stride, 0, case.dilation, case.groups)
    return torch.autograd.grad(y, x, grad)[0]


def assert_right(case, t, mode, channels_last, bits=True):
    beside = unpadded(case)
    around = Operands(padded(case, t.input, mode), t.weight, t.bias, t.grad)
    for op in ("forward", "grad_weight"):
        found = run(op, case, t, mode, channels_last)
        assert_accurate(found, op, beside, around, winograd="winograd" in case.name)
        if bits:
            assert same_bits(found, run(op, beside, around, "zeros", channels_last)), op
    assert_grad_input(run("grad_input", case, t, mode, channels_last), case, t, mode)


def assert_grad_input(found: torch.Tensor, case: Conv2dCase, t: Operands, mode: str) -> None:
    expected = grad_input(case, t, mode)
    eps = 8e-3 if found.dtype in (torch.bfloat16, torch.float16) else 1e-6
    if found.dtype is torch.float64:
        eps = 1e-14
    scale = grad_input(case, t.map(torch.abs), mode)
    assert ((found.double() - expected).abs() <= 8 * eps * scale.max()).all()


@pytest.mark.parametrize(("case", "mode"), with_modes(CASES))
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
def test_as_the_padded_input(case, mode, channels_last):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        # A kernel that covers all of its input is summed in another order.
        bits = case.name != "one_pixel"
        assert_right(case, operands(case, dtype, channels_last), mode, channels_last, bits)


@pytest.mark.parametrize(("case", "mode"), with_modes(CASES[:3]))
def test_the_definition(case, mode):
    torch.ops.torchconv._force_algorithm("reference")
    try:
        assert_right(case, operands(case, torch.float32, False), mode, False, bits=False)
    finally:
        torch.ops.torchconv._force_algorithm("")


@pytest.mark.parametrize(("case", "mode"), with_modes(CASES))
def test_same_bits_everywhere(case, mode):
    for dtype, channels_last in itertools.product((torch.float32, torch.bfloat16), (False, True)):
        t = operands(case, dtype, channels_last)
        first = Operands(t.input[:1], t.weight, t.bias, t.grad[:1])
        alone = Conv2dCase(**{**vars(case), "n": 1})
        for op in ("forward", "grad_input", "grad_weight"):
            expected = run(op, case, t, mode, channels_last)
            with threads(2):
                assert same_bits(run(op, case, t, mode, channels_last), expected)
            for level in isa_levels():
                torch.ops.torchconv._force_isa(level)
                try:
                    assert same_bits(run(op, case, t, mode, channels_last), expected), level
                finally:
                    torch.ops.torchconv._force_isa("")
            if op != "grad_weight":
                assert same_bits(run(op, alone, first, mode, channels_last), expected[:1])


def test_no_infinite_sum_without_an_infinite_element():
    """Nothing beyond the padding is read."""
    shape = CASES[0]
    for mode in MODES:
        t = operands(shape, torch.float32, False)
        t.weight[0, 0, 0, 0] = torch.inf
        found = run("forward", shape, t, mode, False)
        expected = F.conv2d(padded(shape, t.input, mode), t.weight, t.bias)
        assert torch.equal(found.isfinite(), expected.isfinite())


GROUPED = [c for c in CASES if "depthwise" in c.name or "groups" in c.name]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("case", GROUPED, ids=lambda c: c.name)
def test_groups_read_the_input_and_any_weight(case, dtype):
    """In place, at its edges, and weights by which zeros are no zeros."""
    for mode, channels_last in itertools.product(MODES, (False, True)):
        if not fits(case, mode):
            continue
        t = operands(case, dtype, channels_last)
        t.weight[0, 0, 0, 0] = torch.inf
        around = Operands(padded(case, t.input, mode), t.weight, t.bias, t.grad)
        for op in ("forward", "grad_weight"):
            expected = run(op, unpadded(case), around, "zeros", channels_last)
            found = run(op, case, t.map(surrounded), mode, channels_last)
            assert same_bits(found, expected), (op, mode, channels_last)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
def test_a_padded_1x1_layer_has_an_input_gradient(mode, channels_last):
    """That of the padded image is a layer without rows and columns."""
    shape = case("1x1", 33, (9, 7), 33, (1, 1), 1, (2, 1, 1, 2), groups=33)
    t = operands(shape, torch.float32, channels_last)
    assert_grad_input(run("grad_input", shape, t, mode, channels_last), shape, t, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
def test_small_gradients_of_the_padding_are_added(mode, channels_last):
    """Denormal sums of products are flushed to zero, those of pixels and their padding are not."""
    shape = case("small", 32, (6, 7), 32, (3, 3), groups=32)
    t = operands(shape, torch.float32, channels_last)
    # Row -1 of the padding has the gradients of row 0, and is added to some of 1.5e-38.
    t.weight.zero_()[:, :, 0, 1] = 1
    t.grad.fill_(1.5e-38)[:, :, 0] = -1.2e-38
    if mode == "circular":  # to the last row, which has those of itself
        t.weight[:, :, 1, 1] = 1
        t.grad[:, :, 1] = 0
    expected = grad_input(shape, t, mode).float()
    assert ((expected != 0) & (expected.abs() < torch.finfo(torch.float32).tiny)).any()
    for level in isa_levels():
        torch.ops.torchconv._force_isa(level)
        try:
            found = run("grad_input", shape, t, mode, channels_last)
        finally:
            torch.ops.torchconv._force_isa("")
        assert same_bits(found, expected), level


@pytest.mark.parametrize("mode", ["reflect", "circular"])
def test_too_few_elements_are_refused(mode):
    for pad in ((4, 0, 0, 0), (0, 0, 0, 6)):
        wide = Conv2dCase("wide", 1, 2, 3, 5, 2, 1, 1, padding=pad)
        t = random_operands(wide, torch.float32)
        for op in ("forward", "grad_input", "grad_weight"):
            with pytest.raises(RuntimeError, match="too large for padding_mode"):
                run(op, wide, t, mode, False)
