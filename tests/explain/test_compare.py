"""compare() measures every convolution of a model on its real inputs, and changes nothing."""

import copy
import time

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

import torchconv
from tests.compare import same_bits
from torchconv import functional
from torchconv._compare import layers
from torchconv._timing import Pairs

SECONDS = 1e-4


class Small(nn.Module):
    """What networks have: strides, groups, dilation, shared layers, several inputs, dropout."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=(2, 1), padding="valid")
        self.body = nn.Sequential(
            nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        )
        self.shared = nn.Conv2d(8, 8, 3, padding=2, dilation=2, bias=False)
        self.dropout = nn.Dropout()
        self.last = nn.Conv2d(8, 4, 1, groups=2)

    def forward(self, image, added):
        x = self.shared(self.body(self.first(image)))
        x = self.dropout(self.shared(x)) + added
        return self.last(self.shared(input=x[..., :4, :4]))


def inputs(*size):
    return torch.randn(*(size or (2, 3, 14, 12))), torch.ones(())


def measured(model, *arguments):
    return torchconv.compare(model, arguments or inputs(), seconds=SECONDS)


def everything_of(model):
    """What a model holds: modes, hooks and other attributes, and the bits of its tensors."""
    attributes = [
        {name: copy.copy(value) for name, value in vars(module).items()}
        for module in model.modules()
    ]
    return attributes, copy.deepcopy(model.state_dict())


def assert_untouched(model, before):
    attributes, state = everything_of(model)
    assert attributes == before[0]
    assert all(same_bits(state[name], tensor) for name, tensor in before[1].items())


def test_layers_are_counted_as_others_count_them():
    """Multiply-adds as PyTorch's counter of FLOPs; bytes of the tensors that a hook sees."""
    model, arguments, moved = Small().eval(), inputs(), []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda it, _, named, y: moved.append(y.nbytes + it.weight.nbytes), with_kwargs=True
            )
            layer.register_forward_pre_hook(
                lambda _, x, named: moved.append((*x, *named.values())[0].nbytes), with_kwargs=True
            )
    with FlopCounterMode(display=False) as counter:
        model(*arguments)
    bytes = sum(moved)
    found = measured(model, *arguments)
    assert 2 * found.macs == counter.get_total_flops() > 0
    assert found.bytes == bytes


def test_rows_name_each_layer_and_shape():
    found = measured(Small(), *inputs())
    rows = {(row.name, row.shape): row.calls for row in found.rows}
    assert rows == {
        ("first", "2x3x14x12 -> 2x8x6x10, 3x3, stride 2x1"): 1,
        ("body.2", "2x8x6x10 -> 2x8x6x10, 3x3, 8 groups"): 1,
        ("shared", "2x8x6x10 -> 2x8x6x10, 3x3, dilation 2"): 2,
        ("shared", "2x8x4x4 -> 2x8x4x4, 3x3, dilation 2"): 1,
        ("last", "2x8x4x4 -> 2x4x4x4, 1x1, 2 groups"): 1,
    }
    assert found.calls == 6 and not found.left_out
    times = [row.calls * row.ms for row in found.rows]
    assert times == sorted(times, reverse=True) and found.ms == pytest.approx(sum(times))
    assert found.threads == torch.get_num_threads() and 0 < found.convolution_share < 1


def test_it_does_not_matter_who_computes_the_model():
    def told(model):
        rows = measured(model, *inputs()).rows
        return {(row.name, row.shape, row.algorithm, row.macs) for row in rows}

    assert told(torchconv.convert(Small())) == told(Small())
    assert told(Small()) & {("body.2", "2x8x6x10 -> 2x8x6x10, 3x3, 8 groups", "depthwise", 8640)}


