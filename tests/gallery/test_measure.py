"""The ladder of `python -m gallery.inside.measure`: every step computes the layer that it times."""

from __future__ import annotations

import ctypes
import ctypes.util
import subprocess

import numpy as np
import pytest
import torch

import torchconv
from gallery.inside import layer, levels, measure
from gallery.inside.fused import fused, partial_sums
from gallery.inside.source import constant, excerpt

SIZE = 9  # no multiple of any vector


@pytest.fixture(scope="module")
def steps() -> list[measure.Step]:
    return measure.ladder(SIZE, budget=0)


def test_the_ladder_has_every_step(steps):
    ways = [(step.name, step.threads) for step in steps]
    best = levels.available()[-1]
    counts = [1, 2] if measure.cores() > 1 else [1]
    assert ways == [
        ("reference in Python", 1),
        ("im2col and matmul", 1),
        *((f"torchconv {level}", 1) for level in levels.available()),
        *((f"torchconv {best}", count) for count in counts[1:]),
        *(("nn.Conv2d", count) for count in counts),
    ]


def test_every_step_computes_the_layer(steps):
    input, weight = (operand.double() for operand in layer.operands(SIZE))
    windows = torch.nn.functional.unfold(input, 3, padding=1)  # [1, 576, pixels]
    expected = (weight.flatten(1) @ windows).reshape(64, SIZE, SIZE).numpy()
    for step in steps:
        _, rows, columns = step.result.shape
        whole = step.name != "reference in Python"
        assert (rows, columns) == ((SIZE, SIZE) if whole else measure.REFERENCE_PIXELS)
        np.testing.assert_allclose(step.result, expected[:, :rows, :columns], atol=1e-5, rtol=0)


def test_torchconv_steps_have_the_same_bits(steps):
    ours = [step.result for step in steps if step.name.startswith("torchconv")]
    assert ours
    assert all(np.array_equal(ours[0].view(np.int32), other.view(np.int32)) for other in ours)


def test_rates_fit_the_times(steps):
    work = 2 * 64 * 64 * 9 * SIZE**2
    for step in steps:
        assert step.gflops == pytest.approx(work / step.seconds * 1e-9)
        assert 0 < step.share < 2  # a busy machine measures peaks too low


def test_the_table_has_a_line_for_each_step(steps):
    lines = measure.table(steps).splitlines()
    assert len(lines) == 1 + len(steps)
    for line, step in zip(lines[1:], steps, strict=True):
        assert line.startswith(step.name)
        assert float(line.removeprefix(step.name).split()[0]) == step.threads


def test_a_step_that_computes_something_else_is_an_error(monkeypatch):
    right = layer.unfolded_product
    monkeypatch.setattr(layer, "unfolded_product", lambda *of: right(*of) + 1e-3)
    monkeypatch.setattr(levels, "available", lambda: ["portable"])
    monkeypatch.setattr(levels, "at_level", lambda level, function, *of: function(*of))
    with pytest.raises(ArithmeticError, match="im2col and matmul is 0.001 away"):
        measure.ladder(SIZE, budget=0)


def test_a_level_that_this_cpu_lacks_is_an_error():
    with pytest.raises(subprocess.CalledProcessError):
        levels.at_level("avx9", levels.in_use)


def test_an_image_of_a_batch_is_the_same_in_every_batch():
    one, several = layer.operands(SIZE, 1)[0], layer.operands(SIZE, 3)[0]
    assert torch.equal(one[0], several[0])
    assert not torch.equal(several[0], several[1])


def test_fused_rounds_once_as_the_c_library_does():
    fmaf = ctypes.CDLL(ctypes.util.find_library("m")).fmaf
    fmaf.argtypes, fmaf.restype = [ctypes.c_float] * 3, ctypes.c_float
    rng = np.random.default_rng(0)
    a, b, noise = rng.standard_normal((3, 5000), np.float32)
    c = (-a * b * (1 + noise * np.float32(2) ** rng.integers(-26, 3, 5000))).astype(np.float32)
    expected = np.array([fmaf(*of) for of in zip(a, b, c, strict=True)], np.float32)
    assert np.count_nonzero(a * b + c != expected) > 1000
    np.testing.assert_array_equal(fused(a, b, c), expected)


@pytest.mark.parametrize(
    "channels, kernel", [(1, 3), (2, 3), (5, 3), (40, 3), (64, 3), (34, 1), (20, 7), (31, 9)]
)
def test_the_order_of_the_sums_gives_the_bits_of_torchconv(channels, kernel):
    rng = np.random.default_rng(0)
    image = rng.standard_normal((channels, 11, 12), np.float32)
    weight = rng.standard_normal((3, channels, kernel, kernel), np.float32)
    rows, columns = 12 - kernel, 13 - kernel
    total = np.zeros((3, rows, columns), np.float32)
    for products in partial_sums(channels, kernel, kernel):
        sums = np.zeros_like(total)
        for c, r, s in products:
            window = image[c, r : r + rows, s : s + columns]
            sums = fused(weight[:, c, r, s, None, None], window, sums)
        total += sums
    ours = torchconv.conv2d(torch.from_numpy(image)[None], torch.from_numpy(weight))[0].numpy()
    np.testing.assert_array_equal(total, ours)


def test_lines_of_the_source_that_are_gone_are_an_error():
    assert constant("csrc/cpu/runtime.h", "kKept") == 16 << 20
    assert excerpt("csrc/cpu/run_plan.h", "^namespace", "^namespace").startswith("namespace")
    with pytest.raises(ValueError, match="no lines from 'nowhere'"):
        excerpt("csrc/cpu/run_plan.h", "nowhere", "")
    with pytest.raises(ValueError, match="no constant kNone"):
        constant("csrc/cpu/runtime.h", "kNone")
