"""``torchconv.Conv2d`` beside ``nn.Conv2d``: everything but the arithmetic is the same."""

import copy
import io
import itertools
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import torchconv
from tests.compare import FLOATS, assert_all_near, assert_near, outcome

CONSTRUCTIONS = [
    dict(),
    dict(stride=2, padding=1),
    dict(stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
    dict(padding="same"),
    dict(padding="valid", bias=False),
    dict(groups=4),
    dict(padding="same", dilation=2, groups=2, bias=False),
    *(
        dict(padding=padding, padding_mode=mode)
        for mode in ("reflect", "replicate", "circular")
        for padding in ((1, 2), "same")
    ),
]


def build(layer, options, **placement):
    torch.manual_seed(3)
    return layer(4, 8, (3, 2), **options, **placement)


def both(options, **placement):
    return build(torchconv.Conv2d, options, **placement), build(nn.Conv2d, options, **placement)


@pytest.mark.parametrize("options", CONSTRUCTIONS, ids=str)
def test_same_layer_from_the_same_seed(options):
    actual, expected = both(options)
    assert isinstance(actual, nn.Conv2d)
    assert repr(actual) == repr(expected)
    assert list(actual.state_dict()) == list(expected.state_dict())
    assert all(map(torch.equal, actual.parameters(), expected.parameters()))
    assert torch.equal(torch.rand(3), (build(nn.Conv2d, options), torch.rand(3))[1])
    public = {name: value for name, value in vars(expected).items() if not name.startswith("_")}
    assert {name: getattr(actual, name) for name in public} == public


@pytest.mark.parametrize("options", CONSTRUCTIONS, ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_same_outputs_and_gradients(options, dtype):
    layers = both(options, dtype=dtype)
    image = torch.randn(2, 4, 7, 8, dtype=dtype)
    results = []
    for layer in layers:
        input = image.clone().requires_grad_()
        output = layer(input)
        output.sin().sum().backward()
        results.append((output, input.grad, *(p.grad for p in layer.parameters())))
        assert_near(layer(image[0]), output[0])
    assert_all_near(*results)


BAD_CONSTRUCTIONS = [
    dict(padding="full"),
    dict(padding_mode="mirror"),
    dict(groups=3),
    dict(groups=0),
    dict(foo=1),
]


@pytest.mark.parametrize("options", BAD_CONSTRUCTIONS, ids=str)
def test_constructor_errors(options):
    actual, expected = (outcome(build, layer, options) for layer in (torchconv.Conv2d, nn.Conv2d))
    assert isinstance(expected[0], type) and issubclass(expected[0], Exception)
    assert actual[0] is expected[0]


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_larger_than_the_image_is_refused_as_before(mode):
    options = dict(padding=9, padding_mode=mode)
    actual, expected = (outcome(layer, torch.zeros(1, 4, 5, 5)) for layer in both(options))
    assert actual[0] == expected[0]


@pytest.mark.parametrize(
    "input", [torch.zeros(2, 3, 5, 5), torch.zeros(5, 5), None, [1.0]], ids=repr
)
def test_forward_errors(input):
    actual, expected = (outcome(layer, input) for layer in both({}))
    assert actual[0] is expected[0] and actual[0] != "ok"


@pytest.mark.parametrize("options", CONSTRUCTIONS, ids=str)
def test_state_dicts_go_both_ways(options):
    for source, target in itertools.permutations(both(options)):
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.normal_()
        target.load_state_dict(source.state_dict())
        assert all(map(torch.equal, source.parameters(), target.parameters()))


def test_copies_and_files():
    layer = build(torchconv.Conv2d, dict(padding=1))
    image = torch.randn(1, 4, 6, 6)
    expected = layer(image)
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    for other in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(buffer, weights_only=False),
    ):
        assert type(other) is torchconv.Conv2d and other.weight is not layer.weight
        assert torch.equal(other(image), expected)
    safe = torch.serialization.safe_globals([torchconv.Conv2d])
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    with safe:
        fresh = torchconv.Conv2d(4, 8, (3, 2), padding=1)
        fresh.load_state_dict(torch.load(buffer))
    assert torch.equal(fresh(image), expected)


def test_hooks_run():
    layer = build(torchconv.Conv2d, {})
    calls = []
    layer.register_forward_pre_hook(lambda module, inputs: calls.append("pre"))
    layer.register_forward_hook(lambda module, inputs, output: calls.append("forward"))
    layer.register_full_backward_hook(lambda module, into, out_of: calls.append("backward"))
    layer.weight.register_hook(lambda gradient: calls.append("weight"))
    layer(torch.randn(1, 4, 6, 6, requires_grad=True)).sum().backward()
    assert sorted(calls) == ["backward", "forward", "pre", "weight"]
    assert calls[:2] == ["pre", "forward"]


@pytest.mark.parametrize(
    "register",
    [parametrizations.weight_norm, parametrizations.spectral_norm],
    ids=lambda f: f.__name__,
)
def test_parametrizations(register):
    image = torch.randn(2, 4, 6, 6)
    results = []
    for layer in both(dict(padding=1)):
        torch.manual_seed(5)
        register(layer)
        assert parametrize.is_parametrized(layer, "weight")
        output = layer(image)
        output.sum().backward()
        results.append((output, *(parameter.grad for parameter in layer.parameters())))
    assert_all_near(*results)


def test_dtype_moves():
    layer = build(torchconv.Conv2d, dict(padding=1))
    image = torch.randn(2, 4, 6, 6)
    expected = layer(image)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        moved = copy.deepcopy(layer).to(dtype)
        output = moved(image.to(dtype))
        assert output.dtype is dtype
        assert_near(output.float(), expected, 3e-2)
        with pytest.raises(RuntimeError, match="should be the same"):
            moved(image)
    assert layer.to(memory_format=torch.channels_last)(image).is_contiguous(
        memory_format=torch.channels_last
    )


@pytest.mark.parametrize("mode", [torch.device("meta"), torch.device("cpu")], ids=str)
def test_device_arguments(mode):
    direct = torchconv.Conv2d(4, 8, 3, device=mode, dtype=torch.float64)
    with mode:
        contextual = torchconv.Conv2d(4, 8, 3, dtype=torch.float64)
    for layer in (direct, contextual):
        assert layer.weight.device == mode and layer.weight.dtype is torch.float64
        output = layer(torch.zeros(2, 4, 6, 6, device=mode, dtype=torch.float64))
        assert output.shape == (2, 8, 4, 4) and output.device == mode


def test_changed_attributes_are_respected():
    image = torch.randn(1, 4, 9, 9)
    torchconv_layer, reference = both({})
    for layer in (torchconv_layer, reference):
        layer.stride, layer.padding, layer.dilation = 2, [1], (2, 1)
    assert_near(torchconv_layer(image), reference(image))


def test_overriding_conv_forward_still_works():
    class Standardised(torchconv.Conv2d):
        def _conv_forward(self, input, weight, bias):
            return super()._conv_forward(input, weight - weight.mean((1, 2, 3), True), bias)

    layer = Standardised(4, 8, 3)
    assert_near(layer(torch.ones(1, 4, 3, 3))[0, :, 0, 0], layer.bias, 1e-4)


class Special(nn.Conv2d):
    """A subclass that convert leaves alone."""

    def forward(self, input):
        return nn.functional.conv2d(input, self.weight)


def test_convert_changes_layers_in_place():
    shared = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.ModuleDict({"a": shared, "special": Special(4, 4, 1), "1d": nn.Conv1d(4, 4, 1)}),
        shared,
        nn.ConvTranspose2d(4, 4, 2),
        torchconv.Conv2d(4, 4, 1),
    )
    model[0].eval()
    calls = []
    shared.register_forward_hook(lambda *arguments: calls.append("hook"))
    before = dict(model.named_modules())
    parameters = dict(model.named_parameters())
    training = {name: module.training for name, module in before.items()}

    assert torchconv.convert(model) is model
    assert dict(model.named_modules()) == before
    assert all(
        one is other for one, other in zip(model.parameters(), parameters.values(), strict=True)
    )
    assert {name: module.training for name, module in model.named_modules()} == training
    kinds = {name: type(module) for name, module in model.named_modules()}
    assert kinds["0"] is kinds["1.a"] is kinds["4"] is nn.Conv2d
    converted = {name for name, module in before.items() if torchconv.is_converted(module)}
    assert converted == {"0", "1.a", "1.1d", "3", "4"}
    assert kinds["1.special"] is Special
    assert kinds["1.1d"] is nn.Conv1d and kinds["3"] is nn.ConvTranspose2d
    model[2](torch.zeros(1, 4, 5, 5))
    assert calls == ["hook"]
    assert model[1]["a"] is model[2]


def test_convert_a_layer_with_its_optimizer():
    layer, reference = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
    reference.load_state_dict(layer.state_dict())
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (layer, reference)]
    assert torchconv.is_converted(torchconv.convert(layer))
    image = torch.randn(2, 2, 5, 5)
    for module, optimizer in zip((layer, reference), optimizers, strict=True):
        module(image).pow(2).sum().backward()
        optimizer.step()
    assert_all_near(list(layer.parameters()), list(reference.parameters()))


@pytest.mark.parametrize("converted", [False, True])
@pytest.mark.parametrize("options", CONSTRUCTIONS[:4] + CONSTRUCTIONS[-2:], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_torchscript_records_aten(options, converted):
    layer = build(torchconv.Conv2d, options)
    if converted:
        torchconv.convert(layer)
    image = torch.randn(2, 4, 6, 6)
    for other in (torch.jit.trace(layer, image), torch.jit.script(layer)):
        assert "torchconv::" not in str(other.inlined_graph)
        larger = torch.randn(3, 4, 9, 8)
        assert_near(other(larger), layer(larger))
