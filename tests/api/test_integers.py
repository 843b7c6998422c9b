"""conv2d(..., out_dtype=torch.int32): what it takes, what it refuses, and PyTorch around it."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

import torchconv

INT = torch.int32


def images(*size: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    info = torch.iinfo(dtype)
    generator = torch.Generator().manual_seed(sum(size))
    return torch.randint(info.min, info.max + 1, size, generator=generator, dtype=dtype)


def expected(x: Tensor, weight: Tensor, bias: Tensor | None = None, **options) -> Tensor:
    bias = None if bias is None else bias.long()
    return F.conv2d(x.long(), weight.long(), bias, **options).int()


X, W = images(2, 4, 9, 8), images(6, 4, 3, 3, dtype=torch.int8)
BIAS = torch.arange(-3, 3, dtype=INT) * 1000


def layer(x: Tensor, weight: Tensor = W, bias: Tensor | None = BIAS, **options) -> Tensor:
    return torchconv.conv2d(x, weight, bias, out_dtype=INT, **options)


def test_sums_that_pytorch_overflows():
    ones = torch.ones(1, 8, 3, 3, dtype=torch.int8)
    hundreds = torch.full((1, 8, 3, 3), 100, dtype=torch.int8)
    assert F.conv2d(ones, hundreds).item() == 32
    assert torchconv.conv2d(ones, hundreds).item() == 32
    assert torchconv.conv2d(ones, hundreds, out_dtype=INT).item() == 7200


@pytest.mark.parametrize("backend", ["auto", "aten"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8], ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": (2, 1)}, {"dilation": (1, 3)}, {"padding": "same"},
     {"padding": "same", "dilation": (2, 1)}, {"groups": 2}],
    ids=str,
)  # fmt: skip
def test_as_int64(options, dtype, backend):
    x, weight = images(2, 4, 9, 8, dtype=dtype), W[:, : 4 // options.get("groups", 1)]
    with torchconv.backend(backend):
        for bias in (None, BIAS):
            result = layer(x, weight, bias, **options)
            assert result.dtype is INT
            assert torch.equal(result, expected(x, weight, bias, **options))
            assert torch.equal(layer(x[0], weight, bias, **options), result[0])


@pytest.mark.parametrize("backend", ["auto", "aten"])
def test_memory_format_and_strides(backend):
    wanted = expected(X, W, BIAS)
    last = X.contiguous(memory_format=torch.channels_last)
    with torchconv.backend(backend):
        for x, weight in ((last, W), (X, W.contiguous(memory_format=torch.channels_last))):
            result = layer(x, weight)
            assert result.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(result, wanted)
        wide, spread = X.repeat_interleave(2, 3)[..., ::2], BIAS.repeat_interleave(2)[::2]
        assert torch.equal(layer(wide, W.mT.contiguous().mT, spread), wanted)
        assert layer(X).is_contiguous()


@pytest.mark.parametrize("backend", ["auto", "aten"])
def test_empty(backend):
    with torchconv.backend(backend):
        assert layer(X[:0]).shape == (0, 6, 7, 6)
        nothing = layer(X[:, :0], W[:, :0])
        assert torch.equal(nothing, BIAS.view(1, 6, 1, 1).expand(2, 6, 7, 6))


@pytest.mark.parametrize(
    ("operands", "out_dtype", "error", "message"),
    [
        ((X, W), torch.int64, RuntimeError, r"out_dtype must be torch.int32 .* got torch.int64"),
        ((X, W), "int32", TypeError, "out_dtype must be a torch.dtype or None, but got str"),
        ((X.float(), W), INT, RuntimeError, "input must be .* but got torch.float32"),
        ((X, W.byte()), INT, RuntimeError, "weight must be torch.int8, but got torch.uint8"),
        ((X, W, BIAS.float()), INT, RuntimeError, "bias must be torch.int32, but got torch.float"),
        ((X, W, BIAS[:5]), INT, RuntimeError, r"expected bias to be 1-dim.* size \[5\] instead"),
        ((X.numpy(), W), INT, TypeError, "input must be a Tensor, but got ndarray"),
        ((X[:, :3], W), INT, RuntimeError, r"to have 4 channels, but got 3 channels"),
        ((X[0, 0], W), INT, RuntimeError, r"Expected 3D .unbatched. or 4D"),
        ((X, W, None, 0), INT, RuntimeError, "non-positive stride"),
    ],
)
def test_errors(operands, out_dtype, error, message):
    with pytest.raises(error, match=message):
        torchconv.conv2d(*operands, out_dtype=out_dtype)


@pytest.mark.parametrize("backend", ["auto", "aten"])
def test_sums_that_might_not_fit(backend):
    long = torch.zeros(1, 65794, 1, 1, dtype=torch.int8)
    with torchconv.backend(backend):
        assert torchconv.conv2d(long, long, out_dtype=INT).item() == 0
        with pytest.raises(RuntimeError, match="sums of 65794 products of up to 32640"):
            torchconv.conv2d(long.byte(), long, out_dtype=INT)
        with pytest.raises(RuntimeError, match="a bias of up to 2147483648 may not fit"):
            layer(X, W[:1], torch.tensor([-(2**31)], dtype=INT))


def test_subclasses_and_modes():
    class Mine(Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return super().__torch_function__(func, types, args, kwargs or {})

    with pytest.raises(TypeError, match="out_dtype is for plain tensors, but got Mine and Tensor"):
        layer(X.as_subclass(Mine))

    class Seen(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.call = func, kwargs
            return func(*args, **(kwargs or {}))

    with Seen() as seen:
        result = layer(X)
    function, options = seen.call
    assert function is torchconv.conv2d
    assert options == {"out_dtype": INT}
    assert torch.equal(result, expected(X, W, BIAS))


def test_compile_and_export():
    compiled = torch.compile(lambda x: layer(x, padding=1) + 1, fullgraph=True, backend="aot_eager")
    for x in (X, images(3, 4, 5, 6), X.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(compiled(x), expected(x, W, BIAS, padding=1) + 1)

    class Layer(torch.nn.Module):
        def forward(self, x):
            return layer(x)

    program = torch.export.export(Layer(), (X,))
    assert torch.equal(program.module()(X), expected(X, W, BIAS))
    assert "conv2d_int32" in str(program.graph)
    core = program.run_decompositions()
    assert torch.equal(core.module()(X), expected(X, W, BIAS))


def test_meta_and_flops():
    result = layer(X.to("meta"), W.to("meta"), BIAS.to("meta"))
    assert (result.shape, result.dtype, result.device.type) == ((2, 6, 7, 6), INT, "meta")
    with FlopCounterMode(display=False) as counter:
        layer(X)
    assert counter.get_total_flops() == 2 * (2 * 6 * 7 * 6) * 4 * 9


@pytest.mark.parametrize("dims", [(0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0)])
def test_vmap(dims):
    operands = [torch.stack([t, t.flip(0)]) if dim == 0 else t
                for t, dim in zip((X, W, BIAS), dims, strict=True)]  # fmt: skip
    mapped = torch.vmap(layer, in_dims=dims)(*operands)
    for i in range(2):
        one = (t[i] if dim == 0 else t for t, dim in zip(operands, dims, strict=True))
        assert torch.equal(mapped[i], expected(*one))


def test_vmap_nested_and_in_groups():
    x, weight = images(3, 2, 4, 6, 5), images(3, 8, 1, 3, 3, dtype=torch.int8)
    nested = torch.vmap(torch.vmap(lambda one: layer(one)))(x)
    assert torch.equal(nested, expected(x.flatten(0, 1), W, BIAS).unflatten(0, (3, 2)))
    mapped = torch.vmap(lambda x, w: layer(x, w, None, groups=4))(x, weight)
    for i in range(3):
        assert torch.equal(mapped[i], expected(x[i], weight[i], groups=4))
    with pytest.raises(RuntimeError, match="a bias of up to 2147483647 may not fit"):
        torch.vmap(lambda bias: layer(X, W, bias))(torch.full((2, 6), 2**31 - 1, dtype=INT))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_modes_of_padding_are_refused(mode):
    with pytest.raises(
        RuntimeError, match=f"out_dtype takes padding_mode='zeros', but got '{mode}"
    ):
        layer(X, padding=1, padding_mode=mode)
    with pytest.raises(ValueError, match="nonsense"):
        layer(X, padding=1, padding_mode="nonsense")


def test_opcheck():
    geometry = (1, 1, 1, 1, 1, 1, 1, 1, 1, 0)
    for flags in (0, 1):
        operands = X, W, BIAS, [*geometry[:-1], flags]
        torch.library.opcheck(torch.ops.torchconv.conv2d_int32.default, operands)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_trace():
    traced: Any = torch.jit.trace(lambda x: layer(x), (X,), check_trace=False)
    assert "torchconv::" not in str(traced.graph)
    assert torch.equal(traced(X), expected(X, W, BIAS))


def test_fork():
    x, weight = images(2, 32, 40, 40), images(32, 32, 3, 3, dtype=torch.int8)
    wanted = torchconv.conv2d(x, weight, out_dtype=INT)
    child = os.fork()
    if child == 0:
        same = torch.equal(torchconv.conv2d(x, weight, out_dtype=INT), wanted)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
