"""A backward pass computes the gradients it was asked for and no others, in every order."""

import threading
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import torchconv
from tests.api.derivatives.geometries import arguments
from tests.compare import assert_all_near, assert_near


class Products(TorchDispatchMode):
    """Counts the convolutions that run, by what they compute."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        if name == "torchconv.conv2d_backward.default":
            input_too = args[2] is not None
            self.names += ["grad_input"] * input_too + ["grad_weight"]
        elif name.startswith("torchconv."):
            self.names.append(name.split(".")[1].removeprefix("conv2d_"))
        return func(*args, **(kwargs or {}))


def products(function):
    with Products() as counted:
        result = function()
    return sorted(counted.names), result


NAMES = ("input", "weight", "bias")
PRODUCTS = {"input": ["grad_input"], "weight": ["grad_weight"], "bias": []}
SETS = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


def wanted_products(indices):
    return sorted(sum((PRODUCTS[NAMES[i]] for i in indices), []))


@pytest.mark.parametrize("leaves", [True, False], ids=["leaves", "results"])
@pytest.mark.parametrize("create_graph", [False, True], ids=["first order", "create_graph"])
@pytest.mark.parametrize("indices", SETS, ids=str)
def test_autograd_grad_computes_what_it_is_asked_for(indices, create_graph, leaves):
    tensors = arguments()
    if not leaves:
        tensors = tuple(tensor * 1 for tensor in tensors)
    inputs = [tensors[i] for i in indices]
    output = torchconv.conv2d(*tensors).sin().sum()
    run, actual = products(
        lambda: torch.autograd.grad(output, inputs, retain_graph=True, create_graph=create_graph)
    )
    assert run == wanted_products(indices)
    assert_all_near(actual, torch.autograd.grad(F.conv2d(*tensors).sin().sum(), inputs))
    # The same graph once more, for all.
    run, actual = products(lambda: torch.autograd.grad(output, tensors))
    assert run == ["grad_input", "grad_weight"]
    assert_all_near(actual, torch.autograd.grad(F.conv2d(*tensors).sin().sum(), tensors))


@pytest.mark.parametrize("indices", [(0,), (1,), (0, 1)], ids=str)
def test_backward_with_and_without_inputs(indices):
    tensors = arguments()
    inputs = [tensors[i] for i in indices]
    output = torchconv.conv2d(*tensors).sin().sum()
    run, _ = products(lambda: output.backward(retain_graph=True, inputs=inputs))
    assert run == wanted_products(indices)
    assert [t.grad is not None for t in tensors] == [i in indices for i in range(3)]
    run, _ = products(output.backward)
    assert run == ["grad_input", "grad_weight"]
    assert all(tensor.grad is not None for tensor in tensors)


def test_two_layers_pass_on_what_the_first_needs():
    """An attack: the gradient of the image through a network whose weights could train."""
    net = torch.nn.Sequential(torchconv.Conv2d(2, 3, 3), torch.nn.Tanh(), torchconv.Conv2d(3, 2, 3))
    image = torch.randn(1, 2, 8, 8, requires_grad=True)
    loss = net(image).sum()
    assert products(lambda: torch.autograd.grad(loss, image, retain_graph=True))[0] == [
        "grad_input",
        "grad_input",
    ]
    last = net[2].weight
    assert products(lambda: torch.autograd.grad(loss, last, retain_graph=True))[0] == [
        "grad_weight"
    ]
    first = net[0].weight
    assert products(lambda: torch.autograd.grad(loss, first))[0] == ["grad_input", "grad_weight"]


def test_a_gradient_penalty():
    results = []
    for function in (torchconv.conv2d, F.conv2d):
        torch.manual_seed(1)
        tensors = arguments()

        def penalty(function=function, tensors=tensors):
            output = function(*tensors).sin().sum()
            (gradient,) = torch.autograd.grad(output, tensors[0], create_graph=True)
            return gradient.pow(2).sum()

        run, value = products(penalty)
        if function is torchconv.conv2d:
            assert run == ["conv2d", "grad_input"]
        results.append([value, *torch.autograd.grad(value, tensors[:2])])
    assert_all_near(*results)


def test_second_order_computes_what_it_is_asked_for():
    tensors = arguments()
    output = torchconv.conv2d(*tensors)
    cotangent = torch.randn_like(output).requires_grad_()
    (first,) = torch.autograd.grad(output, tensors[0], cotangent, create_graph=True)
    for wanted, expected in ((cotangent, ["conv2d"]), (tensors[1], ["grad_weight"])):
        loss = first.pow(2).sum()
        run, _ = products(
            lambda wanted=wanted, loss=loss: torch.autograd.grad(loss, wanted, retain_graph=True)
        )
        assert run == expected


def test_hooks_and_retained_gradients():
    input, weight, bias = arguments()
    scaled = weight * 2
    scaled.retain_grad()
    seen = []
    scaled.register_hook(lambda grad: seen.append(grad.shape))
    input.register_hook(lambda grad: seen.append(grad.shape))
    output = torchconv.conv2d(input, scaled, bias).sin().sum()
    torch.autograd.grad(output, input, retain_graph=True)
    assert seen == [input.shape] and scaled.grad is None
    output.backward()
    assert sorted(map(len, seen)) == [4, 4, 4] and scaled.grad is not None
    twin = scaled.detach().requires_grad_()
    F.conv2d(input, twin, bias).sin().sum().backward()
    assert_near(scaled.grad, twin.grad)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_computes_all_gradients(use_reentrant):
    tensors = arguments()

    def block(input):
        return torchconv.conv2d(input, *tensors[1:]).sin()

    output = checkpoint(block, tensors[0], use_reentrant=use_reentrant)
    run, _ = products(output.sum().backward)
    assert run == ["conv2d", "grad_input", "grad_weight"]
    expected = torch.autograd.grad(F.conv2d(*tensors).sin().sum(), tensors)
    assert_all_near([tensor.grad for tensor in tensors], expected)


def test_a_backward_pass_inside_another():
    """The inner pass asks for one gradient, the outer for others: each gets its own."""
    outer_tensors, inner_tensors = arguments(), arguments()
    inner_loss = torchconv.conv2d(*inner_tensors).sin().sum()
    inner = []

    class Nested(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            with torch.enable_grad():
                inner.extend(torch.autograd.grad(inner_loss, inner_tensors[1]))
            return grad

    output = Nested.apply(torchconv.conv2d(*outer_tensors).sin()).sum()
    run, _ = products(lambda: torch.autograd.grad(output, outer_tensors[0]))
    assert run == ["grad_input", "grad_weight"]
    assert_near(
        inner[0], torch.autograd.grad(F.conv2d(*inner_tensors).sin().sum(), inner_tensors[1])[0]
    )


def test_threads_ask_for_different_gradients():
    tensors = arguments()
    results = {}
    start = threading.Barrier(2)

    def work(index):
        for _ in range(20):
            output = torchconv.conv2d(*tensors).sin().sum()
            start.wait()
            results[index] = products(partial(torch.autograd.grad, output, tensors[index]))

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = torch.autograd.grad(F.conv2d(*tensors).sin().sum(), tensors[:2])
    for index in (0, 1):
        run, (gradient,) = results[index]
        assert run == wanted_products([index])
        assert_near(gradient, expected[index])


def test_a_node_called_outside_of_a_pass_gives_all():
    tensors = arguments()
    output = torchconv.conv2d(*tensors)
    cotangent = torch.randn_like(output)
    expected = torch.autograd.grad(F.conv2d(*tensors), tensors, cotangent)
    assert_all_near(output.grad_fn.apply(cotangent)[:3], expected)


def test_a_gradient_that_is_not_there_costs_nothing():
    class Cut(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return None

    tensors = arguments()
    output = Cut.apply(torchconv.conv2d(*tensors)).sum()
    run, _ = products(output.backward)
    assert run == [] and all(tensor.grad is None for tensor in tensors)


@pytest.mark.parametrize("indices", SETS, ids=str)
def test_a_tangent_that_is_not_there_costs_nothing(indices):
    primals = [tensor.detach() for tensor in arguments()]

    def tangent(function):
        with forward_ad.dual_level():
            duals = [
                forward_ad.make_dual(primal, primal.cos()) if i in indices else primal
                for i, primal in enumerate(primals)
            ]
            return forward_ad.unpack_dual(function(*duals)).tangent

    run, actual = products(lambda: tangent(torchconv.conv2d))
    assert run == ["conv2d"] * (1 + sum(i in indices for i in (0, 1)))
    assert_near(actual, tangent(F.conv2d))


@pytest.mark.parametrize("moved", SETS, ids=str)
@pytest.mark.parametrize("indices", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_forward_over_reverse_without_create_graph(indices, moved):
    """The tangent of a gradient, which one operator for all gradients would lose."""
    primals = arguments()

    def tangents(function):
        with forward_ad.dual_level():
            duals = [
                forward_ad.make_dual(primal, primal.detach().cos()) if i in moved else primal
                for i, primal in enumerate(primals)
            ]
            loss = function(*duals).pow(3).sum()
            gradients = torch.autograd.grad(loss, [duals[i] for i in indices])
            return [forward_ad.unpack_dual(gradient).tangent for gradient in gradients]

    actual = tangents(torchconv.conv2d)
    assert all(tangent is not None for tangent in actual)
    assert_all_near(actual, tangents(F.conv2d))
