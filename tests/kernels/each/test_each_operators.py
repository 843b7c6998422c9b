"""The operators for convolutions with operands of their own, as PyTorch sees them: derivatives,
vmap, fakes, FLOPs; what they refuse; and what computes them where there is no kernel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jvp, vmap
from torch.utils.flop_counter import FlopCounterMode

import torchconv
from tests.compare import assert_all_near, assert_near
from tests.kernels.each.calls import SMALL, call, small_operands
from tests.reference import OPS, random_operands, run
from torchconv._operators import aten, autograd_each

LAYOUTS = pytest.mark.parametrize(
    "channels_last", [False, True], ids=["contiguous", "channels_last"]
)


def functions():
    """The differentiable functions and the operators, of tensors alone, with their arguments."""
    input, weight, bias, grad = small_operands()
    geometry = SMALL.geometry(False)
    for package in (autograd_each, torch.ops.torchconv):
        each, grad_input, grad_weight = (
            package.conv2d_each, package.conv2d_each_grad_input, package.conv2d_each_grad_weight
        )  # fmt: skip
        yield lambda x, w, b, f=each: f(x, w, b, geometry), (input, weight, bias)
        yield lambda g, w, f=grad_input: f(g, w, SMALL.input_size, geometry), (grad, weight)
        yield lambda g, x, f=grad_weight: f(g, x, SMALL.weight_size, geometry), (grad, input)


@pytest.mark.parametrize("index", range(6))
def test_derivatives(index):
    function, tensors = list(functions())[index]
    assert gradcheck(
        function, tensors, fast_mode=True, check_forward_ad=True, check_batched_grad=True,
        check_batched_forward_grad=True,
    )  # fmt: skip
    assert gradgradcheck(function, tensors, fast_mode=True, check_fwd_over_rev=True)


def test_the_tangent_of_the_bias_alone():
    input, weight, bias, _ = (tensor.detach() for tensor in small_operands())

    def of_bias(bias):
        return autograd_each.conv2d_each(input, weight, bias, SMALL.geometry(False))

    _, tangent = jvp(of_bias, (bias,), (bias.cos(),))
    assert_near(tangent, of_bias(bias.cos()) - of_bias(bias * 0))


@pytest.mark.parametrize("index", range(3))
def test_vmap_of_them(index):
    """Another dimension of any operand becomes part of B."""
    function, tensors = list(functions())[index]
    tensors = [tensor.detach() for tensor in tensors]
    for mapped in range(len(tensors)):
        for dim in (0, 1):
            dims = [dim if i == mapped else None for i in range(len(tensors))]
            batch = [
                torch.stack([t, t.cos()], dim) if d is not None else t
                for t, d in zip(tensors, dims, strict=True)
            ]
            expected = [
                function(
                    *[
                        t.select(d, i) if d is not None else t
                        for t, d in zip(batch, dims, strict=True)
                    ]
                )
                for i in range(2)
            ]
            assert_near(vmap(function, tuple(dims))(*batch), torch.stack(expected))


def test_nested_vmap_of_a_convolution_with_both_mapped():
    images, weights = torch.randn(2, 3, 4, 5, 6).double(), torch.randn(2, 3, 4, 4, 2, 3).double()
    found = vmap(vmap(torchconv.conv2d))(images, weights)
    one_by_one = [
        torch.stack([F.conv2d(x, w) for x, w in zip(*pair, strict=True)])
        for pair in zip(images, weights, strict=True)
    ]
    assert_near(found, torch.stack(one_by_one))


def test_opcheck():
    """Schema, fake tensors, autograd keys and compiled gradients, as PyTorch checks operators."""
    ops, (contiguous, last) = torch.ops.torchconv, (SMALL.geometry(False), SMALL.geometry(True))
    input, weight, bias, grad = small_operands()
    nothing = [tensor[:0].detach() for tensor in (input, weight, bias)]
    all_of_them = ("test_schema", "test_autograd_registration", "test_faketensor",
                   "test_aot_dispatch_dynamic")  # fmt: skip
    for op, arguments, checks in (
        (ops.conv2d_each, (input, weight, bias, contiguous), all_of_them),
        (ops.conv2d_each, (*nothing, contiguous), all_of_them[:3]),
        (ops.conv2d_each_grad_input, (grad, weight, SMALL.input_size, last), all_of_them[:3]),
        (ops.conv2d_each_grad_weight, (grad, input, SMALL.weight_size, last), all_of_them),
        (ops._grad_weight_squares,
         (grad.detach(), input.detach(), SMALL.weight_size, contiguous), all_of_them[:3]),
    ):  # fmt: skip
        result = torch.library.opcheck(op.default, arguments, test_utils=checks)
        assert set(result.values()) == {"SUCCESS"}, op


@LAYOUTS
def test_fakes_have_the_right_strides(channels_last):
    for count in (3, 1, 0):
        for n in (2, 0):
            tensors = [tensor.detach()[:count] for tensor in small_operands()]
            shape = SMALL.with_batch(n)
            input, weight, bias, grad = tensors
            given = input[:, :n], weight, bias, grad[:, :n]
            for op in OPS:
                real = call(op, shape, *given, channels_last)
                fake = call(op, shape, *(x.to("meta") for x in given), channels_last)
                assert (fake.shape, fake.stride()) == (real.shape, real.stride())


def test_flops_are_those_of_as_many_calls():
    input, weight, bias, grad = (tensor.detach() for tensor in small_operands())
    for op in OPS:
        with FlopCounterMode(display=False) as each:
            call(op, SMALL, input, weight, bias, grad)
        with FlopCounterMode(display=False) as one:
            run(op, SMALL, random_operands(SMALL, torch.float64))
        assert each.get_total_flops() == 3 * one.get_total_flops() > 0


def without_last(x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.narrow(axis, 0, x.shape[axis] - 1)


@pytest.mark.parametrize("op", OPS)
def test_what_would_corrupt_memory_is_refused(op):
    tensors = dict(zip(("input", "weight", "bias", "grad"), small_operands(), strict=True))
    tensors = {name: tensor.detach() for name, tensor in tensors.items()}

    def refused(message, **changed):
        with pytest.raises(RuntimeError, match=message):
            call(op, SMALL, **{**tensors, **changed})

    used = {"forward": ("input", "weight"), "grad_input": ("grad", "weight"),
            "grad_weight": ("grad", "input")}[op]  # fmt: skip
    for name in used:
        refused("5 dimensions", **{name: tensors[name][0]})
        refused("one dtype", **{name: tensors[name].float()})
        refused("must be as many", **{name: tensors[name][:2]})
        gone = tensors[name].clone()
        gone.untyped_storage().resize_(0)
        refused("not allocated", **{name: gone})
    refused("dtype must be", **{name: tensors[name].to(torch.int32) for name in used})
    if "grad" in used:
        for axis in range(1, 5):
            grad = without_last(tensors["grad"], axis)
            refused(r"grad must have size \(3, 2, 6, 3, 7\)", grad=grad)
    if "weight" in used:
        refused("input channels per group", weight=without_last(tensors["weight"], 2))
    if op == "forward":
        for bias in (tensors["bias"][:2], without_last(tensors["bias"], 1), tensors["bias"][0]):
            refused(r"bias must have size \(3, 6\)", bias=bias)
        refused("one dtype", bias=tensors["bias"].float())


def test_ranks_lengths_and_devices_are_refused():
    input, weight, _, grad = (tensor.detach() for tensor in small_operands())
    geometry, ops = SMALL.geometry(False), torch.ops.torchconv
    with pytest.raises(RuntimeError, match="10 integers"):
        ops.conv2d_each(input, weight, None, geometry[:-1])
    for op in (ops.conv2d_each_grad_weight, ops._grad_weight_squares):
        with pytest.raises(RuntimeError, match="10 integers"):
            op(grad, input, SMALL.weight_size, geometry[:-1])
        with pytest.raises(RuntimeError, match="4 dimensions"):
            op(grad, input, SMALL.weight_size[1:], geometry)
        with pytest.raises(RuntimeError, match="must be as many"):
            op(grad, input[:1], SMALL.weight_size, geometry)
    with pytest.raises(RuntimeError, match="4 dimensions"):
        ops.conv2d_each_grad_input(grad, weight, SMALL.input_size[1:], geometry)


@pytest.mark.parametrize("op", OPS)
def test_what_computes_where_there_is_no_kernel(op):
    """On a GPU and without the library each is a group of one large convolution."""
    tensors = [tensor.detach() for tensor in small_operands()]
    by_name = {schema.partition("(")[0]: f for schema, f in aten.OPERATORS.items()}
    input, weight, bias, grad = tensors
    for last in (False, True):
        geometry = SMALL.geometry(last)
        for count in (3, 0):
            x, w, b, g = (tensor[:count] for tensor in (input, weight, bias, grad))
            name, arguments = {
                "forward": ("conv2d_each", (x, w, b, geometry)),
                "grad_input": ("conv2d_each_grad_input", (g, w, SMALL.input_size, geometry)),
                "grad_weight": ("conv2d_each_grad_weight", (g, x, SMALL.weight_size, geometry)),
            }[op]
            found, expected = by_name[name](*arguments), call(op, SMALL, x, w, b, g, last)
            assert_near(found, expected)
            assert found.stride() == expected.stride()
            if op == "grad_weight":
                squares = "_grad_weight_squares"
                expected = getattr(torch.ops.torchconv, squares)(*arguments)
                assert_all_near([by_name[squares](*arguments)], [expected])
