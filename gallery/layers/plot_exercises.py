"""
Your turn
=========

Eight exercises. Each is stated, and its solution follows; cover it, try, and run the page to see
whether you were right.
"""

import torch
import torch.nn.functional as F

import torchconv
from torchconv import conv2d_output_size

# %%
# 1. How large is it?
# -------------------
# A 7 × 7 kernel with stride 2 and padding 3 looks at 224 × 224. How large is the output? And which
# padding keeps a 5 × 5 kernel with dilation 3 at the same size?
#
# *Solution.* (224 + 6 - 7) / 2 + 1, rounded down: 112. The spread-out kernel covers 3 · 4 + 1 =
# 13, so 6.

assert conv2d_output_size(224, 7, stride=2, padding=3) == (112, 112)
assert torchconv.Conv2d(1, 1, 7, stride=2, padding=3)(torch.rand(1, 1, 224, 224)).shape[2] == 112
assert conv2d_output_size(50, 5, padding=6, dilation=3) == (50, 50)

# %%
# 2. Count the parameters
# -----------------------
# How many parameters do 32 filters of 3 × 3 on 16 channels have, with bias? And how many in four
# groups?
#
# *Solution.* (3 · 3 · 16 + 1) · 32 = 4640, and (3 · 3 · 4 + 1) · 32 = 1184.


def parameters(layer):
    return sum(parameter.numel() for parameter in layer.parameters())


assert parameters(torchconv.Conv2d(16, 32, 3)) == 4640
assert parameters(torchconv.Conv2d(16, 32, 3, groups=4)) == 1184

# %%
# 3. A kernel for corners
# -----------------------
# Find a 2 × 2 kernel that gives 0 on an even area and 3 where the upper left pixel is 1 and the
# other three are 0. It shall not matter which of the three is a little brighter.
#
# *Solution.* 3 in the corner. The others are equal, and all four add up to 0, so they are -1.

kernel = torch.tensor([[3.0, -1], [-1, -1]])[None, None]
corner = torch.tensor([[1.0, 0], [0, 0]])[None, None]
brighter = [corner.clone() for _ in range(3)]
for image, place in zip(brighter, [(0, 1), (1, 0), (1, 1)], strict=True):
    image[0, 0][place] = 0.5

assert torchconv.conv2d(torch.ones(1, 1, 4, 4), kernel).abs().max() == 0
assert torchconv.conv2d(corner, kernel).item() == 3
assert [torchconv.conv2d(image, kernel).item() for image in brighter] == [2.5] * 3

# %%
# 4. Undo it
# ----------
# A convolution has blurred a row of numbers with the kernel (1, 1): [1, 3, 5, 4] came out, and the
# row began with 1. What was the row?
#
# *Solution.* 1, 0, 3, 2, 2: each next number is the sum minus the one before.

row = torch.tensor([1.0, 0, 3, 2, 2]).reshape(1, 1, 1, 5)

assert torchconv.conv2d(row, torch.ones(1, 1, 1, 2)).flatten().tolist() == [1, 3, 5, 4]

# %%
# 5. One kernel out of two
# ------------------------
# Sobel's kernel can be split into a column and a row, which take six multiplications in the place
# of nine. Into which?
#
# *Solution.* The column (1, 2, 1) smooths, the row (1, 0, -1) takes the difference.

sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])[None, None]
column = torch.tensor([1.0, 2, 1]).reshape(1, 1, 3, 1)
difference = torch.tensor([1.0, 0, -1]).reshape(1, 1, 1, 3)
image = torch.randint(0, 256, (1, 1, 8, 8)).float()

assert torch.equal(
    torchconv.conv2d(torchconv.conv2d(image, column), difference),
    torchconv.conv2d(image, sobel),
)
assert (column.numel() + difference.numel(), sobel.numel()) == (6, 9)

# %%
# 6. By hand
# ----------
# Write the convolution of one channel without any library for it, with ``unfold``.
#
# *Solution.* ``unfold`` lists all windows; each is multiplied with the kernel and added up.


def convolve(image, kernel):
    windows = image.unfold(0, kernel.shape[0], 1).unfold(1, kernel.shape[1], 1)
    return (windows * kernel).sum((2, 3))


image, kernel = torch.rand(9, 11), torch.rand(3, 4)
expected = torchconv.conv2d(image[None, None], kernel[None, None])[0, 0]

assert torch.allclose(convolve(image, kernel), expected, atol=1e-6)

# %%
# 7. The gradient is a convolution
# --------------------------------
# Which convolution gives the gradient of the input, with stride one?
#
# *Solution.* The gradient of the output, with padding k - 1, and the kernel flipped.

image = torch.rand(1, 1, 6, 6, requires_grad=True)
kernel = torch.rand(1, 1, 3, 3)
gradient = torch.rand(1, 1, 4, 4)
torchconv.conv2d(image, kernel).backward(gradient)

assert torch.allclose(
    image.grad, torchconv.conv2d(gradient, kernel.flip(2, 3), padding=2), atol=1e-6
)

# %%
# 8. Life
# -------
# Conway's Game of Life counts the eight neighbours of each cell. Which kernel counts them? A
# glider moves by one cell to the right and one down in four steps; show it.
#
# *Solution.* Ones with a zero in the middle. The edges of the world are joined: circular padding.

neighbours = torch.ones(1, 1, 3, 3)
neighbours[..., 1, 1] = 0


def step(world):
    count = torchconv.conv2d(F.pad(world, (1, 1, 1, 1), mode="circular"), neighbours)
    return ((count == 3) | ((world == 1) & (count == 2))).float()


world = torch.zeros(1, 1, 8, 8)
world[0, 0, [0, 1, 2, 2, 2], [1, 2, 0, 1, 2]] = 1
later = world
for _ in range(4):
    later = step(later)

assert torch.equal(later, world.roll((1, 1), (2, 3)))
print(later[0, 0].int())
