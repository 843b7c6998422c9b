"""Which dtype a call on a GPU computes in: TF32 where torch allows it, and autocast.

No GPU is needed: tensors without data stand for tensors on one.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import torchconv
from tests.cuda.dispatched import ATEN, conv, dispatched, flags_of, needs_library
from torchconv._gpu import dispatch


@pytest.fixture
def precision():
    before = torch.backends.cudnn.conv.fp32_precision
    yield lambda value: setattr(torch.backends.cudnn.conv, "fp32_precision", value)
    torch.backends.cudnn.conv.fp32_precision = before


@needs_library
def test_float32_and_tf32_are_accepted_apart(gpu, accept, precision):
    accept(("forward", "tf32", "nchw"))
    precision("tf32")
    assert flags_of(conv(gpu, torch.float32, "nchw")) & ~28 == dispatch.TF32
    precision("ieee")
    assert [name for name, _ in conv(gpu, torch.float32, "nchw")] == ["aten::convolution"]


@needs_library
def test_tf32_is_for_float32_where_torch_allows_it(gpu, precision):
    with torchconv.backend("native"):
        for value, dtype, expected in (
            ("ieee", torch.float32, 0),
            ("tf32", torch.float64, 0),
            ("tf32", torch.bfloat16, 0),
            ("tf32", torch.float32, dispatch.TF32),
        ):
            precision(value)
            assert flags_of(conv(gpu, dtype, "nchw")) == expected
        before = torch._C._get_cudnn_allow_tf32()
        torch._C._set_cudnn_allow_tf32(False)  # what torch.backends.cudnn.allow_tf32 sets
        assert flags_of(conv(gpu, torch.float32, "nchw")) == 0
        torch._C._set_cudnn_allow_tf32(before)


@pytest.fixture
def autocast():
    """torch.autocast("cuda", torch.bfloat16), which switches itself off without a GPU."""
    before = torch.get_autocast_dtype("cuda")
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    yield
    torch.set_autocast_enabled("cuda", False)
    torch.set_autocast_dtype("cuda", before)


@needs_library
def test_autocast_applies_to_our_kernels(gpu, accept, autocast):
    x, weight, bias = gpu(2, 4, 8, 8), gpu(6, 4, 3, 3).half(), gpu(6)
    with torchconv.backend("native"):
        assert torchconv.conv2d(x, weight, bias).dtype is torch.bfloat16
        assert torchconv.conv2d(x[0], weight, bias).shape == (6, 6, 6)
        double = [tensor.double() for tensor in (x, weight, bias)]
        assert torchconv.conv2d(*double).dtype is torch.float64
    accept(("forward", "bfloat16", "nchw"))  # the dtype that is computed in decides
    assert flags_of(dispatched(torchconv.conv2d, x, weight)) & ATEN["forward"] == 0


@needs_library
def test_autocast_is_left_to_aten_with_the_call(gpu, accept, autocast, monkeypatch):
    """Which casts a weight once for all calls of a region."""
    accept(("forward", "bfloat16", "nhwc"))
    given, seen = (gpu(2, 4, 8, 8), gpu(6, 4, 3, 3), gpu(6)), []
    theirs = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *all: (seen.extend(all[:3]), theirs(*all))[1])
    assert torchconv.conv2d(*given).shape == (2, 6, 6, 6)
    assert all(one is other for one, other in zip(seen, given, strict=True))
