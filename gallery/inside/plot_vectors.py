"""
Vectors and register tiles
==========================

A core has a handful of instructions that do most of the work of a convolution, and one of them
counts: the fused multiply-add on vectors. This page tells what it does, how many of them have to
be under way at once, and how torchconv keeps them fed. At the end it measures how close that
comes to what the machine can do at most.
"""

import re

import matplotlib.pyplot as plt
import numpy as np

from gallery.inside import layer, levels
from gallery.inside.fused import fused
from gallery.inside.source import ROOT, constant

# %%
# Lanes
# -----
#
# A vector register holds several numbers, its *lanes*, and an instruction works on all of them: 8
# numbers of ``float32`` with AVX2, 16 with AVX-512. In a convolution the lanes are 16 output
# channels (or 16 pixels). One step of their sums takes one pixel, the same in every lane, and 16
# weights:

rng = np.random.default_rng(0)
pixel = np.float32(rng.random())
weights = rng.random(16, np.float32)
sums = rng.random(16, np.float32)
after = fused(pixel, weights, sums)  # one instruction of AVX-512, two of AVX2

assert np.array_equal(after, [fused(pixel, weights[i], sums[i]) for i in range(16)])

# %%
# The lanes have nothing to do with each other: each adds up its own sum, in its own order. So the
# width of a vector changes the time and no bit of the result.
#
# Fused: one rounding
# -------------------
#
# ``fused`` multiplies, adds, and then rounds, once. That is faster than two instructions, and
# more exact. The square of ``1 + 1/4096`` needs 25 binary digits and a ``float32`` has 24; the
# last one survives only if the 1 is taken away before anything is rounded:

a = np.float32(1 + 2**-12)
c = np.float32(-1 - 2**-11)
print("rounded twice:", a * a + c, "  fused:", fused(a, a, c), "  2 to the -24:", 2.0**-24)

assert a * a + c == 0
assert fused(a, a, c) == 2**-24

# %%
# Why several sums at once
# ------------------------
#
# A multiply-add needs some cycles until its result is there, typically four, and a core can start
# two of them in each cycle. But the next step of a sum needs the result of the one before. A
# single sum therefore keeps a core waiting most of the time. A small model: each cycle starts up
# to two steps, of sums whose last result has arrived.


def cycles(chains, steps, latency=4, units=2):
    ready, left, cycle = [0] * chains, [steps] * chains, 0
    while any(left):
        started = 0
        for i in sorted(range(chains), key=left.__getitem__, reverse=True):
            if started < units and left[i] and ready[i] <= cycle:
                ready[i], left[i], started = cycle + latency, left[i] - 1, started + 1
        cycle += 1
    return max(ready)


steps = 576  # products of a sum in our layer: 64 channels, 3 x 3
counts = range(1, 17)
busy = [chains * steps / 2 / cycles(chains, steps) for chains in counts]
for chains in (1, 2, 4, 8, 12):
    print(f"{chains:3} sums at once: {busy[chains - 1]:6.1%} of what the units can do")

figure, axis = plt.subplots(figsize=(7, 2.2), layout="constrained")
axis.plot(counts, busy, "o-")
axis.set_xlabel("sums at once")
axis.set_ylabel("share of the peak")
axis.set_ylim(0, 1.05)
axis.spines[["top", "right"]].set_visible(False)

assert abs(busy[0] - 1 / 8) < 0.001
assert abs(busy[3] - 1 / 2) < 0.001
assert min(busy[7:]) > 0.99

# %%
# Eight sums fill two units of four cycles. Adding up one sum in eight parts would do as well, but
# would change the order, and with it the bits. So torchconv computes many *different* sums at
# once, and leaves the order of each alone. To measure the peak, ``csrc/cpu/simd/fma_burst.h`` runs
# twelve chains that touch no memory:

print(constant("csrc/cpu/simd/fma_burst.h", "kChains"), "chains")

assert constant("csrc/cpu/simd/fma_burst.h", "kChains") == 12

# %%
# Register tiles
# --------------
#
# Both operands of a step have to come from memory, from the nearest cache at best, and a core can
# load two vectors in a cycle: as many as it can start multiply-adds. With two loads for each of
# them, half of the time is lost. The way out is to use what was loaded more than once. A
# *register tile* of some pixels times some vectors of channels loads each pixel and each vector
# of weights once for a step, and multiplies all with all:


def tile_step(pixels, weights, sums):  # [rows], [vectors, lanes], [rows, vectors, lanes]
    return fused(pixels[:, None, None], weights, sums)


