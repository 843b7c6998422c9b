"""What is measured on a GPU, in the order in which it is worth knowing.

First the kernels that wait for a GPU. Then the depthwise layers that torchconv's kernels should
win, two of every kernel size and stride, which is what an acceptance needs: all of them in
bfloat16, then in float16, then in float32. Then layers of every other kind.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.cases import Conv2dCase, case
from tests.networks import HELD_OUT, NETWORKS, layers

BATCH = 64


def _depthwise(name: str, c: int, size: int, kernel: int, stride: int = 1) -> Conv2dCase:
    return case(name, BATCH, c, size, c, kernel, stride, groups=c, tags="depthwise")


# Second layers of sizes of which the networks have one: RepLKNet-31L for 384 pixels, of which half
# as many images are as much work, and EfficientNet-B0.
MORE = (
    _depthwise("replk31_l/s1.dw31", 192, 96, 31).with_batch(16),
    _depthwise("replk31_l/s4.dw13", 1536, 12, 13),
    _depthwise("efficientnet/dw5_s2_14", 672, 14, 5, 2),
)
LARGE_7 = ("convnext_tiny/s1.dw7", "convnext_tiny/s3.dw7")
LARGE_31 = ("replk31/s1.dw31", "replk31_l/s1.dw31")
LARGE_13 = ("replk31/s4.dw13", "replk31_l/s4.dw13")
SMALL = (
    "mobilenet_v2/b2.dw", "mobilenet_v2/b7.dw", "efficientnet/dw5_28", "efficientnet/dw5_14",
)  # fmt: skip
STRIDED = (
    "mobilenet_v2/b3.dw_s2", "mobilenet_v2/b6.dw_s2", "efficientnet/dw5_s2",
    "efficientnet/dw5_s2_14",
)  # fmt: skip
PIXELS, WEIGHT = ("forward", "grad_input"), ("grad_weight",)
WINNERS = (
    (LARGE_7, PIXELS),
    (LARGE_31, PIXELS),
    (LARGE_13, PIXELS),
    ((*LARGE_7, *LARGE_31, *LARGE_13, *SMALL), WEIGHT),
    (SMALL, PIXELS),
    (STRIDED, (*PIXELS, *WEIGHT)),
)
WINNERS_DTYPES = ("bfloat16", "float16", "tf32", "float32")
# Algorithms that stand behind others in csrc/cuda/algorithms.cpp until they have been found faster,
# and their layers.
WAITING = {
    "depthwise_toeplitz_images": (*LARGE_7, *LARGE_31, *LARGE_13),
    "depthwise_halves": (*SMALL, *STRIDED),
}
HALF_TYPES = ("bfloat16", "float16")

# One layer of each class at a time, then the next of each.
TELLING = (
    "mobilenet_v2/b2.dw", "convnext_tiny/s1.dw7", "resnext50/s1.g32", "resnet18/stem",
    "resnet50/s1.reduce", "resnet18/s1.3x3", "lenet/conv2", "deeplab/aspp.d12",
    "mobilenet_v2/b3.dw_s2", "efficientnet/dw5_28", "replk31/s1.dw31", "resnext50/s3.g32_s2",
    "convnext_tiny/patchify", "resnet50/s3.expand", "resnet18/s3.3x3", "lenet/conv1",
    "mobilenet_v2/b14.dw", "convnext_tiny/s3.dw7", "replk31/s4.dw13", "regnet/g16",
    "mobilenet_v2/stem", "mobilenet_v2/b7.expand", "resnet18/s2.first_3x3", "alexnet/conv2",
)  # fmt: skip
# Where a call is so short that its overhead and half-empty waves of thread blocks decide.
SINGLE = ("mobilenet_v2/b2.dw", "resnet18/stem", "resnet50/s1.reduce", "resnet18/s3.3x3")
AT_ONCE = 12  # layers that are measured in one dtype before the next dtype


class Wanted(NamedTuple):
    """One row."""

    case: Conv2dCase
    op: str
    dtype: str
    layout: str
    algorithm: str = ""  # forced; empty: the one that runs by itself


@functools.cache
def named() -> dict[str, Conv2dCase]:
    return {one.name: one for one in (*layers(NETWORKS), *layers(HELD_OUT), *MORE)}


def telling_layers(pattern: str = "", batch: int = BATCH) -> list[Conv2dCase]:
    """Layers of every kind, some of them for one image as well."""
    known = named()
    wanted = [(name, batch) for name in TELLING]
    if batch != 1:
        wanted[AT_ONCE - len(SINGLE) : AT_ONCE - len(SINGLE)] = [(name, 1) for name in SINGLE]
    return [known[name].with_batch(n) for name, n in wanted if re.search(pattern, name)]


def every_kind(found: list[Conv2dCase], dtypes: str, ops: tuple[str, ...]) -> Iterator[Wanted]:
    """Rows of those layers: some of them in every dtype, before the others."""
    for start in range(0, len(found), AT_ONCE):
        for dtype in dtypes.split(","):
            for one in found[start : start + AT_ONCE]:
                for layout in ("nchw", "nhwc"):
                    for op in ops:
                        yield Wanted(one, op, dtype, layout)


def in_its_batch(name: str) -> Conv2dCase:
    """A depthwise layer with as many images as it is measured with."""
    one = named()[name]
    return one if name == LARGE_31[1] else one.with_batch(BATCH)


def waiting() -> Iterator[Wanted]:
    """Rows of the algorithms that wait for a GPU, beside those that run by themselves."""
    for dtype in HALF_TYPES:
        for algorithm, names in WAITING.items():
            for one in map(in_its_batch, names):
                for op in PIXELS:
                    if op == "forward" or one.stride == (1, 1):
                        yield Wanted(one, op, dtype, "nchw")
                        yield Wanted(one, op, dtype, "nchw", algorithm)


def winners() -> Iterator[Wanted]:
    """Rows of the depthwise layers."""
    for dtype in WINNERS_DTYPES:
        for names, ops in WINNERS:
            for one in map(in_its_batch, names):
                for op in ops:
                    for layout in ("nchw", "nhwc"):
                        yield Wanted(one, op, dtype, layout)


def wanted_rows(pattern: str, dtypes: str, batch: int) -> list[Wanted]:
    """All rows that match, each once."""
    rows = [*waiting(), *winners()]
    rows += every_kind(telling_layers("", batch), dtypes, (*PIXELS, *WEIGHT))
    if batch != BATCH:
        rows = [row._replace(case=row.case.with_batch(batch)) for row in rows]
    return [
        row
        for row in dict.fromkeys(rows)
        if re.search(pattern, row.case.name) and row.dtype in dtypes.split(",")
    ]
