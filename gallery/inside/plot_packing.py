"""
Memory order, and what packing does about it
============================================

A processor multiplies faster than it can fetch numbers from memory that lie far apart. So before
it multiplies, torchconv copies what it is about to need, in the order in which it will need it.
That is called *packing*. This page does it in numpy, and ends with the same bits as the C++ code.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
import torch

import torchconv
from gallery.inside.fused import channel_block, fused
from gallery.inside.source import constant, excerpt

# %%
# Near and far
# ------------
#
# Memory is one long row of bytes. It comes to the processor in *cache lines* of 64 bytes, 16
# numbers of ``float32``. Whoever reads 16 neighbours pays for one line; whoever reads 16 numbers
# far apart pays for 16. Here a million numbers are added up, once neighbours, once every 16th of
# 16 million; shown is the fastest of ten times:

numbers = np.ones(16 << 20, np.float32)
near, far = numbers[: 1 << 20], numbers[::16]
for what, part in [("neighbours", near), ("one of each line", far)]:
    times = []
    for _ in range(10):
        start = time.perf_counter()
        total = part.sum()
        times.append(time.perf_counter() - start)
    print(f"{what:18}{1e3 * min(times):8.2f} ms")  # other programs only add to it

    assert total == 2**20
    assert part.size == 2**20

# %%
# The *strides* of an array tell how far it is to the next element along each axis. In an image of
# 64 channels, 56 × 56, as PyTorch stores it, the next column is 4 bytes away, the next row 224,
# and the same pixel of the next channel 12,544. And a convolution needs all channels of a pixel.

rng = np.random.default_rng(0)
image = rng.random((64, 56, 56), np.float32) - np.float32(0.5)
weight = rng.random((64, 64, 3, 3), np.float32) - np.float32(0.5)
print(image.strides, weight.strides)

assert image.strides == (12544, 224, 4)
assert weight.strides == (2304, 36, 12, 4)

# %%
# im2col: a view, and a large copy
# --------------------------------
#
# A convolution is a matrix product, once each window is written as a column: *im2col*. All
# windows together can be seen without copying a byte. A view with two more axes walks over the
# same memory: moving the window by a row and moving within the window by a row are the same
# stride.

padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
by_channel, by_row, by_column = padded.strides
windows = np.lib.stride_tricks.as_strided(
    padded,
    shape=(64, 3, 3, 56, 56),  # channel, place in the window, place of the window
    strides=(by_channel, by_row, by_column, by_row, by_column),
    writeable=False,
)

assert np.shares_memory(windows, padded)
assert np.array_equal(windows[:, :, :, 10, 20], padded[:, 10:13, 20:23])

# %%
# A matrix product wants a matrix, though, and these windows overlap: no matrix has such strides.
# ``reshape`` has to copy, and each pixel is copied nine times.

matrix = windows.reshape(64 * 3 * 3, 56 * 56)
print(f"the padded image: {padded.nbytes:,} bytes; the matrix: {matrix.nbytes:,} bytes")

assert not np.shares_memory(matrix, padded)
assert (padded.nbytes, matrix.nbytes) == (861_184, 7_225_344)


def torchconv_of(x, w):
    x, w = torch.from_numpy(x)[None], torch.from_numpy(w)
    return torchconv.conv2d(x, w, padding=1, winograd="off")[0].numpy()


product = (weight.reshape(64, -1) @ matrix).reshape(64, 56, 56)

assert np.allclose(product, torchconv_of(image, weight), atol=1e-4)

# %%
# Seven megabytes are more than most second-level caches hold, for a single image. It works, many
# libraries did and do it, and torchconv does not.
#
# What torchconv copies
# ---------------------
#
# For this layer, unless it may use fewer products (``csrc/cpu/winograd/algorithm.cpp``), it chooses
# the algorithm ``dense_channels`` (``csrc/cpu/dense_channels/job.h``), which puts output channels
# into the lanes of the vectors:

input, filters = torch.from_numpy(image)[None], torch.from_numpy(weight)
explained = torchconv.explain(input, filters, padding=1, winograd="off")
print(explained.split("grad_input")[0])

assert "dense_channels: runs" in explained.split("grad_input")[0]

# %%
# The output is cut into *jobs* of some rows (the page about threads tells more). A job copies the
# input rows that it needs into a small buffer, the *patch*, as [row][column][channel]: all
# channels of a pixel side by side, padding written as zeros. ``csrc/cpu/common/load_patch.h``
# does that, with the conversion of 16-bit numbers on the way. ``csrc/cpu/dense_channels/plan.h``
# decides how many rows: enough for 512 pixels, and no patch above 384 KiB.

pixels = constant("csrc/cpu/common/cost_model.h", "kJobPixels")
largest = constant("csrc/cpu/common/cost_model.h", "kPatchBytes")
rows = -(-pixels // 56)
patch_bytes = (rows + 2) * 58 * 64 * 4
print(f"{rows} rows of 56 pixels, a patch of {patch_bytes:,} bytes instead of {matrix.nbytes:,}")

assert (pixels, largest) == (512, 384 * 1024)
assert (rows, patch_bytes) == (10, 178_176)
assert patch_bytes <= largest

# %%
# Each pixel is copied once for each job that needs it, not nine times. The nine places of a
# window are found by a table of offsets into the patch: 576 numbers, one for each product of a
# sum, in the order block of channels, row, column, channel.

channels, block = 64, channel_block(64, 9)
steps = [
    (begin + c, r, s)
    for begin in range(0, channels, block)
    for r in range(3)
    for s in range(3)
    for c in range(block)
]
offsets = np.array([(r * 58 + s) * channels + c for c, r, s in steps])
print(offsets[:5], "...", offsets[16:20], "...")

assert block == 16
assert len(offsets) == 576
assert offsets[:5].tolist() == [0, 1, 2, 3, 4]
assert offsets[16:20].tolist() == [64, 65, 66, 67]

# %%
# The weights are packed once for a call, by ``csrc/cpu/common/pack_weights.h``: for each step of
# the sum the weights of 16 output channels side by side. 16 numbers of ``float32`` are a cache
# line, and a vector of AVX-512.

lanes = 16
packed = np.stack([weight[:, c, r, s] for c, r, s in steps])  # [step][output channel]
packed = packed.reshape(576, -1, lanes).swapaxes(0, 1).copy()  # [16 channels][step][lane]

assert packed.shape == (4, 576, 16)
assert packed.flags.c_contiguous

# %%
# So the inner loop reads the weights like a book, from front to back, and the pixels almost so.
# Where the first 64 steps read for one pixel and 16 output channels, in the tensors as they are,
# and packed:

reads = {
    "pixels, in the image": [4 * (c * 58 * 58 + r * 58 + s) for c, r, s in steps],
    "pixels, in the patch": 4 * offsets,
    "weights, in the tensor": [
        [4 * ((k * 64 + c) * 9 + r * 3 + s) for k in range(lanes)] for c, r, s in steps
    ],
    "weights, packed": [[4 * (i * lanes + k) for k in range(lanes)] for i in range(576)],
}
lines = {}
figure, axes = plt.subplots(2, 2, figsize=(9, 5), sharex=True, layout="constrained")
for axis, (what, addresses) in zip(axes.flat, reads.items(), strict=True):
    addresses = np.array(addresses)[:64].reshape(64, -1)
    lines[what] = len(np.unique(addresses // 64))
    print(f"{what:24}{lines[what]:4} cache lines")
    axis.plot(addresses / 1024, ".", color="tab:blue", markersize=3)
    axis.set_title(f"{what}: {lines[what]} cache lines", fontsize=10)
    axis.set_ylabel("address, KiB")
for axis in axes[1]:
    axis.set_xlabel("step")

assert lines["pixels, in the image"] == 32
assert lines["pixels, in the patch"] == 4
assert lines["weights, packed"] == 64
assert lines["weights, in the tensor"] == 144
assert len({address // 64 for address in reads["weights, in the tensor"][0]}) == 16

# %%
# The 64 packed lines of weights hold nothing but the 1,024 numbers that are needed. In the
# tensor, the 16 weights of a single step lie in 16 lines.
#
# And now the product, step by step. The result has a row for each pixel and 16 output channels in
# its lanes, and is turned around at the end, as ``csrc/cpu/dense_channels/store.h`` does. A
# smaller image keeps this page quick.


def dense_channels(x):
    _, height, width = x.shape
    patch = np.pad(x, ((0, 0), (1, 1), (1, 1))).transpose(1, 2, 0).copy()  # [row][column][channel]
    flat, columns = patch.reshape(-1), width + 2
    offset = [(r * columns + s) * channels + c for c, r, s in steps]
    first = (np.arange(height)[:, None] * columns + np.arange(width)).reshape(-1) * channels
    result = []
    for slab in packed:
        total = np.zeros((height * width, lanes), np.float32)
        for block in np.split(np.arange(576), 4):  # a partial sum for each block of 16 channels
            sums = np.zeros_like(total)
            for i in block:
                sums = fused(flat[first + offset[i]][:, None], slab[i], sums)
            total += sums
        result.append(total.T.reshape(lanes, height, width))
    return np.concatenate(result)


small = np.ascontiguousarray(image[:, :10, :11])
ours = torchconv_of(small, weight)

assert np.array_equal(dense_channels(small).view(np.int32), ours.view(np.int32))

# %%
# The same bits: this is what happens there. In ``csrc/cpu/common/register_tile.h`` the two
# operands are found like this. ``kTableA`` is our case: ``a`` are pixels behind a table of
# offsets, ``b`` weights that follow each other.

print(excerpt("csrc/cpu/common/register_tile.h", r"const T\* const ai =", r": along \+ i \* step;"))

# %%
# Few output channels: pixels in the lanes
# ----------------------------------------
#
# A first layer may have 6 output channels, and 10 of 16 lanes would be empty. So there is an
# algorithm the other way around, ``dense_pixels`` (``csrc/cpu/dense_pixels/job.h``): neighbouring
# pixels in the lanes. In the image rows of pixels already lie side by side, so that nothing needs
# to be transposed. ``csrc/cpu/dense_pixels/load.h`` copies each channel into a *plane* whose rows
# end with the zeros of the padding, and these zeros begin the next row as well. In such a plane
# every tap is the same walk over one long row, shifted by ``r * pitch + s``:

image = rng.random((3, 8, 8), np.float32) - np.float32(0.5)
weight = rng.random((6, 3, 3, 3), np.float32) - np.float32(0.5)
explained = torchconv.explain(torch.from_numpy(image)[None], torch.from_numpy(weight), padding=1)

assert "dense_pixels: runs" in explained.split("grad_input")[0]


def dense_pixels(x, w):
    channels, height, width = x.shape
    pitch = width + 1
    planes = np.pad(x, ((0, 0), (1, 2), (1, 0))).reshape(channels, -1)
    walk = (height - 1) * pitch + width
    sums = np.zeros((len(w), walk + 1), np.float32)
    for c in range(channels):  # up to three channels are summed one after the other
        for r in range(3):
            for s in range(3):
                shifted = planes[c, r * pitch + s :][: walk + 1]
                sums = fused(w[:, c, r, s, None], shifted, sums)
    return sums.reshape(len(w), height, pitch)[:, :, :width]


assert np.array_equal(dense_pixels(image, weight), torchconv_of(image, weight))

# %%
# The position behind the end of each row is computed, too, and dropped: one of nine here. That is
# cheaper than to stop at each row. With a stride of 2 the plane is cut into the even and the odd
# columns, and each tap walks over one of them, again over neighbours:

row = np.arange(12)
print("tap 0:", row[0::2][:5], " tap 1:", row[1::2][:5], " tap 2:", row[0::2][1:6])

assert row[0::2][1:6].tolist() == [2, 4, 6, 8, 10]

# %%
# Where each part is:
#
# ====================================  ======================================================
# ``csrc/cpu/common/sum_order.h``       the order of the sums
# ``csrc/cpu/common/gather.h``          which pixels an output needs
# ``csrc/cpu/common/cost_model.h``      the numbers behind the choice of algorithm and jobs
# ``csrc/cpu/common/load_patch.h``      fills a patch: [row][column][channel]
# ``csrc/cpu/common/pack_weights.h``    packs the weights, for both algorithms
# ``csrc/cpu/common/register_tile.h``   the inner loop of both
# ``csrc/cpu/dense_channels/plan.h``    how ``dense_channels`` cuts a layer into jobs
# ``csrc/cpu/dense_channels/store.h``   puts its sums into the result
# ``csrc/cpu/dense_pixels/plan.h``      how ``dense_pixels`` cuts a layer; planes and walks
# ``csrc/cpu/dense_pixels/load.h``      fills residue planes
# ====================================  ======================================================
#
# ``csrc/cpu/depthwise/`` and ``csrc/cpu/pointwise/`` do the same for layers where each channel
# is on its own, and for 1 × 1. Tensors in ``channels_last`` have their channels side by side
# already: without padding ``dense_channels`` then copies no pixel and reads them where they are.
