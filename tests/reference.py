"""What the three operators must give: float64, by the definition, without any convolution of torch.

Each tap (r, s) of the kernel is multiplied with a strided window of the padded input, all of them
in one product of matrices. The same functions on absolute values give sum |a||b|, the scale of
every rounding error, from which the tolerance follows.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F

from tests.cases import Conv2dCase

OPS = ("forward", "grad_input", "grad_weight")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Operands:
    """The tensors of one convolution; `grad` is the gradient of its output."""

    input: torch.Tensor  # [n, c, h, w]
    weight: torch.Tensor  # [k, c / groups, r, s]
    bias: torch.Tensor | None  # [k]
    grad: torch.Tensor  # [n, k, p, q]

    def map(self, function) -> Operands:
        bias = None if self.bias is None else function(self.bias)
        return Operands(function(self.input), function(self.weight), bias, function(self.grad))

    def image(self, i: int) -> Operands:
        """Those of one image of the batch."""
        return Operands(self.input[i : i + 1], self.weight, self.bias, self.grad[i : i + 1])

    def contiguous(self, memory_format: torch.memory_format) -> Operands:
        return self.map(lambda x: x.contiguous(memory_format=memory_format) if x.dim() == 4 else x)


def random_operands(case: Conv2dCase, dtype: torch.dtype, seed: int = 0) -> Operands:
    sizes = (case.input_size, case.weight_size, (case.k,) if case.bias else None, case.output_size)
    small = sum(math.prod(size) for size in sizes if size) < 100_000
    drawn = (_drawn if small else _drawn.__wrapped__)(sizes, seed)
    return Operands(*(None if one is None else one.to(dtype, copy=True) for one in drawn))


@lru_cache(maxsize=1024)
def _drawn(sizes: tuple[tuple[int, ...] | None, ...], seed: int) -> list[torch.Tensor | None]:
    """Many tests go through the same cases again, for each algorithm, dtype and operator."""
    generator = torch.Generator().manual_seed(seed)

    def random(size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    return [None if size is None else random(size) for size in sizes]


def run(
    op: str, case: Conv2dCase, t: Operands, channels_last: bool = False, winograd: str = "auto"
) -> torch.Tensor:
    """One raw operator of torchconv on these tensors as they are."""
    geometry = case.geometry(channels_last, winograd)
    ops = torch.ops.torchconv
    if op == "forward":
        return ops.conv2d.default(t.input, t.weight, t.bias, geometry)
    if op == "grad_input":
        return ops.conv2d_grad_input.default(t.grad, t.weight, case.input_size, geometry)
    return ops.conv2d_grad_weight.default(t.grad, t.input, case.weight_size, geometry)


@contextmanager
def threads(count: int):
    """Runs a block on that many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def exact(op: str, case: Conv2dCase, t: Operands) -> torch.Tensor:
    """The operator in float64."""
    t = t.map(torch.Tensor.double)
    with threads(1):  # its products are so small that waking a second thread costs more
        if op == "forward":
            return _forward(case, t)
        return _grad_input(case, t) if op == "grad_input" else _grad_weight(case, t)


def exact_and_magnitude(
    op: str, case: Conv2dCase, t: Operands
) -> tuple[torch.Tensor, torch.Tensor]:
    """The operator in float64, and the same of absolute values: other groups of one convolution."""

    def both(x: torch.Tensor, axis: int) -> torch.Tensor:
        return torch.cat((x, x.abs()), axis)

    twice = replace(case, c=2 * case.c, k=2 * case.k, groups=2 * case.groups)
    bias = None if t.bias is None else both(t.bias, 0)
    t = Operands(both(t.input, 1), both(t.weight, 0), bias, both(t.grad, 1))
    value, magnitude = exact(op, twice, t).tensor_split(2, 0 if op == "grad_weight" else 1)
    return value, magnitude


def is_too_large(algorithm: str, case: Conv2dCase, most_flops: int = 1_000_000) -> bool:
    """Whether the slowest algorithm would compute for long what teaches nothing: the definition has
    no tiles and no edges, and does to a large layer what it does to a small one."""
    return algorithm == "reference" and case.flops > most_flops


def terms(op: str, case: Conv2dCase) -> int:
    """How many products one element of the result sums at most."""
    if op == "grad_weight":
        return case.n * case.p * case.q
    channels = case.c if op == "forward" else case.k
    return channels // case.groups * case.r * case.s + (op == "forward" and case.bias)


@lru_cache(maxsize=4)
def _expected(op: str, case: Conv2dCase, dtype: torch.dtype):
    t = random_operands(case, dtype)
    return exact_and_magnitude(op, case, t)


