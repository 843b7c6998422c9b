"""The operators that compute convolutions of one shape in one call, each with operands of its own:
the bits of as many calls, whatever the threads, the instruction set and the places of the operands.
"""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jvp, vmap
from torch.utils.flop_counter import FlopCounterMode

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import isa_levels
from tests.awkward import AWKWARD
from tests.cases import Conv2dCase, case, grouped, ids
from tests.compare import assert_all_near, assert_near, same_bits
from tests.reference import DTYPES, OPS, exact, random_operands, run, threads
from torchconv import _autograd_each

FORMATS = {False: torch.contiguous_format, True: torch.channels_last}
LAYOUTS = pytest.mark.parametrize("channels_last", FORMATS, ids=["contiguous", "channels_last"])

# Alone above the work that wakes another thread, with several stages, and with one.
LARGE = (
    case("dense", 1, 24, 20, 40, 3, bias=True),
    case("winograd", 2, 32, 28, 32, 3),
    case("pointwise", 1, 64, 14, 80, 1, bias=True),
    case("stride_groups", 2, 32, 17, 32, 3, stride=2, groups=4),
    grouped("depthwise", 1, 40, 30, 1, 5, bias=True),
    case("first", 1, 3, 40, 16, 7, stride=2, bias=True),
    case("full_image", 2, 24, (5, 6), 64, (5, 6), padding=0, bias=True),
    case("tiny", 1, 2, 4, 3, 3, bias=True),
)


def operands(shape: Conv2dCase, dtype: torch.dtype, count: int, channels_last: bool):
    """Those of each convolution."""
    return [
        random_operands(shape, dtype, seed).contiguous(FORMATS[channels_last])
        for seed in range(count)
    ]


def stacked(each, name: str):
    """[B, ...], each dense as it was."""
    tensors = [getattr(t, name) for t in each]
    if tensors[0] is None:
        return None
    return torch.stack(tensors) if tensors[0].dim() < 4 else dense_stack(tensors)


def dense_stack(tensors):
    one = tensors[0]
    size, strides = (len(tensors), *one.shape), (one.numel(), *one.stride())
    result = torch.empty_strided(size, strides, dtype=one.dtype)
    return result.copy_(torch.stack(tensors))


def call(op: str, shape: Conv2dCase, input, weight, bias, grad, channels_last=False):
    ops, geometry = torch.ops.torchconv, shape.geometry(channels_last)
    if op == "forward":
        return ops.conv2d_each.default(input, weight, bias, geometry)
    if op == "grad_input":
        return ops.conv2d_each_grad_input.default(grad, weight, shape.input_size, geometry)
    return ops.conv2d_each_grad_weight.default(grad, input, shape.weight_size, geometry)


def all_of(each):
    return [stacked(each, name) for name in ("input", "weight", "bias", "grad")]


def one_by_one(op: str, shape: Conv2dCase, each, channels_last: bool):
    return torch.stack([run(op, shape, t, channels_last) for t in each])


def assert_the_same(op, shape, tensors, expected, channels_last):
    found = call(op, shape, *tensors, channels_last)
    assert same_bits(found, expected), (op, shape.name)
    assert found[0].is_contiguous(memory_format=FORMATS[channels_last])


@LAYOUTS
def test_the_bits_of_as_many_calls(channels_last):
    for index, shape in enumerate(AWKWARD):
        each = operands(shape, DTYPES[index % len(DTYPES)], 3, channels_last)
        for op in OPS:
            expected = one_by_one(op, shape, each, channels_last)
            assert_the_same(op, shape, all_of(each), expected, channels_last)


@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", LARGE, ids=ids(LARGE))
def test_the_same_bits_on_any_threads_at_any_level(shape, dtype, channels_last):
    """Five are shared by two threads, and the last one is computed by both."""
    each = operands(shape, dtype, 5, channels_last)
    tensors = all_of(each)
    for op in OPS:
        with threads(1):
            expected = one_by_one(op, shape, each, channels_last)
        for count in (1, 2, 3):
            with threads(count):
                assert_the_same(op, shape, tensors, expected, channels_last)
        for level in isa_levels():
            torch.ops.torchconv._force_isa(level)
            assert_the_same(op, shape, tensors, expected, channels_last)
        torch.ops.torchconv._force_isa("")


