"""Padding that nn.Conv2d does not know: each side on its own, and 'same' with a stride."""

import copy
import io
import itertools
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torchconv
from tests.compare import assert_near

SIDES = (1, 0, 3, 2)  # left, right, top, bottom
LAYERS = [
    {"padding": SIDES},
    {"padding": "same", "stride": 2},
    {"padding": "same", "stride": (1, 3)},
]
IDS = ["sides", "same", "same_1x3"]


def keras_sides(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """What TensorFlow documents for padding 'SAME'."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def near(actual: Tensor, expected: Tensor) -> None:
    assert_near(actual, expected.to(actual.dtype))


def padded(layer: nn.Module, x: Tensor) -> Tensor:
    if layer.padding != "same":
        return F.pad(x, layer.padding)
    axes = zip(x.shape[2:], layer.kernel_size, layer.stride, layer.dilation, strict=True)
    rows, columns = (keras_sides(*axis) for axis in axes)
    return F.pad(x, columns + rows)


def reference(layer: nn.Module, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.double()
    x, weight = padded(layer, x).double(), layer.weight.double()
    return F.conv2d(x, weight, bias, layer.stride, 0, layer.dilation, layer.groups)


def test_same_is_that_of_keras() -> None:
    for size, kernel, stride, dilation in itertools.product(
        range(5, 13), range(1, 6), (1, 2, 3), (1, 2)
    ):
        x = torch.arange(2.0 * size * (size + 1)).reshape(1, 2, size, size + 1)
        weight = torch.arange(2.0 * kernel * kernel).reshape(1, 2, kernel, kernel)
        result = torchconv.conv2d(x, weight, None, stride, "same", dilation)
        rows, columns = (keras_sides(n, kernel, stride, dilation) for n in (size, size + 1))
        expected = F.conv2d(F.pad(x, columns + rows), weight, None, stride, 0, dilation)
        assert torch.equal(result, expected)  # sums of small integers
        assert result.shape[2:] == (-(-size // stride), -(-(size + 1) // stride))
        assert result.shape[2:] == torchconv.conv2d_output_size(
            (size, size + 1), kernel, stride, "same", dilation
        )
        line = torchconv.conv1d(x[:, :, 0], weight[:, :, 0], None, stride, "same", dilation)
        expected = F.conv1d(F.pad(x[:, :, 0], columns), weight[:, :, 0], None, stride, 0, dilation)
        assert torch.equal(line, expected)


@pytest.mark.parametrize("options", LAYERS, ids=IDS)
def test_layers_and_their_gradients(options: dict) -> None:
    torch.manual_seed(0)
    layer = torchconv.Conv2d(3, 4, 3, **options)
    x = torch.randn(2, 3, 8, 9, requires_grad=True)
    result, expected = layer(x), reference(layer, x)
    grad = torch.randn_like(result)
    wanted = (x, layer.weight, layer.bias)
    theirs = torch.autograd.grad(expected, wanted, grad.double())
    near(result, expected)
    for ours, exact in zip(torch.autograd.grad(result, wanted, grad), theirs, strict=True):
        near(ours, exact)
    assert torch.equal(torch.vmap(layer)(x[:, None])[:, 0], result)
    assert torch.equal(torch.vmap(layer)(x[None])[0], result)
    with torchconv.backend("aten"):
        near(layer(x), expected)


@pytest.mark.parametrize("options", LAYERS, ids=IDS)
def test_layers_are_drop_ins(options: dict) -> None:
    layer = torchconv.Conv2d(3, 4, 3, **options)
    x = torch.randn(2, 3, 8, 9)
    expected = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), expected)
        assert repr(other) == repr(layer)
    like = nn.Conv2d(3, 4, 3)
    like.load_state_dict(layer.state_dict())
    activated = torchconv.ConvActivation2d(3, 4, 3, **options)
    activated.load_state_dict(layer.state_dict())
    assert torch.equal(activated(x), expected.relu())
    # nn.Conv2d could not compute it: its class stays, and with it what TorchScript compiles.
    (converted,) = torchconv.convert(nn.Sequential(layer))
    assert type(converted) is torchconv.Conv2d
    assert torchconv.is_converted(converted)


@pytest.mark.parametrize("options", LAYERS, ids=IDS)
def test_programs_of_others(options: dict) -> None:
    layer = torchconv.Conv2d(3, 4, 3, **options)
    x = torch.randn(2, 3, 8, 9)
    expected = layer(x)
    scripted = torch.jit.script(layer)
    near(scripted(x), expected.double())
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    file.seek(0)
    larger = torch.randn(1, 3, 9, 7)
    near(torch.jit.load(file)(larger), layer(larger).double())
    exported = torch.export.export(layer, (x,), dynamic_shapes=({2: torch.export.Dim.AUTO},))
    for image in (x, torch.randn(2, 3, 11, 9)):
        assert torch.equal(exported.module()(image), layer(image))
    assert torch.equal(torch.compile(layer, backend="aot_eager", fullgraph=True)(x), expected)


def test_conv1d_takes_both_sides() -> None:
    x = torch.randn(2, 3, 9)
    for options in ({"padding": (3, 1)}, {"padding": "same", "stride": 2}):
        layer = torchconv.Conv1d(3, 4, 4, **options)
        sides = (3, 1) if "stride" not in options else keras_sides(9, 4, 2, 1)
        bias = layer.bias.double()
        expected = F.conv1d(F.pad(x, sides).double(), layer.weight.double(), bias, layer.stride)
        near(layer(x), expected)
        near(torch.jit.script(layer)(x), expected)
        with torchconv.backend("aten"):
            near(layer(x), expected)


def test_output_size_of_four_sides() -> None:
    assert torchconv.conv2d_output_size((5, 6), 3, 2, SIDES) == (4, 3)
    with pytest.raises(ValueError, match="must not be negative"):
        torchconv.conv2d_output_size(5, 3, 1, (1, 1, 1, -1))


@pytest.mark.parametrize(
    ("padding", "error", "message"),
    [
        ((1, 2, 3, -1), RuntimeError, r"padding=\[1, 2, 3, -1\]"),
        ((1, -2, 3, 1), RuntimeError, "negative padding"),
        ((1, 2, 3), RuntimeError, "list of 2 values"),
        ((1, 2, 3, 4, 5), RuntimeError, "list of 2 values"),
        ((1, 2, 3, 1.5), TypeError, "must be made of ints"),
        ("full", RuntimeError, "Invalid padding string"),
    ],
)
def test_nonsense_is_refused(padding: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        torchconv.conv2d(torch.randn(1, 1, 5, 5), torch.randn(1, 1, 2, 2), padding=padding)


def test_constructor_refuses_what_it_refused() -> None:
    for options in ({"padding": "full"}, {"padding": "same", "stride": 0}, {"padding_mode": "no"}):
        with pytest.raises(ValueError, match="."):
            nn.Conv2d(1, 1, 3, **options)
        with pytest.raises(ValueError, match="."):
            torchconv.Conv2d(1, 1, 3, **options)


def test_optimize_adds_padding_to_four_sides() -> None:
    model = nn.Sequential(
        nn.ZeroPad2d(1), torchconv.Conv2d(1, 2, 3, padding=SIDES), nn.ReLU()
    ).eval()
    x = torch.randn(1, 1, 6, 7)
    expected = model(x)
    assert torch.equal(torchconv.optimize(model)(x), expected)
