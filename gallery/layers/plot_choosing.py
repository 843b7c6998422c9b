"""
Choosing a kernel
=================

A convolution has few knobs: the size of its kernel, padding, stride, dilation and groups. This is
what each of them is good for.
"""

import matplotlib.pyplot as plt
import torch

import torchconv
from torchconv import conv2d_output_size

# %%
# The simplest kernel
# -------------------
# A single one gives the image back. In the middle of a larger kernel it does, too, with the
# padding that keeps the size; next to the middle it moves the image by one pixel.

image = torch.rand(1, 1, 8, 8)

assert torch.equal(torchconv.conv2d(image, torch.ones(1, 1, 1, 1)), image)

middle = torch.zeros(1, 1, 3, 3)
middle[..., 1, 1] = 1
beside = torch.zeros(1, 1, 3, 3)
beside[..., 1, 0] = 1

assert torch.equal(torchconv.conv2d(image, middle, padding=1), image)
assert torch.equal(torchconv.conv2d(image, beside, padding=1)[..., 1:], image[..., :-1])

# %%
# Size
# ----
# Odd sizes have a middle, so that input and output lie on top of each other. Two layers of 3 × 3
# see as far as one of 5 × 5, with 18 weights a pair of channels in the place of 25, and a
# non-linearity between them. That is why most networks are made of 3 × 3.


def seen(*layers):
    """Height and width of what one output depends on, found by asking for its gradient."""
    pixels = torch.zeros(1, 1, 33, 33, requires_grad=True)
    maps = pixels
    for layer in layers:
        torch.nn.init.ones_(layer.weight)
        maps = layer(maps)
    maps[0, 0, maps.shape[2] // 2, maps.shape[3] // 2].backward()
    rows, columns = pixels.grad[0, 0].nonzero().unbind(1)
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


def layer(size, **options):
    return torchconv.Conv2d(1, 1, size, **options)


assert seen(layer(5)) == seen(layer(3), layer(3)) == (5, 5)
assert seen(layer(7)) == seen(layer(3), layer(3), layer(3)) == (7, 7)
assert (2 * 3 * 3, 5 * 5) == (18, 25)

# %%
# Padding
# -------
# Without padding each layer takes ``k - 1`` rows and columns away: ten layers of 3 × 3 leave 12 of
# 32. ``padding="same"`` keeps the size, and the edge takes part as often as the middle.

size = 32
for _ in range(10):
    size, _ = conv2d_output_size(size, 3)

assert size == 12
assert conv2d_output_size(32, 3, padding="same") == (32, 32)

# %%
# Stride
# ------
# A stride of two halves height and width: a quarter of the work in all layers that follow, and
# each of them sees twice as far.

assert conv2d_output_size(32, 3, stride=2, padding=1) == (16, 16)
assert seen(layer(3), layer(3), layer(3)) == (7, 7)
assert seen(layer(3, stride=2), layer(3), layer(3)) == (11, 11)

# %%
# Dilation
# --------
# A dilated kernel sees further with the same nine weights, without giving up resolution. Dilations
# of 1, 2 and 4, one after the other, see 15 × 15 and miss nothing; the same dilation twice leaves
# holes.

assert seen(layer(3, dilation=4)) == (9, 9)
assert seen(layer(3), layer(3, dilation=2), layer(3, dilation=4)) == (15, 15)


def touched(*dilations):
    pixels = torch.zeros(1, 1, 33, 33, requires_grad=True)
    maps = pixels
    for dilation in dilations:
        maps = torchconv.conv2d(maps, torch.ones(1, 1, 3, 3), dilation=dilation)
    maps[0, 0, maps.shape[2] // 2, maps.shape[3] // 2].backward()
    return pixels.grad[0, 0]


figure, axes = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
for axis, dilations in zip(axes, [(1, 2, 4), (4, 4)], strict=True):
    axis.imshow(touched(*dilations), cmap="Blues")
    axis.set(title=f"dilations {', '.join(map(str, dilations))}", xticks=[], yticks=[])

assert int((touched(1, 2, 4) > 0).sum()) == 15 * 15
assert int((touched(4, 4) > 0).sum()) == 5 * 5

# %%
# Groups
# ------
# With ``groups=g`` a filter sees only its share of the channels: a ``g``-th of the weights and of
# the work. With as many groups as channels, *depthwise*, each channel is filtered by itself.

dense = torchconv.Conv2d(32, 32, 3, bias=False)
grouped = torchconv.Conv2d(32, 32, 3, groups=4, bias=False)
depthwise = torchconv.Conv2d(32, 32, 3, groups=32, bias=False)

assert [each.weight.numel() for each in (dense, grouped, depthwise)] == [9216, 2304, 288]
