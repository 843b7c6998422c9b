"""conv3d: the calls that are 2-d convolutions of views, and those that are left to PyTorch."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

import torchconv
from tests.compare import FLOATS, assert_near, same_bits
from tests.reference import threads
from torchconv import functional
from torchconv._relatives import conv3d

LAST = torch.channels_last_3d
DENSE = torch.contiguous_format
# Kernel and options of (2+1)d layers, and whether channels_last_3d alone is computed in place.
HALVES = [
    ((3, 1, 1), dict(padding=(1, 0, 0)), False),
    ((3, 1, 1), dict(stride=(2, 1, 1), dilation=(2, 1, 1)), False),
    ((2, 1, 1), dict(groups=2), False),
    ((1, 1, 1), {}, False),
    ((5, 1, 1), dict(padding="same"), False),
    ((1, 3, 3), dict(padding=(0, 1, 1)), True),
    ((1, 2, 5), dict(stride=(1, 2, 1), padding=(0, 1, 2), groups=4), True),
    ((1, 3, 3), dict(padding="same", dilation=(1, 2, 1)), True),
]
each_half = pytest.mark.parametrize("kernel, options, last_only", HALVES, ids=str)


def volumes(n=2, c=4, d=5, h=6, w=7, memory_format=DENSE, dtype=torch.float32):
    return torch.randn(n, c, d, h, w).to(dtype).contiguous(memory_format=memory_format)


def weights(kernel, options, dtype=torch.float32):
    return torch.randn(8, 4 // options.get("groups", 1), *kernel).to(dtype)


@pytest.fixture
def images(monkeypatch):
    """What conv2d is called with."""
    seen = []
    conv2d = functional.conv2d

    def noting(input, *arguments):
        seen.append(input)
        return conv2d(input, *arguments)

    monkeypatch.setattr(functional, "conv2d", noting)
    return seen


@pytest.mark.parametrize("memory_format", [DENSE, LAST], ids=str)
@pytest.mark.parametrize("n", [1, 2])
@each_half
def test_halves_are_computed_in_place(kernel, options, last_only, memory_format, n, images):
    x, weight, bias = volumes(n, memory_format=memory_format), weights(kernel, options), None
    found = torchconv.conv3d(x, weight, bias, **options)
    assert_near(found, F.conv3d(x, weight, **options))
    assert found.is_contiguous(memory_format=memory_format)
    if last_only and memory_format is DENSE:
        assert not images
    else:
        (image,) = images
        assert image.data_ptr() == x.data_ptr() and image.numel() == x.numel()


@pytest.mark.parametrize("memory_format", [DENSE, LAST], ids=str)
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("h, w, row", [(24, 24, 24), (33, 32, 32), (6, 192, 48)])
def test_large_slices_are_several_rows(h, w, row, dilation, memory_format, images, monkeypatch):
    """With the bits of one row, in the output and the gradient of the input."""
    x = torch.randn(2, 33, 5, h, w).contiguous(memory_format=memory_format)
    weight = torch.randn(32, 33, 3, 1, 1) / 10
    options = dict(padding=(dilation, 0, 0), dilation=(dilation, 1, 1))
    expected = torchconv.conv3d(x, weight, **options)
    assert images.pop().shape == (2, 33, 5 * h * w // row, row)
    assert_near(expected, F.conv3d(x, weight, **options))
    assert expected.is_contiguous(memory_format=memory_format)
    operands = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
    output = torchconv.conv3d(*operands, **options)
    in_training = row if h * w >= conv3d.SLICE_IN_TRAINING else h * w
    assert images.pop().shape[3] == in_training
    grad = torch.randn(output.shape)
    found = torch.autograd.grad(output, operands, grad)
    assert same_bits(output.detach(), expected)
    for ours, theirs in zip(
        found, torch.autograd.grad(F.conv3d(*operands, **options), operands, grad), strict=True
    ):
        assert_near(ours, theirs)
    monkeypatch.setattr(conv3d, "LONGEST_ROW", 0)
    output = torchconv.conv3d(*operands, **options)
    assert images.pop().shape == (2, 33, 5, h * w) and same_bits(output.detach(), expected)
    assert same_bits(torch.autograd.grad(output, operands[0], grad)[0], found[0])


@pytest.mark.parametrize(
    "k, c, options",
    [(32, 31, {}), (31, 32, {}), (64, 64, dict(groups=4)), (32, 32, dict(stride=(2, 1, 1)))],
)
def test_others_are_one_row(k, c, options, images):
    """Where dense_pixels computes, or the depth has a stride."""
    x, weight = torch.randn(1, c, 4, 24, 24), torch.randn(k, c // options.get("groups", 1), 3, 1, 1)
    found = torchconv.conv3d(x, weight, **options)
    assert images[0].shape == (1, c, 4, 24 * 24)
    assert_near(found, F.conv3d(x, weight, **options))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@each_half
def test_gradients(kernel, options, last_only, dtype):
    x, weight = volumes(memory_format=LAST, dtype=dtype), weights(kernel, options, dtype)
    operands = x, weight, torch.randn(8).to(dtype)
    ours = [each.clone().requires_grad_() for each in operands]
    theirs = [each.double().requires_grad_() for each in operands]
    found, expected = torchconv.conv3d(*ours, **options), F.conv3d(*theirs, **options)
    cotangent = torch.randn_like(expected).to(dtype)
    found.backward(cotangent)
    expected.backward(cotangent.double())
    for one, other in zip(ours, theirs, strict=True):
        assert_near(one.grad, other.grad.to(dtype))


@each_half
def test_higher_derivatives(kernel, options, last_only):
    x = volumes(1, 4, 3, 4, 5, LAST, torch.float64).requires_grad_()
    options = options | dict(dilation=1)
    weight = weights(kernel, options, torch.float64)[:4].requires_grad_()
    for check in (gradcheck, gradgradcheck):
        assert check(lambda *tensors: torchconv.conv3d(*tensors, **options), (x, weight))


@each_half
def test_same_bits_for_any_batch_and_number_of_threads(kernel, options, last_only):
    x, weight = volumes(3, memory_format=LAST), weights(kernel, options)
    whole = torchconv.conv3d(x, weight, **options)
    for count in (1, 3):
        with threads(count):
            assert same_bits(torchconv.conv3d(x[1:2], weight, **options), whole[1:2])
    assert same_bits(torchconv.conv3d(x[1], weight, **options), whole[1])


@pytest.mark.parametrize(
    "kernel, options",
    [
        ((3, 3, 3), dict(padding=1)),
        ((3, 1, 1), dict(stride=2)),
        ((3, 1, 1), dict(padding=1)),
        ((1, 3, 3), dict(stride=2)),
        ((1, 3, 3), dict(padding=1)),
        ((2, 1, 1), dict(padding="same")),
    ],
    ids=str,
)
def test_other_kernels_are_left_to_pytorch(kernel, options, images):
    x, weight = volumes(memory_format=LAST), weights(kernel, options)
    assert same_bits(torchconv.conv3d(x, weight, **options), F.conv3d(x, weight, **options))
    assert not images


@pytest.mark.parametrize(
    "change",
    [
        dict(input=torch.randn(2, 3, 5, 6, 7)),
        dict(input=torch.randn(2, 4)),
        dict(weight=torch.randn(8, 4, 7, 1, 1)),
        dict(weight=torch.randn(8, 4, 3, 1, 1).double()),
        dict(bias=torch.randn(7)),
        dict(stride=0),
        dict(padding=-1),
        dict(padding="sam"),
        dict(dilation=(1, 1)),
        dict(groups=3),
        dict(stride="1"),
        dict(input=3),
    ],
    ids=lambda change: next(iter(change)),
)
def test_errors_are_pytorchs(change):
    arguments = dict(input=volumes(), weight=torch.randn(8, 4, 3, 1, 1), bias=torch.randn(8))
    arguments |= change
    with pytest.raises(Exception) as theirs:
        F.conv3d(**arguments)
    with pytest.raises(theirs.type):
        torchconv.conv3d(**arguments)


def test_autocast_transforms_and_compilers():
    x, weight = volumes(memory_format=LAST), weights((3, 1, 1), {})
    with torch.autocast("cpu", torch.bfloat16):
        assert torchconv.conv3d(x, weight).dtype is torch.bfloat16
    expected = F.conv3d(x, weight)
    compiled = torch.compile(torchconv.conv3d, backend="aot_eager", fullgraph=True)
    mapped = torch.func.vmap(torchconv.conv3d, (0, None))(x[:, None], weight)[:, 0]
    for found in (compiled(x, weight), mapped):
        assert_near(found, expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_layers():
    torch.manual_seed(0)
    layer = torchconv.Conv3d(4, 8, (3, 1, 1), padding=(1, 0, 0), padding_mode="replicate")
    plain = nn.Conv3d(4, 8, (3, 1, 1), padding=(1, 0, 0), padding_mode="replicate")
    plain.load_state_dict(layer.state_dict())
    assert repr(layer) == repr(plain) and isinstance(layer, nn.Conv3d)
    x = volumes()
    exported = torch.export.export(layer, (x,)).module()
    others = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.jit.script(layer)
    for each in (layer, *others, exported):
        assert_near(each(x), plain(x))


def test_convert(images):
    model = nn.Sequential(nn.Conv3d(4, 8, (1, 3, 3)), nn.Conv3d(8, 4, (3, 1, 1))).to(
        memory_format=LAST
    )
    x = volumes(memory_format=LAST)
    expected = model(x)
    torchconv.convert(model)
    assert type(model[0]) is nn.Conv3d and torchconv.is_converted(model[0])
    assert_near(model(x), expected)
    assert len(images) == 2
    torchconv.revert(model)
    assert same_bits(model(x), expected)