@pytest.mark.parametrize("converted", [False, True])
def test_both_sides_are_computed(converted, monkeypatch):
    """A wrong result of either is seen, and pairs of times become medians."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    if converted:
        torchconv.convert(model)
    image = inputs()[0]
    assert all(row.difference < 1e-6 for row in measured(model, image).rows)
    pairs = iter((Pairs([1.0, 2.0, 4.0], [2.0, 6.0, 3.0]), Pairs([3.0] * 3, [3.0] * 3)))
    monkeypatch.setattr(layers, "measure_pairs", lambda *_: next(pairs))
    found = measured(model, image)
    assert [(row.name, row.ms, row.torch_ms, row.speedup) for row in found.rows] == [
        ("1", 3000, 3000, 1), ("0", 2000, 3000, 2),
    ]  # fmt: skip
    assert (found.ms, found.torch_ms, found.speedup) == (5000, 6000, 1.2)
    monkeypatch.undo()
    for module in (functional, nn.functional):
        with monkeypatch.context() as patch:
            right, factor = module.conv2d, 1.5 if module is functional else 1 / 1.5
            patch.setattr(module, "conv2d", lambda *a, f=right, k=factor, **o: k * f(*a, **o))
            rows = measured(nn.Sequential(nn.Conv2d(3, 4, 3)), image).rows
        assert rows[0].difference == pytest.approx(0.5, rel=1e-3)


class Noisy(nn.Module):
    def forward(self, x):
        return x + 0.01 * torch.randn_like(x)


@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_changed(training):
    model = nn.Sequential(Noisy(), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3))
    model.train(training)
    model[2].eval()  # a frozen one in a model in training
    seen = []
    model[1].register_forward_hook(lambda it, *_: seen.append((it.training, torch.get_rng_state())))
    model[3].register_forward_pre_hook(lambda *_: None)
    image = inputs()[0]
    before, state = everything_of(model), torch.get_rng_state()
    measured(model, image)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(was_training for was_training, _ in seen)
    assert not torch.equal(seen[0][1], state)  # it has been drawn from
    assert_untouched(model, before)


def test_nothing_is_changed_by_a_model_that_fails():
    class Failing(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Failing()).train()
    before = everything_of(model)
    with pytest.raises(ZeroDivisionError):
        measured(model, torch.ones(1, 3, 5, 5))
    assert_untouched(model, before)


def test_what_a_model_keeps_can_be_trained_with():
    """A tensor made in inference mode could not."""

    class Keeping(nn.Conv2d):
        kept = None

        def forward(self, x):
            self.kept = x * 2 if self.kept is None else self.kept
            return self.kept * self.weight.sum()

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Keeping(4, 4, 3))
    measured(model, torch.ones(1, 3, 5, 5))
    model(torch.ones(1, 3, 5, 5)).sum().backward()
    assert model[1].weight.grad is not None


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
def test_padding_modes(mode):
    layer = nn.Conv2d(2, 4, 3, padding="same", padding_mode=mode)
    (row,) = measured(layer, torch.randn(2, 7, 7)).rows  # one image, without a batch
    assert (row.input_size, row.output_size) == ((2, 7, 7), (4, 7, 7)) and row.difference < 1e-6
    image = torch.zeros(1, 2, 9 if mode != "zeros" else 7, 9 if mode != "zeros" else 7)
    padding = 0 if mode != "zeros" else "same"
    told = torchconv.explain(image, layer.weight, layer.bias, padding=padding)
    assert f"{row.algorithm}: runs" in told.partition("grad_input")[0]


def test_dtype_and_memory_format():
    layer = nn.Conv2d(4, 6, 3, dtype=torch.bfloat16)
    image = torch.randn(2, 4, 8, 8, dtype=torch.bfloat16).contiguous(
        memory_format=torch.channels_last
    )
    (row,) = measured(layer, image).rows
    assert (row.dtype, row.memory_format) == ("bfloat16", "channels_last")
    (row,) = measured(layer.double(), torch.ones(2, 4, 8, 8, dtype=torch.double)).rows
    assert (row.dtype, row.memory_format) == ("float64", "contiguous")
    with torchconv.backend("aten"):
        assert measured(layer, torch.ones(2, 4, 8, 8).double()).rows[0].algorithm == "aten"
    layer.winograd = "off"
    assert "winograd" not in measured(layer, torch.ones(1, 4, 8, 8).double()).rows[0].algorithm


def test_layers_without_a_row_have_a_reason():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return super().forward(x - x.mean())

    model = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(3)), Standardised(3, 3, 1))
    model[1].forward = lambda x: x
    model[2]._conv_forward = lambda x, *_: x
    model.add_module("unused", nn.Sequential(nn.Conv2d(3, 3, 1)))
    model.forward = lambda x: model[3](model[2](model[1](model[0](x))))
    found = measured(model, torch.ones(1, 3, 4, 4))
    assert [row.name for row in found.rows] == ["0"]
    assert found.left_out == {
        "1": "its forward was replaced",
        "2": "its _conv_forward was replaced",
        "3": "Standardised has a forward of its own",
        "unused.0": "the model does not call it",
    }
    found = measured(nn.Conv2d(3, 3, 1, device="meta"), torch.ones(1, 3, 4, 4, device="meta"))
    assert found.left_out == {"": "its input is on meta"}
    assert "left out (the model): its input is on meta" in str(found)


@pytest.mark.usefixtures("fresh_compiler")
def test_layers_of_parametrized_and_compiled_models():
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.Conv2d(4, 4, 1))
    compiled = torch.compile(model, backend="eager")
    image = inputs()[0]
    compiled(image)  # the hooks come after
    found = measured(compiled, image)
    assert sorted(row.name for row in found.rows) == ["_orig_mod.0", "_orig_mod.1"]
    assert all(row.difference < 1e-6 for row in found.rows)


def test_the_part_of_the_time_that_is_spent_in_layers():
    class Slow(nn.Module):
        def forward(self, x):
            time.sleep(0.02)
            return x

    image = torch.ones(1, 3, 4, 4)
    found = measured(nn.Sequential(nn.Conv2d(3, 3, 1), Slow()), image)
    assert found.model_ms > 20 and found.convolution_share < 0.3
    layer = nn.Conv2d(3, 3, 1)
    layer.forward = Slow().forward
    assert measured(nn.Sequential(layer), image).convolution_share > 0.7


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got function"):
        torchconv.compare(lambda x: x, torch.ones(1))
    for seconds in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=f"seconds must be positive, got {seconds}"):
            torchconv.compare(nn.Conv2d(1, 1, 1), torch.ones(1, 1, 2, 2), seconds=seconds)


def test_a_comparison_is_plain_data():
    found = measured(Small(), *inputs())
    data = found.to_dict()
    assert [row["name"] for row in data["rows"]] == [row.name for row in found.rows]
    assert data["macs"] == found.macs and data["rows"][0]["shape"] == found.rows[0].shape
    assert torch.equal(torch.tensor(data["speedup"]), torch.tensor(found.torch_ms / found.ms))
