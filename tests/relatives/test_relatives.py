"""The relatives of conv2d beside their namesakes: values, bits, derivatives, memory formats."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch.func import jvp, vmap

import torchconv
from tests.compare import FLOATS, assert_all_near, assert_near, same_bits, same_layout
from tests.relatives.calls import Call, each_call, each_of_few
from torchconv._operators import load

CHANNELS_LAST = torch.channels_last


def with_gradients(function, tensors, cotangent=None):
    output = function(*tensors)
    if cotangent is None:
        cotangent = torch.ones_like(output)
    return [output, *torch.autograd.grad(output, tensors, cotangent)]


@each_call
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_values_and_gradients(call, dtype):
    tensors = call.tensors(dtype)
    doubles = [tensor.detach().double().requires_grad_() for tensor in tensors]
    cotangent = torch.randn_like(call.ours(*tensors).double()).to(dtype)
    actual = with_gradients(call.ours, tensors, cotangent)
    expected = with_gradients(call.theirs, doubles, cotangent.double())
    assert_all_near(actual, [tensor.to(dtype) for tensor in expected])
    one = call.ours(tensors[0][0], *tensors[1:])
    assert same_bits(one, actual[0][0])
    without = call.ours(*tensors[:2])
    assert_near(without, call.theirs(*doubles[:2]).to(dtype))


@each_call
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_derivatives_of_two_orders_in_both_modes(call):
    tensors = call.tensors()
    assert torch.autograd.gradcheck(
        call.ours, tensors, check_forward_ad=True, check_batched_grad=True, fast_mode=True
    )
    assert torch.autograd.gradgradcheck(
        call.ours, tensors, check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True
    )


@each_of_few
def test_vmap_and_jvp(call):
    tensors = [tensor.detach() for tensor in call.tensors()]
    mapped = [torch.stack([tensor, tensor.cos(), tensor.sin()]) for tensor in tensors]
    for dims in ((0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0), (0, None, 0)):
        given = [
            one if dim is None else many
            for one, many, dim in zip(tensors, mapped, dims, strict=True)
        ]
        expected = torch.stack(
            [
                call.theirs(
                    *(t if dim is None else t[i] for t, dim in zip(given, dims, strict=True))
                )
                for i in range(3)
            ]
        )
        assert_near(vmap(call.ours, dims)(*given), expected)
    tangents = tuple(tensor.cos() for tensor in tensors)
    assert_all_near(
        jvp(call.ours, tuple(tensors), tangents), jvp(call.theirs, tuple(tensors), tangents)
    )


@each_call
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_same_bits(call, dtype):
    """In any batch, with any number of threads, with every instruction set."""
    input, weight, bias = call.tensors(dtype)
    tensors = input, weight, bias
    cotangent = torch.randn_like(call.ours(*tensors))
    expected = with_gradients(call.ours, tensors, cotangent)
    single = torch.cat([call.ours(image, weight, bias) for image in input.split(1)])
    assert same_bits(single, expected[0])
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found = with_gradients(call.ours, tensors, cotangent)
        assert all(map(same_bits, found, expected))
    assert load.problem is None
    best = torch.ops.torchconv._isa()
    try:
        for level in ("portable", "avx2"):
            torch.ops.torchconv._force_isa(level)
            found = with_gradients(call.ours, tensors, cotangent)
            # PyTorch sums the gradient of the bias, in an order that does not depend on this.
            assert all(map(same_bits, found, expected))
    finally:
        torch.ops.torchconv._force_isa(best)


@pytest.mark.parametrize("n", [1, 2])
def test_same_bits_of_the_bias_gradient_of_one_channel(n):
    call = Call("conv_transpose1d", (n, 3, 40_001), (3, 1, 3))
    tensors = call.tensors(torch.float32)
    cotangent = torch.randn(n, 1, 40_003)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(with_gradients(call.ours, tensors, cotangent)[-1])
    assert same_bits(found[0], found[1]) and same_bits(found[0], found[2])
    assert_near(found[0], cotangent.double().sum().float()[None], 1e-4)


def random_call(generator):
    """Arguments that make sense, of one of the functions."""
    pick = generator.randint
    dimensions, transposed = pick(1, 2), pick(0, 1)
    groups = pick(1, 3)
    name = ("conv", "conv_transpose")[transposed or dimensions == 2]

    def each(low, high):
        return [pick(low, high) for _ in range(dimensions)]

    kernel, stride, dilation = each(1, 4), each(1, 3), each(1, 3)
    options = dict(stride=stride, padding=each(0, 2), dilation=dilation, groups=groups)
    extents = [pick(10, 14) for _ in range(dimensions)]
    c, k = groups * pick(1, 3), groups * pick(1, 3)
    weight = (k, c // groups)
    if name == "conv_transpose":
        weight = (c, k // groups)
        options["output_padding"] = [
            pick(0, max(step, gap) - 1) for step, gap in zip(stride, dilation, strict=True)
        ]
    return Call(f"{name}{dimensions}d", (pick(1, 3), c, *extents), (*weight, *kernel), options)


def test_random_geometries():
    generator = random.Random(5)
    names = set()
    for _ in range(150):
        call = random_call(generator)
        names.add(call.name)
        tensors = call.tensors()
        if len(call.input) == 4 and generator.random() < 0.5:
            tensors = [t.detach().requires_grad_() for t in tensors]
            moved = generator.randrange(2)
            layout = tensors[moved].detach().contiguous(memory_format=CHANNELS_LAST)
            tensors[moved] = layout.requires_grad_()
        actual = with_gradients(call.ours, tensors)
        expected = with_gradients(call.theirs, tensors)
        assert_all_near(actual, expected)
        assert same_layout(actual[0], expected[0]), call
    assert len(names) == 3


@each_call
@pytest.mark.parametrize("moved", ["neither", "input", "weight"])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_memory_formats_of_results_and_gradients(call, moved):
    tensors = list(call.tensors(torch.float32))
    if moved != "neither":
        which = ("input", "weight").index(moved)
        tensor = tensors[which].detach()
        tensors[which] = tensor.movedim(1, -1).contiguous().movedim(-1, 1).requires_grad_()
    actual, expected = with_gradients(call.ours, tensors), with_gradients(call.theirs, tensors)
    assert all(map(same_layout, actual, expected))


@each_of_few
def test_views_of_any_kind(call):
    input, weight, bias = (tensor.detach() for tensor in call.tensors())
    wide = torch.randn(*input.shape[:-1], 3 * input.shape[-1]).double()
    for view in (wide[..., ::3], wide[..., 1 : 1 + input.shape[-1]], torch._neg_view(input)):
        expected = call.ours(view.clone().resolve_neg(), weight, bias)
        assert same_bits(call.ours(view, weight, bias), expected)


@each_of_few
def test_arguments_and_global_state_are_left_alone(call):
    tensors = call.tensors()
    copies = [tensor.clone() for tensor in tensors]
    rng = torch.get_rng_state()
    call.ours(*tensors).sum().backward()
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(map(torch.equal, tensors, copies))
    assert all(tensor._version == 0 for tensor in tensors)


@each_of_few
def test_who_computes(call):
    """Other tensors and the backend 'aten' get the bits of PyTorch's own function."""
    tensors = [tensor.detach() for tensor in call.tensors(torch.float32)]
    with torchconv.backend("aten"):
        assert same_bits(call.ours(*tensors), call.theirs(*tensors))
    other = [tensor.cfloat() for tensor in tensors]
    assert torch.equal(call.ours(*other), call.theirs(*other))

    calls = []

    class Own(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            calls.append(function)
            return super().__torch_function__(function, types, arguments, options or {})

    call.ours(tensors[0].as_subclass(Own), *tensors[1:])
    assert getattr(F, call.name) in calls

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), options=None):
            calls.append(function)
            return function(*arguments, **(options or {}))

    with Mode():
        call.ours(*tensors)
    assert getattr(torchconv, call.name) in calls


def test_winograds_algorithms_are_chosen_as_for_conv2d():
    call = Call("conv_transpose2d", (1, 32, 16, 16), (32, 32, 3, 3), dict(padding=1))
    tensors = call.tensors(torch.float32)
    expected = call.theirs(*(tensor.double() for tensor in tensors)).float()
    results = {}
    for mode in ("auto", "off"):
        with torchconv.winograd(mode):
            results[mode] = call.ours(*tensors)
        assert_near(results[mode], expected)
    assert not same_bits(results["auto"], results["off"])
    conv2d = torchconv.conv2d(
        tensors[0], tensors[1].transpose(0, 1).flip(2, 3), tensors[2], padding=1
    )
    assert_near(conv2d, expected)
