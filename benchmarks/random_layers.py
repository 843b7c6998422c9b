"""Random layers of the kinds that networks have.

The same seed gives the same layers on every machine, and the first of them do not depend on how
many are drawn. A layer's name is its text (`layer_text.py`).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from benchmarks.layer_text import as_text
from tests.cases import Conv2dCase, case, grouped

T = TypeVar("T")

BATCHES = (1, 2, 4, 8, 16, 32)
CHANNELS = (
    8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 120, 128, 144, 160, 176, 192, 224, 240, 256,
    288, 320, 352, 384, 448, 480, 512, 576, 640, 672, 768, 864, 960, 1024, 1152, 1280, 1536, 2048,
)  # fmt: skip
ODD_CHANNELS = (6, 10, 12, 18, 20, 21, 27, 36, 50, 65, 75, 84, 100, 150, 255, 330, 486, 1000)
SIZES = (
    7, 8, 10, 12, 13, 14, 16, 17, 19, 20, 24, 28, 32, 35, 38, 40, 48, 56, 64, 75, 80, 96, 112, 128,
    147, 160, 192, 224,
)  # fmt: skip
IMAGES = (28, 32, 64, 96, 112, 128, 160, 192, 224, 227, 256, 299, 320, 384)

# A call takes between some tens of microseconds and some tens of milliseconds: so much work, or as
# many bytes, which are what counts in depthwise layers and on small maps.
FLOPS = (0.02e9, 4e9)  # of one forward pass
BYTES = (1 << 20, 64 << 20)  # in float32: least of all operands together, most of each


def _pick(rng: random.Random, *values: T) -> T:
    """One of the values; those that are named twice come twice as often."""
    return rng.choices(values)[0]


def _channels(rng: random.Random, least: int, most: int) -> int:
    choices = _pick(rng, *[CHANNELS] * 7, ODD_CHANNELS)
    return _pick(rng, *(c for c in choices if least <= c <= most))


def _size(rng: random.Random, least: int, most: int) -> tuple[int, int]:
    """Height and width of a map: square, or else of an odd width up to twice or half the height."""
    choices = [size for size in SIZES if least <= size <= most]
    h = _pick(rng, *choices)
    w = _pick(rng, *(size for size in choices if h <= 2 * size <= 4 * h)) | 1
    return _pick(rng, (h, h), (h, h), (h, w))


def _batch(rng: random.Random) -> int:
    return _pick(rng, *BATCHES)


def _bias(rng: random.Random) -> bool:
    return _pick(rng, False, True)


def _stem(rng: random.Random) -> Conv2dCase:
    kernel = _pick(rng, 3, 3, 5, 7, 7, 9, 11)
    strides = [stride for stride in (1, 2, 3, 4) if stride <= (kernel + 1) // 2]
    return case(
        "", _batch(rng), _pick(rng, 1, 3, 3, 3), _pick(rng, *IMAGES), _channels(rng, 6, 96), kernel,
        _pick(rng, *strides), _pick(rng, None, None, 0), bias=_bias(rng), tags="first",
    )  # fmt: skip


def _dense(rng: random.Random) -> Conv2dCase:
    stride, dilation = _pick(rng, (1, 1), (1, 1), (1, 1), (2, 1), (1, 2), (1, 4))
    c = _channels(rng, 16, 512)
    k = _pick(rng, c, c, 2 * c, _channels(rng, 16, 512))
    return case(
        "", _batch(rng), c, _size(rng, 7, 160), k, _pick(rng, 3, 3, 3, 5), stride,
        dilation=dilation, bias=_bias(rng),
    )  # fmt: skip


def _discriminator(rng: random.Random) -> Conv2dCase:
    """4x4 with stride 2; as in PatchGAN, the last ones have stride 1."""
    c = _pick(rng, 3, 6, 64, 128, 256, 512)
    k, stride = _pick(rng, *[(max(64, min(2 * c, 512)), 2)] * 4, (512, 1), (1, 1))
    tags = "first" if c <= 6 else ""
    return case("", _batch(rng), c, _size(rng, 7, 224), k, 4, stride, 1, bias=_bias(rng), tags=tags)


def _pointwise(rng: random.Random) -> Conv2dCase:
    """Few channels to many, many to few, as many, or strided as a shortcut is."""
    few = _channels(rng, 8, 384)
    many = min(2048, few * _pick(rng, 2, 3, 4, 6))
    c, k, stride = _pick(
        rng, (few, many, 1), (many, few, 1), (few, few, 1), (few, many, 2),
        (few, _channels(rng, 8, 1024), 1),
    )  # fmt: skip
    return case("", _batch(rng), c, _size(rng, 7, 160), k, 1, stride, bias=_bias(rng))


def _grouped(rng: random.Random) -> Conv2dCase:
    """With as few as one or two channels a group, but not depthwise: from one channel to at least
    three."""
    groups = _pick(rng, 2, 2, 3, 4, 8, 16, 32, 32, 64)
    inputs = _pick(rng, 1, 2, 2, 4, 8, 12, 16, 24, 32, 64)
    outputs = _pick(rng, inputs, inputs, 2 * inputs, max(1, inputs // 2))
    if inputs == 1:
        outputs = _pick(rng, 3, 4, 8)
    return case(
        "", _batch(rng), groups * inputs, _size(rng, 7, 128), groups * outputs,
        _pick(rng, 1, 3, 3, 3, 3, 5), _pick(rng, 1, 1, 2), groups=groups, bias=_bias(rng),
    )  # fmt: skip


def _depthwise(rng: random.Random) -> Conv2dCase:
    kernel = _pick(rng, 3, 3, 3, 3, 5, 5, 7, 7, 9, 11, 13, 17, 21, 27, 31)
    stride, dilation = _pick(rng, (1, 1), (1, 1), (1, 1), (2, 1), (2, 1), (1, 2), (1, 3), (1, 4))
    return grouped(
        "", _batch(rng), _channels(rng, 16, 1152), _size(rng, max(7, kernel // 2), 160),
        _pick(rng, *[1] * 6, 2), kernel, stride=stride, dilation=dilation if kernel <= 7 else 1,
        bias=_bias(rng),
    )  # fmt: skip


def _patches(rng: random.Random) -> Conv2dCase:
    """The embeddings of transformers, and what makes maps smaller between their later stages."""
    kernel = _pick(rng, 2, 2, 4, 4, 8, 14, 16, 16)
    c = _channels(rng, 32, 512) if kernel <= 4 and _pick(rng, False, True) else 3
    size, tags = (_pick(rng, *IMAGES), "first") if c == 3 else (_size(rng, 14, 112), "")
    k = _channels(rng, 48, 1024) if c == 3 else _pick(rng, c, 2 * c)
    bias = _pick(rng, True, True, False)
    return case("", _batch(rng), c, size, k, kernel, kernel, 0, bias=bias, tags=tags)


def _flat(rng: random.Random) -> Conv2dCase:
    """A row or a column of weights, one in four depthwise."""
    kernel = _pick(rng, (1, 3), (3, 1), (1, 5), (5, 1), (1, 7), (7, 1), (1, 11), (11, 1))
    c = _channels(rng, 16, 768)
    k, groups = _pick(rng, (c, 1), (c, 1), (_channels(rng, 16, 768), 1), (c, c))
    return case("", _batch(rng), c, _size(rng, 7, 128), k, kernel, groups=groups, bias=_bias(rng))


def _small_map(rng: random.Random) -> Conv2dCase:
    h, w = (_pick(rng, *range(1, 15)) for _ in range(2))
    kernel, stride = _pick(rng, (1, 1), (3, 1), (3, 1), (3, 2), (5, 1))
    return case(
        "", _batch(rng), _channels(rng, 48, 2048), _pick(rng, (h, h), (h, h), (h, w)),
        _channels(rng, 48, 2048), kernel, stride, bias=_bias(rng),
    )  # fmt: skip


# How each kind is drawn, and how often beside the others.
KINDS: dict[str, tuple[Callable[[random.Random], Conv2dCase], int]] = {
    "stem": (_stem, 2),
    "dense": (_dense, 5),
    "4x4": (_discriminator, 1),
    "1x1": (_pointwise, 4),
    "grouped": (_grouped, 4),
    "depthwise": (_depthwise, 5),
    "patches": (_patches, 2),
    "flat kernel": (_flat, 2),
    "small map": (_small_map, 2),
}


def within_limits(layer: Conv2dCase) -> bool:
    operands = layer.input_size, layer.weight_size, layer.output_size
    sizes = [4 * math.prod(operand) for operand in operands]
    enough = layer.flops >= FLOPS[0] or sum(sizes) >= BYTES[0]
    return enough and layer.flops <= FLOPS[1] and max(sizes) <= BYTES[1]


def _endless(rng: random.Random) -> Iterator[tuple[str, Conv2dCase]]:
    weights = [weight for _, weight in KINDS.values()]
    while True:
        kind = rng.choices(list(KINDS), weights)[0]
        draw, _ = KINDS[kind]
        layer = next(filter(within_limits, (draw(rng) for _ in itertools.count())))
        yield kind, replace(layer, name=as_text(layer))


def random_layers(seed: int, count: int) -> list[tuple[str, Conv2dCase]]:
    """Each with its kind."""
    return list(itertools.islice(_endless(random.Random(seed)), count))