def registers(rows, vectors):
    return rows * vectors + vectors + 1  # the sums, the weights, one pixel at a time


def loads(rows, vectors):
    return (rows + vectors) / (rows * vectors)  # for each multiply-add


rows, vectors = 6, 2
sums = tile_step(rng.random(rows, np.float32), rng.random((vectors, 8), np.float32), np.float32(0))

assert sums.shape == (6, 2, 8)
assert registers(6, 2) == 15
assert round(loads(6, 2), 2) == 0.67

# %%
# The sums stay in registers from the first step to the last, and only then go to memory. AVX2 has
# 16 registers, AVX-512 has 32: that limits the tile. These are the largest tiles that
# ``csrc/cpu/common/run_rows.h`` and, for pixels in the lanes,
# ``csrc/cpu/dense_pixels/block_tiles.h`` use, read from their text:

FILES = ("csrc/cpu/common/run_rows.h", "csrc/cpu/dense_pixels/block_tiles.h")
text = "".join((ROOT / name).read_text() for name in FILES)
tile_of = r"(?:tiles_of_rows<T, (?:kSteps|Steps::\w+)|tiles_of_blocks<T), (\d+), (\d+)>"
found = re.findall(rf"(?:return|^) +{tile_of}", text, re.M)
tiles = sorted({(int(rows), int(vectors)) for vectors, rows in found})
print("rows  vectors  sums  registers  loads per multiply-add")
for tile in tiles:
    print("{:4}{:9}{:6}".format(*tile, tile[0] * tile[1]), end="")
    print(f"{registers(*tile):11}{loads(*tile):8.2f}")

assert tiles == [(4, 3), (6, 2), (6, 4), (8, 1), (8, 3), (12, 1), (12, 2), (28, 1)]
assert [tile for tile in tiles if registers(*tile) <= 16] == [(4, 3), (6, 2), (8, 1), (12, 1)]
assert all(registers(*tile) <= 32 for tile in tiles)
assert all(rows * vectors >= 8 for rows, vectors in tiles)  # enough to hide the latency

# %%
# The tiles with one vector are for layers of few channels; they load more than one operand for
# each multiply-add, which is what such a layer costs. Our layer has 64 output channels and takes
# tiles of 6 × 2 with AVX2 and of 6 × 4 with AVX-512.
#
# The same text, three times
# --------------------------
#
# The kernels are written once, with vectors of ``csrc/cpu/simd/portable.h``, ``avx2.h`` or
# ``avx512.h`` beside it, and the files of ``csrc/cpu/isa/`` compile them for each *level*. The
# best one that the CPU has is chosen when torchconv is loaded, or the one that the environment
# variable ``TORCHCONV_ISA`` names. So each level is measured in a process of its own: one thread,
# our layer with 64 channels in and out, 3 × 3, 56 × 56 pixels.

measured = {
    level: levels.at_level(level, layer.time_torchconv, 56, [1], 0.3)[0]
    for level in levels.available()
}
for level, timed in measured.items():
    print(f"{level:9}{1e3 * timed.seconds:9.2f} ms{timed.gflops:9.2f} GF/s of {timed.peak:7.2f}")

first = measured["portable"].result

assert all(
    np.array_equal(timed.result.view(np.int32), first.view(np.int32)) for timed in measured.values()
)

# %%
# The right column is the peak, measured at the same level at the same moment, with multiply-adds
# on registers alone. The results are equal, bit for bit.

figure, axis = plt.subplots(figsize=(7, 2.2), layout="constrained")
names = list(measured)
axis.barh(names, [t.peak for t in measured.values()], color="none", edgecolor="gray", label="peak")
axis.barh(names, [t.gflops for t in measured.values()], color="tab:blue", label="torchconv")
for i, timed in enumerate(measured.values()):
    axis.text(timed.peak, i, f"  {timed.gflops:.3g} of {timed.peak:.3g}", va="center")
axis.set_xlim(0, 1.3 * max(t.peak for t in measured.values()))
axis.set_xlabel("GF/s, one thread")
axis.legend(loc="lower right", frameon=False)
axis.spines[["top", "right"]].set_visible(False)

# %%
# Why is *portable* so far behind? Without AVX2 there may be no instruction that rounds once.
# There the fused multiply-add of each lane is a call of the function ``fmaf`` of the C library. A
# multiplication and an addition would be quicker and would round twice: other bits. The level is
# for machines that have nothing else, and keeps the promise there, too.
