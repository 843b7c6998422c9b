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
# see as far as one of 5 × 5, with 18 weights in the place of 25 for each pair of channels, and a
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
assert (2 * layer(3).weight.numel(), layer(5).weight.numel()) == (18, 25)

# %%
# Padding
# -------
# Without padding each layer takes ``k - 1`` rows and columns away: ten layers of 3 × 3 leave 12 of
# 32. ``padding="same"`` keeps the size.

size = 32
for _ in range(10):
    size, _ = conv2d_output_size(size, 3)

assert size == 12
assert conv2d_output_size(32, 3, padding="same") == (32, 32)

# %%
# It also lets the edge of the image take part more often. A pixel in the middle is in nine
# windows of 3 × 3, one in the corner without padding in a single one, and with it in four:


def windows_of_each_pixel(padding):
    pixels = torch.zeros(1, 1, 8, 8, requires_grad=True)
    torchconv.conv2d(pixels, torch.ones(1, 1, 3, 3), padding=padding).sum().backward()
    return pixels.grad[0, 0]


without, same = windows_of_each_pixel(0), windows_of_each_pixel(1)
print(same.int())

assert without[4, 4] == same[4, 4] == 9
assert without[0, 0] == 1
assert same[0, 0] == 4

# %%
# Stride
# ------
# A stride of two halves height and width. All layers that follow have a quarter of the positions
# to compute, and their kernels reach twice as far in the image: two layers of 3 × 3 add eight rows
# to what is seen in the place of four.

assert conv2d_output_size(32, 3, stride=2, padding=1) == (16, 16)
assert 4 * 16 * 16 == 32 * 32
assert seen(layer(3), layer(3), layer(3)) == (7, 7)
assert seen(layer(3, stride=2), layer(3), layer(3)) == (11, 11)

# %%
# Dilation
# --------
# A dilated kernel sees further with the same nine weights, without giving up resolution. Dilations
# of 1, 2 and 4, one after the other, see 15 × 15 and miss nothing. A dilation of 4 twice spans
# 17 × 17, but sees only 25 of these pixels.

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
assert seen(layer(3, dilation=4), layer(3, dilation=4)) == (17, 17)
assert int((touched(4, 4) > 0).sum()) == 25

# %%
# Groups
# ------
# With ``groups=g`` a filter sees only its share of the channels: a ``g``-th of the weights and of
# the work. With as many groups as channels, *depthwise*, each channel is filtered by itself.

dense = torchconv.Conv2d(32, 32, 3, bias=False)
grouped = torchconv.Conv2d(32, 32, 3, groups=4, bias=False)
depthwise = torchconv.Conv2d(32, 32, 3, groups=32, bias=False)

assert [each.weight.numel() for each in (dense, grouped, depthwise)] == [9216, 2304, 288]

# %%
# Groups split the channels and leave height and width as they are:

maps = torch.rand(1, 32, 14, 14)

assert dense(maps).shape == grouped(maps).shape == depthwise(maps).shape == (1, 32, 12, 12)

# %%
# All together
# ------------
# ``conv2d_output_size`` tells the size before there is a layer. Real layers agree, also where the
# two sides differ and where the last step does not fit and is dropped.

choices = [
    {"kernel_size": 1},
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 5, "stride": 3, "dilation": 2},
    {"kernel_size": 7, "padding": 3, "stride": 4},
    {"kernel_size": (1, 7), "padding": (0, 3)},
    {"kernel_size": 5, "padding": "same"},
]
photograph = torch.rand(1, 3, 32, 48)
sizes = []
for options in choices:
    height, width = conv2d_output_size((32, 48), **options)
    text = ", ".join(f"{name} {value}" for name, value in options.items())
    print(f"{text:40} {height:3} × {width}")
    for convolution in (torchconv.Conv2d, torch.nn.Conv2d):
        assert convolution(3, 6, **options)(photograph).shape == (1, 6, height, width)
    sizes.append((height, width))

assert sizes[:5] == [(32, 48), (30, 46), (32, 48), (16, 24), (32, 48)]
assert sizes[5:] == [(8, 14), (8, 12), (32, 48), (32, 48)]
