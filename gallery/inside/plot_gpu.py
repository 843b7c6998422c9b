"""
On a GPU
========

A GPU has thousands of slow threads in the place of a few fast ones. The convolution stays the
same sum, and the questions stay the same, too: what to keep near, how often to use it, in which
order to add. This page goes through the CUDA kernels in ``csrc/cuda/``, models the two main ideas
in numpy, and shows what was measured on an H200. It needs no GPU.
"""

import json
from collections import defaultdict

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Patch

import torchconv
from benchmarks.cuda import csv_rows
from benchmarks.timing import geometric_mean
from gallery.inside.source import ROOT, constant, excerpt

# %%
# One thread for each number
# --------------------------
#
# The simplest kernel gives each element of the result a thread of its own, which adds up its sum
# alone: ``csrc/cuda/reference/reference.cuh``. The middle of it looks like the ten lines of the
# first page:

print(excerpt("csrc/cuda/reference/reference.cuh", "for .*c < channels; ", "sum.;$"))

# %%
# It is right and slow. Each multiply-add reads two numbers from memory, and neighbouring threads
# read the same ones again and again.
#
# Tiles in shared memory
# ----------------------
#
# Threads of a GPU come in *warps* of 32 that do the same instruction together, and several warps
# form a *block* with some kilobytes of fast *shared memory*. In ``csrc/cuda/gemm/general.cuh`` a
# block of 128 threads computes a tile of the result: 64 channels of 64 pixels (or 16 of 128). It is
# a matrix product as in im2col, of the filters and the matrix of all windows, with one difference:
# that matrix never exists. Its elements are looked up when a tile needs them, which is called
# *implicit GEMM*.

assert constant("csrc/cuda/device/device.h", "kWarp") == 32
assert constant("csrc/cuda/gemm/multiply.cuh", "kTileThreads") == 128


def implicit_gemm(x, w, tile=64, depth=16):
    filters, channels, height, width = w.shape
    batch, _, rows, columns = x.shape[0], channels, x.shape[2] - height + 1, x.shape[3] - width + 1
    pixels, reduction = batch * rows * columns, channels * height * width
    result = np.zeros((filters, pixels), np.float32)
    for first in range(0, filters, tile):  # each turn of these two loops is a block
        for start in range(0, pixels, tile):
            pixel = np.arange(start, min(start + tile, pixels))
            n, place = np.divmod(pixel, rows * columns)
            p, q = np.divmod(place, columns)
            block = slice(first, first + tile), slice(start, start + tile)
            for begin in range(0, reduction, depth):
                step = np.arange(begin, min(begin + depth, reduction))
                c, tap = np.divmod(step, height * width)
                r, s = np.divmod(tap, width)
                left = w[first : first + tile, c, r, s]  # into shared memory
                right = x[n, c[:, None], p + r[:, None], q + s[:, None]]  # looked up, not copied
                result[block] += left @ right
    return result.reshape(filters, batch, rows, columns).swapaxes(0, 1)


rng = np.random.default_rng(0)
x = rng.random((2, 20, 12, 12), np.float32) - np.float32(0.5)
w = rng.random((70, 20, 3, 3), np.float32) - np.float32(0.5)
expected = torchconv.conv2d(torch.from_numpy(x), torch.from_numpy(w)).numpy()

assert np.allclose(implicit_gemm(x, w), expected, atol=1e-5)

# %%
# Why tiles? A tile of 64 × 64 reads 128 numbers for 4,096 multiply-adds, one for 32, where the
# simple kernel reads 64 for 32. The register tiles of the CPU are the same idea, and each thread
# here has one, too.

assert 64 * 64 // (64 + 64) == 32

# %%
# Two more things keep the arithmetic busy (``csrc/cuda/gemm/tiled_product.cuh``,
# ``csrc/cuda/gemm/multiply.cuh``). There are two tiles of each operand: while one pair is
# multiplied, the numbers of the next are on their way. And half types and TF32 are multiplied by
# *tensor cores*: one instruction of a warp takes a whole matrix times another, 16 × 16 by 16 × 8 in
# half types.
#
# A depthwise row as a matrix
# ---------------------------
#
# Tensor cores want matrices, and a depthwise layer seems to have none: each channel has one filter.
# ``csrc/cuda/depthwise/toeplitz.cuh`` makes one. Eight neighbouring outputs of a row see the same
# few inputs; the matrix holds the filter's row once in each column, each time one further down:


