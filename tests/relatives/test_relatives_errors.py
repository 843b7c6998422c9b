"""What the relatives of conv2d accept and refuse is what their namesakes do."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import torchconv
from tests.compare import outcome


def ones(*size, dtype=torch.float32, device="cpu"):
    return torch.ones(size, dtype=dtype, device=device)


TENSORS = {
    "conv1d": (ones(2, 4, 6), ones(6, 4, 3)),
    "conv_transpose1d": (ones(2, 4, 6), ones(4, 6, 3)),
    "conv_transpose2d": (ones(2, 4, 6, 5), ones(4, 6, 3, 3)),
}
SHARED = {
    "input rank 1": lambda x, w: dict(input=ones(6)),
    "input rank 5": lambda x, w: dict(input=ones(1, 1, 2, 4, 6)),
    "weight rank 1": lambda x, w: dict(weight=ones(6)),
    "weight rank 2": lambda x, w: dict(weight=ones(6, 4)),
    "weight rank 5": lambda x, w: dict(weight=ones(6, 4, 3, 3, 3)),
    "both rank 2": lambda x, w: dict(input=ones(4, 6), weight=ones(6, 4)),
    "unbatched": lambda x, w: dict(input=x[0]),
    "channels": lambda x, w: dict(input=x[:, :3]),
    "groups 3": lambda x, w: dict(groups=3),
    "groups 0": lambda x, w: dict(groups=0),
    "groups -1": lambda x, w: dict(groups=-1),
    "groups float": lambda x, w: dict(groups=1.0),
    "groups bool": lambda x, w: dict(groups=True),
    "groups None": lambda x, w: dict(groups=None),
    "stride 0": lambda x, w: dict(stride=0),
    "stride -1": lambda x, w: dict(stride=-1),
    "stride float": lambda x, w: dict(stride=1.0),
    "stride str": lambda x, w: dict(stride="1"),
    "stride None": lambda x, w: dict(stride=None),
    "stride numpy": lambda x, w: dict(stride=np.int64(2)),
    "stride list": lambda x, w: dict(stride=[2]),
    "stride of 3": lambda x, w: dict(stride=(1, 1, 1)),
    "stride empty": lambda x, w: dict(stride=()),
    "stride beyond 64 bits": lambda x, w: dict(stride=2**70),
    "padding -1": lambda x, w: dict(padding=-1),
    "padding float": lambda x, w: dict(padding=0.5),
    "padding of 3": lambda x, w: dict(padding=(1, 1, 1)),
    "padding unknown": lambda x, w: dict(padding="full"),
    "padding large": lambda x, w: dict(padding=9),
    "dilation 0": lambda x, w: dict(dilation=0),
    "dilation large": lambda x, w: dict(dilation=40),
    "bias": lambda x, w: dict(bias=ones(6)),
    "bias length": lambda x, w: dict(bias=ones(5)),
    "bias rank 2": lambda x, w: dict(bias=ones(6, 1)),
    "bias dtype": lambda x, w: dict(bias=ones(6).double()),
    "bias list": lambda x, w: dict(bias=[0.0] * 6),
    "input list": lambda x, w: dict(input=[1.0]),
    "weight None": lambda x, w: dict(weight=None),
    "weight dtype": lambda x, w: dict(weight=w.double()),
    "input int": lambda x, w: dict(input=x.long()),
    "all int": lambda x, w: dict(input=x.long(), weight=w.long()),
    "all complex": lambda x, w: dict(input=x.cfloat(), weight=w.cfloat()),
    "sparse input": lambda x, w: dict(input=x.to_sparse()),
    "meta": lambda x, w: dict(input=x.to("meta"), weight=w.to("meta")),
    "meta input": lambda x, w: dict(input=x.to("meta")),
    "unknown argument": lambda x, w: dict(foo=1),
    "empty batch": lambda x, w: dict(input=x[:0]),
    "empty batch, wrong channels": lambda x, w: dict(input=x[:0, :3]),
    "empty batch, no columns": lambda x, w: dict(input=x[:0, ..., :0]),
    "no columns": lambda x, w: dict(input=x[..., :0]),
    "no columns, padded": lambda x, w: dict(input=x[..., :0], padding=2),
    "no channels": lambda x, w: dict(input=x[:, :0]),
    "no weight": lambda x, w: dict(weight=w[:0]),
    "no weight, no channels": lambda x, w: dict(input=x[:, :0], weight=w[:0]),
    "no kernel": lambda x, w: dict(weight=w[..., :0]),
    "no channels of the weight": lambda x, w: dict(weight=w[:, :0]),
    "one element": lambda x, w: dict(input=x[..., :1], weight=w[..., :1]),
}
CONVOLUTION = {
    "same": lambda x, w: dict(padding="same"),
    "valid, strided": lambda x, w: dict(padding="valid", stride=2),
    "kernel too large": lambda x, w: dict(input=x[..., :2]),
    "groups above k": lambda x, w: dict(weight=ones(2, 1, 3), groups=4),
    "groups do not divide k": lambda x, w: dict(weight=ones(5, 2, 3), groups=2),
}
TRANSPOSED = {
    "same": lambda x, w: dict(padding="same"),
    "output_padding -1": lambda x, w: dict(output_padding=-1),
    "output_padding 1": lambda x, w: dict(output_padding=1),
    "output_padding 1, stride 2": lambda x, w: dict(output_padding=1, stride=2),
    "output_padding 1, dilation 2": lambda x, w: dict(output_padding=1, dilation=2),
    "output_padding 2, stride 2, dilation 2": lambda x, w: dict(
        output_padding=2, stride=2, dilation=2
    ),
    "output_padding float": lambda x, w: dict(output_padding=0.5),
    "output_padding of 3": lambda x, w: dict(output_padding=(0, 0, 0)),
    "groups 2": lambda x, w: dict(groups=2, bias=ones(12)),
    "groups 2, bias": lambda x, w: dict(groups=2, bias=ones(6)),
    "output too small": lambda x, w: dict(input=x[..., :1], padding=2),
    "empty batch, output too small": lambda x, w: dict(input=x[:0, ..., :1], padding=2),
    "empty batch, no columns, no output": lambda x, w: dict(input=x[:0, ..., :0], padding=2),
    "unbatched without columns": lambda x, w: dict(input=x[0, ..., :0]),
    "unbatched without channels": lambda x, w: dict(input=x[0, :0]),
}
CALLS = [
    (name, label, make)
    for name in TENSORS
    for label, make in {**SHARED, **(TRANSPOSED if "transpose" in name else CONVOLUTION)}.items()
]


@pytest.mark.parametrize(("name", "label", "make"), CALLS)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_accepts_and_refuses_what_its_namesake_does(name, label, make):
    input, weight = TENSORS[name]
    arguments = {"input": input, "weight": weight, **make(input, weight)}
    expected, expected_value = outcome(getattr(F, name), **arguments)
    actual, value = outcome(getattr(torchconv, name), **arguments)
    assert actual == expected, f"PyTorch: {expected_value}; torchconv: {value}"
    if actual == "ok":
        assert value.device == expected_value.device
        assert value.stride() == expected_value.stride()
        if not value.is_meta:
            torch.testing.assert_close(value, expected_value)


@pytest.mark.parametrize(
    ("name", "change", "texts"),
    [
        ("conv1d", dict(input=ones(2, 5, 6)), ("[2, 5, 6]", "[6, 4, 3]", "4 channels", "got 5")),
        ("conv1d", dict(input=ones(2, 4, 6, 5)), ("3D", "[2, 4, 6, 5]")),
        ("conv1d", dict(weight=ones(6, 4, 3, 3)), ("[6, 4, 3, 3]", "3-dimensional weight")),
        ("conv1d", dict(dilation=4), ("(6)", "(9)")),
        ("conv1d", dict(stride=[0]), ("stride=[0]",)),
        ("conv1d", dict(stride=(1, 2)), ("stride=[1, 2]", "1 value")),
        ("conv1d", dict(padding=-1), ("padding=[-1]",)),
        ("conv1d", dict(groups="1"), ("groups", "'1'", "str")),
        ("conv1d", dict(input=[1.0]), ("input", "list")),
        ("conv_transpose1d", dict(output_padding=1), ("output_padding=[1]", "stride=[1]")),
        ("conv_transpose1d", dict(input=ones(2, 5, 6)), ("[2, 5, 6]", "[4, 6, 3]", "got 5")),
        ("conv_transpose1d", dict(padding=9), ("(6)", "(-10)", "too small")),
        ("conv_transpose2d", dict(output_padding=-1), ("output_padding=[-1, -1]",)),
        ("conv_transpose2d", dict(dilation=(1, 0)), ("dilation=[1, 0]",)),
        ("conv_transpose2d", dict(stride=(0, 1)), ("stride=[0, 1]",)),
        ("conv_transpose2d", dict(padding=(0, -2)), ("padding=[0, -2]",)),
        ("conv_transpose2d", dict(padding=(9, 0)), ("(6 x 5)", "(-10 x 7)", "too small")),
        ("conv_transpose2d", dict(groups=3), ("groups=3", "divisible by 3", "[4, 6, 3, 3]")),
        ("conv_transpose2d", dict(groups=0), ("groups=0",)),
        ("conv_transpose2d", dict(bias=ones(5)), ("[5]", "6 elements")),
        ("conv_transpose2d", dict(bias=ones(6).double()), ("float32", "float64", "bias")),
        ("conv_transpose2d", dict(weight=ones(4, 6, 3, 3).double()), ("float32", "float64")),
        ("conv_transpose2d", dict(input=ones(2, 4, 0, 5)), ("[2, 4, 0, 5]",)),
        ("conv_transpose2d", dict(padding="same"), ("padding", "'same'")),
    ],
    ids=str,
)
def test_messages_name_function_argument_and_value(name, change, texts):
    input, weight = TENSORS[name]
    with pytest.raises((RuntimeError, TypeError)) as caught:
        getattr(torchconv, name)(**{"input": input, "weight": weight, **change})
    message = str(caught.value)
    assert message.startswith(f"{name}(): ")
    assert all(text in message for text in texts), message
