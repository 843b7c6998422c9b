"""Conv1d, ConvTranspose1d, ConvTranspose2d and the lazy layers beside those of ``torch.nn``."""

import copy
import io
import itertools
import pickle

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import assert_all_near, assert_near, outcome, same_bits

CONSTRUCTIONS = {
    "Conv1d": [
        dict(),
        dict(stride=2, padding=1, dilation=2),
        dict(padding="same", groups=2, bias=False),
        *(dict(padding=2, padding_mode=mode) for mode in ("reflect", "replicate", "circular")),
        dict(padding="same", padding_mode="circular"),
    ],
    "ConvTranspose1d": [
        dict(),
        dict(stride=3, padding=1, output_padding=2, groups=2),
        dict(dilation=2, bias=False),
    ],
    "ConvTranspose2d": [
        dict(),
        dict(stride=(2, 3), padding=(0, 1), output_padding=(1, 0), groups=2),
        dict(dilation=(1, 2), bias=False),
    ],
}
LAYERS = [(name, options) for name, many in CONSTRUCTIONS.items() for options in many]
each_layer = pytest.mark.parametrize(("name", "options"), LAYERS, ids=str)
each_class = pytest.mark.parametrize("name", CONSTRUCTIONS)


def both(name, options=None):
    layers = []
    for package in (torchconv, nn):
        torch.manual_seed(3)
        layers.append(getattr(package, name)(4, 8, 3, **(options or {})))
    return layers


def images(name):
    return torch.randn(2, 4, 7, 8) if "2d" in name else torch.randn(2, 4, 8)


@each_layer
def test_same_layer_from_the_same_seed(name, options):
    ours, theirs = both(name, options)
    assert isinstance(ours, type(theirs)) and type(ours) is getattr(torchconv, name)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    input, results = images(name), []
    for layer in (ours, theirs):
        leaf = input.clone().requires_grad_()
        output = layer(leaf)
        output.sin().sum().backward()
        results.append((output, leaf.grad, *(p.grad for p in layer.parameters())))
        assert_near(layer(input[0]), output[0])
    assert_all_near(*results)
    assert torch.equal(results[0][0], computed_by_torchconv(ours, input))


def computed_by_torchconv(layer, input):
    """What the function gives: bits that PyTorch's own need not have."""
    if isinstance(layer, nn.Conv1d):
        pad = layer.padding
        if layer.padding_mode != "zeros":
            sides = layer._reversed_padding_repeated_twice
            input, pad = nn.functional.pad(input, sides, mode=layer.padding_mode), 0
        options = layer.stride, pad, layer.dilation, layer.groups
        return torchconv.conv1d(input, layer.weight, layer.bias, *options)
    function = {1: torchconv.conv_transpose1d, 2: torchconv.conv_transpose2d}
    return function[len(layer.kernel_size)](
        input, layer.weight, layer.bias, layer.stride, layer.padding, layer.output_padding,
        layer.groups, layer.dilation,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["ConvTranspose1d", "ConvTranspose2d"])
def test_output_size(name):
    layers = both(name, dict(stride=3, padding=1))
    input = images(name)
    smallest = layers[0](input).shape
    outcomes = []
    for layer in layers:
        for more in (0, 1, 2, 3, -1):
            size = [extent + more for extent in smallest[2:]]
            for wanted in (size, [*smallest[:2], *size], size * 2):
                outcomes.append(outcome(layer, input, output_size=wanted))
    half = len(outcomes) // 2
    for ours, theirs in zip(outcomes[:half], outcomes[half:], strict=True):
        assert ours[0] == theirs[0]
        if ours[0] == "ok":
            assert_near(ours[1], theirs[1])
    assert {kind for kind, _ in outcomes[:half]} == {"ok", ValueError}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Conv1d", dict(padding_mode="mirror")),
        ("Conv1d", dict(groups=3)),
        ("ConvTranspose1d", dict(padding_mode="circular")),
        ("ConvTranspose2d", dict(padding_mode="reflect")),
        ("ConvTranspose2d", dict(groups=0)),
        ("ConvTranspose2d", dict(foo=1)),
    ],
    ids=str,
)
def test_constructor_errors(name, options):
    ours, theirs = (
        outcome(getattr(package, name), 4, 8, 3, **options) for package in (torchconv, nn)
    )
    assert ours[0] is theirs[0] and issubclass(ours[0], Exception)


@pytest.mark.parametrize("name", ["ConvTranspose1d", "ConvTranspose2d"])
def test_a_padding_mode_set_later_is_refused(name):
    for layer in both(name):
        layer.padding_mode = "circular"
        with pytest.raises(ValueError, match=f"`zeros` padding mode .* {name}"):
            layer(images(name))


@each_class
@pytest.mark.parametrize("input", [torch.zeros(5), torch.zeros(2, 3, 5, 5), None, [1.0]], ids=repr)
def test_forward_errors(name, input):
    ours, theirs = (outcome(layer, input) for layer in both(name))
    assert ours[0] is theirs[0] and ours[0] != "ok"


@each_class
def test_state_dicts_copies_and_files(name):
    for source, target in itertools.permutations(both(name)):
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.normal_()
        target.load_state_dict(source.state_dict())
        assert all(map(torch.equal, source.parameters(), target.parameters()))
    layer = both(name)[0]
    input = images(name)
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    for other in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(buffer, weights_only=False),
    ):
        assert type(other) is getattr(torchconv, name) and other.weight is not layer.weight
        assert same_bits(other(input), layer(input))


@each_layer
def test_one_node_of_a_graph_exported_and_compiled(name, options):
    layer = both(name, options)[0]
    input = images(name)
    traced = torch.fx.symbolic_trace(nn.Sequential(layer))
    assert "call_module" in [node.op for node in traced.graph.nodes]
    exported = torch.export.export(layer, (input,)).module()
    for other in (traced, exported):
        assert same_bits(other(input), layer(input))
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_near(compiled(input), layer(input))


@each_layer
@pytest.mark.filterwarnings("ignore")
def test_torchscript_records_aten(name, options):
    layer = both(name, options)[0]
    input = images(name)
    for other in (torch.jit.trace(layer, input), torch.jit.script(layer)):
        assert "torchconv::" not in str(other.inlined_graph)
        assert_near(other(input), layer(input))


@pytest.mark.parametrize("name", ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"])
def test_lazy_layers(name):
    input = images(name)
    ours, theirs = (getattr(package, f"Lazy{name}")(8, 3, stride=2) for package in (torchconv, nn))
    assert isinstance(ours, type(theirs)) and repr(ours) == repr(theirs)
    # Copied, written and read before it knows its channels.
    for layer in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), ours):
        first = layer(input)
        assert type(layer) is getattr(torchconv, name)
        assert same_bits(first, layer(input))  # torchconv computed the first call, too
        theirs_now = getattr(nn, name)(4, 8, 3, stride=2)
        theirs_now.load_state_dict(layer.state_dict())
        assert repr(layer) == repr(theirs_now)
        assert_near(first, theirs_now(input))
        graph = torch.fx.symbolic_trace(nn.Sequential(layer)).graph
        assert "call_module" in [node.op for node in graph.nodes]
    lazy = getattr(torchconv, f"Lazy{name}")(8, 3, stride=2)
    lazy.load_state_dict(ours.state_dict())
    assert same_bits(lazy(input), ours(input))
