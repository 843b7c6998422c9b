"""
Channels, volumes and several filters
=====================================

A colour image has three channels, and the maps inside a network have many. A filter covers all
channels of its window at once: it is a block of numbers, and still gives *one* number a position.
"""

import tempfile
from pathlib import Path

import torch

import torchconv
from torchconv.visualize import animate

# %%
# Two channels of 4 × 4, a filter of 2 × 3 × 3: products over both channels, one sum.

torch.manual_seed(0)
volume = torch.randint(0, 5, (2, 4, 4)).float()
block = torch.randint(-1, 2, (2, 3, 3)).float()
output = torchconv.conv2d(volume[None], block[None])

assert output.shape == (1, 1, 2, 2)
assert output[0, 0, 0, 0] == (volume[:, :3, :3] * block).sum()

folder = Path(tempfile.mkdtemp())
sliding = animate(volume, block, path=folder / "volume.gif", seconds_per_step=1.2)

# %%
# It is the sum of what each channel gives with its own slice of the filter:

slices = [torchconv.conv2d(volume[None, c : c + 1], block[None, c : c + 1]) for c in range(2)]

assert torch.equal(slices[0] + slices[1], output)

# %%
# Several filters give several maps, one behind the other: the channels of the output. The weight of
# a layer has the shape ``(k, c, r, s)``: filters, channels, rows and columns of the kernel.

layer = torchconv.Conv2d(in_channels=3, out_channels=8, kernel_size=5)
images = torch.rand(2, 3, 32, 32)
maps = layer(images)

assert layer.weight.shape == (8, 3, 5, 5)
assert maps.shape == (2, 8, 28, 28)

# %%
# Each filter has one number more, its *bias*, which is added to its whole map.

assert layer.bias.shape == (8,)

without = torchconv.conv2d(images, layer.weight)

assert torch.allclose(maps, without + layer.bias[:, None, None], atol=1e-6)

# %%
# A kernel of 1 × 1 sees a single place, but all its channels: it mixes channels, as one linear
# layer that is applied to every pixel.

mix = torchconv.Conv2d(3, 2, 1)
linear = torch.nn.Linear(3, 2)
with torch.no_grad():
    linear.weight.copy_(mix.weight[:, :, 0, 0])
    linear.bias.copy_(mix.bias)
by_pixel = linear(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

assert torch.allclose(mix(images), by_pixel, atol=1e-6)
