"""Converted layers compute with torchconv and are ``nn.Conv2d`` by type, wherever they go."""

import copy
import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

import torchconv
from tests.compare import assert_near
from tests.convert.converting import COPIES, Operators

OURS, ATENS = "torchconv::conv2d", "aten::convolution"


def operator(module, *arguments):
    with Operators() as seen:
        module(*arguments)
    (name,) = seen.names & {OURS, ATENS}
    return name


def layer(kind=nn.Conv2d):
    return torchconv.convert(kind(3, 4, 3, padding=1))


def image():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", [nn.Conv2d, torchconv.Conv2d], ids=["nn", "torchconv"])
def test_the_type_is_that_of_nn_conv2d_and_nothing_else_changes(kind):
    torch.manual_seed(3)
    converted = layer(kind)
    torch.manual_seed(3)
    reference = nn.Conv2d(3, 4, 3, padding=1)
    assert type(converted) is nn.Conv2d and converted.__module__ == reference.__module__
    assert repr(converted) == repr(reference)
    assert list(converted.state_dict()) == list(reference.state_dict())
    assert list(converted.modules()) == [converted]
    assert operator(converted, image()) == OURS and operator(reference, image()) == ATENS
    assert_near(converted(image()), reference(image()))
    assert torchconv.is_converted(converted) and not torchconv.is_converted(reference)
    assert torchconv.is_converted(kind(3, 4, 3)) == (kind is torchconv.Conv2d)


def test_converting_again_changes_nothing():
    model = nn.Sequential(layer(), nn.ReLU())
    before = model(image())
    assert torchconv.convert(torchconv.convert(model)) is model
    assert type(model[0]) is nn.Conv2d and operator(model, image()) == OURS
    assert torch.equal(model(image()), before)


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("wrap", [lambda one: one, nn.Sequential], ids=["layer", "model"])
def test_copies_are_converted_and_independent(copied, wrap):
    original = wrap(layer())
    expected = original(image())
    other = copied(original)
    inner = next(m for m in other.modules() if isinstance(m, nn.Conv2d))
    assert type(inner) is nn.Conv2d and torchconv.is_converted(inner)
    assert operator(other, image()) == OURS and torch.equal(other(image()), expected)

    inner.stride = (2, 2)
    with torch.no_grad():
        inner.weight.zero_()
        inner.bias.fill_(7)
    assert other(image()).shape == (2, 4, 4, 4) and (other(image()) == 7).all()
    assert torch.equal(original(image()), expected)
    del original
    assert other(image()).shape == (2, 4, 4, 4)


def test_a_layer_is_freed_with_its_last_reference():
    gc.disable()
    try:
        converted = layer()
        weight = weakref.ref(converted.weight)
        converted(image())
        del converted
        assert weight() is None
    finally:
        gc.enable()


def test_a_shallow_copy_that_has_lost_its_original_says_so():
    original = layer()
    expected = original(image())
    shallow = copy.copy(original)
    assert torch.equal(shallow(image()), expected)
    del original
    for call in (lambda: shallow(image()), lambda: copy.deepcopy(shallow)):
        with pytest.raises(ReferenceError, match="call torchconv.convert on the copy"):
            call()
    assert torch.equal(torchconv.convert(shallow)(image()), expected)


def test_a_shallow_copy_can_be_converted_for_itself():
    original = layer()
    shallow = torchconv.convert(copy.copy(original))
    shallow.stride = (2, 2)
    assert shallow(image()).shape == (2, 4, 4, 4) and original(image()).shape == (2, 4, 8, 8)


def test_replicas_of_data_parallel():
    original = layer()
    replica = original._replicate_for_data_parallel()
    replica.weight, replica.bias = 2 * original.weight, 2 * original.bias  # as on another device
    assert operator(replica, image()) == OURS
    assert_near(replica(image()), 2 * original(image()))


