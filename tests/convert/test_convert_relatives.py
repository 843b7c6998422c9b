"""What ``convert`` promises of nn.Conv2d, it promises of 1-d, transposed and lazy layers."""

import copy
import gc
import itertools
import weakref

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils import spectral_norm as spectral_norm_with_hooks

import torchconv
from tests.compare import assert_near, same_bits
from tests.convert.converting import COPIES, computed_by

NAMES = ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"]
each_class = pytest.mark.parametrize("name", NAMES)
each_package = pytest.mark.parametrize("package", [nn, torchconv], ids=["nn", "torchconv"])


def layer(name, package=nn, **options):
    torch.manual_seed(3)
    return getattr(package, name)(4, 8, 3, **{"stride": 2, "padding": 1, **options})


def images(name):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 4, *(7, 9)[: 1 + ("2d" in name)], generator=generator)


@each_class
@each_package
def test_the_type_is_that_of_torch_nn_and_nothing_else_changes(name, package):
    reference, converted, input = layer(name), layer(name, package), images(name)
    parameters = dict(converted.named_parameters())
    assert torchconv.convert(converted) is converted
    assert type(converted) is type(reference) and converted.__module__ == reference.__module__
    assert repr(converted) == repr(reference)
    for key, parameter in converted.named_parameters():
        assert parameter is parameters[key]
    assert list(converted.state_dict()) == list(reference.state_dict())
    assert computed_by(converted, input) == "torchconv"
    assert computed_by(reference, input) == "PyTorch"
    assert_near(converted(input), reference(input))
    assert torchconv.is_converted(converted) and not torchconv.is_converted(reference)


@each_class
@pytest.mark.parametrize("copied", COPIES)
def test_copies_are_converted_and_independent(name, copied):
    original, input = torchconv.convert(nn.Sequential(layer(name))), images(name)
    expected = original(input)
    other = copied(original)
    assert type(other[0]) is getattr(nn, name) and computed_by(other, input) == "torchconv"
    assert same_bits(other(input), expected)
    with torch.no_grad():
        other[0].weight.zero_()
        other[0].bias.fill_(7)
    assert (other(input) == 7).all() and same_bits(original(input), expected)
    del original
    assert (other(input) == 7).all()


@each_class
def test_a_layer_is_freed_with_its_last_reference(name):
    gc.disable()
    try:
        converted = torchconv.convert(layer(name))
        weight = weakref.ref(converted.weight)
        converted(images(name))
        del converted
        assert weight() is None
    finally:
        gc.enable()


def test_a_shallow_copy_that_has_lost_its_original_says_so():
    original = torchconv.convert(layer("ConvTranspose2d"))
    expected = original(images("ConvTranspose2d"))
    shallow = copy.copy(original)
    del original
    for call in (lambda: shallow(images("ConvTranspose2d")), lambda: shallow.forward.__code__):
        with pytest.raises(ReferenceError, match="call torchconv.convert on the copy"):
            call()
    assert torch.equal(torchconv.convert(shallow)(images("ConvTranspose2d")), expected)


@each_class
def test_replicas_and_other_weights_for_a_call(name):
    converted, reference, input = torchconv.convert(layer(name)), layer(name), images(name)
    doubled = {key: 2 * tensor for key, tensor in converted.named_parameters()}
    expected = functional_call(reference, doubled, input)
    replica = converted._replicate_for_data_parallel()
    for key, tensor in doubled.items():  # as on another device
        setattr(replica, key, tensor)
    for call in (replica, lambda x: functional_call(converted, doubled, x)):
        assert computed_by(call, input) == "torchconv"
        assert_near(call(input), expected)


@each_class
def test_hooks_optimizers_modes_and_formats_are_kept(name):
    ours, theirs = layer(name), layer(name)
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (ours, theirs)]
    for each in (ours, theirs):
        each.register_forward_pre_hook(lambda _, inputs: (inputs[0] + 1,))
        each.register_forward_hook(lambda _, inputs, output: 2 * output)
        each.eval()
        if "2d" in name:
            each.to(memory_format=torch.channels_last)
    strides = ours.weight.stride()
    torchconv.convert(ours)
    assert ours.weight.stride() == strides and not ours.training
    for each, optimizer in zip((ours, theirs), optimizers, strict=True):
        each(images(name)).square().sum().backward()
        optimizer.step()
    assert_near(ours.weight, theirs.weight)
    assert ours.double().weight.dtype is torch.float64
    assert computed_by(ours, images(name).double()) == "torchconv"


