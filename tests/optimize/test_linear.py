"""Linear layers of an optimized model, which are computed as 1x1 convolutions."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchconv
from benchmarks.machine import isa_levels
from tests.compare import same_bits
from tests.reference import threads
from torchconv._optimize.linear import PackedLinear
from torchconv._programs.shortcut import shortcut_of


def optimized(*layers):
    torch.manual_seed(0)
    return torchconv.optimize(nn.Sequential(*layers).eval())


def linear(c=300, k=256, bias=True):
    return optimized(nn.Linear(c, k, bias))[0]


def expected(layer, x):
    bias = None if layer.bias is None else layer.bias.double()
    return F.linear(x.double(), layer.weight.double(), bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(1, 300), (7, 300), (2, 3, 300), (2, 5, 3, 300)], ids=str)
def test_results_are_those_of_a_linear_layer(size, bias):
    layer = linear(bias=bias)
    assert type(layer) is PackedLinear and isinstance(layer, nn.Linear)
    x = torch.randn(size)
    for given in (x, x.movedim(0, 1).contiguous().movedim(0, 1), x.expand(size)):
        found = layer(given)
        assert found.is_contiguous() and found.shape == (*size[:-1], 256)
        torch.testing.assert_close(found.double(), expected(layer, given), rtol=1e-5, atol=1e-5)


def test_same_bits_for_any_batch_number_of_threads_and_instruction_set():
    layer = linear()
    x = torch.randn(9, 300)
    with torch.no_grad():
        whole = layer(x)
        for level in isa_levels():
            torch.ops.torchconv._force_isa(level)
            try:
                for count in (1, 2):
                    with threads(count):
                        assert same_bits(layer(x), whole)
            finally:
                torch.ops.torchconv._force_isa("")
        assert same_bits(layer(x[4:5]), whole[4:5])
        assert same_bits(layer(x.reshape(3, 3, 300)), whole.reshape(3, 3, 256))


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(4, 300, dtype=torch.float64),
        torch.randn(300),
        torch.randn(0, 300),
        torch.randn(4, 300, device="meta"),
    ],
    ids=["dtype", "vector", "empty", "device"],
)
def test_all_else_is_pytorchs(x):
    layer = linear().to(dtype=x.dtype, device=x.device)
    found, wanted = layer(x), F.linear(x, layer.weight, layer.bias)
    assert found.shape == wanted.shape and found.dtype is wanted.dtype
    assert x.is_meta or torch.equal(found, wanted)


def test_errors_are_pytorchs():
    layer = linear()
    for x in (torch.randn(4, 299), torch.randn(4, 300).to(torch.int32)):
        with pytest.raises(RuntimeError) as ours:
            layer(x)
        with pytest.raises(RuntimeError) as theirs:
            F.linear(x, layer.weight, layer.bias)
        assert str(ours.value) == str(theirs.value)


def test_derivatives_of_the_input():
    layer = linear()
    x = torch.randn(5, 300, requires_grad=True)
    layer(x).sum().backward()
    wanted = layer.weight.double().sum(0).expand(5, 300)
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), wanted, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        mapped = torch.func.vmap(layer)(x)
    torch.testing.assert_close(mapped.double(), expected(layer, x), rtol=1e-5, atol=1e-5)


def test_a_changed_weight_is_packed_anew():
    layer, x = linear(), torch.randn(2, 300)
    with torch.no_grad():
        for change in (
            lambda: layer.weight.mul_(2),
            lambda: layer.weight.data.fill_(0.5),
            lambda: layer.load_state_dict({"weight": torch.ones(256, 300), "bias": layer.bias}),
            lambda: setattr(layer, "weight", nn.Parameter(torch.full((256, 300), 0.25))),
        ):
            layer(x), layer(x)
            change()
            torch.testing.assert_close(layer(x).double(), expected(layer, x), rtol=1e-5, atol=1e-4)


def test_copies_and_files():
    layer, x = linear(), torch.randn(2, 300)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert same_bits(other(x), layer(x))
        with torch.no_grad():
            other.weight.zero_()
        assert not same_bits(other(x), layer(x))
    plain = nn.Linear(300, 256)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(plain(x), layer(x))


class Own(nn.Linear):
    pass


def test_layers_that_stay_as_they_are():
    hooked = nn.Linear(300, 256)
    hooked.register_forward_hook(lambda *_: None)
    half = nn.Linear(300, 256, dtype=torch.bfloat16)
    layers = nn.Linear(4, 4), nn.Linear(4096, 2049), Own(300, 256), hooked, half
    for layer in torchconv.optimize(nn.ModuleList(layers).eval()):
        assert not isinstance(layer, PackedLinear)
    (row,) = torchconv.report(optimized(nn.Linear(300, 256)))
    assert (row.layer, row.done) == ("PackedLinear(300, 256)", ("torchconv",))


class Network(nn.Module):
    """Three convolutions and the mean, as torchvision's networks begin and end."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(c, 256, 3) for c in (3, 256, 256)))
        self.drop = nn.Dropout(0.2)
        self.flatten = nn.Flatten()
        self.first, self.second = nn.Linear(256, 256), nn.Linear(256, 260)

    def mean(self, x):
        return F.adaptive_avg_pool2d(self.body(x), 1)

    def forward(self, x):
        return self.first(self.drop(torch.flatten(self.mean(x), 1)))


class Method(Network):
    def forward(self, x):
        return self.first(self.mean(x).flatten(start_dim=1))


class InARow(Network):
    def forward(self, x):
        return self.second(self.first(self.flatten(self.mean(x))))


class TwoOfOne(Network):
    def forward(self, x):
        x = torch.flatten(self.mean(x), 1)
        return self.first(x), self.second(x)


class Between(Network):
    def forward(self, x):
        x = self.first(torch.flatten(self.mean(x), 1))
        return self.second(self.drop(F.relu(x)))


class FlatResult(Network):
    def forward(self, x):
        x = torch.flatten(self.mean(x), 1)
        return self.first(x), x


class Twice(Network):
    def forward(self, x):
        return self.first(self.first(torch.flatten(self.mean(x), 1)))


class AnotherShape(Network):
    def forward(self, x):
        return self.first(torch.flatten(self.mean(x), 2).transpose(1, 2))


@pytest.mark.parametrize("kind", [Network, Method, InARow, TwoOfOne, Between])
def test_linear_layers_in_one_call_with_convolutions(kind):
    assert "first" in in_one_call(kind)


@pytest.mark.parametrize("kind", [FlatResult, Twice, AnotherShape])
def test_linear_layers_that_are_not(kind):
    assert {"first", "second"}.isdisjoint(in_one_call(kind))


def in_one_call(kind):
    """The layers that are, of a model whose results are right."""
    torch.manual_seed(0)
    plain = kind().eval()
    model = torchconv.optimize(plain)
    shortcut, x = shortcut_of(model), torch.randn(3, 3, 9, 9)
    assert shortcut is not None
    with torch.no_grad():
        one_by_one = _results(model(x))
        for found, wanted in zip(one_by_one, _results(plain(x)), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        for _ in range(2):
            for found, wanted in zip(_results(model(x)), one_by_one, strict=True):
                assert same_bits(found, wanted) and found.stride() == wanted.stride()
        assert shortcut.runs == 2
        model.first.weight.mul_(2)
        assert not same_bits(_results(model(x))[0], one_by_one[0])
    return [row.name for row in torchconv.report(model) if "in one call" in row.done]


def _results(value):
    return value if isinstance(value, tuple) else (value,)
