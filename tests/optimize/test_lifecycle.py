"""Optimised models go wherever models go."""

import copy
import io
import operator

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import assert_near
from tests.optimize.models import Block, Code, done, image, randomised, without_packed


def saved_and_loaded(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def last_addition(y, x):
    return y + x


class Network(nn.Module):
    """Some layers whose code stays and two blocks whose code changes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.SiLU())
        self.blocks = nn.Sequential(Block(last_addition), Block(operator.iadd))
        self.head = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


@pytest.fixture
def model():
    return randomised(Network())


@pytest.fixture
def optimised(model):
    return torchconv.optimize(model, image())


def assert_same_results(copied, original, tolerance=1e-6):
    with torch.no_grad():
        assert_near(copied(image()), original(image()), tolerance)


def test_the_original_and_the_random_state_are_left_as_they_were(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    text, state = repr(model), torch.get_rng_state()
    assert torchconv.optimize(model, image()) is not model
    assert repr(model) == text and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())


def test_in_place_all_objects_stay_and_names_too(model):
    parts = dict(model.named_modules())
    expected = torchconv.optimize(model)
    assert torchconv.optimize(model, image(), inplace=True) is model
    assert dict(model.named_modules()) == parts
    assert_same_results(model, expected)
    assert type(model) is Network and model.blocks[0].conv2 is parts["blocks.0.conv2"]


def test_optimising_again_changes_nothing(optimised):
    again = torchconv.optimize(optimised, image())
    assert without_packed(again) == without_packed(optimised)
    assert repr(again) == repr(optimised)
    assert all(
        torch.equal(one, other)
        for one, other in zip(again.parameters(), optimised.parameters(), strict=True)
    )
    assert_same_results(again, optimised, 0)


@pytest.mark.parametrize("how", [copy.deepcopy, saved_and_loaded], ids=["deepcopy", "saved"])
def test_copies(optimised, how):
    calls = []
    optimised.blocks[1].register_forward_hook(lambda *_: calls.append(1))
    block = optimised.blocks[0]
    block.register_buffer("unused", torch.ones(2))
    block.note = "kept"
    if how is saved_and_loaded:
        optimised.blocks[1]._forward_hooks.clear()
        optimised.blocks[1].register_forward_hook(counting)
    copied = how(optimised)
    assert repr(copied) == repr(optimised) and done(copied) == done(optimised)
    assert list(copied.state_dict()) == list(optimised.state_dict())
    assert copied.blocks[0].note == "kept"
    COUNTED.clear()
    assert_same_results(copied, optimised, 0)
    assert len(calls or COUNTED) == 2
    with torch.no_grad():
        copied.blocks[0].conv2.weight.zero_()
    assert not torch.equal(copied(image()), optimised(image()))


COUNTED = []


def counting(*_):
    COUNTED.append(1)


def changed_in_place(self, x):
    y = self.other(torch.relu(self.conv(x)))
    z = y.view_as(y)
    y += 1
    return z


def test_a_saved_module_still_changes_values_in_place():
    optimised = torchconv.optimize(randomised(Code(changed_in_place)), image())
    assert isinstance(optimised, torch.fx.GraphModule)
    assert_same_results(saved_and_loaded(optimised), optimised, 0)


def test_state_dict(optimised, model):
    other = torchconv.optimize(randomised(Network()))
    other.load_state_dict(optimised.state_dict())
    assert_same_results(other, optimised, 0)


def test_to_another_dtype_and_memory_format(optimised):
    expected = optimised(image())
    wide = copy.deepcopy(optimised).double().to(memory_format=torch.contiguous_format)
    assert_near(wide(image().double()), expected.double(), 1e-5)


def test_compile(optimised, fresh_compiler):
    compiled = torch.compile(optimised, fullgraph=True)
    assert_same_results(compiled, optimised, 1e-5)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_jit_trace_and_export(optimised):
    with torch.no_grad():
        assert_same_results(torch.jit.trace(optimised, image()), optimised, 1e-5)
        exported = torch.export.export(optimised, (image(),)).module()
    assert_same_results(exported, optimised, 1e-5)


def test_inference_mode_and_batches_of_any_size(optimised, model):
    with torch.inference_mode():
        assert_near(optimised(image(5, 3, 12, 9)), model(image(5, 3, 12, 9)), 1e-5)


def test_gradients_of_the_input(optimised, model):
    gradients = []
    for each in (optimised, model):
        x = image().requires_grad_()
        each(x).square().sum().backward()
        gradients.append(x.grad)
    assert_near(*gradients, 1e-4)


def test_only_folded_parameters_stop_requiring_gradients(model):
    model.head.bias.requires_grad_(False)
    optimised = torchconv.optimize(model)
    assert optimised.head.weight.requires_grad and not optimised.head.bias.requires_grad
    assert not optimised.stem[0].weight.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype(model, dtype):
    optimised = torchconv.optimize(model, image(), dtype=dtype)
    assert {each.dtype for each in optimised.parameters()} == {dtype}
    for each in (optimised, copy.deepcopy(optimised), saved_and_loaded(optimised)):
        with torch.no_grad():
            result = each(image())
            assert result.dtype is dtype and torch.equal(result, each(image().to(dtype)))
    again = torchconv.optimize(optimised, dtype=torch.float32)
    assert again(image().double()).dtype is torch.float32


def test_dtype_of_nested_and_named_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, pair, which):
            return self.conv(pair["images"][which])

    optimised = torchconv.optimize(Two().eval(), dtype=torch.bfloat16)
    inputs = {"images": [image(), image(seed=3)]}
    assert optimised(inputs, which=torch.tensor(1)).dtype is torch.bfloat16


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format, None])
def test_memory_format(model, memory_format):
    optimised = torchconv.optimize(model, memory_format=memory_format)
    is_last = memory_format is torch.channels_last
    assert optimised.stem[0].weight.is_contiguous(memory_format=torch.channels_last) == is_last
    assert optimised(image()).is_contiguous(memory_format=torch.channels_last) == is_last


def test_autocast(optimised, model):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        result, expected = optimised(image()), model(image())
    assert result.dtype is expected.dtype
    assert_near(result.float(), expected.float(), 5e-2)