def toeplitz(row, outputs=8):
    steps = -(-(outputs + len(row) - 1) // 16)  # the tensor core takes 16 inputs at a time
    matrix = np.zeros((16 * steps, outputs), np.float32)
    for i in range(outputs):
        matrix[i : i + len(row), i] = row
    return matrix


print(toeplitz(np.arange(1, 8, dtype=np.float32)).astype(int))

# %%
# With a filter of 7 columns more than half of the multiplications are with these zeros, with 31 a
# third. The tensor core multiplies so fast that it pays all the same, as the measurements below
# show.

for size, used in [(7, 0.44), (31, 0.65)]:
    matrix = toeplitz(np.ones(size, np.float32))
    print(f"{size} columns: {np.mean(matrix != 0):.0%} of the matrix {matrix.shape} is used")

    assert round(float(np.mean(matrix != 0)), 2) == used

image = rng.random((16, 16), np.float32) - np.float32(0.5)
kernel = rng.random((7, 7), np.float32) - np.float32(0.5)
expected = torchconv.conv2d(
    torch.from_numpy(image)[None, None], torch.from_numpy(kernel)[None, None]
)
product = sum(image[r : r + 10] @ toeplitz(kernel[r]) for r in range(7))

assert product.shape == (10, 8)
assert np.allclose(product, expected[0, 0, :, :8], atol=1e-5)

# %%
# Other kernels have layers of their own: ``grouped.cu`` small groups, several of which share a
# tile, ``depthwise/planes.cuh`` and ``depthwise/channels.cuh`` depthwise layers in the two memory
# formats. ``csrc/cuda/algorithms.cpp`` lists all of them; the
# first that applies computes:

print(excerpt("csrc/cuda/algorithms.cpp", "static const Algorithm", "};"))

# %%
# No GPU needed to test them
# --------------------------
#
# The kernels use no CUDA directly. They speak a small language, ``csrc/cuda/device/device.h``: the
# number of the thread, shared memory, barriers, a multiplication on tensor cores. Under ``nvcc``
# these are intrinsics (``device_cuda.h``); any other compiler gets an emulation
# (``tests/cuda_host/device_host.h``), in which the threads of a block take turns on the CPU. There
# shared memory begins as NaN, an asynchronous copy arrives no sooner than it is waited for, and a
# barrier that some thread skips ends the program. ``tests/cuda/test_kernels.py`` runs every kernel
# like that, wherever there is a C++ compiler.
#
# The same bits, here too: no kernel adds atomically, in the order in which threads happen to
# come. Where a weight's gradient is cut into splits, their sums are stored, and a second kernel
# adds them in the order of their numbers (``csrc/cuda/gemm/ordered_sum.cuh``).

for path in (ROOT / "csrc/cuda").rglob("*.cu*"):
    assert "atomicAdd" not in path.read_text()

# %%
# What an H200 measured
# ---------------------
#
# All that follows comes from a file in this repository, which ``python -m benchmarks.cuda`` wrote
# on that GPU: each operator of a layer beside that of ``nn.Conv2d``, which asks cuDNN for its
# fastest algorithm.

file = ROOT / "benchmarks/results/cuda-torch211-cu130-nvidia-h200.csv"
rows = csv_rows.read(file)
print(len(rows), "rows from", {row["gpu"] for row in rows}, "with PyTorch", rows[0]["torch"])

assert {row["gpu"] for row in rows} == {"NVIDIA H200"}
assert all(row["status"] == "ok" for row in rows)

# %%
# Forward in ``bfloat16``, channel planes in memory (NCHW). Left: how many times as fast as
# ``nn.Conv2d``. Right: how near to the time that a mere copy of input, weight and output would
# take, the least that is possible.

shown = [
    row
    for row in rows
    if (row["op"], row["dtype"], row["layout"]) == ("forward", "bfloat16", "nchw")
]
shown.sort(key=lambda row: float(row["ratio"]))
names = [f"{row['case']}, batch {row['batch']}  ({row['kernel']})" for row in shown]
ratios = [float(row["ratio"]) for row in shown]
colors = ["tab:blue" if ratio >= 1 else "tab:orange" for ratio in ratios]

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 0.25 * len(shown) + 1), sharey=True, layout="constrained"
)
left.barh(names, np.array(ratios) - 1, left=1, color=colors)  # from the line at 1, either way
left.set_xscale("log")
ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10]
left.set_xticks(ticks, [f"{tick}x" for tick in ticks])
left.minorticks_off()
left.axvline(1, color="black", linewidth=1)
left.set_title("speed beside nn.Conv2d", fontsize=10)
left.legend(
    handles=[Patch(color="tab:blue", label="faster"), Patch(color="tab:orange", label="slower")],
    loc="lower right",
)
right.barh(names, [float(row["percent_of_floor"]) for row in shown], color=colors)
right.set_title("% of the speed of a copy", fontsize=10)
for axis in (left, right):
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.margins(y=0.01)

# %%
# Depthwise layers gain, those with large filters most. Dense layers lose clearly: these kernels
# use the tensor cores as GPUs since ``sm_80`` have them, and not the instructions that came with
# the H200's generation. The same for all operators, types and both formats, by kernel:

by_kernel = defaultdict(list)
for row in rows:
    by_kernel[row["kernel"]].append(float(row["ratio"]))
print(f"{'kernel':36}{'rows':>5}{'faster':>8}{'mean':>8}{'least':>8}{'most':>8}")
for kernel, found in sorted(by_kernel.items(), key=lambda item: -geometric_mean(item[1])):
    faster = sum(ratio >= 1 for ratio in found)
    print(f"{kernel:36}{len(found):5}{faster:8}{geometric_mean(found):7.2f}x", end="")
    print(f"{min(found):7.2f}x{max(found):7.2f}x")

assert geometric_mean(by_kernel["depthwise_toeplitz"]) > 1
assert geometric_mean(by_kernel["general"]) < 0.5
assert not any("wgmma" in path.read_text() for path in (ROOT / "csrc/cuda").rglob("*.*"))

# %%
# (``mean`` is the geometric mean.) Three of these kernels are gone since: ``few_channels``, for
# first layers, and ``small`` and ``pointwise``, which were the general one by other names.

listed = (ROOT / "csrc/cuda/algorithms.cpp").read_text()

assert not any(name in listed for name in ("kFewChannels", "kSmall", "kPointwise"))

# %%
# So torchconv does not use its kernels everywhere. By itself, on a GPU of this kind, it takes those
# that were measured on two layers or more and were slower than ``nn.Conv2d`` on none, and leaves
# the rest to PyTorch. ``torchconv/gpu_accepted.json`` says which:

accepted = json.loads((ROOT / "torchconv/gpu_accepted.json").read_text())["accepted"]
used = [
    entry
    for entry in accepted
    if entry["ratio"] >= 1 and entry["layers"] >= 2 and not entry["problem"]
]
print(f"{len(used)} of {len(accepted)} combinations of kernel, size, operator, type and format")

assert 0 < len(used) < len(accepted)
