"""How close is close: an error relative to the largest element, per dtype."""

from collections.abc import Sequence

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
TOLERANCE = {
    torch.float32: 2e-5,
    torch.float64: 1e-12,
    torch.bfloat16: 2e-2,
    torch.float16: 3e-3,
}


def assert_near(actual: Tensor, expected: Tensor, tolerance: float | None = None) -> None:
    """Same shape, dtype and device; each error within ``tolerance`` of the largest element."""
    if tolerance is None:
        tolerance = TOLERANCE[actual.dtype]
    scale = expected.detach().abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * max(scale, 1e-30))


def assert_all_near(
    actual: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float | None = None
) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert_near(one, other, tolerance)


_INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits(tensor: Tensor) -> Tensor:
    """The elements as integers, which tell -0 from +0 and one NaN from another."""
    return tensor.detach().contiguous().view(_INTEGER[tensor.element_size()])


def same_bits(a: Tensor, b: Tensor, any_nan: bool = False) -> bool:
    """Whether two tensors have the same shape, dtype and bits; with ``any_nan`` every NaN is the
    same, whatever its sign and payload."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if any_nan:
        if not torch.equal(a.isnan(), b.isnan()):
            return False
        a, b = a.masked_fill(a.isnan(), 0), b.masked_fill(b.isnan(), 0)
    return torch.equal(bits(a), bits(b))


def same_layout(a: Tensor, b: Tensor) -> bool:
    """Equal strides, apart from dimensions of size 1, where a stride means nothing."""
    pairs = zip(a.shape, a.stride(), b.stride(), strict=True)
    return all(one == other for size, one, other in pairs if size > 1)


def outcome(function, *arguments, **options):
    """What a call does: ``("ok", result)`` or ``(type of the exception, its text)``."""
    try:
        return "ok", function(*arguments, **options)
    except Exception as error:
        return type(error), str(error)
