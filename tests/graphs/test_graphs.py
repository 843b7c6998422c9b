"""Graphs that hold the operators, and the operators called directly, differentiate as layers do."""

import pytest
import torch
import torch.nn.functional as F
from functorch.compile import aot_function, make_boxed_func
from torch.autograd import forward_ad
from torch.autograd.gradcheck import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

import torchconv
from tests.compare import assert_all_near, assert_near

pytestmark = pytest.mark.usefixtures("fresh_compiler")

OPERATORS = torch.ops.torchconv
GEOMETRY = (2, 1, 1, 1, 0, 0, 1, 1, 2, 0)
OPTIONS = dict(stride=(2, 1), padding=(1, 0), groups=2)


def arguments(dtype=torch.float64):
    tensors = torch.randn(2, 4, 7, 6), torch.randn(6, 2, 3, 3), torch.randn(6)
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def direct(input, weight, bias):
    return OPERATORS.conv2d(input, weight, bias, GEOMETRY)


def reference(input, weight, bias):
    return F.conv2d(input, weight, bias, **OPTIONS)


def derivatives(function, tensors):
    """The output, its gradients, and the gradients of their squares."""
    output = function(*tensors)
    first = torch.autograd.grad(output.sin().sum(), tensors, create_graph=True)
    penalty = sum(gradient.pow(2).sum() for gradient in first)
    return [output, *first, *torch.autograd.grad(penalty, tensors)]


class Net(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        torch.manual_seed(2)
        self.first = layer(3, 4, 3, stride=2, padding=1)
        self.second = layer(4, 4, 3, padding="same", groups=2)

    def forward(self, image):
        return self.second(self.first(image).tanh())


def exported(net, image):
    return torch.export.export(net, (image,)).module()


def decomposed(net, image):
    return torch.export.export(net, (image,)).run_decompositions().module()


def compiled_export(net, image):
    return torch.compile(exported(net, image), fullgraph=True, backend="aot_eager")


def symbolic(net, image):
    return torch.fx.symbolic_trace(net)


@pytest.mark.parametrize("transformed", [exported, decomposed, compiled_export, symbolic])
def test_a_training_step(transformed):
    image = torch.randn(2, 3, 9, 8).double()
    nets = [Net(layer).double() for layer in (torchconv.Conv2d, torch.nn.Conv2d)]
    graph = transformed(nets[0], image)
    for net in (graph, nets[1]):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            net(image).sin().sum().backward()
            optimizer.step()
    ours = {name.removeprefix("_orig_mod."): p for name, p in graph.named_parameters()}
    for name, parameter in nets[1].named_parameters():
        assert_near(ours[name].grad, parameter.grad, 1e-10)
        assert_near(ours[name], parameter, 1e-10)


def test_the_direct_operator_differentiates_twice():
    tensors = arguments()
    assert_all_near(derivatives(direct, tensors), derivatives(reference, tensors), 1e-10)
    assert gradcheck(
        direct,
        tensors,
        fast_mode=True,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert gradgradcheck(
        direct, tensors, fast_mode=True, check_fwd_over_rev=True, check_rev_over_rev=True
    )


@pytest.mark.parametrize("mode", ["real", "symbolic"])
def test_a_graph_from_make_fx(mode):
    tensors = arguments()
    detached = [tensor.detach() for tensor in tensors]
    graph = make_fx(lambda *t: torchconv.conv2d(*t, **OPTIONS), tracing_mode=mode)(*detached)
    assert "torchconv.conv2d" in graph.code
    assert_all_near(derivatives(graph, tensors), derivatives(reference, tensors), 1e-10)


def test_a_graph_from_make_fx_with_the_gradients_in_it():
    """It holds the operator that gives three gradients at once, which has derivatives too."""
    tensors = arguments()
    cotangent = torch.randn_like(reference(*tensors))

    def gradients(*tensors):
        return torch.autograd.grad(torchconv.conv2d(*tensors, **OPTIONS), tensors, cotangent)

    def expected(*tensors):
        return torch.func.vjp(reference, *tensors)[1](cotangent)

    graph = make_fx(gradients)(*tensors)
    assert "torchconv.conv2d_backward" in graph.code
    results = []
    for function in (graph, expected):
        first = function(*tensors)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), tensors[:2])
        tangents = tuple(tensor.detach().cos() for tensor in tensors)
        moved = jvp(function, tuple(tensor.detach() for tensor in tensors), tangents)[1]
        results.append([*first, *second, *moved])
    assert_all_near(*results, 1e-10)