def assert_accurate(
    found: torch.Tensor,
    op: str,
    case: Conv2dCase,
    t: Operands | None = None,
    winograd: bool = False,
):
    """Holds `found` against float64; without `t` for the tensors of `random_operands`.

    `winograd`: the sums may be Winograd's. They add up larger numbers, F(4x4, 3x3) four to five
    times as large, and the errors are as large everywhere as beside the largest values.

    A sum of L products in float32 errs by about eps * sum |a||b|, and by less than
    eps * sqrt(L) * sum |a||b| unless something is wrong: a dropped tap is an error of about
    sum |a||b| / L. Half types round the float32 sum once more, by half a unit in the last place.
    """
    if t is None:
        value, magnitude = _expected(op, case, found.dtype)
    else:
        value, magnitude = exact_and_magnitude(op, case, t)
    if winograd and magnitude.numel():
        magnitude = 5 * magnitude.max().expand_as(magnitude)
    sum_dtype = torch.float64 if found.dtype == torch.float64 else torch.float32
    tolerance = magnitude * torch.finfo(sum_dtype).eps * (2 + terms(op, case) ** 0.5)
    tolerance += torch.finfo(torch.float32).tiny
    if found.dtype != sum_dtype:
        info = torch.finfo(found.dtype)
        tolerance += value.abs() * info.eps / 2 * (1 + info.eps) + info.smallest_normal * info.eps
    assert found.shape == value.shape
    excess = (found.double() - value).abs() - tolerance
    bad = ~(excess <= 0)  # also true for NaN
    if bad.any():
        worst = torch.where(bad, excess.nan_to_num(torch.inf), -torch.inf).argmax()
        raise AssertionError(
            f"{op} of {case.name} in {found.dtype}: {int(bad.sum())} of {bad.numel()} elements "
            f"are off, the worst at {tuple(int(i) for i in torch.unravel_index(worst, bad.shape))} "
            f"is {found.flatten()[worst].item()}, not {value.flatten()[worst].item()} "
            f"(tolerance {tolerance.flatten()[worst].item():.2g}); {case}"
        )


def _windows(case: Conv2dCase, x: torch.Tensor) -> torch.Tensor:
    """What each tap (r, s) of the kernel is multiplied with: [n, groups, c / groups, r, s, p, q],
    a view of the padded input."""
    x = _split(_pad(case, x), 1, case.groups)
    *strides, row, column = x.stride()
    steps = (case.dilation[0] * row, case.dilation[1] * column)
    steps += (case.stride[0] * row, case.stride[1] * column)
    return x.as_strided((*x.shape[:3], case.r, case.s, case.p, case.q), (*strides, *steps))


def _pad(case: Conv2dCase, input: torch.Tensor) -> torch.Tensor:
    top, bottom, left, right = case.padding
    return F.pad(input, (left, right, top, bottom))


def _split(tensor: torch.Tensor, axis: int, groups: int) -> torch.Tensor:
    return tensor.unflatten(axis, (groups, tensor.shape[axis] // groups))


def _forward(case: Conv2dCase, t: Operands) -> torch.Tensor:
    weight = _split(t.weight, 0, case.groups)  # [g, k/g, c/g, r, s]
    result = torch.einsum("ngcrspq,gkcrs->ngkpq", _windows(case, t.input), weight)
    result = result.reshape(case.output_size)
    return result if t.bias is None else result + t.bias[:, None, None]


def _grad_input(case: Conv2dCase, t: Operands) -> torch.Tensor:
    weight = _split(t.weight, 0, case.groups)
    grad = _split(t.grad, 1, case.groups)  # [n, g, k/g, p, q]
    taps = torch.einsum("ngkpq,gkcrs->ngcrspq", grad, weight)
    top, bottom, left, right = case.padding
    height, width = case.h + top + bottom, case.w + left + right
    size = (case.n, case.groups, case.c // case.groups, height, width)
    padded = torch.zeros(size, dtype=torch.float64)
    for r in range(case.r):
        rows = slice(r * case.dilation[0], None, case.stride[0])
        for s in range(case.s):
            columns = slice(s * case.dilation[1], None, case.stride[1])
            padded[..., rows, columns][..., : case.p, : case.q] += taps[..., r, s, :, :]
    return padded.flatten(1, 2)[:, :, top : top + case.h, left : left + case.w]


def _grad_weight(case: Conv2dCase, t: Operands) -> torch.Tensor:
    grad = _split(t.grad, 1, case.groups)
    result = torch.einsum("ngkpq,ngcrspq->gkcrs", grad, _windows(case, t.input))
    return result.reshape(case.weight_size)
