"""Convolutions without their data: the type, and short spellings of it.

The small awkward shapes are in `awkward.py`, the layers of real networks in `networks.py`. Symbols
as everywhere: n c h w input, k r s weight, p q output.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Pair = int | tuple[int, int]


def pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


@dataclass(frozen=True)
class Conv2dCase:
    """One convolution. `padding` is (top, bottom, left, right); `c` counts the channels of the
    input, so the weight is [k, c / groups, r, s]."""

    name: str
    n: int
    c: int
    h: int
    w: int
    k: int
    r: int
    s: int
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    bias: bool = False
    tags: tuple[str, ...] = ()

    @property
    def p(self) -> int:
        top, bottom = self.padding[:2]
        return (self.h + top + bottom - self.dilation[0] * (self.r - 1) - 1) // self.stride[0] + 1

    @property
    def q(self) -> int:
        left, right = self.padding[2:]
        return (self.w + left + right - self.dilation[1] * (self.s - 1) - 1) // self.stride[1] + 1

    @property
    def input_size(self) -> tuple[int, int, int, int]:
        return (self.n, self.c, self.h, self.w)

    @property
    def weight_size(self) -> tuple[int, int, int, int]:
        return (self.k, self.c // self.groups, self.r, self.s)

    @property
    def output_size(self) -> tuple[int, int, int, int]:
        return (self.n, self.k, self.p, self.q)

    def geometry(self, channels_last: bool, winograd: str = "auto") -> tuple[int, ...]:
        """The last argument of the package's operators."""
        flags = channels_last | {"auto": 0, "off": 32, "f2": 64}[winograd]
        return (*self.stride, *self.padding, *self.dilation, self.groups, flags)

    @property
    def torch_padding(self) -> tuple[int, int]:
        """(rows, columns) as nn.Conv2d takes it; such a padding is the same on both sides."""
        top, bottom, left, right = self.padding
        if top != bottom or left != right:
            raise ValueError(f"{self.name}: nn.Conv2d has no padding {self.padding}")
        return (top, left)

    @property
    def flops(self) -> int:
        """Floating-point operations of one forward pass, a multiplication and an addition each."""
        return 2 * self.n * self.k * self.p * self.q * (self.c // self.groups) * self.r * self.s

    def with_batch(self, n: int) -> Conv2dCase:
        return replace(self, n=n)


def case(
    name: str,
    n: int,
    c: int,
    size: Pair,
    k: int,
    kernel: Pair,
    stride: Pair = 1,
    padding: Pair | tuple[int, int, int, int] | None = None,
    dilation: Pair = 1,
    groups: int = 1,
    bias: bool = False,
    tags: str = "",
) -> Conv2dCase:
    """Short spelling of a case. Without `padding` an odd kernel keeps the size at stride 1."""
    (h, w), (r, s), dilation = pair(size), pair(kernel), pair(dilation)
    if padding is None:
        padding = (dilation[0] * (r - 1) // 2, dilation[1] * (s - 1) // 2)
    if isinstance(padding, int):
        padding = (padding, padding)
    if len(padding) == 2:
        padding = (padding[0], padding[0], padding[1], padding[1])
    return Conv2dCase(
        name, n, c, h, w, k, r, s, pair(stride), padding, dilation, groups, bias,
        tuple(tags.split()),
    )  # fmt: skip


def grouped(name: str, n: int, c: int, size: Pair, multiplier: int, kernel: Pair, **options):
    """A depthwise convolution with `multiplier` filters per channel."""
    return case(name, n, c, size, c * multiplier, kernel, groups=c, **options)


def ids(cases) -> list[str]:
    """Test names for `pytest.mark.parametrize`."""
    return [row.name for row in cases]