def test_aot_autograd():
    tensors = arguments()
    keep = {"fw_compiler": lambda graph, _: make_boxed_func(graph)}
    results = []
    for function in (aot_function(direct, **keep), reference):
        output = function(*tensors)
        results.append([output, *torch.autograd.grad(output.sin().sum(), tensors)])
    assert_all_near(*results, 1e-10)


def test_forward_mode_of_the_direct_operator():
    primals = [tensor.detach() for tensor in arguments()]

    def tangent(function):
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(primal, primal.cos()) for primal in primals]
            return forward_ad.unpack_dual(function(*duals)).tangent

    assert_near(tangent(direct), tangent(reference))


TRANSFORMS = {
    "grad": lambda f, x, w, b: grad(lambda w, b: f(x, w, b).sin().sum(), (0, 1))(w, b),
    "jvp": lambda f, x, w, b: jvp(lambda w, b: f(x, w, b), (w, b), (w.cos(), b.cos())),
    "vmap": lambda f, x, w, b: vmap(lambda w, b: f(x, w, b))(
        torch.stack([w, w.cos()]), torch.stack([b, b.cos()])
    ),
    "vmap of images": lambda f, x, w, b: vmap(lambda x: f(x, w, b), 1)(
        torch.stack([x, x.cos()], 1)
    ),
    "per sample": lambda f, x, w, b: vmap(
        grad(lambda w, x: f(x[None], w, b).sin().sum()), (None, 0)
    )(w, x),
    "hessian": lambda f, x, w, b: hessian(lambda b: f(x, w, b).sin().sum())(b),
    "forward twice": lambda f, x, w, b: jacfwd(jacfwd(lambda b: f(x, w, b).sin().sum()))(b),
    "reverse twice": lambda f, x, w, b: jacrev(jacrev(lambda b: f(x, w, b).sin().sum()))(b),
    "forward over reverse": lambda f, x, w, b: jvp(
        grad(lambda w: f(x, w, b).sin().sum()), (w,), (w.cos(),)
    ),
    "reverse over forward": lambda f, x, w, b: grad(
        lambda w: jvp(lambda x: f(x, w, b).sin().sum(), (x,), (x.cos(),))[1]
    )(w),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.filterwarnings("error:There is a performance drop")
def test_transforms_of_the_direct_operator(name):
    tensors = [tensor.detach() for tensor in arguments()]
    actual = TRANSFORMS[name](direct, *tensors)
    torch.testing.assert_close(actual, TRANSFORMS[name](reference, *tensors))


def three_gradients(grad, input, weight):
    size = weight.shape
    return OPERATORS.conv2d_backward(grad, input, weight, size, GEOMETRY, True)


def test_the_operators_of_the_gradients_differentiate():
    """Each has the derivatives of the gradients of F.conv2d, by reverse, forward mode and vmap."""
    input, weight, bias = arguments()
    grad = torch.randn_like(reference(input, weight, bias)).requires_grad_()

    def expected(grad, input, weight):
        bias = torch.zeros(6).double()
        output, pull = torch.func.vjp(reference, input, weight, bias)
        return pull(grad)

    for function, tensors in (
        (three_gradients, (grad, input, weight)),
        (
            lambda grad, weight: OPERATORS.conv2d_grad_input(grad, weight, input.shape, GEOMETRY),
            (grad, weight),
        ),
        (
            lambda grad, input: OPERATORS.conv2d_grad_weight(grad, input, weight.shape, GEOMETRY),
            (grad, input),
        ),
    ):
        assert gradcheck(
            function,
            tensors,
            fast_mode=True,
            check_forward_ad=True,
            check_batched_grad=True,
            check_batched_forward_grad=True,
        )
    assert_all_near(three_gradients(grad, input, weight), expected(grad, input, weight), 1e-10)
    batch = tuple(torch.stack([t, t.cos()]).detach() for t in (grad, input, weight))
    assert_all_near(vmap(three_gradients)(*batch), vmap(expected)(*batch), 1e-10)


def test_nothing_is_recorded_of_a_direct_call_without_gradients():
    tensors = arguments()
    with torch.no_grad():
        assert direct(*tensors).grad_fn is None
    with torch.inference_mode():
        assert direct(*tensors).is_inference()
    assert direct(*(tensor.detach() for tensor in tensors)).grad_fn is None
