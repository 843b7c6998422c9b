"""A program does not run after a change of the model that could tell it from the layers."""

import copy
import operator

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from tests.compare import same_bits
from tests.optimize.models import image
from tests.programs.networks import (
    X,
    layer_by_layer,
    optimised,
    running,
    runs,
    without_programs,
)


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


def parametrize(model):
    with torch.no_grad():
        torch.nn.utils.parametrizations.weight_norm(model.stem[0])
        model.stem[0].parametrizations.weight.original0.mul_(2)


def pruned(model):
    for name in ("weight", "bias"):
        parameter = getattr(model.blocks[2][0], name)
        prune.custom_from_mask(model.blocks[2][0], name, parameter > 0)


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
    "weight computed": parametrize,
    "weight and bias computed": pruned,
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