def test_a_conv_forward_that_others_have_replaced_is_left_alone():
    def forward(input, weight, bias):  # what programs for images without seams do
        input = nn.functional.pad(input, (1, 1, 1, 1), mode="circular")
        return nn.functional.conv2d(input, weight, bias)

    for kind in (nn.Conv2d, torchconv.Conv2d):
        replaced = kind(3, 4, 3, padding=1)
        replaced._conv_forward = forward
        expected = replaced(image())
        with pytest.warns(UserWarning) if kind is nn.Conv2d else nullcontext():
            assert type(torchconv.convert(replaced)) is kind
        assert replaced._conv_forward is forward and torch.equal(replaced(image()), expected)


@pytest.mark.parametrize("first", ["convert", "parametrize"])
@pytest.mark.parametrize("copied", [lambda module: module, copy.deepcopy], ids=["itself", "copy"])
def test_parametrized_layers(first, copied):
    torch.manual_seed(5)
    reference = parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    torch.manual_seed(5)
    converted = nn.Conv2d(3, 4, 3)
    if first == "convert":
        converted = parametrizations.weight_norm(torchconv.convert(converted))
    else:
        converted = torchconv.convert(parametrizations.weight_norm(converted))
    converted = copied(converted)
    assert parametrize.is_parametrized(converted, "weight") and torchconv.is_converted(converted)
    assert operator(converted, image()) == OURS
    assert_near(converted(image()), reference(image()))
    parametrize.remove_parametrizations(converted, "weight")
    assert type(converted) is nn.Conv2d and operator(converted, image()) == OURS


def test_other_weights_for_a_call_and_ensembles():
    layers = [layer() for _ in range(3)]
    for one in layers[1:]:
        weights = dict(one.named_parameters())
        assert torch.equal(functional_call(layers[0], weights, image()), one(image()))
    parameters, _ = stack_module_state(layers)
    base = copy.deepcopy(layers[0]).to("meta")
    input = image()
    outputs = vmap(lambda weights: functional_call(base, weights, input))(parameters)
    for output, one in zip(outputs, layers, strict=True):
        assert_near(output, one(image()))


def test_dtype_state_and_fused_normalisation():
    converted, fresh = layer().double(), layer()
    converted.load_state_dict(fresh.state_dict())
    assert_near(converted(image().double()).float(), fresh(image()))
    norm = nn.BatchNorm2d(4).eval()
    norm.running_mean.normal_()
    fused = fuse_conv_bn_eval(fresh.eval(), norm)
    assert operator(fused, image()) == OURS
    assert_near(fused(image()), norm(fresh(image())))


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("kind", [nn.Conv2d, torchconv.Conv2d], ids=["nn", "torchconv"])
@pytest.mark.parametrize("normalised", [False, True])
def test_compiled(kind, normalised):
    converted = layer(kind)
    if normalised:
        parametrizations.weight_norm(converted)
    model, graphs = nn.Sequential(converted, nn.ReLU()), []

    def backend(graph, inputs):
        graphs.append(graph)
        assert operator(graph, *inputs) == OURS
        return graph

    compiled = torch.compile(model, fullgraph=True, backend=backend)
    assert torch.equal(compiled(image()), model(image()))
    compiled(image())
    assert len(graphs) == 1
    converted.stride = (2, 2)  # is seen
    assert torch.equal(compiled(image()), model(image())) and len(graphs) == 2


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("kind", [nn.Conv2d, torchconv.Conv2d], ids=["nn", "torchconv"])
@pytest.mark.parametrize("strict", [False, True])
def test_exported(kind, strict):
    model = nn.Sequential(layer(kind), nn.ReLU())
    program = torch.export.export(model, (image(),), strict=strict)
    assert list(program.state_dict) == ["0.weight", "0.bias"]
    exported = program.module()
    assert operator(exported, image()) == OURS
    assert torch.equal(exported(image()), model(image()))
