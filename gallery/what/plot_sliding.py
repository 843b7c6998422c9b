"""
A window slides over an image
=============================

In two dimensions the kernel is a small square that visits all places of an image. How it moves is
decided by *stride*, *padding* and *dilation*.
"""

import tempfile
from pathlib import Path

import torch

import torchconv
from torchconv.visualize import animate

# %%
# Plain
# -----
# The image holds the numbers 0 to 35. The kernel has nine equal weights of 1/9, so each output is
# the mean of nine numbers. The first is (0 + 1 + 2 + 6 + 7 + 8 + 12 + 13 + 14) / 9 = 7.

image = torch.arange(36.0).reshape(6, 6)
mean = torch.full((3, 3), 1 / 9)


def convolve(**how):
    return torchconv.conv2d(image[None, None], mean[None, None], **how)[0, 0]


print(convolve())

assert convolve().shape == (4, 4)
assert round(convolve()[0, 0].item(), 4) == 7

folder = Path(tempfile.mkdtemp())
plain = animate(image, mean, path=folder / "plain.gif")

# %%
# Stride
# ------
# With stride 2 the window moves two places at a time: a quarter of the outputs.

strided = animate(image, mean, stride=2, path=folder / "stride.gif")
print(convolve(stride=2))

assert convolve(stride=2).shape == (2, 2)
assert torch.equal(convolve(stride=2), convolve()[::2, ::2])

# %%
# Padding
# -------
# One ring of zeros around the image, and the output is as large as the image. At the edge the zeros
# take part in the mean: (0 + 1 + 6 + 7) / 9 = 1.5556 in the corner.

padded = animate(image, mean, padding=1, path=folder / "padding.gif", seconds_per_step=0.3)
print(convolve(padding=1))

assert convolve(padding=1).shape == image.shape
assert torch.equal(convolve(padding=1), convolve(padding="same"))
assert round(convolve(padding=1)[0, 0].item(), 4) == 1.5556

# %%
# Zeros are not the only choice: ``padding_mode`` may be ``reflect``, ``replicate`` or ``circular``.
# With the numbers at the edge repeated, the corner is the mean of 0, 0, 1, 0, 0, 1, 6, 6, 7.

layer = torchconv.Conv2d(1, 1, 3, padding=1, padding_mode="replicate", bias=False)
with torch.no_grad():
    layer.weight.copy_(mean)
    corner = layer(image[None, None])[0, 0, 0, 0].item()

assert round(corner, 4) == round((0 + 0 + 1 + 0 + 0 + 1 + 6 + 6 + 7) / 9, 4)

# %%
# Dilation
# --------
# With dilation 2 the nine weights lie two apart: a 3 × 3 kernel sees an area of 5 × 5 through a
# grid.

dilated = animate(image, mean, dilation=2, path=folder / "dilation.gif")

assert convolve(dilation=2).shape == (2, 2)

# %%
# The same as a 5 × 5 kernel with zeros between:

spread = torch.zeros(5, 5)
spread[::2, ::2] = mean
print(spread)

dense = torchconv.conv2d(image[None, None], spread[None, None])[0, 0]

assert torch.allclose(dense, convolve(dilation=2))