def test_many_more_than_threads():
    shape = LARGE[-1]
    each = operands(shape, torch.float32, 100, False)
    for op in OPS:
        with threads(3):
            assert_the_same(op, shape, all_of(each), one_by_one(op, shape, each, False), False)


def places(tensor):
    """The same values elsewhere: at an odd offset among NaN, with gaps, with B not in front."""
    buffer = torch.full((2 * tensor.numel() + 80,), torch.nan, dtype=tensor.dtype)
    step, *strides = tensor.stride()
    with_gaps = buffer.as_strided(tensor.shape, (step + 1, *strides), 3).copy_(tensor)
    return with_gaps, tensor.movedim(0, 1).contiguous().movedim(1, 0)


@LAYOUTS
def test_operands_anywhere(channels_last):
    """Also in the other memory format, and weights with any strides."""
    for shape in LARGE[:1] + LARGE[5:]:
        each = operands(shape, torch.float32, 3, channels_last)
        tensors, others = all_of(each), all_of(operands(shape, torch.float32, 3, not channels_last))
        moved = [places(x) if x is not None else (None, None) for x in tensors]
        for op in OPS:
            expected = one_by_one(op, shape, each, channels_last)
            for given in (*zip(*moved, strict=True), others):
                found = call(op, shape, *given, channels_last)
                if op != "grad_weight" and given is others and shape.name == "full_image":
                    assert_near(found, expected)  # as separate calls, by the weight's format
                else:
                    assert same_bits(found, expected), (op, shape.name)


def test_one_operand_for_all():
    shape = LARGE[0]
    one = random_operands(shape, torch.float32)
    tensors = [x.expand(3, *x.shape) for x in (one.input, one.weight, one.bias, one.grad)]
    for op in OPS:
        expected = run(op, shape, one).expand(3, -1, -1, -1, -1)
        assert same_bits(call(op, shape, *tensors), expected)


@pytest.mark.parametrize("size", [(0, 2), (3, 0), (0, 0)], ids=str)
def test_nothing_to_compute(size):
    batch, n = size
    shape = case("empty", n, 4, (5, 6), 6, 3, groups=2)
    tensors = [
        torch.ones(batch, *one)
        for one in (shape.input_size, shape.weight_size, (6,), shape.output_size)
    ]
    for op, one in zip(OPS, (shape.output_size, shape.input_size, shape.weight_size), strict=True):
        found = call(op, shape, *tensors)
        assert found.shape == (batch, *one) and not found.any()
    input, _, _, grad = tensors
    found = torch.ops.torchconv._grad_weight_squares(
        grad, input, shape.weight_size, shape.geometry(False)
    )
    assert found.shape == (batch,) and not found.any()


@LAYOUTS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_squares_of_weight_gradients(dtype, channels_last):
    for shape in LARGE:
        each = operands(shape, dtype, 5, channels_last)
        input, _, _, grad = all_of(each)
        arguments = grad, input, shape.weight_size, shape.geometry(channels_last)
        found = []
        for count in (1, 2, 3):
            with threads(count):
                found.append(torch.ops.torchconv._grad_weight_squares(*arguments))
        assert same_bits(found[0], found[1]) and same_bits(found[0], found[2])
        expected = [exact("grad_weight", shape, t).square().sum() for t in each]
        tolerance = 1e-12 if dtype == torch.float64 else 3e-3 if dtype.itemsize == 2 else 1e-5
        assert_near(found[0], torch.stack(expected), tolerance)


SMALL = case("small", 2, 4, (5, 6), 6, (2, 3), (2, 1), (1, 0, 2, 1), groups=2)


def small_operands():
    torch.manual_seed(0)
    sizes = (SMALL.input_size, SMALL.weight_size, (SMALL.k,), SMALL.output_size)
    return [torch.randn(3, *size, dtype=torch.float64, requires_grad=True) for size in sizes]


def functions():
    """The differentiable functions and the operators, of tensors alone, with their arguments."""
    input, weight, bias, grad = small_operands()
    geometry = SMALL.geometry(False)
    for package in (_autograd_each, torch.ops.torchconv):
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
        return _autograd_each.conv2d_each(input, weight, bias, SMALL.geometry(False))

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
        torch.stack([torch.nn.functional.conv2d(x, w) for x, w in zip(*pair, strict=True)])
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
    from torchconv import _aten

    tensors = [tensor.detach() for tensor in small_operands()]
    by_name = {schema.partition("(")[0]: f for schema, f in _aten.OPERATORS.items()}
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
