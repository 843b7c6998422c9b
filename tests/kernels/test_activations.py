"""The operator activate: what results of a convolution become before they are stored. Its bits are
the same everywhere, its errors at most those of PyTorch's functions."""

from __future__ import annotations

import itertools
from typing import cast

import mpmath
import pytest
import torch
import torch.nn.functional as F

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import isa_levels
from tests.compare import FLOATS, bits, same_bits, same_layout
from tests.reference import threads
from torchconv._activations.function import NAMES, Activation, apply_activation

SLOPE = 0.3
EXACT = ("none", "relu", "relu6", "hardswish", "leaky_relu")  # with the bits of ATen
OWN = ("silu", "gelu", "sigmoid")
activations = pytest.mark.parametrize("name", NAMES)
dtypes = pytest.mark.parametrize("dtype", FLOATS, ids=str)
below_float64 = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str
)


def activate(x: torch.Tensor, name: str, residual: torch.Tensor | None = None) -> torch.Tensor:
    return torch.ops.torchconv.activate(x, residual, NAMES.index(name), SLOPE)


def by_torch(x: torch.Tensor, name: str) -> torch.Tensor:
    return x if name == "none" else apply_activation(x, cast(Activation, name), SLOPE)


def by_float64(x: torch.Tensor, name: str) -> torch.Tensor:
    """Of a lower precision; F.gelu itself loses all digits where it is small."""
    x = x.double()
    return x * torch.special.erfc(x * -(0.5**0.5)) / 2 if name == "gelu" else by_torch(x, name)


def ulps(found: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """The largest and the rms error in units of the last place, where no result is denormal."""
    info = torch.finfo(found.dtype)
    kept = (expected == 0) | (expected.abs() >= info.tiny)
    last_place = torch.ldexp(torch.full_like(expected, info.eps / 2), torch.frexp(expected)[1])
    error = ((found.double() - expected) / last_place)[kept]
    return error.abs().max().item(), error.square().mean().sqrt().item()


def assert_no_less_accurate(
    found: torch.Tensor, other: torch.Tensor, expected: torch.Tensor, slack: float = 1.05
) -> None:
    """Which of two correct roundings is nearer is chance: the slack."""
    (largest, rms), (other_largest, other_rms) = ulps(found, expected), ulps(other, expected)
    assert largest <= slack * max(other_largest, 0.5), (largest, other_largest)
    assert rms <= slack * max(other_rms, 0.29), (rms, other_rms)


def dense_range(dtype: torch.dtype) -> torch.Tensor:
    """Numbers of every size; all there are of a half type."""
    if dtype.itemsize == 2:
        x = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
        return x[x.isfinite()]
    size = torch.logspace(-36, 4, 40_000, dtype=torch.float64)
    ordinary = torch.randn(100_000, dtype=torch.float64) * 3
    far = torch.linspace(-88, 88, 100_000, dtype=torch.float64)
    return torch.cat((size, -size, ordinary, far)).to(dtype)


def everything(dtype: torch.dtype) -> torch.Tensor:
    """The same and numbers that are none, denormal ones among them."""
    info = torch.finfo(dtype)
    special = (torch.nan, torch.inf, info.max, info.tiny, info.tiny / 2, 0.0)
    values = torch.tensor(special, dtype=torch.float64).to(dtype)
    return torch.cat((dense_range(dtype), values, -values))


@below_float64
@activations
def test_no_less_accurate_than_torch(name, dtype):
    """Right and left of -1, where F.gelu begins to lose digits. Below -88 exp(-x) overflows."""
    x = dense_range(dtype)
    for part in (x[x >= -1], x[(x < -1) & (x >= -88)]):
        expected = by_float64(part, name)
        assert_no_less_accurate(activate(part, name), by_torch(part, name), expected)


def test_gelu_keeps_digits_where_it_is_small():
    for begin, end, most in ((-3, -1, 8), (-13, -3, 80)):
        x = torch.linspace(begin, end, 100_000)
        assert ulps(activate(x, "gelu"), by_float64(x, "gelu"))[0] < most


@below_float64
@activations
def test_with_a_residual_no_less_accurate_than_torch(name, dtype):
    """The sum is not rounded to a half type before the activation."""
    x, residual = (torch.randn(50_000).to(dtype) for _ in range(2))
    expected = by_float64(x.float() + residual.float(), name)
    assert_no_less_accurate(activate(x, name, residual), by_torch(x + residual, name), expected)


IN_MPMATH = {
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
}


@pytest.mark.parametrize("name", OWN)
def test_float64_no_less_accurate_than_torch(name):
    x = torch.cat((torch.randn(2000).double() * 3, torch.linspace(-36, 36, 1001).double()))
    info = torch.finfo(torch.float64)
    errors = []
    with mpmath.workdps(30):
        expected = [IN_MPMATH[name](mpmath.mpf(value)) for value in x.tolist()]
        for found in (activate(x, name), by_torch(x, name)):
            pairs = zip(found.tolist(), expected, strict=True)
            error = [
                float((value - exact) / mpmath.ldexp(info.eps / 2, mpmath.frexp(exact)[1]))
                for value, exact in pairs
            ]
            errors.append(torch.tensor(error).double())
    (largest, rms), (torch_largest, torch_rms) = (
        (e.abs().max().item(), e.square().mean().sqrt().item()) for e in errors
    )
    assert largest <= 1.05 * torch_largest and rms <= 1.05 * torch_rms, (largest, rms)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_bits_of_torch(name, dtype):
    x = dense_range(dtype)
    expected = by_torch(x, name)
    normal = (expected == 0) | (expected.abs() >= torch.finfo(dtype).tiny)
    for level in isa_levels():
        torch.ops.torchconv._force_isa(level)
        assert same_bits(activate(x, name)[normal], expected[normal]), level


@dtypes
@activations
def test_special_values_as_torch(name, dtype):
    """But for denormal results, which are zeros of their sign. One by one: in a long tensor F.gelu
    takes infinity to NaN."""
    info = torch.finfo(dtype)
    for value in (torch.nan, torch.inf, 0.0, info.max, info.tiny, 1e4):
        for sign in (1, -1):
            x = torch.tensor([sign * value], dtype=torch.float64).to(dtype)
            expected = by_torch(x, name)
            if dtype != torch.float16:  # of which float32 holds denormal numbers, too
                expected = torch.where(expected.abs() < info.tiny, expected * 0, expected)
            for level in isa_levels():
                torch.ops.torchconv._force_isa(level)
                found = activate(x, name)
                assert same_bits(found, expected, any_nan=True), (x, found, expected, level)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@activations
def test_every_nan_of_a_half_type_becomes_quiet(name, dtype):
    x = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    x = x[x.isnan()]
    for level in isa_levels():
        torch.ops.torchconv._force_isa(level)
        found = activate(x, name)
        assert found.isnan().all()
        quiet = 0x40 if dtype == torch.bfloat16 else 0x200
        assert (bits(found) & quiet == quiet).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@activations
def test_denormal_numbers_are_zeros(name, dtype):
    """As input, as residual and as result."""
    tiny = torch.finfo(dtype).tiny
    denormal = torch.tensor([tiny / 2, -tiny / 4, tiny / 3] * 7, dtype=torch.float64).to(dtype)
    zero, one = denormal * 0, torch.ones_like(denormal)
    assert denormal.all()
    for level in isa_levels():
        torch.ops.torchconv._force_isa(level)
        assert same_bits(activate(denormal, name), activate(zero, name)), level
        assert same_bits(activate(one, name, denormal), activate(one, name)), level
        if name in ("silu", "gelu", "hardswish"):
            assert not activate(torch.full_like(zero, tiny), name).any(), level


@dtypes
@activations
def test_same_bits_everywhere(name, dtype):
    """On every level, with any number of threads, and in parts of any length."""
    x = everything(dtype)
    x = x[torch.randperm(len(x))]
    residuals = (None, x.flip(0).contiguous())
    expected = [activate(x, name, residual) for residual in residuals]
    for level, count in itertools.product(isa_levels(), (1, 3)):
        torch.ops.torchconv._force_isa(level)
        with threads(count):
            for residual, whole in zip(residuals, expected, strict=True):
                assert same_bits(activate(x, name, residual), whole, any_nan=True), level
        begin = 0
        for length in (*range(1, 41), 4095, 4097):
            part = slice(begin, begin + length)
            for residual, whole in zip(residuals, expected, strict=True):
                rest = None if residual is None else residual[part]
                found = activate(x[part], name, rest)
                assert same_bits(found, whole[part], any_nan=True), (level, length)
            begin += length


def orders(x: torch.Tensor) -> list[torch.Tensor]:
    return [
        x,
        x.contiguous(memory_format=torch.channels_last),
        x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),
    ]


