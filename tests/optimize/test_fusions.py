"""What becomes part of a convolution, in every form it is written in."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchconv
from tests.optimize.models import Block, Code, assert_optimised, done, image

ACTIVATIONS = {
    "relu": [
        nn.ReLU(), nn.ReLU(inplace=True), F.relu, F.relu_, torch.relu, torch.relu_,
        lambda x: F.relu(x, inplace=True), lambda x: F.relu(x, True), lambda x: x.relu(),
        lambda x: x.relu_(),
    ],
    "relu6": [nn.ReLU6(), nn.Hardtanh(0, 6), F.relu6, lambda x: F.hardtanh(x, 0, 6)],
    "silu": [nn.SiLU(), F.silu, lambda x: F.silu(x, inplace=True)],
    "hardswish": [nn.Hardswish(), F.hardswish],
    "gelu": [nn.GELU(), F.gelu],
    "sigmoid": [
        nn.Sigmoid(), torch.sigmoid, F.sigmoid, torch.special.expit, lambda x: x.sigmoid(),
        lambda x: x.sigmoid_(),
    ],
    "leaky_relu": [
        nn.LeakyReLU(0.2), F.leaky_relu, lambda x: F.leaky_relu(x, 0.3),
        lambda x: F.leaky_relu(x, negative_slope=0.3, inplace=True),
    ],
}  # fmt: skip
CASES = [(name, form) for name, forms in ACTIVATIONS.items() for form in forms]


@pytest.mark.parametrize(("name", "form"), CASES)
def test_activations(name, form):
    model = Code(lambda self, x: self.norm(self.conv(x)))
    model.function = lambda self, x: self.form(self.norm(self.conv(x)))
    model.form = form
    optimised = assert_optimised(model, image())
    assert done(optimised)["conv"] == ["BatchNorm", name]
    assert isinstance(optimised.conv, torchconv.ConvActivation2d)
    assert (type(optimised) is Code) == isinstance(form, nn.Module)


@pytest.mark.parametrize(
    "form",
    [
        nn.Hardsigmoid(), nn.GELU(approximate="tanh"), nn.Hardtanh(-1, 1), nn.ELU(), nn.PReLU(),
        nn.Softmax(1), lambda x: F.gelu(x, approximate="tanh"), lambda x: F.hardtanh(x),
        lambda x: F.leaky_relu(x, x.mean()), lambda x: F.relu(x) + F.relu(x),
    ],
)  # fmt: skip
def test_other_activations_stay(form):
    model = Code(lambda self, x: self.form(self.conv(x)))
    model.form = form
    assert done(assert_optimised(model, image()))["conv"] == []


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_padding_modes(mode):
    """All but padding, which holds zeros; and a residual that is broadcast is added afterwards."""
    for add in (operator.add, lambda y, x: y + x.mean((2, 3), keepdim=True)):
        model = Block(add)
        for conv in (model.conv1, model.conv2):
            conv.__init__(3, 3, 3, padding=1, padding_mode=mode)
        optimised = assert_optimised(model, image())
        assert done(optimised)["conv1"] == ["BatchNorm", "relu"]
        assert done(optimised)["conv2"] == ["BatchNorm", "residual", "relu"]
        assert optimised.conv1.padding_mode == optimised.conv2.padding_mode == mode
    model = Code(lambda self, x: self.act(self.conv(F.pad(x, (1, 1, 1, 1)))))
    model.conv = nn.Conv2d(3, 3, 3, padding=1, padding_mode=mode)
    assert done(assert_optimised(model, image()))["conv"] == ["relu"]


class Frozen(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, bias=False), norm

    def forward(self, x):
        return self.norm(self.conv(x))


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False, eps=0.1), nn.SyncBatchNorm(4)]
)
def test_batch_norms(norm):
    optimised = assert_optimised(Frozen(norm), image())
    assert done(optimised) == {"conv": ["BatchNorm"]}
    assert type(optimised.norm) is nn.Identity and type(optimised) is Frozen
    assert not optimised.conv.weight.requires_grad and not optimised.conv.bias.requires_grad


def test_frozen_batch_norm():
    misc = pytest.importorskip("torchvision.ops.misc")
    optimised = assert_optimised(Frozen(misc.FrozenBatchNorm2d(4)), image())
    assert done(optimised) == {"conv": ["BatchNorm"]}


def test_batch_norms_in_a_row_and_dropout_between():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Identity(), nn.BatchNorm2d(4), nn.Dropout(0.5),
        nn.Dropout2d(0.5), nn.ReLU(),
    )  # fmt: skip
    optimised = assert_optimised(model, image())
    assert done(optimised) == {"0": ["BatchNorm", "relu"]}
    assert type(optimised) is nn.Sequential


def test_folding_rounds_once():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    with torch.no_grad():
        model[1].running_var.fill_(1 / 3)
        model[1].weight.fill_(3.3)
    scale = 3.3 / (model[1].running_var.double() + 1e-5).sqrt() * (model[1].weight.double() / 3.3)
    expected = model[0].weight.detach().double() * scale[:, None, None, None]
    for dtype in (torch.float32, torch.bfloat16):
        weight = torchconv.optimize(model, dtype=dtype)[0].weight
        assert weight.dtype is dtype
        torch.testing.assert_close(weight, expected.to(dtype), rtol=0, atol=0)


ADDITIONS = [
    operator.add, lambda y, x: x + y, operator.iadd, torch.add, lambda y, x: torch.add(x, y),
    lambda y, x: y.add(x), lambda y, x: y.add_(x), lambda y, x: torch.add(y, other=x),
]  # fmt: skip


@pytest.mark.parametrize("add", ADDITIONS)
def test_residuals(add):
    optimised = assert_optimised(Block(add), image())
    assert done(optimised) == {
        "conv1": ["BatchNorm", "relu"], "conv2": ["BatchNorm", "residual", "relu"],
    }  # fmt: skip
    assert type(optimised).__name__ == "Block" and isinstance(optimised, torch.fx.GraphModule)


def test_a_residual_without_batch_norm_or_activation():
    optimised = assert_optimised(Code(lambda self, x: self.conv(x) + x), image())
    assert done(optimised)["conv"] == ["residual"]


def test_the_convolution_that_runs_last_takes_the_residual():
    optimised = assert_optimised(Code(lambda self, x: self.conv(x) + self.other(x)), image())
    assert done(optimised) == {"conv": [], "other": ["residual"], "third": []}


def test_an_addition_in_place_goes_to_the_convolution_whose_result_it_changes():
    def function(self, x):
        y = self.norm(self.conv(x))
        skipped = self.other(x)
        y += skipped
        return self.act(y)

    optimised = assert_optimised(Code(function), image())
    assert done(optimised) == {
        "conv": ["BatchNorm", "residual", "relu"], "other": [], "third": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x.mean((2, 3), keepdim=True), lambda x: x[:1], lambda x: x.new_ones(3, 1, 1),
        lambda x: x.double(), lambda x: x.shape[0], lambda x: x.bfloat16(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("add", [operator.add, operator.iadd])
def test_residuals_of_other_shapes_and_types(add, other):
    """They are found out at run time only."""
    model = Code(lambda self, x: torch.relu(add(self.conv(x), other(x)))).eval()
    with torch.no_grad():
        expected, actual = model(image()), torchconv.optimize(model)(image())
    assert actual.dtype is expected.dtype
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_a_residual_larger_than_the_result():
    model = Code(lambda self, x: self.conv(x[:1]) + x).eval()
    with torch.no_grad():
        torch.testing.assert_close(torchconv.optimize(model)(image()), model(image()))


@pytest.mark.parametrize(
    "add",
    [
        lambda y, x: y + 1, lambda y, x: y + y, lambda y, x: torch.add(y, x, alpha=2),
        lambda y, x: y.add(x, alpha=2), lambda y, x: y - x,
    ],
)  # fmt: skip
def test_other_sums_stay(add):
    optimised = assert_optimised(Block(add), image())
    assert done(optimised)["conv2"] == ["BatchNorm"]


@pytest.mark.parametrize(
    ("pad", "padding"),
    [
        (nn.ZeroPad2d(1), (2, 2)), (nn.ConstantPad2d((2, 2, 1, 1), 0.0), (2, 3)),
        (lambda x: F.pad(x, (1, 1, 3, 3)), (4, 2)), (lambda x: F.pad(x, [2, 2]), (1, 3)),
        (lambda x: F.pad(x, (1, 1, 1, 1), "constant", 0.0), (2, 2)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("then", [lambda self, x: x, lambda self, x: self.act(self.norm(x))])
def test_padding(pad, padding, then):
    model = Code(lambda self, x: then(self, self.conv(self.pad(x))))
    model.pad = pad
    optimised = assert_optimised(model, image())
    assert "padding" in done(optimised)["conv"] and optimised.conv.padding == padding


@pytest.mark.parametrize(
    "pad",
    [
        nn.ZeroPad2d((0, 1, 0, 1)), nn.ConstantPad2d(1, 1.0), nn.ReflectionPad2d(1),
        nn.ZeroPad2d(-1), lambda x: F.pad(x, (1, 1, 1, 1, 0, 0)),
        lambda x: F.pad(x, (1, 1, 1, 1), "reflect"), lambda x: F.pad(x, (1, 1, 1, 1), value=2),
        lambda x: F.pad(x, (x.shape[2] // 4,) * 4),
    ],
)  # fmt: skip
def test_other_padding_stays(pad):
    model = Code(lambda self, x: self.conv(self.pad(x)))
    model.pad = pad
    assert done(assert_optimised(model, image()))["conv"] == []


def test_padding_before_same_and_valid():
    for padding, expected in (("valid", ["padding"]), ("same", [])):
        model = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 3, 3, padding=padding))
        assert done(assert_optimised(model, image())) == {"1": expected}


def test_squeeze_and_excitation():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.down, self.act, self.up = nn.Conv2d(3, 2, 1), nn.SiLU(), nn.Conv2d(2, 3, 1)

        def forward(self, x):
            return x * torch.sigmoid(self.up(self.act(self.down(self.pool(x)))))

    assert done(assert_optimised(Gate(), image())) == {"down": ["silu"], "up": ["sigmoid"]}


def test_all_other_convolutions_compute_with_torchconv():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), torchconv.Conv2d(3, 3, 1), nn.Linear(8, 8))
    optimised = assert_optimised(model, image())
    assert torchconv.is_converted(optimised[0]) and torchconv.is_converted(optimised[1])
    assert {type(layer) for layer in optimised[:2]} == {torchconv.ConvActivation2d}
    assert {layer.activation for layer in optimised[:2]} == {None}


def test_winograd_of_a_layer_is_kept():
    model = nn.Sequential(torchconv.Conv2d(3, 3, 3), nn.ReLU())
    model[0].winograd = "off"
    assert assert_optimised(model, image())[0].winograd == "off"


def test_layers_that_end_with_an_activation_already():
    model = nn.Sequential(
        torchconv.ConvActivation2d(3, 3, 1, activation=None), nn.BatchNorm2d(3), nn.SiLU(),
        torchconv.ConvActivation2d(3, 3, 1, activation="silu"), nn.BatchNorm2d(3), nn.ReLU(),
    )  # fmt: skip
    optimised = assert_optimised(model, image())
    assert done(optimised) == {"0": ["BatchNorm", "silu"], "3": []}
    assert type(optimised[4]) is nn.BatchNorm2d
