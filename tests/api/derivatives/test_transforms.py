"""torch.func: vmap over any arguments, nested transforms, per-sample gradients."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import torchconv
from tests.api.derivatives.geometries import GEOMETRIES, arguments, conv
from tests.compare import assert_all_near, assert_near
from torchconv._operators import autograd


def batched(tensor, dim):
    """Three different versions of ``tensor`` along a new dimension, or ``tensor`` itself."""
    if dim is None:
        return tensor
    return torch.stack([tensor, tensor.cos(), tensor.sin()], dim)


DIMS = (None, 0, 1)


@pytest.mark.parametrize("name", ["stride drops pixels", "groups", "depthwise", "same, uneven"])
@pytest.mark.parametrize("with_bias", [True, False])
def test_vmap_over_any_arguments(name, with_bias):
    geometry = GEOMETRIES[name]
    tensors = [tensor.detach() for tensor in arguments(geometry.get("groups", 1))]
    for dims in itertools.product((None, 0, 3), DIMS, DIMS if with_bias else (None,)):
        if dims == (None, None, None):
            continue
        batch = [batched(tensor, dim) for tensor, dim in zip(tensors, dims, strict=True)]
        if not with_bias:
            batch, dims = batch[:2], dims[:2]
        actual = vmap(conv(geometry), dims, out_dims=1)(*batch)
        expected = vmap(conv(geometry, F.conv2d), dims, out_dims=1)(*batch)
        assert_near(actual, expected)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("op", ["conv2d_grad_input", "conv2d_grad_weight"])
def test_vmap_of_the_gradient_operators(op, groups):
    function = getattr(autograd, op)
    input, weight, _ = (tensor.detach() for tensor in arguments(groups))
    grad_output = torch.randn(2, 4, 4, 4, dtype=torch.float64)
    second, size = (weight, input.shape) if op == "conv2d_grad_input" else (input, weight.shape)
    geometry = (1, 1, 0, 0, 0, 0, 1, 1, groups, False)

    def call(a, b):
        return function(a, b, size, geometry)

    for dims in ((0, None), (None, 0), (0, 0), (2, 1), (1, None), (None, 3)):
        a, b = batched(grad_output, dims[0]), batched(second, dims[1])
        pairs = [
            (
                a if dims[0] is None else a.select(dims[0], i),
                b if dims[1] is None else b.select(dims[1], i),
            )
            for i in range(3)
        ]
        expected = torch.stack([call(*pair) for pair in pairs])
        assert_near(vmap(call, dims)(a, b), expected)


def test_vmap_with_nothing_to_map():
    input, weight, bias = (tensor.detach() for tensor in arguments())
    output = vmap(torchconv.conv2d, (0, None, None))(
        torch.empty(0, *input.shape).double(), weight, bias
    )
    assert output.shape == (0, 2, 4, 4, 4)
    output = vmap(torchconv.conv2d, (None, 0, None))(
        input, torch.empty(0, *weight.shape).double(), bias
    )
    assert output.shape == (0, 2, 4, 4, 4)


def test_nested_vmap_and_unbatched_images():
    images, weights = torch.randn(2, 3, 4, 5, 6).double(), torch.randn(3, 4, 4, 2, 3).double()
    mapped = vmap(vmap(torchconv.conv2d, (0, None)), (None, 0))(images, weights)
    expected = torch.stack([torch.stack([F.conv2d(x, w) for x in images]) for w in weights])
    assert_near(mapped, expected)
    one = vmap(torchconv.conv2d, (0, None))(images[0], weights[0])
    assert_near(one, F.conv2d(images[0], weights[0]))


@pytest.mark.parametrize("name", ["stride drops pixels", "dilation", "groups"])
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_transforms_agree_with_f_conv2d(name):
    geometry = GEOMETRIES[name]
    input, weight, bias = (tensor.detach() for tensor in arguments(geometry.get("groups", 1), n=1))

    def results(function):
        def loss(weight, bias, input=input):
            return conv(geometry, function)(input, weight, bias).sin().sum()

        def output(input):
            return conv(geometry, function)(input, weight, bias).sin()

        value, pull = vjp(output, input)
        return (
            *grad(loss, (0, 1))(weight, bias),
            hessian(loss)(weight, bias),
            jacfwd(jacfwd(loss))(weight, bias),
            jacrev(jacrev(loss, 1))(weight, bias),
            jacfwd(output)(input),
            jacrev(output)(input),
            jvp(grad(loss), (weight, bias), (weight.cos(), bias.cos()))[1],
            grad(lambda w: jvp(lambda b: loss(w, b), (bias,), (bias.cos(),))[1])(weight),
            value,
            *pull(value),
        )

    assert_all_near(results(torchconv.conv2d), results(F.conv2d), 1e-10)


def network(layer):
    torch.manual_seed(1)
    return torch.nn.Sequential(
        layer(3, 4, 3, padding=1),
        torch.nn.Tanh(),
        layer(4, 4, 3, stride=2, groups=2),
        torch.nn.Tanh(),
        torch.nn.Flatten(),
        torch.nn.Linear(36, 3),
    ).double()


def test_per_sample_gradients():
    images, labels = torch.randn(5, 3, 8, 8).double(), torch.randint(0, 3, (5,))

    def per_sample(layer):
        model = network(layer)
        parameters = {name: p.detach() for name, p in model.named_parameters()}

        def loss(parameters, image, label):
            scores = functional_call(model, parameters, (image[None],))
            return F.cross_entropy(scores, label[None])

        return parameters, vmap(grad(loss), (None, 0, 0))(parameters, images, labels)

    parameters, actual = per_sample(torchconv.Conv2d)
    _, expected = per_sample(torch.nn.Conv2d)
    model = network(torchconv.Conv2d)
    for i in range(5):
        model.zero_grad()
        F.cross_entropy(model(images[i : i + 1]), labels[i : i + 1]).backward()
        for name, parameter in model.named_parameters():
            assert_near(actual[name][i], parameter.grad)
    for name in parameters:
        assert_near(actual[name], expected[name])


def test_a_graph_built_inside_a_transform_outlives_it():
    input, weight, bias = arguments()
    _, pull = vjp(lambda w: torchconv.conv2d(input, w, bias), weight)
    cotangent = torch.randn(2, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    (result,) = pull(cotangent)
    (actual,) = torch.autograd.grad(result.pow(2).sum(), cotangent)
    (first,) = torch.autograd.grad(
        F.conv2d(input, weight, bias), weight, cotangent, create_graph=True
    )
    (expected,) = torch.autograd.grad(first.pow(2).sum(), cotangent)
    assert_near(actual, expected)
