"""
A moved image gives a moved map
===============================

The same kernel looks at every place. What it finds at one place it finds at any other: convolution
is *translation equivariant*.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_sample_image

import torchconv

# %%
# A flower on black, and the same flower 60 pixels further right and 40 further down:

photograph = torch.from_numpy(load_sample_image("flower.jpg").copy()).float() / 255
flower = torch.zeros(1, 1, 300, 400)
flower[..., 30:230, 40:290] = (photograph @ torch.tensor([0.299, 0.587, 0.114]))[100:300, 180:430]
moved = flower.roll((40, 60), dims=(2, 3))

sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])[None, None]
map_of_flower, map_of_moved = (
    torchconv.conv2d(image, sobel, padding=1) for image in (flower, moved)
)

# %%
# The map has moved by the same distance, and not approximately: every bit of every number is the
# same.

assert torch.equal(map_of_moved, map_of_flower.roll((40, 60), dims=(2, 3)))

figure, axes = plt.subplots(2, 2, figsize=(8, 6.2), layout="constrained")
names = ("image", "moved", "its edges", "edges of the moved image")
for axis, name, picture in zip(
    axes.flat, names, (flower, moved, map_of_flower, map_of_moved), strict=True
):
    limit = 1 if picture.min() >= 0 else 2
    axis.imshow(picture[0, 0], cmap="gray", vmin=0 if limit == 1 else -limit, vmax=limit)
    axis.set_title(name)
    axis.set_axis_off()

# %%
# With a stride of two the map follows in whole steps only: an image moved by two pixels moves the
# map by one, an image moved by one pixel gives another map.

strided = torchconv.conv2d(flower, sobel, stride=2, padding=1)
by_two = torchconv.conv2d(flower.roll(2, dims=3), sobel, stride=2, padding=1)
by_one = torchconv.conv2d(flower.roll(1, dims=3), sobel, stride=2, padding=1)

assert torch.equal(by_two, strided.roll(1, dims=3))
assert not torch.equal(by_one, strided) and not torch.equal(by_one, strided.roll(1, dims=3))

# %%
# A convolution does not know what turning is: the map of a turned image is not the turned map,
# unless the kernel is turned, too.

turned = torchconv.conv2d(flower.rot90(dims=(2, 3)), sobel, padding=1)

assert not torch.allclose(turned, map_of_flower.rot90(dims=(2, 3)), atol=1e-3)
assert torch.allclose(
    torchconv.conv2d(flower.rot90(dims=(2, 3)), sobel.rot90(dims=(2, 3)), padding=1),
    map_of_flower.rot90(dims=(2, 3)),
    atol=1e-5,
)
