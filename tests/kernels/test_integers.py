"""Integers: exact at every level, compared with int64 convolutions of PyTorch's."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import torchconv  # noqa: F401  (registers the operators)

LEVELS = ("portable", "avx2", "avx512", "avx512_bf16", "")
OPERATORS = torch.ops.torchconv


def levels() -> list[str]:
    """Those of this CPU; "avx512" is without VNNI, "" with it where the CPU has it."""
    found = []
    for level in LEVELS:
        try:
            OPERATORS._force_isa(level)
        except RuntimeError:
            continue
        found.append(level)
    return found


def numbers(size, dtype: torch.dtype, generator: torch.Generator, extreme: bool) -> Tensor:
    info = torch.iinfo(dtype)
    if extreme:
        chosen = torch.tensor([info.min, info.max], dtype=dtype)
        return chosen[torch.randint(0, 2, size, generator=generator)]
    return torch.randint(info.min, info.max + 1, size, generator=generator, dtype=dtype)


def wanted(x: Tensor, weight: Tensor, bias: Tensor | None, geometry) -> Tensor:
    top, bottom, left, right = geometry[2:6]
    padded = F.pad(x.long(), (left, right, top, bottom))
    bias = None if bias is None else bias.long()
    return F.conv2d(padded, weight.long(), bias, stride=geometry[:2], dilation=geometry[6:8],
                    groups=geometry[8])  # fmt: skip


def check(x: Tensor, weight: Tensor, bias: Tensor | None, geometry) -> None:
    expected = wanted(x, weight, bias, geometry)
    last = geometry[-1] & 1
    for level in levels():
        OPERATORS._force_isa(level)
        result = OPERATORS.conv2d_int32(x, weight, bias, geometry)
        assert result.dtype is torch.int32
        memory_format = torch.channels_last if last else torch.contiguous_format
        assert result.is_contiguous(memory_format=memory_format)
        assert torch.equal(result.long(), expected), (level, x.shape, weight.shape, geometry)


def random_layer(seed: int):
    choose = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    groups = choose.choice([1, 1, 1, 2, 3, 8])
    in_group = choose.choice([1, 2, 3, 4, 5, 8, 17, 40])
    out_group = choose.choice([1, 2, 7, 16, 17, 33, 70])
    r, s = choose.choice([(1, 1), (1, 1), (3, 3), (2, 5), (7, 3), (1, 6)])
    dilation = choose.choice([(1, 1), (1, 1), (2, 1), (1, 3), (9, 2)])
    sides = [choose.randint(0, 3) for _ in range(4)]
    h = max(1, dilation[0] * (r - 1) + 1 - sides[0] - sides[1]) + choose.randint(0, 17)
    w = max(1, dilation[1] * (s - 1) + 1 - sides[2] - sides[3]) + choose.randint(0, 40)
    stride = choose.choice([(1, 1), (1, 1), (2, 2), (3, 1), (1, 2)])
    geometry = [*stride, *sides, *dilation, groups, seed % 2]
    extreme = choose.random() < 0.3
    dtype = choose.choice([torch.uint8, torch.int8])
    n = choose.choice([1, 2, 5])
    x = numbers((n, groups * in_group, h, w), dtype, generator, extreme)
    weight = numbers((groups * out_group, in_group, r, s), torch.int8, generator, extreme)
    bias = None
    if choose.random() < 0.5:
        bias = numbers((groups * out_group,), torch.int32, generator, False) // 2**12
    if choose.random() < 0.3:
        weight = weight.contiguous(memory_format=torch.channels_last)
    if choose.random() < 0.2:
        x = x.contiguous(memory_format=torch.channels_last)
    return x, weight, bias, geometry


def random_planes(seed: int):
    """Depthwise, with the kernels and strides whose planes are read where they lie."""
    choose = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    r, s = choose.choice([(3, 3), (3, 2), (3, 4), (5, 5), (7, 7), (5, 8), (7, 6)])
    step = choose.choice([1, 2])
    dilation = [choose.choice([1, 1, 2, 3]), choose.choice([1, 1, 3])]
    stride = [dilation[0] * choose.choice([1, 2]), step]
    sides = [choose.randint(0, 9) for _ in range(4)]
    h = max(1, dilation[0] * (r - 1) + 1 - sides[0] - sides[1]) + choose.randint(0, 17)
    wide = choose.choice([4, 14, 14, 40, 150])
    w = max(1, dilation[1] * (s - 1) + 1 - sides[2] - sides[3]) + choose.randint(0, wide)
    channels, multiplier = choose.choice([(1, 1), (2, 1), (7, 1), (24, 1), (5, 3), (33, 1)])
    extreme = choose.random() < 0.3
    dtype = choose.choice([torch.uint8, torch.int8])
    x = numbers((choose.choice([1, 3]), channels, h, w), dtype, generator, extreme)
    weight = numbers((channels * multiplier, 1, r, s), torch.int8, generator, extreme)
    bias = numbers((channels * multiplier,), torch.int32, generator, False) // 2**12
    geometry = [*stride, *sides, *dilation, channels, 0]
    return x, weight, choose.choice([bias, None]), geometry


@pytest.mark.parametrize("part", range(8))
def test_random_planes(part):
    for seed in range(24 * part, 24 * part + 24):
        check(*random_planes(seed))


@pytest.mark.parametrize("part", range(8))
def test_random_layers(part):
    for seed in range(12 * part, 12 * part + 12):
        check(*random_layer(seed))


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8], ids=str)
def test_depthwise_layers(dtype, last):
    generator = torch.Generator().manual_seed(3)
    for channels, multiplier, stride, dilation in (
        (64, 1, 1, 1), (33, 1, 2, 1), (7, 3, 1, 2), (40, 1, 1, 4), (5, 6, 2, 1),
    ):  # fmt: skip
        weight = numbers((channels * multiplier, 1, 3, 3), torch.int8, generator, False)
        bias = torch.arange(channels * multiplier, dtype=torch.int32)
        geometry = [stride, stride, 2, 1, 0, 3, dilation, dilation, channels, last]
        for size in ((11, 13), (6, 141)):
            x = numbers((2, channels, *size), dtype, generator, False)
            check(x, weight, bias, geometry)


@pytest.mark.parametrize("last", [0, 1])
def test_long_rows_and_images_of_one_pixel(last):
    generator = torch.Generator().manual_seed(4)
    for n, c, h, w, k, kernel in (
        (1, 3, 2, 301, 2, (1, 3)), (1, 1, 1, 600, 3, (1, 7)), (33, 20, 1, 1, 40, (1, 1)),
        (2, 64, 30, 30, 64, (1, 1)), (1, 5, 9, 9, 4, (9, 9)),
    ):  # fmt: skip
        x = numbers((n, c, h, w), torch.int8, generator, False)
        weight = numbers((k, c, *kernel), torch.int8, generator, False)
        check(x, weight, None, [1, 1, 0, 0, 0, 0, 1, 1, 1, last])


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize(
    ("dtype", "extreme", "most"), [(torch.uint8, 255, 65793), (torch.int8, -128, 131071)], ids=str
)
def test_the_longest_sums(dtype, extreme, most, last):
    geometry = [1, 1, 0, 0, 0, 0, 1, 1, 1, last]
    x = torch.full((1, most, 1, 2), extreme, dtype=dtype)
    weight = torch.full((2, most, 1, 1), -128, dtype=torch.int8)
    weight[1] = 127
    check(x, weight, None, geometry)
    largest = 128 * (255 if dtype is torch.uint8 else 128)
    room = 2**31 - 1 - most * largest
    check(x, weight, torch.tensor([room, -room], dtype=torch.int32), geometry)
    over = torch.tensor([0, -room - 1], dtype=torch.int32)
    with pytest.raises(RuntimeError, match=rf"a bias of up to {room + 1} may not fit into int32"):
        OPERATORS.conv2d_int32(x, weight, over, geometry)
    longer = torch.zeros(1, most + 1, 1, 1, dtype=torch.int8)
    with pytest.raises(RuntimeError, match=f"sums of {most + 1} products"):
        OPERATORS.conv2d_int32(longer.to(dtype), longer, None, geometry)


def test_padding_that_no_memory_holds():
    """Only one pixel of the result has a tap inside."""
    far = 2**33
    x = torch.full((1, 2, 1, 1), 7, dtype=torch.uint8)
    weight = torch.full((3, 2, 1, 1), -3, dtype=torch.int8)
    for last in (0, 1):
        geometry = [far, far, far, far, far, far, 1, 1, 1, last]
        result = OPERATORS.conv2d_int32(x, weight, None, geometry)
        expected = torch.zeros(1, 3, 3, 3, dtype=torch.int32)
        expected[:, :, 1, 1] = -42
        assert torch.equal(result, expected)


@pytest.mark.parametrize("channels", [4, 32])
def test_threads_give_the_same(channels):
    generator = torch.Generator().manual_seed(5)
    x = numbers((1, channels, 40, 40), torch.int8, generator, False)
    weight = numbers((130, channels, 3, 3), torch.int8, generator, False)
    expected = wanted(x, weight, None, geometry := [1, 1, 1, 1, 1, 1, 1, 1, 1, 0])
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert torch.equal(OPERATORS.conv2d_int32(x, weight, None, geometry), expected.int())
    finally:
        torch.set_num_threads(before)


X = torch.ones(2, 4, 6, 7, dtype=torch.uint8)
W = torch.ones(6, 2, 3, 3, dtype=torch.int8)
GEOMETRY = [1, 1, 1, 1, 1, 1, 1, 1, 2, 0]


@pytest.mark.parametrize(
    ("operands", "message"),
    [
        ((X.float(), W, None), "input must be uint8 or int8"),
        ((X.int(), W, None), "input must be uint8 or int8"),
        ((X, W.byte(), None), "weight must be int8"),
        ((X, W.float(), None), "weight must be int8"),
        ((X, W, torch.ones(6)), "bias must be int32"),
        ((X, W, torch.ones(6, dtype=torch.int64)), "bias must be int32"),
        ((X, W, torch.ones(5, dtype=torch.int32)), r"bias must have size \(6\)"),
        ((X, W, torch.ones(6, 1, dtype=torch.int32)), r"bias must have size \(6\)"),
        ((X, W[:5], None), "input channels per group"),
        ((X, W[:, :1], None), "input channels per group"),
        ((X[0], W, None), "tensors must have 4 dimensions"),
        ((X, W[..., 0], None), "tensors must have 4 dimensions"),
    ],
)
def test_nonsense_is_refused(operands, message):
    with pytest.raises(RuntimeError, match=message):
        OPERATORS.conv2d_int32(*operands, GEOMETRY)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [(0, 0, "stride must be at least 1"), (2, -1, "padding must be at least 0"),
     (4, 2**62, "padding is too large"), (6, -1, "dilation must be at least 1"),
     (8, 0, "groups must be at least 1")],
)  # fmt: skip
def test_geometry_of_nonsense_is_refused(place, value, message):
    geometry = list(GEOMETRY)
    geometry[place] = value
    with pytest.raises(RuntimeError, match=message):
        OPERATORS.conv2d_int32(X, W, None, geometry)
    with pytest.raises(RuntimeError, match="geometry takes 10 integers"):
        OPERATORS.conv2d_int32(X, W, None, geometry[:9])


def test_freed_memory_is_refused():
    for place in range(3):
        operands = [X.clone(), W.clone(), torch.ones(6, dtype=torch.int32)]
        operands[place].untyped_storage().resize_(0)
        with pytest.raises(RuntimeError, match="is not allocated yet"):
            OPERATORS.conv2d_int32(*operands, GEOMETRY)


def test_empty_tensors():
    assert OPERATORS.conv2d_int32(X[:0], W, None, GEOMETRY).shape == (0, 6, 6, 7)
    bias = torch.arange(6, dtype=torch.int32)
    result = OPERATORS.conv2d_int32(X[:, :0], W[:, :0], bias, GEOMETRY)
    assert torch.equal(result, bias.view(1, 6, 1, 1).expand(2, 6, 6, 7))
    small = [*GEOMETRY[:2], 0, 0, 0, 0, *GEOMETRY[6:]]
    assert OPERATORS.conv2d_int32(X[..., :2], W, None, small).shape == (2, 6, 4, 0)
