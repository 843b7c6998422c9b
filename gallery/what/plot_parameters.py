"""
Few parameters, and what they save
==================================

A fully connected layer has a weight for every pair of an input and an output. A convolution has a
few, and uses them everywhere: *parameter sharing* and *sparse connections*.
"""

import matplotlib.pyplot as plt
import torch
from torch.utils.flop_counter import FlopCounterMode

import torchconv


def parameters(layer):
    return sum(parameter.numel() for parameter in layer.parameters())


# %%
# Six filters of 5 × 5 on three channels: (5 · 5 · 3 + 1) · 6 = 456 numbers, for an image of any
# size.

layer = torchconv.Conv2d(3, 6, 5)
print(parameters(layer), "parameters")

assert parameters(layer) == (5 * 5 * 3 + 1) * 6 == 456

# %%
# A fully connected layer that makes the same output, 6 × 28 × 28, of a small image of 3 × 32 × 32,
# has 14 million. (On the device "meta" nothing is stored: only the shapes exist.)

connected = torch.nn.Linear(3 * 32 * 32, 6 * 28 * 28, device="meta")
print(f"{parameters(connected):,} parameters")

assert parameters(connected) == 3072 * 4704 + 4704 == 14_455_392
assert round(parameters(connected) / parameters(layer)) == 31_700

# %%
# It grows with the square of the number of pixels, the convolution not at all:

sizes = [8, 16, 32, 64, 128, 224]
dense = [3 * n * n * 6 * (n - 4) ** 2 + 6 * (n - 4) ** 2 for n in sizes]
figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
axis.loglog(sizes, dense, "o-", label="fully connected")
axis.loglog(sizes, [456] * len(sizes), "o-", label="convolution")
axis.set(xlabel="height and width of the image", ylabel="parameters")
axis.set_xticks(sizes, [str(size) for size in sizes], minor=False)
axis.minorticks_off()
axis.legend()

# %%
# Sparse connections
# ------------------
# Written as a fully connected layer, a convolution is a matrix that is nearly all zeros, with the
# same few numbers again and again. For 3 × 3 on an image of 6 × 6, 16 outputs and 36 inputs:

kernel = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
unit_images = torch.eye(36).reshape(36, 1, 6, 6)  # one pixel each
matrix = torchconv.conv2d(unit_images, kernel).reshape(36, 16).T

assert matrix.shape == (16, 36)
assert int((matrix != 0).sum()) == 16 * 9
assert matrix.unique().tolist() == list(range(10))

image = torch.rand(36)

assert torch.allclose(
    matrix @ image, torchconv.conv2d(image.reshape(1, 1, 6, 6), kernel).flatten(), rtol=1e-5
)

figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
axis.imshow(matrix, cmap="Blues")
axis.set(xlabel="input pixel", ylabel="output pixel", title="a convolution as a matrix")

# %%
# Operations and memory
# ---------------------
# Each output takes a multiplication and an addition for each of the 5 · 5 · 3 weights it sees: 2 ·
# 75 · 4704 = 705,600 floating-point operations. PyTorch's counter agrees.

with FlopCounterMode(display=False) as counter:
    output = layer(torch.rand(1, 3, 32, 32))
print(f"{counter.get_total_flops():,} operations")

assert counter.get_total_flops() == 2 * (5 * 5 * 3) * output.numel() == 705_600

# %%
# It reads 3072 numbers and 456 weights and writes 4704, four bytes each: 32,928 bytes, and so does
# 21 operations a byte. The fully connected layer does 0.5: it waits for its weights.

moved = 4 * (3 * 32 * 32 + parameters(layer) + output.numel())

assert moved == 32_928
assert round(705_600 / moved) == 21

moved_dense = 4 * (3 * 32 * 32 + parameters(connected) + output.numel())

assert round(2 * 3072 * 4704 / moved_dense, 1) == 0.5
