"""
An image is an array of numbers
===============================

A grey image is a matrix of numbers from 0, black, to 255, white. A filter computes with these
numbers, so it has to know their type.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_sample_image

import torchconv
from gallery.drawing import draw_matrix

# %%
# A photograph that comes with scikit-learn: 427 rows of 640 pixels with a red, a green and a blue
# value each. The weights of the three for the eye are those of ITU-R BT.601.

photograph = torch.from_numpy(load_sample_image("china.jpg").copy())
grey = (photograph.double() @ torch.tensor([0.299, 0.587, 0.114]).double()).round().to(torch.uint8)
print(photograph.shape, photograph.dtype, "->", grey.shape, grey.dtype)

assert photograph.shape == (427, 640, 3) and grey.shape == (427, 640)
assert 0 <= grey.min() and grey.max() <= 255

# %%
# A corner of a roof, 12 × 12 pixels of it, as picture and as numbers:

corner = grey[130:142, 300:312]
figure, (whole, part) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
whole.imshow(grey, cmap="gray", vmin=0, vmax=255)
whole.add_patch(plt.Rectangle((300, 130), 12, 12, fill=False, color="red"))
draw_matrix(part, corner, limits=(0, 255), cmap="gray", fontsize=7)
for axis in (whole, part):
    axis.set_axis_off()

# %%
# Bytes cannot hold what a filter computes: the sum of two pixels of 200 is 400, which a byte keeps
# as 400 - 256 = 144. So convolution wants real numbers, and says so.

assert torch.tensor([200], dtype=torch.uint8) + torch.tensor([200], dtype=torch.uint8) == 144

mean = torch.full((1, 1, 3, 3), 1 / 9)
try:
    torchconv.conv2d(grey[None, None], mean)
except (RuntimeError, TypeError) as error:
    print(f"{type(error).__name__}: {error}")
else:
    raise AssertionError("bytes were convolved")

# %%
# Integers up to 2²⁴ are exact in ``float32``: a filter of integers gives exact results.

laplace = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
edges = torchconv.conv2d(corner.float()[None, None], laplace.float()[None, None])[0, 0]

around = sum(int(corner[row, column]) for row, column in [(0, 1), (1, 0), (1, 2), (2, 1)])

assert edges[0, 0] == around - 4 * int(corner[1, 1])

# %%
# The idea is the same for any number of dimensions: a sound has one, a film has three. One is
# an image of height one. A convolution over three, here five frames under a kernel that covers
# two of them, is a sum of convolutions over two.

frames, kernel = torch.rand(5, 1, 1, 8, 8), torch.rand(2, 1, 1, 3, 3)
film = frames[:, 0, 0][None, None]
expected = torch.nn.functional.conv3d(film, kernel[:, 0, 0][None, None])
found = [
    torchconv.conv2d(frames[t], kernel[0]) + torchconv.conv2d(frames[t + 1], kernel[1])
    for t in range(4)
]

assert torch.allclose(torch.stack(found, dim=2), expected, atol=1e-5)