def test_any_order_of_the_elements():
    x, residual = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 5, 7)
    before = x.clone()
    expected = F.relu(x + residual)
    for one, other in itertools.product(orders(x), orders(residual)):
        found = activate(one, "relu", other)
        assert torch.equal(found, expected) and same_layout(found, one)
    expanded = residual[:, :1].expand(2, 3, 5, 7)
    assert torch.equal(activate(x, "relu", expanded), F.relu(x + expanded))
    assert torch.equal(x, before)


@pytest.mark.parametrize("size", [(), (0,), (3, 0, 2), (1, 1), (1, 5, 1, 1)], ids=str)
def test_sizes(size):
    x, residual = torch.randn(size), torch.randn(size)
    assert torch.equal(activate(x, "relu"), F.relu(x))
    assert torch.equal(activate(x, "relu", residual), F.relu(x + residual))


def test_what_is_refused():
    x = torch.randn(2, 3, 4)
    for hollow in (x[:, :, :3], x[:, :1].expand(2, 3, 4), x[::2].expand(2, 3, 4)):
        with pytest.raises(RuntimeError, match="input must be dense"):
            activate(hollow, "relu")
    with pytest.raises(RuntimeError, match=r"residual must have size \(2, 3, 4\), got \(3, 4\)"):
        activate(x, "relu", x[0])
    with pytest.raises(RuntimeError, match="one dtype"):
        activate(x, "relu", x.double())
    with pytest.raises(RuntimeError, match="dtype must be"):
        activate(x.int(), "relu")
    for number in (-1, len(NAMES), 2**32):
        with pytest.raises(RuntimeError, match=f"no such activation: {number}"):
            torch.ops.torchconv.activate(x, None, number, 0.0)
    gone = x.clone()
    gone.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="the data of input .*not allocated"):
        activate(gone, "relu")
    with pytest.raises(RuntimeError, match="the data of residual .*not allocated"):
        activate(x, "relu", gone)


def test_without_data():
    """The fake has the size, dtype and strides of the operator."""
    for x, dtype in itertools.product(orders(torch.randn(2, 3, 5, 7)), FLOATS):
        x = x.to(dtype)
        for residual in (None, torch.randn(2, 3, 5, 7, dtype=dtype)):
            found = activate(x, "relu", residual)
            fake = activate(x.to("meta"), "relu", None if residual is None else residual.to("meta"))
            assert fake.is_meta and fake.shape == found.shape and fake.dtype == found.dtype
            assert fake.stride() == found.stride() == x.stride()
