"""The three operators against float64 and against F.conv2d: every awkward shape, dtype and layout,
every algorithm, random shapes."""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import torchconv  # noqa: F401  (registers the operators)
from tests.awkward import AWKWARD
from tests.cases import Conv2dCase, ids
from tests.cases import case as build_case
from tests.compare import same_bits
from tests.reference import (
    DTYPES,
    OPS,
    assert_accurate,
    exact,
    is_too_large,
    random_operands,
    run,
    terms,
)

LAYOUTS = (False, True)
LAYOUT_NAMES = ("contiguous", "channels_last")
FORMATS = {False: torch.contiguous_format, True: torch.channels_last}


@pytest.mark.parametrize("case", AWKWARD, ids=ids(AWKWARD))
def test_against_float64(case):
    for dtype in DTYPES:
        operands = random_operands(case, dtype)
        formats = {last: operands.contiguous(FORMATS[last]) for last in LAYOUTS}
        for op in OPS:
            for channels_last, t in formats.items():
                direct = run(op, case, t, channels_last, "off")
                assert_accurate(direct, op, case)
                chosen = run(op, case, t, channels_last, "auto")
                if not same_bits(chosen, direct):
                    assert_accurate(chosen, op, case, winograd=True)
                for result in (direct, chosen):
                    assert result.dtype == dtype
                    assert result.is_contiguous(memory_format=FORMATS[channels_last])


@pytest.mark.parametrize("case", AWKWARD, ids=ids(AWKWARD))
def test_against_torch(case):
    """Output and gradients equal those of F.conv2d and its autograd, in float64."""
    t = random_operands(case, torch.float64)
    x, weight = t.input.clone().requires_grad_(), t.weight.clone().requires_grad_()
    top, bottom, left, right = case.padding
    expected = F.conv2d(
        F.pad(x, (left, right, top, bottom)), weight, t.bias, case.stride, 0, case.dilation,
        case.groups,
    )  # fmt: skip
    gradients = torch.autograd.grad(expected, (x, weight), t.grad)
    for op, value in zip(OPS, (expected, *gradients), strict=True):
        torch.testing.assert_close(run(op, case, t), value.detach(), rtol=1e-12, atol=1e-11)


def explanation(op: str, case: Conv2dCase, dtype: torch.dtype, channels_last: bool) -> list[str]:
    return torch.ops.torchconv._explain(
        op, case.input_size, case.weight_size, case.geometry(channels_last),
        str(dtype).removeprefix("torch."),
    ).splitlines()  # fmt: skip


def algorithm_names() -> list[str]:
    """Every name that explains some choice, and the reference, which takes any shape."""
    lines = [
        line
        for case in AWKWARD
        for op in OPS
        for dtype in DTYPES
        for channels_last in LAYOUTS
        for line in explanation(op, case, dtype, channels_last)
    ]
    return list(dict.fromkeys([line.split(":")[0] for line in lines] + ["reference"]))


ALGORITHMS = algorithm_names()


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_algorithm(dtype, op):
    """Forced, an algorithm computes every shape it does not refuse, not only those it is chosen
    for."""
    computed = dict.fromkeys(ALGORITHMS, 0)
    for case in AWKWARD:
        t = random_operands(case, dtype)
        for channels_last in LAYOUTS:
            accurate = []  # almost all have the same bits
            for algorithm in ALGORITHMS:
                torch.ops.torchconv._force_algorithm(algorithm)
                first = explanation(op, case, dtype, channels_last)[0]
                if first != f"{algorithm}: forced, runs" or is_too_large(algorithm, case):
                    continue
                found = run(op, case, t, channels_last)
                if not any(same_bits(found, one) for one in accurate):
                    winograd = algorithm.startswith("winograd")
                    assert_accurate(found, op, case, winograd=winograd)
                    if not winograd:
                        accurate.append(found)
                computed[algorithm] += 1
    assert {name for name, count in computed.items() if count} == computes(op, dtype)


def computes(op: str, dtype: torch.dtype) -> set[str]:
    """The algorithms that know this operator in this dtype, for some shape."""
    of_weights = {name for name in ALGORITHMS if name.endswith("grad_weight")}
    found = of_weights if op == "grad_weight" else {*ALGORITHMS} - of_weights
    if op != "grad_input":
        found = {name for name in found if not name.endswith("folded")}
    if dtype == torch.float64:
        found = {name for name in found if not name.startswith(("winograd", "grouped"))}
    return found | {"reference"}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_forced_algorithm_that_refuses_is_passed_over(algorithm, op):
    torch.ops.torchconv._force_algorithm(algorithm)
    refused = 0
    for case in AWKWARD[::5]:
        if "forced, runs" not in explanation(op, case, torch.float32, False)[0]:
            found = run(op, case, random_operands(case, torch.float32), winograd="off")
            assert_accurate(found, op, case)
            refused += 1
    if not refused:
        pytest.skip(f"{algorithm} computes every {op}")


