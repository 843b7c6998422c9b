"""``torchconv.conv2d`` beside ``F.conv2d``: arguments, errors, dtypes, views."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import torchconv
from tests.compare import FLOATS, assert_all_near, assert_near, outcome, same_bits


def ones(*size, dtype=torch.float32, device="cpu"):
    return torch.ones(size, dtype=dtype, device=device)


INPUT = ones(2, 4, 6, 6)
WEIGHT = ones(6, 4, 3, 3)

# name -> arguments; both functions must succeed or raise the same type
CALLS = {
    "input rank 5": dict(input=ones(1, 2, 4, 6, 6)),
    "input rank 2": dict(input=ones(6, 6)),
    "input rank 0": dict(input=ones()),
    "weight rank 3": dict(weight=ones(6, 4, 3)),
    "weight rank 5": dict(weight=ones(6, 4, 3, 3, 3)),
    "weight rank 0": dict(weight=ones()),
    "both rank 3": dict(input=ones(4, 6, 6), weight=ones(6, 4, 3)),
    "both rank 5": dict(input=ones(2, 4, 6, 6, 6), weight=ones(6, 4, 3, 3, 3)),
    "channels": dict(input=ones(2, 5, 6, 6)),
    "groups 2": dict(groups=2),
    "groups 3": dict(groups=3),
    "groups do not divide k": dict(weight=ones(5, 2, 3, 3), groups=2),
    "groups above k": dict(weight=ones(2, 1, 3, 3), groups=4),
    "groups 0": dict(groups=0),
    "groups negative": dict(groups=-1),
    "groups float": dict(groups=1.0),
    "groups bool": dict(groups=True),
    "groups str": dict(groups="1"),
    "groups None": dict(groups=None),
    "groups numpy": dict(groups=np.int64(1)),
    "kernel too large": dict(input=ones(2, 4, 2, 2)),
    "kernel one row too large": dict(input=ones(2, 4, 2, 6)),
    "kernel one column too large": dict(input=ones(2, 4, 6, 2)),
    "kernel one row too large, dilated": dict(input=ones(2, 4, 4, 6), dilation=2),
    "dilation too large": dict(dilation=3),
    "padding negative": dict(padding=-1),
    "padding half negative": dict(padding=(1, -1)),
    "padding word": dict(padding="foo"),
    "padding capitals": dict(padding="SAME"),
    "padding None": dict(padding=None),
    "padding float": dict(padding=0.5),
    "padding 3 elements": dict(padding=(1, 1, 1)),
    "padding empty": dict(padding=()),
    "padding huge": dict(padding=2**62),
    "padding beyond 64 bits": dict(padding=2**64),
    "same, stride 0": dict(padding="same", stride=0),
    "same, stride of 3": dict(padding="same", stride=(1, 1, 1)),
    "same, dilation 0": dict(padding="same", dilation=0),
    "same, rank 2": dict(padding="same", input=ones(6, 6)),
    "same, weight rank 3": dict(padding="same", weight=ones(6, 4, 3)),
    "valid, strided": dict(padding="valid", stride=(1, 2)),
    "stride 0": dict(stride=0),
    "stride half 0": dict(stride=(1, 0)),
    "stride negative": dict(stride=-1),
    "stride str": dict(stride="1"),
    "stride float": dict(stride=1.0),
    "stride floats": dict(stride=(1.0, 1.0)),
    "stride half float": dict(stride=(1, 1.0)),
    "stride bool": dict(stride=True),
    "stride bools": dict(stride=(True, True)),
    "stride None": dict(stride=None),
    "stride set": dict(stride={1, 2}),
    "stride range": dict(stride=range(1, 3)),
    "stride 3 elements": dict(stride=(1, 1, 1)),
    "stride empty": dict(stride=()),
    "stride list": dict(stride=[2]),
    "stride 1-tuple": dict(stride=(2,)),
    "stride Size": dict(stride=torch.Size((1, 2))),
    "stride tensor": dict(stride=torch.tensor(2)),
    "stride tensors": dict(stride=(torch.tensor(1), torch.tensor(2))),
    "stride float tensor": dict(stride=torch.tensor(1.0)),
    "stride 1-d tensor": dict(stride=torch.tensor([1, 1])),
    "stride numpy": dict(stride=np.int64(2)),
    "stride numpy float": dict(stride=np.float64(1)),
    "stride numpy array": dict(stride=np.array([1, 1])),
    "stride large": dict(stride=2**40),
    "stride beyond 64 bits": dict(stride=2**70),
    "dilation 0": dict(dilation=0),
    "dilation negative": dict(dilation=-1),
    "dilation str": dict(dilation="1"),
    "dilation 3 elements": dict(dilation=(1, 1, 1)),
    "input list": dict(input=[1.0]),
    "input None": dict(input=None),
    "input numpy": dict(input=np.ones((2, 4, 6, 6), "float32")),
    "weight list": dict(weight=[1.0]),
    "weight None": dict(weight=None),
    "bias list": dict(bias=[0.0] * 6),
    "bias float": dict(bias=0.0),
    "bias length": dict(bias=ones(5)),
    "bias length 1": dict(bias=ones(1)),
    "bias rank 0": dict(bias=ones()),
    "bias rank 2": dict(bias=ones(6, 1)),
    "bias dtype": dict(bias=ones(6, dtype=torch.float64)),
    "bias int": dict(bias=ones(6, dtype=torch.int64)),
    "weight dtype": dict(weight=WEIGHT.double()),
    "input dtype": dict(input=INPUT.half()),
    "input int": dict(input=INPUT.long()),
    "weight int": dict(weight=WEIGHT.long()),
    "weight complex": dict(weight=WEIGHT.cfloat()),
    "all int": dict(input=INPUT.long(), weight=WEIGHT.long()),
    "all bool": dict(input=INPUT.bool(), weight=WEIGHT.bool()),
    "all complex": dict(input=INPUT.cfloat(), weight=WEIGHT.cfloat()),
    "sparse input": dict(input=INPUT.to_sparse()),
    "sparse weight": dict(weight=WEIGHT.to_sparse()),
    "meta input": dict(input=ones(2, 4, 6, 6, device="meta")),
    "unknown argument": dict(foo=1),
    "empty batch": dict(input=ones(0, 4, 6, 6)),
    "empty batch, wrong channels": dict(input=ones(0, 5, 6, 6)),
    "empty batch, small": dict(input=ones(0, 4, 2, 2)),
    "empty batch, no rows": dict(input=ones(0, 4, 0, 6)),
    "empty batch, only padding": dict(input=ones(0, 4, 0, 6), padding=2),
    "no channels": dict(input=ones(2, 0, 6, 6), weight=ones(6, 0, 3, 3)),
    "no channels, bias": dict(input=ones(2, 0, 6, 6), weight=ones(6, 0, 3, 3), bias=ones(6)),
    "no channels, 3-d": dict(input=ones(0, 6, 6), weight=ones(6, 0, 3, 3)),
    "no output channels": dict(weight=ones(0, 4, 3, 3)),
    "no channels at all": dict(input=ones(2, 0, 6, 6), weight=ones(0, 0, 3, 3)),
    "no rows": dict(input=ones(2, 4, 0, 6)),
    "no rows, padded": dict(input=ones(2, 4, 0, 6), padding=2),
    "no rows, 3-d": dict(input=ones(4, 0, 6), padding=2),
    "no kernel rows": dict(weight=ones(6, 4, 0, 3)),
    "no kernel": dict(weight=ones(6, 4, 0, 0)),
}


@pytest.mark.parametrize("name", CALLS)
def test_accepts_and_refuses_what_f_conv2d_does(name):
    arguments = {"input": INPUT, "weight": WEIGHT, **CALLS[name]}
    expected, expected_value = outcome(F.conv2d, **arguments)
    actual, value = outcome(torchconv.conv2d, **arguments)
    assert actual == expected, f"F.conv2d: {expected_value}; torchconv: {value}"
    if actual == "ok":
        assert value.device == expected_value.device
        assert value.stride() == expected_value.stride()
        if not value.is_meta:
            torch.testing.assert_close(value, expected_value)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (dict(input=ones(2, 5, 6, 6)), ("[2, 5, 6, 6]", "[6, 4, 3, 3]", "groups=1")),
        (dict(input=ones(6, 6)), ("input", "[6, 6]")),
        (dict(weight=ones(6, 4, 3)), ("weight", "[6, 4, 3]")),
        (dict(bias=ones(5)), ("bias", "[5]", "6 elements")),
        (dict(stride=(1, 0)), ("stride", "[1, 0]")),
        (dict(stride="1"), ("stride", "'1'", "str")),
        (dict(stride=(1, 1, 1)), ("stride", "[1, 1, 1]")),
        (dict(padding=(1, -1)), ("padding", "[1, -1]")),
        (dict(padding="foo"), ("padding", "'foo'")),
        (dict(dilation=3), ("(6 x 6)", "(7 x 7)", "[2, 4, 6, 6]")),
        (dict(groups=0), ("groups=0",)),
        (dict(groups=3), ("groups=3", "12 channels", "[2, 4, 6, 6]")),
        (dict(groups=2, weight=ones(5, 2, 3, 3)), ("groups=2", "divisible by 2", "[5, 2, 3, 3]")),
        (dict(weight=WEIGHT.double()), ("float32", "float64")),
        (dict(input=[1.0]), ("input", "list")),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_messages_name_the_argument_and_its_value(arguments, texts):
    with pytest.raises((RuntimeError, TypeError)) as caught:
        torchconv.conv2d(**{"input": INPUT, "weight": WEIGHT, **arguments})
    assert all(text in str(caught.value) for text in texts), str(caught.value)


GEOMETRIES = [
    dict(),
    dict(stride=2),
    dict(stride=(2, 1), padding=(0, 3)),
    dict(padding=2, dilation=(1, 2)),
    dict(padding="valid", stride=2),
    dict(padding="same"),
    dict(padding="same", dilation=(3, 2)),
    dict(stride=[3], padding=[1], dilation=[1]),
    dict(groups=2, padding=1),
]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (1, 1)], ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_values_and_gradients(geometry, dtype, kernel):
    groups = geometry.get("groups", 1)
    arguments = [torch.randn(2, 4, 9, 8), torch.randn(6, 4 // groups, *kernel), torch.randn(6)]
    arguments = [tensor.to(dtype).requires_grad_() for tensor in arguments]
    doubles = [tensor.detach().double().requires_grad_() for tensor in arguments]

    actual = torchconv.conv2d(*arguments, **geometry)
    expected = F.conv2d(*doubles, **geometry)
    grad = torch.randn_like(actual)
    assert_near(actual, expected.to(dtype))
    assert_all_near(
        torch.autograd.grad(actual, arguments, grad),
        [g.to(dtype) for g in torch.autograd.grad(expected, doubles, grad.double())],
    )

    one = torchconv.conv2d(arguments[0][0], *arguments[1:], **geometry)
    assert same_bits(one, actual[0])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_views_of_any_kind(dtype):
    base = torch.randn(3, 9, 20, 18).to(dtype)
    weight = torch.randn(4, 4, 3, 3).to(dtype)
    views = {
        "offset": base[1:, 2:6, 3:, 1:],
        "steps": base[:, 1::2, ::2, ::3],
        "flipped axes": base[:, :4].transpose(2, 3),
        "expanded": base[:1, :1].expand(2, 4, -1, -1),
        "negative": torch.complex(base.float(), base.float()).conj().imag[:, :4].to(dtype),
        "lazily negated": torch.complex(base.double(), base.double()).conj().imag[:, :4],
    }
    assert views["lazily negated"].is_neg()
    for name, view in views.items():
        kernel = weight.to(view.dtype)
        dense = view.clone(memory_format=torch.contiguous_format).resolve_neg()
        output = torchconv.conv2d(view, kernel)
        assert same_bits(output, torchconv.conv2d(dense, kernel)), name
        assert_near(output, F.conv2d(dense, kernel))


def test_arguments_and_global_state_are_left_alone():
    input, weight, bias = torch.randn(2, 4, 6, 6), torch.randn(6, 4, 3, 3), torch.randn(6)
    copies = [tensor.clone() for tensor in (input, weight, bias)]
    rng, threads = torch.get_rng_state(), torch.get_num_threads()
    weight.requires_grad_()
    torchconv.conv2d(input, weight, bias, padding=1).sum().backward()
    outcome(torchconv.conv2d, input, weight, stride=0)
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.get_num_threads() == threads
    assert all(map(torch.equal, (input, weight, bias), copies))
    assert (input._version, weight._version, bias._version) == (0, 0, 0)


def test_float64_keeps_its_type_under_autocast():
    """torch.autocast lowers no float64, nor do we; another dtype beside it is an error."""
    arguments = [torch.randn(2, 4, 6, 6), torch.randn(6, 4, 3, 3), torch.randn(6)]
    doubles = [tensor.double().requires_grad_() for tensor in arguments]
    with torch.autocast("cpu", torch.bfloat16):
        expected, actual = F.conv2d(*doubles), torchconv.conv2d(*doubles)
        assert actual.dtype is expected.dtype is torch.float64
        assert_near(actual, expected)
        for mixed in ((doubles[0], *arguments[1:]), (arguments[0], *doubles[1:])):
            assert outcome(torchconv.conv2d, *mixed)[0] == outcome(F.conv2d, *mixed)[0] != "ok"
    cotangent = torch.randn_like(expected)
    assert_all_near(
        torch.autograd.grad(actual, doubles, cotangent),
        torch.autograd.grad(expected, doubles, cotangent),
    )


@pytest.mark.parametrize("kernel", [(2, 3), (3, 2), (4, 4)], ids=str)
def test_size_on_the_meta_device_with_uneven_padding(kernel):
    """One row or column more at the bottom or on the right."""
    tensors = torch.randn(2, 4, 9, 8), torch.randn(6, 4, *kernel)
    expected = torchconv.conv2d(*tensors, padding="same")
    found = torchconv.conv2d(*(tensor.to("meta") for tensor in tensors), padding="same")
    assert found.shape == expected.shape == (2, 6, 9, 8)
    assert found.stride() == expected.stride()
