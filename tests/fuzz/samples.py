"""A random convolution: its shape, its values, how its operands lie in memory. Hypothesis draws
them and makes one that fails smaller."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st

from tests.cases import Conv2dCase
from tests.reference import Operands

VALUES = ("normal", "integers", "zeros", "tiny", "denormal", "huge", "scales", "special")
MEMORY = ("dense", "channels_last", "sliced", "stepped", "transposed", "shifted", "expanded")
DTYPES = {str(t).removeprefix("torch."): t for t in
          (torch.float32, torch.float64, torch.bfloat16, torch.float16)}  # fmt: skip
COUNTS = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 50, 64, 65, 96, 130]
# Enough that threads share a convolution, little enough for many of them.
MOST_WORK = 800_000  # multiply-adds
MOST_ELEMENTS = 20_000  # of input or output


@dataclass(frozen=True)
class Sample:
    """Everything about a convolution; `values` and `memory` are those of input, weight and grad."""

    shape: Conv2dCase
    dtype: str = "float32"
    values: tuple[str, str, str] = ("normal", "normal", "normal")
    memory: tuple[str, str, str] = ("dense", "dense", "dense")
    channels_last: bool = False
    seed: int = 0

    def operands(self) -> Operands:
        """The tensors, each laid out in memory as told."""
        generator = torch.Generator().manual_seed(self.seed)
        dtype = DTYPES[self.dtype]
        shape = self.shape
        sizes = (shape.input_size, shape.weight_size, shape.output_size)
        input, weight, grad = (
            in_memory(filled(size, kind, dtype, generator), how)
            for size, kind, how in zip(sizes, self.values, self.memory, strict=True)
        )
        bias = filled((shape.k,), self.values[1], dtype, generator) if shape.bias else None
        return Operands(input, weight, bias, grad)


def filled(
    size: tuple[int, ...], kind: str, dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    """Random values of one kind. The half types take the scale of float32 as far as they can."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    info = torch.finfo(wide)
    x = torch.randn(size, generator=generator, dtype=torch.float64)
    chance = torch.rand(size, generator=generator, dtype=torch.float64)
    if kind == "integers":
        x = (4 * x).round()
    elif kind == "zeros":
        x = torch.where(chance < 0.8, torch.copysign(torch.zeros_like(x), x), x)
    elif kind == "tiny":  # two of them have a product that is too small
        x = x * info.tiny**0.55
    elif kind == "denormal":
        x = torch.where(chance < 0.5, x * info.tiny / 8, x)
    elif kind == "huge":  # two of them have a product that is too large, or nearly so
        x = x * min(info.max**0.5, torch.finfo(dtype).max / 8)
    elif kind == "scales":
        x = x * 10 ** (8 * chance - 6)
    elif kind == "special":
        special = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=torch.float64)
        which = torch.randint(3, size, generator=generator)
        x = torch.where(chance < 2 / (2 + x.numel()), special[which], x)
    return x.to(dtype)


def in_memory(x: torch.Tensor, how: str) -> torch.Tensor:
    """The same values, or for "expanded" some of them repeated, lying otherwise. What lies between
    them is NaN."""
    n, c, h, w = x.shape
    if how == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if how == "transposed":
        return x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
    if how == "expanded":
        return x[:, :, :1, :1].expand(x.shape)
    around = {"sliced": (n, c + 1, h + 2, w + 3), "stepped": (n, c, 2 * h, 2 * w + 1)}
    if how in around:
        whole = x.new_full(around[how], torch.nan)
        view = whole[:, 1:, 1:-1, 2:-1] if how == "sliced" else whole[:, :, ::2, 1::2]
        view.copy_(x)
        return view
    if how == "shifted":  # by one element: no vector of it is aligned
        whole = x.new_full((x.numel() + 1,), torch.nan)
        view = whole[1:].view(x.shape)
        view.copy_(x)
        return view
    return x


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Convolutions of about MOST_WORK multiply-adds at most, with at least one output pixel."""
    small = st.integers(1, 3)
    r, s = (draw(st.one_of(small, st.integers(1, 7), st.integers(1, 15))) for _ in range(2))
    stride = tuple(draw(st.one_of(st.integers(1, 2), st.integers(1, 9))) for _ in range(2))
    dilation = tuple(draw(st.one_of(st.just(1), st.integers(1, 5))) for _ in range(2))
    reach_h, reach_w = dilation[0] * (r - 1) + 1, dilation[1] * (s - 1) + 1
    padding = tuple(
        draw(st.one_of(st.integers(0, reach // 2), st.integers(0, reach + 2)))
        for reach in (reach_h, reach_h, reach_w, reach_w)
    )
    count = st.sampled_from(COUNTS)
    kind = draw(st.sampled_from(["dense", "dense", "grouped", "depthwise"]))
    if kind == "depthwise":
        groups = draw(count)
        c_per_group, k_per_group = 1, draw(small)
    else:
        groups = 1 if kind == "dense" else draw(st.integers(2, 9))
        c_per_group, k_per_group = draw(count), draw(count)
        most = MOST_WORK // (r * s * groups)
        c_per_group = min(c_per_group, most)
        k_per_group = min(k_per_group, max(1, most // c_per_group))
    pixel_work = r * s * groups * c_per_group * k_per_group  # of one output pixel
    elements = groups * max(c_per_group * stride[0] * stride[1], k_per_group)
    most_pixels = max(1, min(MOST_WORK // pixel_work, MOST_ELEMENTS // elements))
    n = draw(st.one_of(small, small, st.integers(1, 40), st.integers(1, 1200)))
    n = min(n, most_pixels)
    p = draw(st.integers(1, max(1, min(60, most_pixels // n))))
    q = draw(st.integers(1, max(1, min(400, most_pixels // (n * p)))))

    def extent(out: int, step: int, reach: int, before: int, after: int) -> int:
        least = max(1, (out - 1) * step + reach - before - after)
        return least + draw(st.integers(0, step - 1))

    shape = Conv2dCase(
        "found", n, groups * c_per_group, extent(p, stride[0], reach_h, *padding[:2]),
        extent(q, stride[1], reach_w, *padding[2:]), groups * k_per_group, r, s, stride, padding,
        dilation, groups, draw(st.booleans()),
    )  # fmt: skip
    if shape.p * shape.q * n * pixel_work > 4 * MOST_WORK:  # padding alone gave many pixels
        shape = replace(shape, n=1)
    values = tuple(draw(st.one_of(st.just("normal"), st.sampled_from(VALUES))) for _ in range(3))
    if "huge" in values:  # infinities of its own would hide those that were put in
        values = tuple("normal" if kind == "special" else kind for kind in values)
    return Sample(
        shape,
        draw(st.sampled_from(list(DTYPES))),
        values,
        tuple(draw(st.one_of(st.just("dense"), st.sampled_from(MEMORY))) for _ in range(3)),
        draw(st.booleans()),
        draw(st.integers(0, 2**20)),
    )
