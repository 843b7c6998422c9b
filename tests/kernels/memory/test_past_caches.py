"""Results that the caches would not hold are stored past them, which changes no bit of them."""

import itertools

import pytest
import torch

import torchconv
from benchmarks.machine import isa_levels
from tests.cases import Conv2dCase, grouped, ids
from tests.cases import case as build_case
from tests.compare import same_bits
from tests.kernels.memory.test_fetched_ahead import assert_same_alone
from tests.kernels.padding import test_padding_modes as padding_modes
from tests.reference import Operands, assert_accurate, exact, random_operands, run, threads
from torchconv._activations.function import apply_activation

DEPTHWISE = grouped("depthwise", 12, 64, 80, 1, 3, bias=True)
DEPTHWISE_PARTS = grouped("depthwise_parts_of_lines", 10, 72, (84, 78), 1, 5, bias=True)
# Input and output are large: whole cache lines, lines that two pixels or two rows share, strides.
LAYERS = (
    build_case("dense", 7, 64, 104, 64, 1, bias=True),
    build_case("several_slabs", 14, 80, 64, 80, 1),
    build_case("parts_of_lines", 18, 60, 64, 84, 1, bias=True),
    build_case("rows_of_parts", 18, 64, (57, 71), 64, 1),
    build_case("few_outputs", 10, 64, 112, 36, 1),
    build_case("stride", 9, 64, 112, 160, 3, 2),
    build_case("groups", 14, 80, 64, 80, 1, groups=5),
    build_case("groups_of_parts", 14, 80, 64, 80, 1, groups=4, bias=True),
    build_case("partial_sums", 16, 192, 40, 176, 1),
    DEPTHWISE,
    DEPTHWISE_PARTS,
    grouped("depthwise_tall", 10, 6, (500, 149), 1, 3),
    grouped("depthwise_stride", 20, 68, 112, 1, 3, stride=2),
    grouped("depthwise_small", 60, 400, 14, 1, 3),
    grouped("depthwise_two_outputs", 22, 48, 66, 2, 3),
)
ACTIVATED = (LAYERS[0], build_case("deep", 6, 160, 56, 240, 1), DEPTHWISE, DEPTHWISE_PARTS)


layouts = pytest.mark.parametrize(
    "channels_last", [False, True], ids=["contiguous", "channels_last"]
)
passes = pytest.mark.parametrize("op", ["forward", "grad_input"])


def streaming_levels() -> list[str]:
    return [level for level in isa_levels() if level != "portable"]


def assert_large(result: torch.Tensor) -> None:
    assert result.nbytes > 16 * 2**20  # cost::kStreamedBytes, of all levels the largest


def check_large_result(shape: Conv2dCase, op: str, channels_last: bool) -> None:
    t = random_operands(shape, torch.float32)
    together = run(op, shape, t, channels_last)
    assert_large(together)
    assert_accurate(together[-1:], op, shape.with_batch(1), t.image(shape.n - 1))
    assert_same_alone(together, shape, t, lambda shape, t: run(op, shape, t, channels_last))
    for level, count in itertools.product(streaming_levels(), (1, 2)):
        torch.ops.torchconv._force_isa(level)
        with threads(count):
            assert same_bits(run(op, shape, t, channels_last), together), (level, count)


@layouts
@passes
@pytest.mark.parametrize("shape", LAYERS, ids=ids(LAYERS))
def test_large_results(shape, op, channels_last):
    check_large_result(shape, op, channels_last)


@layouts
def test_rows_that_end_within_lines(channels_last):
    """What is left of a row is summed aside."""
    shape = build_case("rows", 12, 240, (48, 33), 17, (3, 1))
    check_large_result(shape, "grad_input", channels_last)


@layouts
@pytest.mark.parametrize("shape", [LAYERS[0], DEPTHWISE_PARTS], ids=lambda shape: shape.name)
def test_double_and_half_types(shape, channels_last):
    for dtype in (torch.float64, torch.bfloat16):
        batch = shape.with_batch(-(-shape.n * 4 // dtype.itemsize))
        t = random_operands(batch, dtype)
        together = run("forward", batch, t, channels_last)
        assert_large(together)
        for i in range(0, batch.n, 3):
            found = run("forward", batch.with_batch(1), t.image(i), channels_last)
            assert same_bits(found, together[i : i + 1]), (dtype, i)


@layouts
@passes
@pytest.mark.parametrize("mode", padding_modes.MODES)
@pytest.mark.parametrize("shape", [DEPTHWISE, DEPTHWISE_PARTS], ids=lambda shape: shape.name)
def test_padding_that_repeats(shape, mode, op, channels_last):
    def run_one(shape: Conv2dCase, t: Operands) -> torch.Tensor:
        return padding_modes.run(op, shape, t, mode, channels_last)

    t = random_operands(shape, torch.float32)
    together = run_one(shape, t)
    assert_large(together)
    assert_same_alone(together, shape, t, run_one)


@pytest.mark.parametrize("shape", [DEPTHWISE, DEPTHWISE_PARTS], ids=lambda shape: shape.name)
def test_weights_that_are_not_finite(shape):
    """Then padding is multiplied, plane by plane."""
    t = random_operands(shape, torch.float32)
    t.weight[5] = torch.inf
    together = run("forward", shape, t)
    expected = exact("forward", shape, t)
    assert torch.equal(together.isnan(), expected.isnan()) and expected.isnan().any()
    assert_same_alone(together, shape, t, lambda shape, t: run("forward", shape, t))


@layouts
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("shape", ACTIVATED, ids=ids(ACTIVATED))
def test_what_becomes_of_results(shape, activation, channels_last):
    t = random_operands(shape, torch.float32)
    if channels_last:
        t = t.contiguous(torch.channels_last)
    options = (1, shape.torch_padding, 1, shape.groups)
    sums = torchconv.conv2d(t.input, t.weight, t.bias, *options)
    assert_large(sums)
    for residual in (None, torch.randn_like(sums)):
        found = torchconv.conv2d_activation(
            t.input, t.weight, t.bias, *options, activation=activation, residual=residual
        )
        added = sums if residual is None else sums + residual
        expected = apply_activation(added, activation, 0.01)
        torch.testing.assert_close(found, expected)
        for i in range(shape.n):
            one = torchconv.conv2d_activation(
                t.input[i : i + 1], t.weight, t.bias, *options, activation=activation,
                residual=None if residual is None else residual[i : i + 1],
            )  # fmt: skip
            assert same_bits(one, found[i : i + 1]), i
