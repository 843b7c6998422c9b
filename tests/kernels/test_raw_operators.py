"""What the raw operators refuse because it would corrupt memory. torchconv.conv2d refuses it first,
but a graph or a user may call torch.ops.torchconv.* directly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)
from tests.cases import case
from tests.reference import OPS, random_operands, run

SHAPE = case("", 2, 4, (6, 7), 6, 3, groups=2, bias=True)
USES = {"forward": ("input", "weight", "bias"), "grad_input": ("grad", "weight"),
        "grad_weight": ("grad", "input")}  # fmt: skip
GRADIENTS = (*OPS[1:], "backward")


def call(op: str, t, shape=SHAPE) -> None:
    if op != "backward":
        run(op, shape, t)
        return
    torch.ops.torchconv.conv2d_backward(
        t.grad, t.input, t.weight, shape.weight_size, shape.geometry(False), True
    )


def without_last(x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.narrow(axis, 0, x.shape[axis] - 1)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("op", GRADIENTS)
def test_grad_of_another_size(op, axis):
    t = random_operands(SHAPE, torch.float32)
    for grad in (without_last(t.grad, axis), torch.cat((t.grad, t.grad), axis)):
        with pytest.raises(RuntimeError, match=r"grad must have size \(2, 6, 6, 7\)"):
            call(op, replace(t, grad=grad))


@pytest.mark.parametrize("op", GRADIENTS)
def test_grad_of_another_rank(op):
    t = random_operands(SHAPE, torch.float32)
    with pytest.raises(RuntimeError, match="grad must have size"):
        call(op, replace(t, grad=t.grad[0]))


@pytest.mark.parametrize("other", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("op", [*OPS, "backward"])
def test_two_dtypes(op, other):
    t = random_operands(SHAPE, torch.float32)
    for name in USES.get(op, ("grad", "input", "weight")):
        with pytest.raises(RuntimeError, match="must have one dtype"):
            call(op, replace(t, **{name: getattr(t, name).to(other)}))


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64], ids=str)
@pytest.mark.parametrize("op", [*OPS, "backward"])
def test_a_dtype_without_kernels(op, dtype):
    t = random_operands(SHAPE, torch.float32).map(lambda x: x.to(dtype))
    with pytest.raises(RuntimeError, match="dtype must be"):
        call(op, t)


@pytest.mark.parametrize("size", [(5,), (7,), (6, 1), (1,), ()], ids=str)
def test_bias_of_another_size(size):
    t = random_operands(SHAPE, torch.float32)
    with pytest.raises(RuntimeError, match=r"bias must have size \(6\)"):
        call("forward", replace(t, bias=torch.ones(size)))


@pytest.mark.parametrize("op", ["forward", "grad_input"])
def test_weight_of_other_channels(op):
    """A number that the groups do not divide, too few and too many."""
    t = random_operands(SHAPE, torch.float32)
    odd, few = without_last(t.weight, 0), without_last(t.weight, 1)
    for weight in (odd, few, torch.cat((t.weight, t.weight), 1)):
        with pytest.raises(RuntimeError, match="input channels per group"):
            call(op, replace(t, weight=weight, bias=torch.ones(len(weight))))


@pytest.mark.parametrize("field", range(9))
def test_geometry_out_of_range(field):
    """Stride, dilation and groups of zero, a padding below it, and numbers too large to add."""
    t = random_operands(SHAPE, torch.float32)
    least = 0 if 2 <= field < 6 else 1
    for value in (least - 1, -(2**63), 2**62):
        geometry = list(SHAPE.geometry(False))
        geometry[field] = value
        with pytest.raises(RuntimeError, match=r"(must be at least|is too large)"):
            torch.ops.torchconv.conv2d(t.input, t.weight, t.bias, geometry)


def test_ranks_and_lengths():
    t = random_operands(SHAPE, torch.float32)
    geometry = SHAPE.geometry(False)
    ops = torch.ops.torchconv
    with pytest.raises(RuntimeError, match="4 dimensions"):
        ops.conv2d(t.input[0], t.weight, None, geometry)
    with pytest.raises(RuntimeError, match="4 dimensions"):
        ops.conv2d(t.input, t.weight[0], None, geometry)
    with pytest.raises(RuntimeError, match="4 dimensions"):
        ops.conv2d_grad_input(t.grad, t.weight, SHAPE.input_size[1:], geometry)
    with pytest.raises(RuntimeError, match="10 integers"):
        ops.conv2d(t.input, t.weight, None, geometry[:-1])


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_sizes_of_a_result_that_do_not_fit(axis):
    """The size of the input or weight that a gradient is asked for decides the size of grad."""
    t = random_operands(SHAPE, torch.float32)
    for op, field in (("grad_input", "input_size"), ("grad_weight", "weight_size")):
        size = list(getattr(SHAPE, field))
        size[axis] += 2
        arguments = (t.grad, t.weight if op == "grad_input" else t.input)
        with pytest.raises(RuntimeError, match=r"(grad must have size|input channels per group)"):
            getattr(torch.ops.torchconv, f"conv2d_{op}")(*arguments, size, SHAPE.geometry(False))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("size", [(0, 7), (6, 0), (2, 7), (6, 1)], ids=str)
def test_explaining_a_layer_without_pixels(op, size):
    """Neither an input nor, where the kernel does not fit into it, an output has any."""
    empty = case("", 2, 4, size, 6, 3, padding=0, groups=2)
    with pytest.raises(RuntimeError, match="no pixels to compute"):
        torch.ops.torchconv._explain(
            op, empty.input_size, empty.weight_size, empty.geometry(False), "float32"
        )
