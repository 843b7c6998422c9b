"""A program runs only where nothing can tell it from the layers."""

import copy
import operator

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import torchconv
from tests.compare import assert_near, same_bits
from tests.optimize.models import image
from tests.optimize.programs import (
    X,
    Graph,
    Network,
    Squeeze,
    convolution,
    layer_by_layer,
    optimised,
    running,
    runs,
    without_programs,
)
from tests.reference import threads
from torchconv._programs.shortcut import shortcut_of


def half(*arguments):
    """A hook that halves a result, or what enters a module."""
    return arguments[-1] / 2 if isinstance(arguments[-1], torch.Tensor) else arguments[-1][0] / 2


def new_layer(layer):
    """Another one of the same shape."""
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.weight.mul_(2)
    return other


def in_place(model):
    with torch.no_grad():
        model.stem[0].weight.mul_(2)


def load(model):
    model.load_state_dict({name: value * 2 for name, value in model.state_dict().items()})


def replace_weight(model):
    model.stem[0].weight = nn.Parameter(model.stem[0].weight * 2, requires_grad=False)


def replace_bias(model):
    model.blocks[2][0].bias = nn.Parameter(model.blocks[2][0].bias + 1, requires_grad=False)


def other_order(model):
    """The same layers under the same names, called in another order."""
    blocks = model.blocks._modules
    blocks["0"] = blocks.pop("0")
    blocks["2"] = blocks.pop("2")


def other_layer(model):
    model.early[1][0] = new_layer(model.early[1][0])


def one_more(model):
    model.early.append(nn.Hardtanh(0.1, 0.2))


def other_call(model):
    model.stem.forward = lambda x: half(type(model.stem).forward(model.stem, x))


def other_call_of_a_layer(model):
    layer = model.stem[0]
    layer.forward = lambda x: half(type(layer).forward(layer, x))


def other_graph(model):
    block = model.blocks[0]
    result = next(iter(reversed(block.graph.nodes)))
    with block.graph.inserting_before(result):
        halved = block.graph.call_function(operator.truediv, (result.args[0], 2))
    result.args = (halved,)
    block.recompile()


def other_setting(name, value):
    return lambda model: setattr(model.blocks[2][0], name, value)


