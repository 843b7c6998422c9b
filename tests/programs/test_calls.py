"""A program does not run in a call that could tell it from the layers."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import models

import torchconv
from tests.compare import assert_near, same_bits
from tests.optimize.models import image
from tests.programs.networks import (
    Graph,
    Network,
    Squeeze,
    X,
    convolution,
    layer_by_layer,
    optimised,
    running,
    runs,
    without_programs,
)
from tests.reference import threads
from torchconv._programs.shortcut import shortcut_of


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


class SeenFunctions(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_modes_see_each_layer():
    model = running()
    with torch.inference_mode(), Seen() as seen:
        model(X)
    assert seen.names.count("torchconv.conv2d_activation.default") == 9
    with torch.inference_mode(), SeenFunctions() as seen_functions:
        model(X)
    assert "max_pool2d" in "".join(seen_functions.names) and len(seen_functions.names) > 9
    assert runs(model) == 1


class Mine(torch.Tensor):
    pass


CALLS = {
    "another batch": image(2, 3, 32, 32),
    "another size": image(1, 3, 32, 30),
    "other strides": X.contiguous(memory_format=torch.channels_last),
    "one image": X[0],
    "a subclass": X.as_subclass(Mine),
}


@pytest.mark.parametrize("x", CALLS.values(), ids=CALLS)
def test_other_inputs(x):
    plain, model = without_programs(optimised()), running()
    with torch.inference_mode():
        expected = plain(x)
        for call in range(3):
            result = model(x)
            assert type(result) is type(expected) and same_bits(result, expected)
            assert result.stride() == expected.stride()
            assert runs(model) == 1 or call > 0
    is_image = type(x) is torch.Tensor and x.dim() == 4
    assert runs(model) == (3 if is_image else 1)


def test_bad_inputs():
    model = running()
    for bad in (X.double(), X[:, :2], X[:, :, :0]):
        with pytest.raises(RuntimeError):
            model(bad)
    for bad in ((), (X, X), (X, X)):
        with pytest.raises(TypeError, match="forward"):
            model(*bad)
    assert runs(model) == 1
    with torch.inference_mode():
        assert same_bits(model(x=X), model(X))
    assert runs(model) == 2


def test_settings():
    model, plain = running(), without_programs(optimised())
    for block in (torchconv.backend("aten"), torchconv.winograd("off"), threads(3)):
        with torch.inference_mode(), block:
            assert same_bits(model(X), plain(X)) and runs(model) == 1
    with torch.inference_mode(), torchconv.winograd("off"):
        assert same_bits(model(X), plain(X)) and same_bits(model(X), plain(X))
        assert runs(model) == 2
    with torch.inference_mode():
        assert same_bits(model(X), plain(X)) and runs(model) == 2


def test_another_instruction_set():
    model, plain = running(), without_programs(optimised())
    torch.ops.torchconv._force_isa("portable")
    try:
        with torch.inference_mode():
            assert same_bits(model(X), plain(X))
            assert runs(model) == 1
    finally:
        torch.ops.torchconv._force_isa("")
    with torch.inference_mode():
        assert same_bits(model(X), plain(X))


def gradient(model):
    x = X.clone().requires_grad_()
    model(x).sum().backward()
    return x.grad


def tangent(model):
    with torch.autograd.forward_ad.dual_level():
        result = model(torch.autograd.forward_ad.make_dual(X, X))
        return torch.autograd.forward_ad.unpack_dual(result).tangent


DERIVATIVES = {
    "gradient": gradient,
    "tangent": tangent,
    "vmap": lambda model: torch.vmap(lambda x: model(x))(image(2, 1, 3, 32, 32)),
    "jvp": lambda model: torch.func.jvp(lambda x: model(x), (X,), (X,))[1],
}


@pytest.mark.parametrize("derive", DERIVATIVES.values(), ids=DERIVATIVES)
def test_derivatives_and_transforms(derive):
    plain, model = without_programs(optimised()), running()
    assert_near(derive(model), derive(plain), 1e-5)
    assert runs(model) == 1
    model(X)  # with gradients enabled, which nothing needs
    assert runs(model) == 2


@pytest.mark.parametrize("which", ["head.weight", "stem.0.bias"])
def test_trained_parameters(which):
    model = optimised()
    model.get_parameter(which).requires_grad_()
    with torch.no_grad():
        model(X), model(X)
    assert runs(model) == 1
    assert model(X).requires_grad and runs(model) == 1
    with torch.no_grad():
        assert not model(X).requires_grad and runs(model) == 2
    fresh = optimised()
    fresh.get_parameter(which).requires_grad_()
    assert all(fresh(X).requires_grad for _ in range(3)) and runs(fresh) == 0


def test_an_input_of_a_later_segment_needs_a_gradient():
    layers = [convolution(3, 3) for _ in range(6)]
    model = optimised(nn.Sequential(*layers[:3], nn.BatchNorm2d(3), *layers[3:]))
    model[3].weight.requires_grad_()
    with torch.no_grad():
        model(X), model(X)
    assert runs(model) == 1
    assert model(X).requires_grad


def test_autocast():
    model, plain = running(), without_programs(optimised())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        result, expected = model(X), plain(X)
    assert result.dtype is expected.dtype and same_bits(result, expected) and runs(model) == 1


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("network", [Network, Graph])
def test_traced_and_exported(network):
    model = running(network())
    with torch.no_grad():
        expected = layer_by_layer(model, X)
        model(X), model(X)
        before = runs(model)
        traced = torch.jit.trace(model, X)
        exported = torch.export.export(model, (X,)).module()
        symbolic = torch.fx.symbolic_trace(model)
        operators = make_fx(model, pre_dispatch=True)(X)
        assert runs(model) == before
        for other in (traced, exported, symbolic, operators):
            assert_near(other(X), expected, 1e-5)
        names = [str(node.target) for node in operators.graph.nodes]
        assert any("conv2d" in name for name in names) and "_program" not in "".join(names)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_once_though_the_weights_of_other_models_are_read():
    counter = CompileCounter()
    model = torchconv.optimize(models.mobilenet_v2().eval())
    compiled, other = torch.compile(model, backend=counter), optimised()
    for _ in range(3):
        with torch.inference_mode():
            compiled(X)
        other.state_dict()
    assert counter.frame_count == 1


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("network", [Network, Graph])
def test_compiled(network):
    model = running(network())
    expected = layer_by_layer(model, X)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.inference_mode():
        assert_near(compiled(X), expected, 1e-5)
        assert_near(compiled(X), expected, 1e-5)


def test_what_operators_refuse_runs_layer_by_layer():
    """The factor has the size of an image here, which a program does not multiply."""
    network = Squeeze(8, mean_of, multiplied)
    network.fc2 = nn.Conv2d(4, 8, 1, padding=1)
    layers = [convolution(3, 8), convolution(8, 8), network]
    model = optimised(nn.Sequential(*layers))
    x = image(1, 3, 3, 3)
    expected = layer_by_layer(model, x)
    with torch.inference_mode():
        assert all(same_bits(model(x), expected) for _ in range(4))
    assert runs(model) == 0 and len(shortcut_of(model)._refused) == 1


def mean_of(x):
    return x.mean((2, 3), keepdim=True)


def multiplied(scale, x):
    return scale * x


def test_a_layer_called_with_something_else_in_between():
    model = optimised()
    expected = layer_by_layer(model, X)
    with torch.inference_mode():
        model(X)
        model.stem[0](image(2, 3, 9, 9))
        for _ in range(6):
            assert same_bits(model(X), expected)
        before = runs(model)
        model.stem[0](image(2, 3, 9, 9))
        assert same_bits(model(X), expected) and runs(model) == before + 1 > 1
        model.stem[0].weight.data.mul_(2)
        model.stem[0](X)
        assert same_bits(model(X), layer_by_layer(model, X))


def test_a_layer_called_in_another_mode_in_between():
    model, x = optimised(), image(1, 3, 64, 64)
    expected = layer_by_layer(model, x)
    with torch.inference_mode():
        model(x)
        with torchconv.winograd("off"):
            model.blocks[2][0](image(1, 24, 16, 16))
        assert all(same_bits(model(x), expected) for _ in range(6)) and runs(model) > 0
