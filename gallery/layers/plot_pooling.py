"""
Pooling layers
==============

Pooling makes maps smaller: of each little square it keeps one number, the largest or the mean. It
has no parameters, and works on each map alone.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

import torchconv
from gallery.drawing import draw_matrix

# %%
# Of 4 × 4 numbers 2 × 2 remain:

numbers = torch.tensor([[1.0, 3, 2, 1], [4, 2, 0, 1], [0, 1, 5, 6], [2, 1, 7, 2]])
largest = nn.MaxPool2d(2)(numbers[None, None])[0, 0]
mean = nn.AvgPool2d(2)(numbers[None, None])[0, 0]

assert largest.tolist() == [[4, 2], [2, 7]]
assert mean.tolist() == [[2.5, 1], [1, 5]]
assert not list(nn.MaxPool2d(2).parameters()) and not list(nn.AvgPool2d(2).parameters())

figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.8), layout="constrained", width_ratios=[2, 1, 1])
for axis, name, values in zip(
    axes, ("input", "max", "mean"), (numbers, largest, mean), strict=True
):
    draw_matrix(axis, values, name, limits=(0, 8), cmap="Blues", form="g")

# %%
# The output size follows the formula of a convolution. AlexNet's windows of 3 × 3 with a stride of
# 2 overlap by one row and column:

assert torchconv.conv2d_output_size(55, 3, stride=2) == (27, 27)
assert nn.MaxPool2d(3, stride=2)(torch.rand(1, 1, 55, 55)).shape == (1, 1, 27, 27)

# %%
# Each map alone: pooling three maps together or one after the other is the same.

maps = torch.rand(1, 3, 8, 8)
pool = nn.MaxPool2d(2)
one_by_one = torch.cat([pool(maps[:, c : c + 1]) for c in range(3)], dim=1)

assert torch.equal(pool(maps), one_by_one)

# %%
# Average pooling *is* a convolution: depthwise, with a stride as large as its kernel, all weights
# 1/4.

quarter = torch.full((3, 1, 2, 2), 1 / 4)

assert torch.allclose(
    nn.AvgPool2d(2)(maps), torchconv.conv2d(maps, quarter, stride=2, groups=3), atol=1e-6
)

# %%
# Max pooling is none: it is not linear.

assert not torch.allclose(pool(maps) + pool(-maps), torch.zeros(1, 3, 4, 4))

# %%
# What it is good for
# -------------------
# A pattern that moves by a pixel often stays in its square, and the pooled map does not change.
# Here a single bright pixel stands at each of 64 places; how many different maps are there before
# and after pooling?

places = torch.eye(64).reshape(64, 1, 8, 8)

assert len(places.flatten(1).unique(dim=0)) == 64
assert len(pool(places).flatten(1).unique(dim=0)) == 16

# %%
# A stride in its place
# ---------------------
# A convolution with stride two makes maps smaller as well, and computes only what it keeps: a
# quarter of the work of a convolution that is pooled afterwards. Newer networks, ResNet for one,
# mostly do that.

images = torch.rand(1, 3, 32, 32)
layer = torchconv.Conv2d(3, 8, 3, padding=1)
strided = torchconv.Conv2d(3, 8, 3, padding=1, stride=2)
strided.load_state_dict(layer.state_dict())

assert pool(layer(images)).shape == strided(images).shape == (1, 8, 16, 16)
assert layer(images).numel() == 4 * strided(images).numel()
assert torch.allclose(strided(images), layer(images)[..., ::2, ::2], atol=1e-6)

# %%
# Global average pooling at the end of a network makes one number of each map, so that images of
# any size fit:

head = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten())

assert head(torch.rand(2, 3, 32, 32)).shape == head(torch.rand(2, 3, 50, 70)).shape == (2, 8)