CHANGES = {
    "hook of a layer": lambda m: m.stem[0].register_forward_hook(half),
    "hook before a layer": lambda m: m.stem[0].register_forward_pre_hook(half),
    "hook of what does nothing": lambda m: m.stem[1].register_forward_hook(half),
    "hook before what does nothing": lambda m: m.drop.register_forward_pre_hook(half),
    "hook of a sequence": lambda m: m.early.register_forward_hook(half),
    "hook of a graph": lambda m: m.blocks[1].register_forward_hook(half),
    "hook between": lambda m: m.pool.register_forward_hook(half),
    "weight in place": in_place,
    "weight.data": lambda m: m.stem[0].weight.data.mul_(2),
    "weight by NumPy": lambda m: m.early[0][0].weight.numpy().fill(0.5),
    "weight replaced": replace_weight,
    "weight by a name": lambda m: m.get_parameter("head.weight").mul_(2),
    "bias in place": lambda m: m.stem[0].bias.data.add_(1),
    "bias replaced": replace_bias,
    "state loaded": load,
    "layer replaced": other_layer,
    "layers in another order": other_order,
    "one more module": one_more,
    "forward replaced": other_call,
    "forward of a layer replaced": other_call_of_a_layer,
    "graph changed": other_graph,
    "activation": other_setting("activation", None),
    "padding": other_setting("padding", (0, 1)),
    "stride": other_setting("stride", (2, 1)),
    "winograd": other_setting("winograd", "off"),
    "attribute": lambda m: setattr(m, "scale", 3.0),
    "list": lambda m: m.scales.__setitem__(0, 9.0),
    "module between": lambda m: setattr(m, "pool", nn.AvgPool2d(2)),
    "pooling between": lambda m: setattr(m.pool, "kernel_size", 4),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_model(change):
    x = image(1, 3, 64, 64)
    plain = without_programs(optimised())
    model = running(x=x)
    change(model), change(plain)
    with torch.inference_mode():
        expected = plain(x)
        assert all(same_bits(model(x), expected) for _ in range(4))
        same_call = same_bits(without_programs(optimised())(x), expected)
    assert not same_call  # so that the comparison says something


@pytest.mark.parametrize("which", ["weight", "bias"])
@pytest.mark.parametrize("how", [lambda x: x, lambda x: x.data, lambda x: x.detach().numpy()])
def test_who_holds_a_parameter_may_write_to_it(which, how):
    model = optimised()
    held = how(getattr(model.stem[0], which))
    with torch.inference_mode():
        for _ in range(4):
            expected = layer_by_layer(model, X)
            assert same_bits(model(X), expected)
            held *= 2
            assert same_bits(model(X), layer_by_layer(model, X))
            assert not same_bits(model(X), expected)


def test_no_program_while_a_parameter_is_held():
    for which in ("weight", "bias"):
        model = optimised()
        held = getattr(model.stem[0], which)
        with torch.inference_mode():
            for _ in range(4):
                model(X)
            assert runs(model) == 0
            del held
            for _ in range(12):
                model(X)
            assert runs(model) > 0


def test_weights_of_other_models_do_not_matter():
    model, other = running(), running()
    with torch.inference_mode():
        list(other.parameters())
        model(X), model(X)
    assert runs(model) == 3


def test_hooks_are_called_and_the_program_comes_back():
    model, seen = running(), []
    handle = model.blocks[1].register_forward_hook(lambda *_: seen.append(1))
    with torch.inference_mode():
        model(X), model(X)
        assert len(seen) == 2 and runs(model) == 1
        handle.remove()
        for _ in range(12):
            model(X)
    assert len(seen) == 2 and runs(model) > 1


def test_hooks_of_all_modules():
    model, seen = running(), []
    for register in (
        nn.modules.module.register_module_forward_hook,
        nn.modules.module.register_module_forward_pre_hook,
    ):
        handle = register(lambda module, *_: seen.append(module))
        try:
            model(X)
        finally:
            handle.remove()
        assert model.stem[0] in seen and runs(model) == 1
        seen.clear()


def test_hooks_of_the_model_itself_and_of_what_is_called_anyway():
    model, seen = optimised(), []
    for module in (model, model.pool):
        module.register_forward_hook(lambda module, *_: seen.append(module))
    with torch.inference_mode():
        for _ in range(3):
            model(X)
    assert runs(model) == 2 and seen == [model.pool, model] * 3


def test_dropout_in_training():
    model = running()
    model.drop.train()
    with torch.inference_mode():
        assert (model(X) == 0.5).sum() == (model(X) == 0.5).sum() == 0
    torch.manual_seed(1)
    expected = layer_by_layer(model, X)
    torch.manual_seed(1)
    assert same_bits(model(X), expected) and runs(model) == 1
    model.eval()
    with torch.inference_mode():
        for _ in range(12):
            model(X)
    assert runs(model) > 1


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
        result, expected = model(x), plain(x)
    assert type(result) is type(expected) and same_bits(result, expected)
    assert result.stride() == expected.stride() and runs(model) == 1


def test_bad_inputs():
    model = running()
    for bad in (X.double(), X[:, :2], X[:, :, :0]):
        with pytest.raises(RuntimeError):
            model(bad)
    for bad in ((), (X, X)):
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


def test_derivatives():
    model, plain = running(), without_programs(optimised())
    gradients = []
    for each in (model, plain):
        x = X.clone().requires_grad_()
        each(x).sum().backward()
        gradients.append(x.grad)
    assert same_bits(*gradients)
    _, tangent = torch.func.jvp(model, (X,), (X,))
    assert_near(tangent, torch.func.jvp(plain, (X,), (X,))[1], 1e-5)
    batch = image(2, 1, 3, 32, 32)
    assert same_bits(torch.vmap(model)(batch), torch.vmap(plain)(batch))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(X, X)
        assert torch.autograd.forward_ad.unpack_dual(model(dual)).tangent is not None
    assert runs(model) == 1
    with torch.enable_grad():
        model(X)
    assert runs(model) == 2  # nothing needs a gradient


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
