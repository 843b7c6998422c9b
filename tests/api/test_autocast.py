"""torch.autocast: a weight is cast once in a region, as nn.Conv2d's is, out of ATen's cache."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

import torchconv
from tests.compare import assert_all_near, assert_near
from torchconv import _autocast

REGION = {"device_type": "cpu", "dtype": torch.bfloat16}
X = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0)).bfloat16()


class Casts(TorchDispatchMode):
    """How often a tensor of some size is cast."""

    def __init__(self, size):
        super().__init__()
        self.size, self.count = size, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and args[0].shape == self.size:
            self.count += 1
        return func(*args, **(kwargs or {}))


def weight(seed=1, size=(4, 4, 3, 3)):
    torch.manual_seed(seed)
    return (torch.randn(size) / 6).requires_grad_()


def twice(conv, x, w):
    return conv(conv(x, w, padding=1).tanh(), w, padding=1)


def casts_of(conv, w, **region):
    with Casts(w.shape) as casts, torch.autocast(**REGION, **region):
        output = twice(conv, X, w)
    assert output.dtype is torch.bfloat16
    return casts.count


def test_a_parameter_is_cast_once_in_a_region():
    w = weight()
    for conv in (torchconv.conv2d, F.conv2d):
        assert casts_of(conv, w) == 1
        assert casts_of(conv, w) == 1  # once more in a new region
        with torch.no_grad():
            assert casts_of(conv, w) == 1


@pytest.mark.parametrize("kind", ["no gradient", "no leaf", "view", "cache off"])
def test_others_at_each_call(kind):
    w = weight()
    if kind == "no gradient":
        w = w.detach()
    elif kind == "no leaf":
        w = w * 1
    elif kind == "view":
        w = w.detach().view(w.shape).requires_grad_()
    assert casts_of(F.conv2d, w, cache_enabled=kind != "cache off") == 2
    assert casts_of(torchconv.conv2d, w, cache_enabled=kind != "cache off") == 2


def test_it_is_the_cache_of_pytorch():
    """Which clear_autocast_cache empties, and which other operators use."""
    w = weight()
    with Casts(w.shape) as casts, torch.autocast(**REGION):
        torchconv.conv2d(X, w)
        F.conv2d(X, w)
        assert casts.count == 1
        torch.clear_autocast_cache()
        torchconv.conv2d(X, w)
        assert casts.count == 2
        with torch.autocast(**REGION):
            torchconv.conv2d(X, w)
        assert casts.count == 2
        w.data = w.data.clone()  # the cache knows tensors, not what they hold
        torchconv.conv2d(X, w)
        assert casts.count == 2


@pytest.mark.parametrize(
    ("ours", "theirs", "x"),
    [
        (torchconv.Conv1d(4, 4, 3, padding=1), nn.Conv1d, X[:, :, 0]),
        (torchconv.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0)), nn.Conv3d, X[:, :, None]),
        (torchconv.ConvTranspose2d(4, 4, 3, padding=1), nn.ConvTranspose2d, X),
        (torchconv.ConvActivation2d(4, 4, 3, padding=1, activation="relu"), nn.Conv2d, X),
        (torchconv.convert(nn.Conv2d(4, 4, 3, padding=1)), nn.Conv2d, X),
        (torchconv.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d, X),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_layers(ours, theirs, x):
    options = {name: getattr(ours, name) for name in ("kernel_size", "padding", "padding_mode")}
    plain = theirs(4, 4, **options)
    for layer in (ours, plain):
        with Casts(layer.weight.shape) as casts, torch.autocast(**REGION):
            layer(layer(x))
        assert casts.count == 1


def test_a_cast_without_gradients_is_kept_as_in_pytorch():
    """In a region that begins under no_grad; autograd then records what it does for nn.Conv2d."""
    found = []
    for conv in (torchconv.conv2d, F.conv2d):
        w = weight()
        with Casts(w.shape) as casts, torch.autocast(**REGION):
            with torch.no_grad():
                conv(X, w)
            found.append((conv(X, w).requires_grad, casts.count))
    assert found[0] == found[1]


def test_derivatives():
    """Of two uses, and derivatives of these; in a region and outside of it."""
    found = []
    for conv in (torchconv.conv2d, F.conv2d):
        x, w = X.float().requires_grad_(), weight()
        with torch.autocast(**REGION):
            loss = twice(conv, x, w).float().pow(2).sum()
        first = torch.autograd.grad(loss, (x, w), create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), (x, w))
        assert all(g.dtype is torch.float32 for g in (*first, *second))
        found.append((first, second))
    for ours, theirs in zip(*found, strict=True):
        assert_all_near(ours, theirs, 5e-2)


def test_transforms():
    """Which see the weight of their own level, not one that was cast before."""
    w, tangent = weight(), weight(2).detach()

    def loss(conv, w):
        return twice(conv, X, w).float().pow(2).sum()

    def cast_by_hand(x, w, **options):  # ATen refuses some calls under vmap and autocast
        return F.conv2d(x.bfloat16(), w.bfloat16(), **options)

    with torch.autocast(**REGION):
        torchconv.conv2d(X, w)  # the cache holds w
        for transformed in (
            lambda conv: torch.func.grad(lambda w: loss(conv, w))(w),
            lambda conv: torch.func.jvp(lambda w: loss(conv, w), (w,), (tangent,))[1],
            lambda conv: torch.func.vmap(lambda x: conv(x, w))(X[:, None]).float(),
            lambda conv: torch.func.vmap(lambda w: twice(conv, X, w))(w[None]).float(),
        ):
            assert_near(transformed(torchconv.conv2d), transformed(cast_by_hand), 5e-2)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_graphs_hold_a_cast_for_each_call():
    """A graph is not of one region: no operator in it asks the cache."""
    w = nn.Parameter(weight())

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = w

        def forward(self, x):
            with torch.autocast(**REGION):
                return twice(torchconv.conv2d, x, self.weight)

    model = Twice()
    exported = [torch.export.export(model, (X,), strict=strict) for strict in (False, True)]
    graphs = [graph for each in exported for graph in all_graphs(each.graph_module)]
    graphs += [make_fx(model, pre_dispatch=early)(X).graph for early in (False, True)]
    names = [str(node.target) for graph in graphs for node in graph.nodes]
    assert "torchconv.conv2d.default" in names
    assert not [name for name in names if "cached" in name]
    traced = torch.jit.trace(model, X)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for each in (traced, compiled, *(program.module() for program in exported)):
        assert_near(each(X), model(X), 2e-2)
    assert "cached" not in str(traced.inlined_graph)


def all_graphs(module):
    return [each.graph for each in module.modules() if isinstance(each, torch.fx.GraphModule)]


def test_without_the_library_each_call_casts(monkeypatch):
    monkeypatch.setattr(_autocast, "_cached_cast", None)
    w = weight()
    assert casts_of(torchconv.conv2d, w) == 2
    with torch.autocast(**REGION):
        assert_near(twice(torchconv.conv2d, X, w), twice(F.conv2d, X, w), 2e-2)
