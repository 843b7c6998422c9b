"""What is fetched ahead where the caches do not hold source and result changes nothing else."""

import itertools
from collections.abc import Callable

import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import isa_levels
from tests.cases import Conv2dCase, grouped, ids
from tests.cases import case as build_case
from tests.compare import same_bits
from tests.kernels.padding import test_padding_modes as padding_modes
from tests.reference import Operands, assert_accurate, random_operands, run, threads

# 1 x 1, in channels_last: lanes of inputs and of outputs, not in whole vectors, in several slabs.
ONE_BY_ONE = (
    build_case("inputs_in_lanes", 2, 15, 171, 30, 1),
    build_case("outputs_in_lanes", 3, 40, (90, 83), 80, 1),
    build_case("few_sets", 5, 128, 56, 50, 1),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", ONE_BY_ONE, ids=ids(ONE_BY_ONE))
def test_what_the_next_pass_of_a_weight_gradient_reads(shape, dtype):
    if dtype == torch.bfloat16:
        shape = shape.with_batch(2 * shape.n)
    t = random_operands(shape, dtype).contiguous(torch.channels_last)
    assert t.input.nbytes + t.grad.nbytes > 10 * 2**20  # cost::kNextPassBytes
    expected = run("grad_weight", shape, t, channels_last=True)
    assert_accurate(expected, "grad_weight", shape, t)
    for level, count in itertools.product(isa_levels(), (1, 2)):
        torch.ops.torchconv._force_isa(level)
        with threads(count):
            assert same_bits(run("grad_weight", shape, t, channels_last=True), expected), level


RunOne = Callable[[Conv2dCase, Operands], torch.Tensor]

# Pixels in the lanes: planes of several strips, of one, with rows apart, narrower than a vector.
STRIPS = (
    grouped("strips", 2, 64, 80, 1, 3, bias=True),
    grouped("many_taps", 2, 64, 80, 1, 7),
    grouped("one_strip", 9, 502, 14, 1, 3),
    grouped("rows_apart", 3, 250, 33, 1, 3, dilation=2),
    grouped("unpadded", 2, 70, (60, 107), 1, (5, 3), padding=0),
    grouped("two_outputs", 3, 180, 40, 2, 3),
)


def assert_same_alone(
    together: torch.Tensor, shape: Conv2dCase, t: Operands, run_one: RunOne
) -> None:
    """Nothing is fetched for one image."""
    for i in range(shape.n):
        one = t.image(i)
        assert one.input.nbytes + one.grad.nbytes < 6 * 2**20
        assert same_bits(run_one(shape.with_batch(1), one), together[i : i + 1]), i


@pytest.mark.parametrize("op", ["forward", "grad_input"])
@pytest.mark.parametrize("shape", STRIPS, ids=ids(STRIPS))
def test_rows_of_planes(shape, op):
    t = random_operands(shape, torch.float32)
    assert t.input.nbytes + t.grad.nbytes > 6 * 2**20  # cost::kStripFetchBytes
    together = run(op, shape, t, channels_last=False)
    assert_accurate(together, op, shape, t)
    assert_same_alone(together, shape, t, lambda shape, t: run(op, shape, t))
    for level, count in itertools.product(isa_levels(), (1, 2)):
        torch.ops.torchconv._force_isa(level)
        with threads(count):
            assert same_bits(run(op, shape, t, channels_last=False), together), (level, count)


@pytest.mark.parametrize("op", ["forward", "grad_input"])
@pytest.mark.parametrize("mode", padding_modes.MODES)
def test_rows_that_padding_repeats(mode, op):
    def run_one(shape: Conv2dCase, t: Operands) -> torch.Tensor:
        return padding_modes.run(op, shape, t, mode, channels_last=False)

    t = random_operands(STRIPS[0], torch.float32)
    assert_same_alone(run_one(STRIPS[0], t), STRIPS[0], t, run_one)