@pytest.mark.parametrize("name", ["no such algorithm", "referenc"])
def test_unknown_algorithm_is_refused(name):
    with pytest.raises(RuntimeError, match="algorithm"):
        torch.ops.torchconv._force_algorithm(name)


def test_the_oracle_notices_a_dropped_tap():
    """The tolerance is far below the contribution of a single tap, also for long sums."""
    for shape in AWKWARD:
        if shape.r * shape.s == 1 or 0 in shape.output_size or terms("forward", shape) > 3000:
            continue
        t = random_operands(shape, torch.float32)
        # With padding past the kernel whole taps may see nothing but zeros; the centre never does.
        t.weight[:, :, shape.r // 2, shape.s // 2] = 0
        damaged = exact("forward", shape, t).float()
        with pytest.raises(AssertionError, match="are off"):
            assert_accurate(damaged, "forward", shape)


@st.composite
def convolutions(draw) -> Conv2dCase:
    def integer(low, high):
        return draw(st.integers(low, high))

    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 4, 16]))
    c = groups * integer(1, 40 // groups)
    k = groups * integer(1, 40 // groups)
    kernel = (integer(1, 5), integer(1, 7))
    dilation = (integer(1, 3), integer(1, 3))
    padding = tuple(integer(0, 4) for _ in range(4))
    size = tuple(
        max(1, integer(1, 40) if axis else integer(1, 14), dilation[axis] * (kernel[axis] - 1) + 1
            - padding[2 * axis] - padding[2 * axis + 1])
        for axis in (0, 1)
    )  # fmt: skip
    stride = (integer(1, 4), integer(1, 4))
    return build_case("random", integer(0, 4), c, size, k, kernel, stride, padding, dilation,
                      groups, bias=draw(st.booleans()))  # fmt: skip


@settings(
    max_examples=150,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(convolutions(), st.sampled_from(DTYPES), st.sampled_from(LAYOUTS), st.integers(0, 2**31))
def test_random_shapes(shape, dtype, channels_last, seed):
    t = random_operands(shape, dtype, seed)
    for op in OPS:
        assert_accurate(run(op, shape, t, channels_last, "off"), op, shape, t)
        assert_accurate(run(op, shape, t, channels_last), op, shape, t, winograd=True)


@pytest.mark.parametrize("channels_last", LAYOUTS, ids=LAYOUT_NAMES)
@pytest.mark.parametrize("groups", (1, 3))
@pytest.mark.parametrize("dilation", (2**20, 2**30, 2**31 - 2, 2**31 - 1, 2**31, 2**32))
def test_dilation_far_beyond_the_image(dilation, groups, channels_last):
    """Only the centre of the kernel sees the image: no size of a plan may wrap around."""
    x = torch.randn(1, 3, 3, 3)
    weight = torch.randn(3, 3 // groups, 3, 3)
    geometry = (1, 1, *[dilation] * 6, groups, channels_last)
    found = torch.ops.torchconv.conv2d(x, weight, None, geometry)
    torch.testing.assert_close(found, F.conv2d(x, weight[..., 1:2, 1:2], groups=groups))


def test_half_types_keep_every_float16():
    """Subnormal float16 values are ordinary float32 numbers: they must survive, flushing or not."""
    values = torch.tensor([6e-8, 1.2e-7, 3e-6, 6e-5, -6e-8, 65504.0], dtype=torch.float16)
    one = torch.ones(1, 1, 1, 1, dtype=torch.float16)
    x = values.reshape(1, 1, 1, -1)
    geometry = (1, 1, 0, 0, 0, 0, 1, 1, 1, False)
    ops = torch.ops.torchconv
    assert torch.equal(ops.conv2d(x, one, None, geometry), x)
    assert torch.equal(ops.conv2d_grad_input(x, one, x.shape, geometry), x)
    column = values.reshape(-1, 1, 1, 1)
    assert torch.equal(
        ops.conv2d_grad_weight(x.transpose(1, 3), one, column.shape, geometry), column
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_accumulate_in_float32(dtype):
    """4097 ones sum to 4096 or more although neither half type can count that far in ones."""
    taps = 4097
    ones = torch.ones(1, taps, 1, 1, dtype=dtype)
    geometry = (1, 1, 0, 0, 0, 0, 1, 1, 1, False)
    result = torch.ops.torchconv.conv2d(ones, ones, None, geometry)
    assert result.item() == torch.tensor(float(taps)).to(dtype).item()
