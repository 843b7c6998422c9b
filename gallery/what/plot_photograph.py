"""
Filters on a photograph
=======================

The same small kernels on 273,280 pixels: one photograph, many *feature maps*.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_sample_image

import torchconv

# %%
# A convolution with one input channel and several filters gives one map a filter. Here the filters
# are known and not learned, so they are written into the weight of a layer: a blur of 15 × 15,
# Sobel's kernel in both directions, Scharr's, one that sharpens, and one for slanted edges.

photograph = torch.from_numpy(load_sample_image("china.jpg").copy()).float() / 255
grey = (photograph @ torch.tensor([0.299, 0.587, 0.114]))[None, None]

sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
kernels = {
    "blur": torch.full((15, 15), 1 / 225),
    "vertical edges (Sobel)": sobel,
    "horizontal edges (Sobel)": sobel.T,
    "vertical edges (Scharr)": torch.tensor([[3.0, 0, -3], [10, 0, -10], [3, 0, -3]]),
    "slanted edges": torch.tensor([[0.0, 1, 1], [-1, 0, 1], [-1, -1, 0]]),
    "sharper": torch.tensor([[0.0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
}


def centred(kernel, size=15):
    """The kernel in the middle of a larger one: all have to be of one size in a layer."""
    room = (size - kernel.shape[0]) // 2
    return torch.nn.functional.pad(kernel, [room] * 4)


layer = torchconv.Conv2d(1, len(kernels), 15, padding="same", padding_mode="reflect", bias=False)
with torch.no_grad():
    layer.weight.copy_(torch.stack([centred(kernel) for kernel in kernels.values()])[:, None])
    maps = layer(grey)[0]

assert maps.shape == (6, 427, 640)
assert grey.numel() == 273_280

# %%
# A large kernel that is mostly zeros gives what the small one gives:

small = torchconv.conv2d(grey, sobel[None, None])[0, 0]

assert torch.allclose(maps[1, 1:-1, 1:-1], small, atol=1e-5)

# %%
# A blur keeps the mean brightness, since its weights add up to one, and takes away detail. The
# weights of an edge filter add up to zero: an even area, however bright, becomes 0.

assert abs(float(maps[0].mean() - grey.mean())) < 0.01
assert maps[0].std() < grey.std()
assert all(abs(float(kernel.sum())) < 1e-6 for name, kernel in kernels.items() if "edges" in name)

figure, axes = plt.subplots(3, 2, figsize=(10, 10.5), layout="constrained")
for axis, name, values in zip(axes.flat, kernels, maps, strict=True):
    if "edges" in name:
        limit = values.abs().quantile(0.995)
        axis.imshow(values, cmap="gray", vmin=-limit, vmax=limit)
    else:
        axis.imshow(values, cmap="gray", vmin=0, vmax=1)
    axis.set_title(name)
    axis.set_axis_off()

# %%
# ReLU
# ----
# Behind a convolution networks put ``ReLU``, the larger of a number and zero: of the two sorts of
# edges only those from bright to dark remain. Both together, ``relu(x)`` and ``relu(-x)``, keep
# everything.

edges = maps[1]
positive = torch.relu(edges)

assert positive.min() == 0
assert torch.equal(positive - torch.relu(-edges), edges)

figure, axes = plt.subplots(1, 2, figsize=(10, 3.7), layout="constrained")
for axis, name, values in zip(
    axes, ("relu(x)", "relu(-x)"), (positive, torch.relu(-edges)), strict=True
):
    axis.imshow(values, cmap="gray", vmax=float(edges.abs().max()) / 2)
    axis.set_title(name)
    axis.set_axis_off()
