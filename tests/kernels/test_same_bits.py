"""The same sample has the same bits in any batch, on any number of threads, at every ISA level, and
in every run; output and input gradient also in both layouts and as in the readable reference."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import ISA_LEVELS, isa_levels
from tests.awkward import AWKWARD
from tests.cases import Conv2dCase, grouped, ids
from tests.cases import case as build_case
from tests.compare import same_bits
from tests.networks import HELD_OUT, NETWORKS, layers
from tests.reference import (
    DTYPES,
    OPS,
    Operands,
    assert_accurate,
    random_operands,
    run,
    threads,
)

# One of each kind: by its algorithm and how it cuts an image.
MANY_IMAGES = (
    build_case("few_channels", 130, 3, 9, 5, 3, bias=True),
    build_case("unpadded", 130, 6, 7, 10, 5, padding=0),
    build_case("dense", 130, 20, 7, 33, 3),
    build_case("dense_stride2", 130, 17, 9, 24, 3, 2),
    build_case("several_chunks", 130, 130, 4, 48, 3, bias=True),
    build_case("pointwise", 130, 40, 7, 50, 1, bias=True),
    build_case("pointwise_chunks", 130, 300, 4, 20, 1),
    build_case("pointwise_stride2", 130, 33, 7, 20, 1, 2),
    build_case("one_pixel", 130, 70, 1, 50, 1),
    build_case("full_image", 130, 6, (3, 4), 20, (3, 4), padding=0),
    build_case("groups", 130, 12, 7, 12, 3, groups=3),
    build_case("groups_in_a_vector", 130, 16, 7, 16, 3, groups=4),
    build_case("dilation", 130, 6, 14, 20, 3, dilation=4),
    grouped("depthwise", 130, 24, 7, 1, 3, bias=True),
    grouped("depthwise_stride2", 130, 5, 9, 1, 3, stride=2),
    grouped("depthwise_wide", 130, 3, (5, 33), 1, 5),
    grouped("multiplier", 130, 5, 7, 2, 3),
)


def random_case(generator: random.Random, batch: int) -> Conv2dCase:
    """A shape as networks have them, large enough for several threads about half of the time."""
    pick = generator.choice
    kernel = pick([(1, 1), (3, 3), (3, 3), (5, 5), (7, 7), (1, 7), (3, 2)])
    groups = pick([1, 1, 1, 2, "depthwise"])
    c, k = pick([1, 3, 8, 16, 30, 64]), pick([1, 6, 16, 33, 64])
    if groups == "depthwise":
        groups, k = c, c * pick([1, 1, 2])
    elif groups == 2:
        c, k = 2 * c, 2 * k
    size = (pick([7, 8, 14, 28, 33]), pick([7, 8, 14, 28, 33]))
    stride, dilation = pick([1, 1, 1, 2, (2, 1)]), pick([1, 1, 1, 2])
    padding = (kernel[0] // 2 * dilation, kernel[1] // 2 * dilation)
    return build_case("random", batch, c, size, k, kernel, stride, padding, dilation, groups,
                      bias=pick([True, False]))  # fmt: skip


def random_cases(count: int, batch: int = 3, seed: int = 0) -> list[Conv2dCase]:
    generator = random.Random(seed)
    return [random_case(generator, batch) for _ in range(count)]


def network_cases(batch: int, most_flops: float) -> list[Conv2dCase]:
    """The layers of the benchmark that are quick enough for a test."""
    rows = [row.with_batch(batch) for row in layers(NETWORKS) + layers(HELD_OUT)]
    return [row for row in rows if row.flops < most_flops]


def test_any_batch():
    """Output and input gradient of a sample do not depend on the samples beside it."""
    for index, shape in enumerate(random_cases(120, batch=16)):
        t = random_operands(shape, torch.float32, seed=index)
        channels_last = index % 2 == 1
        single = shape.with_batch(1)
        for op in ("forward", "grad_input"):
            together = run(op, shape, t, channels_last)
            for batch in (2, 5, 16):
                part = Operands(t.input[:batch], t.weight, t.bias, t.grad[:batch])
                found = run(op, shape.with_batch(batch), part, channels_last)
                assert same_bits(found, together[:batch]), (op, batch, shape)
            for i in range(0, 16, 5):
                one = t.image(i)
                found = run(op, single, one, channels_last)
                assert same_bits(found, together[i : i + 1]), (op, i, shape)


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("op", ["forward", "grad_input"])
def test_large_batches(op, channels_last):
    """The same in batches of more images than any job takes, whatever the algorithm."""
    for index, shape in enumerate(MANY_IMAGES):
        t = random_operands(shape, torch.float32, seed=index)
        together = run(op, shape, t, channels_last)
        for begin, end in ((0, 1), (0, 17), (0, 33), (30, 100), (shape.n - 1, shape.n)):
            part = Operands(t.input[begin:end], t.weight, t.bias, t.grad[begin:end])
            found = run(op, shape.with_batch(end - begin), part, channels_last)
            assert same_bits(found, together[begin:end]), (begin, end, shape)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_number_of_threads(op, dtype):
    shapes = random_cases(40, seed=1) + network_cases(2, 0.06e9)
    compared = 0
    for index, shape in enumerate(shapes):
        t = random_operands(shape, dtype, seed=index)
        channels_last = index % 2 == 1
        with threads(1):
            alone = run(op, shape, t, channels_last)
        for count in (2, 5):
            with threads(count):
                assert same_bits(run(op, shape, t, channels_last), alone), (count, shape)
        compared += shape.flops > 2e6
    assert compared > 20  # shapes too small for a second thread prove nothing


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_isa_level(op, dtype):
    levels = isa_levels()
    if len(levels) < 2:
        pytest.skip(f"this CPU has {levels} only")
    for index, shape in enumerate([*AWKWARD, *random_cases(25, seed=2)]):
        t = random_operands(shape, dtype, seed=index)
        for channels_last in (False, True):
            results = {}
            for level in levels:
                torch.ops.torchconv._force_isa(level)
                assert torch.ops.torchconv._isa() == level
                results[level] = run(op, shape, t, channels_last)
            for level in levels[1:]:
                assert same_bits(results[level], results[levels[0]]), (level, shape)


# More threads than images: they share the pixels of each, or the parts of a result (channels_last).
SHARED_BY_THREADS = (
    build_case("one_pixel_in_a_row", 1, 24, (15, 17), 40, 1),
    build_case("too_few_pixels", 1, 40, (7, 9), 130, 1),
    build_case("long_rows", 1, 31, 28, 24, 1),
    build_case("no_such_rows", 1, 16, (23, 29), 50, 1),
    build_case("three_images", 3, 32, 14, 48, 1),
    build_case("groups", 1, 48, 14, 96, 1, groups=3),
    build_case("rows_of_taps", 1, 20, 24, 36, 3, stride=2, padding=1),
    build_case("patches", 1, 3, 56, 44, 8, stride=8),
    build_case("depthwise", 1, 48, 7, 48, 3, padding=1, groups=48),
    build_case("depthwise_strided", 2, 144, 13, 144, 5, stride=2, padding=2, groups=144),
)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHARED_BY_THREADS, ids=ids(SHARED_BY_THREADS))
def test_threads_that_share_an_image(shape, dtype, op):
    t = random_operands(shape, dtype)
    with threads(1):
        alone = run(op, shape, t, channels_last=True)
    assert_accurate(alone, op, shape, t)
    for level, count in itertools.product(isa_levels(), (2, 3, 4, 7)):
        torch.ops.torchconv._force_isa(level)
        with threads(count):
            assert same_bits(run(op, shape, t, channels_last=True), alone), (level, count)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHARED_BY_THREADS, ids=ids(SHARED_BY_THREADS))
def test_threads_that_share_an_image_and_kept_weights(shape, dtype):
    ops = torch.ops.torchconv
    t = random_operands(shape, dtype).contiguous(torch.channels_last)
    geometry = shape.geometry(True)
    with threads(1):
        alone = ops.conv2d(t.input, t.weight, t.bias, geometry)
    residual = torch.randn_like(alone)
    added = F.relu(alone + residual)
    for level, count in itertools.product(isa_levels(), (2, 3, 4, 7)):
        ops._force_isa(level)
        with threads(count):
            packed = ops._pack_weights(t.weight, t.input.shape, geometry)
            rest = (geometry, 0, 0.0, packed)
            found = ops.conv2d_activation(t.input, t.weight, t.bias, None, *rest)
            assert same_bits(found, alone), (level, count)
            rest = (geometry, 1, 0.0, packed)
            found = ops.conv2d_activation(t.input, t.weight, t.bias, residual, *rest)
            assert same_bits(found, added), (level, count)


@pytest.mark.parametrize("op", OPS)
def test_any_run(op):
    """A second call, after calls of other shapes have used the scratch, gives the same bits."""
    shapes = random_cases(30, seed=3)
    operands = [random_operands(shape, torch.float32, seed=i) for i, shape in enumerate(shapes)]
    first = [run(op, shape, t) for shape, t in zip(shapes, operands, strict=True)]
    for shape, t, expected in reversed(list(zip(shapes, operands, first, strict=True))):
        assert same_bits(run(op, shape, t), expected), shape


@pytest.mark.parametrize("op", ["forward", "grad_input"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_as_the_readable_reference_and_in_both_layouts(op, dtype):
    for index, shape in enumerate([*AWKWARD, *random_cases(25, seed=4)]):
        t = random_operands(shape, dtype, seed=index)
        torch.ops.torchconv._force_algorithm("reference")
        expected = run(op, shape, t, False)
        torch.ops.torchconv._force_algorithm("")
        for channels_last in (False, True):
            found = run(op, shape, t, channels_last, "off")
            assert same_bits(found, expected), (channels_last, shape)


@pytest.mark.parametrize("op", OPS)
def test_on_real_layers(op):
    """ISA levels, threads and batch at once, on layers of networks."""
    levels = isa_levels()
    for index, shape in enumerate(network_cases(2, 0.08e9)):
        t = random_operands(shape, torch.float32, seed=index)
        channels_last = index % 2 == 1
        expected = run(op, shape, t, channels_last)
        torch.ops.torchconv._force_isa(levels[index % len(levels)])
        if op == "grad_weight":
            with threads(1):
                assert same_bits(run(op, shape, t, channels_last), expected), shape
        else:
            one = Operands(t.input[1:], t.weight, t.bias, t.grad[1:])
            with threads(1):
                found = run(op, shape.with_batch(1), one, channels_last)
            assert same_bits(found, expected[1:]), shape
        torch.ops.torchconv._force_isa("")


SCRIPT = """
import torch, torchconv
from tests.cases import case
from tests.reference import OPS, random_operands, run
shape = case("", 2, 19, (13, 29), 21, 3, bias=True)
t = random_operands(shape, torch.float32)
print(torch.ops.torchconv._isa())
for op in OPS:
    print(run(op, shape, t).view(torch.int32).double().cumsum(-1).sum().item())
"""


@pytest.mark.parametrize("level", ISA_LEVELS)
def test_environment_variable(level):
    """TORCHCONV_ISA and OMP_NUM_THREADS of a whole process change its speed, not its results."""
    if level not in isa_levels():
        pytest.skip(f"this CPU has no {level}")

    def output_of(environment):
        return subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout.split()

    found = output_of({"TORCHCONV_ISA": level, "OMP_NUM_THREADS": "1"})
    assert found[0] == level
    assert found[1:] == output_of({"TORCHCONV_ISA": ""})[1:]


def test_unknown_level_is_refused():
    with pytest.raises(RuntimeError, match="ISA"):
        torch.ops.torchconv._force_isa("avx1024")
