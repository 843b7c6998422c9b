"""Derivatives in reverse and forward mode, of first, second and third order."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad
from torch.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from torch.func import jvp

import torchconv
from tests.api.derivatives.geometries import GEOMETRIES, arguments, conv
from tests.compare import FLOATS, assert_all_near, assert_near, outcome, same_bits

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


@pytest.mark.parametrize("name", GEOMETRIES)
def test_first_derivatives(name):
    geometry = GEOMETRIES[name]
    tensors = arguments(geometry.get("groups", 1), n=1)
    assert gradcheck(
        conv(geometry),
        tensors,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert gradcheck(conv(geometry), tensors[:2], fast_mode=True)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_second_derivatives(name):
    geometry = GEOMETRIES[name]
    tensors = arguments(geometry.get("groups", 1))
    assert gradgradcheck(
        conv(geometry), tensors, fast_mode=True, check_fwd_over_rev=True, check_rev_over_rev=True
    )


def test_second_derivatives_in_full():
    tensors = tuple(
        torch.randn(size, dtype=torch.float64, requires_grad=True)
        for size in ((2, 2, 3, 3), (2, 1, 2, 2), (2,))
    )
    function = conv(dict(padding=1, stride=2, groups=2))
    assert gradgradcheck(
        function,
        tensors,
        check_batched_grad=True,
        check_fwd_over_rev=True,
        check_rev_over_rev=True,
    )


def test_third_derivative():
    tensors = arguments()

    def chain(function):
        first = torch.autograd.grad(function(*tensors).sin().sum(), tensors, create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), tensors, create_graph=True)
        return torch.autograd.grad(sum(g.pow(2).sum() for g in second), tensors)

    assert_all_near(chain(torchconv.conv2d), chain(F.conv2d))


def test_a_wrong_derivative_is_noticed():
    def wrong(input, weight):
        return torchconv.conv2d(input, weight) + torchconv.conv2d(input, weight).detach()

    with pytest.raises(GradcheckError):
        gradcheck(wrong, arguments()[:2], fast_mode=True)


@pytest.mark.parametrize("needed", itertools.product((False, True), repeat=3), ids=str)
def test_only_what_is_needed_is_computed_and_saved(needed):
    tensors = tuple(
        t.detach().requires_grad_(flag) for t, flag in zip(arguments(), needed, strict=True)
    )
    output = torchconv.conv2d(*tensors)
    assert output.requires_grad == any(needed)
    if not any(needed):
        return
    input, weight = output.grad_fn.saved_tensors
    assert (input is not None, weight is not None) == (needed[1], needed[0])
    reference = F.conv2d(*tensors)
    inputs = [tensor for tensor in tensors if tensor.requires_grad]
    cotangent = torch.randn_like(output)
    assert_all_near(
        torch.autograd.grad(output, inputs, cotangent),
        torch.autograd.grad(reference, inputs, cotangent),
    )


def test_the_saved_input_must_not_change():
    input, weight, bias = arguments()
    input = input.detach()
    output = torchconv.conv2d(input, weight, bias)
    input += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()
    frozen = torchconv.conv2d(input, weight.detach(), bias)
    input += 1
    frozen.sum().backward()
    assert_near(bias.grad, torch.full_like(bias, float(frozen[:, 0].numel())))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_nothing_is_recorded_without_gradients(mode):
    tensors = arguments()
    with mode():
        output = torchconv.conv2d(*tensors)
    assert not output.requires_grad and output.grad_fn is None
    assert same_bits(output, torchconv.conv2d(*tensors))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("inference", itertools.product((False, True), repeat=2), ids=str)
@pytest.mark.parametrize("flags", itertools.product((False, True), repeat=2), ids=str)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_inference_tensors_in_every_mode(mode, flags, inference, bias):
    """Layer and image, made in inference mode or not, with gradients or not. Where nn.Conv2d runs
    torchconv does the same; where it cannot record torchconv records if it saves no such tensor."""
    results = []
    for layer in (torch.nn.Conv2d, torchconv.Conv2d):
        torch.manual_seed(3)
        with torch.inference_mode(inference[0]):
            made = layer(2, 3, 2, bias=bias).requires_grad_(flags[0])
        with torch.inference_mode(inference[1]):
            image = torch.randn(1, 2, 4, 4, requires_grad=flags[1])

        def run(made=made, image=image):
            with mode():
                output = made(image)
            if output.requires_grad:
                output.sum().backward()
            gradients = [t.grad for t in (image, *made.parameters()) if t.grad is not None]
            return output, output.is_inference(), gradients

        results.append(outcome(run))
    (expected, wanted), (found, value) = results
    if expected == "ok":
        assert found == "ok", value
        assert value[0].requires_grad == wanted[0].requires_grad and value[1] == wanted[1]
        assert_all_near([value[0], *value[2]], [wanted[0], *wanted[2]])
    else:
        assert "Inference tensors cannot be saved" in wanted
        assert found == "ok" or value == wanted


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_accumulate(dtype, channels_last):
    tensors = arguments(dtype=dtype)
    if channels_last:
        memory_format = torch.channels_last
        tensors = (tensors[0].detach().to(memory_format=memory_format), *tensors[1:])
    for _ in range(2):
        torchconv.conv2d(*tensors, padding=1).sum().backward()
    expected = [t.detach().double().requires_grad_() for t in tensors]
    for _ in range(2):
        F.conv2d(*expected, padding=1).sum().backward()
    for tensor, reference in zip(tensors, expected, strict=True):
        if tensor.requires_grad:
            assert_near(tensor.grad, reference.grad.to(dtype))


@pytest.mark.parametrize("channels", [1, 2])
def test_the_bias_gradient_has_the_same_bits_on_any_number_of_threads(channels):
    weight, bias = torch.randn(channels, 1, 1, 1), torch.zeros(channels, requires_grad=True)
    input, cotangent = torch.randn(1, 1, 300, 301), torch.randn(1, channels, 300, 301)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results += torch.autograd.grad(torchconv.conv2d(input, weight, bias), bias, cotangent)
    assert same_bits(results[0], results[1]) and same_bits(results[0], results[2])
    assert_near(results[0], cotangent.sum((0, 2, 3)), 1e-5)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("present", list(itertools.product((True, False), repeat=3))[:-1], ids=str)
def test_forward_mode_with_any_set_of_tangents(name, present):
    geometry = GEOMETRIES[name]
    primals = [tensor.detach() for tensor in arguments(geometry.get("groups", 1))]
    tangents = [torch.randn_like(primal) for primal in primals]

    def tangent(function):
        with forward_ad.dual_level():
            duals = [
                forward_ad.make_dual(primal, tangent) if flag else primal
                for primal, tangent, flag in zip(primals, tangents, present, strict=True)
            ]
            return forward_ad.unpack_dual(conv(geometry, function)(*duals)).tangent

    assert_near(tangent(torchconv.conv2d), tangent(F.conv2d))
    used = tuple(t for t, flag in zip(primals, present, strict=True) if flag)

    def of_used(function):
        def call(*used):
            rest = iter(used)
            merged = (next(rest) if f else p for p, f in zip(primals, present, strict=True))
            return conv(geometry, function)(*merged)

        moved = tuple(torch.cos(tensor) for tensor in used)
        return jvp(call, used, moved)

    assert_all_near(of_used(torchconv.conv2d), of_used(F.conv2d))


def test_checkpointing_and_hooks_on_saved_tensors():
    tensors = arguments()
    packed = []

    def pack(tensor):
        packed.append(tensor.shape)
        return tensor.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = torchconv.conv2d(*tensors)
    assert packed == [tensors[0].shape, tensors[1].shape]
    checkpointed = torch.utils.checkpoint.checkpoint(
        torchconv.conv2d, *tensors, use_reentrant=False
    )
    assert_all_near(
        torch.autograd.grad(checkpointed.sin().sum(), tensors),
        torch.autograd.grad(output.sin().sum(), tensors),
        0.0,
    )