@each_class
def test_state_dicts_load_both_ways(name):
    pair = torchconv.convert(layer(name)), layer(name)
    for source, target in itertools.permutations(pair):
        with torch.no_grad():
            source.weight.normal_()
        target.load_state_dict(source.state_dict())
        assert_near(source(images(name)), target(images(name)))


def pruned(module):
    return prune.random_unstructured(module, "weight", amount=0.5)


@each_class
@pytest.mark.parametrize(
    "change",
    [
        parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal,
        spectral_norm_with_hooks, pruned,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
@pytest.mark.parametrize("first", ["convert", "change"])
def test_changed_weights(name, change, first):
    layers = []
    for converted in (False, True):
        made = layer(name)
        if converted and first == "convert":
            torchconv.convert(made)
        torch.manual_seed(5)
        made = change(made).eval()
        layers.append(torchconv.convert(made) if converted and first == "change" else made)
    reference, found = layers
    assert type(found).__name__ == type(reference).__name__
    copies = [copy.deepcopy(found)] if parametrize.is_parametrized(found) else []
    for each in (found, *copies):
        assert computed_by(each, images(name)) == "torchconv"
        assert_near(each(images(name)), reference(images(name)))
    if parametrize.is_parametrized(found):
        parametrize.remove_parametrizations(found, "weight")
        assert type(found) is getattr(nn, name) and computed_by(found, images(name)) == "torchconv"


@each_class
@each_package
def test_lazy_layers_stay_lazy(name, package):
    kind = getattr(nn, f"Lazy{name}")
    lazy = torchconv.convert(getattr(package, f"Lazy{name}")(8, 3))
    assert type(lazy) is kind and torchconv.is_converted(lazy)
    for each in (*(copied(lazy) for copied in COPIES), lazy):
        assert each.has_uninitialized_params()
        assert computed_by(each, images(name)) == "torchconv"
        assert type(each) is getattr(nn, name) and computed_by(each, images(name)) == "torchconv"
        reference = getattr(nn, name)(4, 8, 3)
        reference.load_state_dict(each.state_dict())
        assert_near(each(images(name)), reference(images(name)))


def test_output_size_of_a_transposed_layer():
    ours, theirs = torchconv.convert(layer("ConvTranspose2d")), layer("ConvTranspose2d")
    input = images("ConvTranspose2d")
    size = [extent + 1 for extent in theirs(input).shape[2:]]
    assert_near(ours(input, output_size=size), theirs(input, size))


@pytest.mark.usefixtures("fresh_compiler")
@each_class
def test_compiled_exported_and_traced_by_fx(name):
    model, input = nn.Sequential(torchconv.convert(layer(name))), images(name)

    def backend(graph, inputs):
        assert computed_by(graph, *inputs) == "torchconv"
        return graph

    assert torch.equal(torch.compile(model, fullgraph=True, backend=backend)(input), model(input))
    for module in (model, model[0]):
        exported = torch.export.export(module, (input,), strict=False).module()
        assert computed_by(exported, input) == "torchconv"
    traced = torch.fx.symbolic_trace(model)
    assert [node.op for node in traced.graph.nodes] == ["placeholder", "call_module", "output"]
    assert computed_by(traced, input) == "torchconv"


@each_class
@pytest.mark.filterwarnings("ignore")
def test_torchscript_records_aten(name):
    converted, input = torchconv.convert(layer(name)), images(name)
    for module in (converted, nn.Sequential(converted)):
        for other in (torch.jit.trace(module, input), torch.jit.script(module)):
            assert "torchconv::" not in str(other.inlined_graph)
            assert_near(other(input), converted(input))
    assert computed_by(converted, input) == "torchconv"  # as before


@each_class
def test_a_forward_that_others_have_replaced_is_left_alone(name):
    def mine(*_):
        return torch.zeros(3)

    method = "forward" if "Transpose" in name else "_conv_forward"
    replaced = layer(name)
    setattr(replaced, method, mine)
    with pytest.warns(UserWarning, match=f"nothing was converted: its {method} was replaced"):
        torchconv.convert(replaced)
    assert getattr(replaced, method) is mine and replaced(images(name)).shape == (3,)


def test_errors_are_those_of_torch_nn():
    for package in (nn, torchconv):
        converted = torchconv.convert(layer("ConvTranspose2d", package))
        converted.padding_mode = "circular"
        with pytest.raises(ValueError, match="`zeros` padding mode"):
            converted(images("ConvTranspose2d"))
