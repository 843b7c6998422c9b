"""
Edges
=====

A kernel that is positive on one side and negative on the other answers where the image is brighter
on one side than on the other: at an edge.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import torchconv
from gallery.drawing import draw_matrix
from torchconv.visualize import animate


def filtered(image, kernel):
    return torchconv.conv2d(image[None, None], kernel[None, None])[0, 0]


def show(image, **maps):
    """The image in grey, the maps by the sign of their numbers."""
    figure, axes = plt.subplots(
        1, 1 + len(maps), figsize=(2.6 + 2.6 * len(maps), 2.9), layout="constrained"
    )
    draw_matrix(axes[0], image, "image", limits=(0, 10), cmap="gray")
    limit = max(values.abs().max() for values in maps.values())
    for axis, (name, values) in zip(axes[1:], maps.items(), strict=True):
        draw_matrix(axis, values, name.replace("_", " "), limits=(-limit, limit))


# %%
# Vertical edges
# --------------
# The left half is bright, 10, and the right half dark, 0. The kernel adds the column to its left
# and subtracts the column to its right. Where both are the same nothing remains.

bright_left = torch.tensor([10.0, 10, 10, 0, 0, 0]).expand(6, 6)
vertical = torch.tensor([[1.0, 0, -1]]).expand(3, 3)
edge = filtered(bright_left, vertical)

assert edge.tolist() == [[0, 30, 30, 0]] * 4

# %%
# Turned around, from dark to bright, the answer is negative. If only the place of an edge matters,
# the absolute value is taken.

mirrored = filtered(bright_left.flip(1), vertical)

assert mirrored.tolist() == [[0, -30, -30, 0]] * 4
assert torch.equal(mirrored.abs(), edge)

show(bright_left, edge=edge, of_the_mirror_image=mirrored, absolute_value=mirrored.abs())

# %%
# Position by position:

folder = Path(tempfile.mkdtemp())
sliding = animate(bright_left, vertical, path=folder / "edge.gif")

# %%
# Horizontal edges
# ----------------
# The kernel on its side finds horizontal edges. Of an image of four fields, bright and dark like a
# chequerboard, the edge changes its sign in the middle; in between both signs meet in one window,
# and 30 becomes 10.

bright, dark = torch.full((3, 3), 10.0), torch.zeros(3, 3)
chequered = torch.cat([torch.cat([bright, dark], 1), torch.cat([dark, bright], 1)])
horizontal = vertical.T
edge = filtered(chequered, horizontal)

assert edge.tolist() == [[0] * 4, [30, 10, -10, -30], [30, 10, -10, -30], [0] * 4]

show(chequered, horizontal_edges=edge, absolute_value=edge.abs())

# %%
# Slanted edges
# -------------
# The same kernel, turned by half a right angle: positive above the diagonal, negative below.

slanted = torch.tensor([[0.0, 1, 1], [-1, 0, 1], [-1, -1, 0]])
triangle = torch.ones(6, 6).triu() * 10
edge = filtered(triangle, slanted)

assert edge.diagonal().tolist() == [30] * 4
assert edge[0, 3] == edge[3, 0] == 0

show(triangle, slanted_kernel=edge, vertical_kernel=filtered(triangle, vertical))

# %%
# Sobel and Scharr
# ----------------
# Two famous kernels give more weight to the middle row, which is nearest. Scharr's weights answer
# more evenly to edges of all directions.

sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
scharr = torch.tensor([[3.0, 0, -3], [10, 0, -10], [3, 0, -3]])

assert filtered(bright_left, sobel).tolist() == [[0, 40, 40, 0]] * 4
assert filtered(bright_left, scharr).tolist() == [[0, 160, 160, 0]] * 4

# %%
# How evenly? Both kernels, sideways and upright, look at a slope of every direction. The length of
# the two answers should not depend on the direction. A wave of ten pixels shows how much it does.

rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
angles = torch.linspace(0, torch.pi / 2, 19)


def strengths(kernel):
    answers = []
    for angle in angles:
        wave = torch.sin((columns * torch.cos(angle) + rows * torch.sin(angle)) * 2 * torch.pi / 10)
        across, along = filtered(wave, kernel), filtered(wave, kernel.T.contiguous())
        answers.append((across.square() + along.square()).mean().sqrt())
    answers = torch.stack(answers)
    return answers / answers.mean()


kernels = {"difference": vertical.contiguous(), "Sobel": sobel, "Scharr": scharr}
uneven = {name: strengths(kernel) for name, kernel in kernels.items()}
spread = {name: float(values.max() - values.min()) for name, values in uneven.items()}
print({name: round(value, 3) for name, value in spread.items()})

assert spread["Scharr"] < spread["Sobel"] < spread["difference"]

figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for name, values in uneven.items():
    axis.plot(angles.rad2deg(), values, label=name)
axis.set(xlabel="direction of the edge, degrees", ylabel="strength of the answer")
axis.legend()
