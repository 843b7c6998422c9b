"""
A filter that is learned
========================

Nobody has to think of Sobel's kernel. Shown images and their edges, a layer finds the kernel by
itself, by *back-propagation*: the gradient tells how each weight has to change for the error to
shrink.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.animation import FuncAnimation, PillowWriter
from sklearn.datasets import load_sample_image

import torchconv
from gallery.drawing import draw_matrix

# %%
# The examples: 32 pieces of a photograph, and what Sobel's kernel makes of them.

photograph = torch.from_numpy(load_sample_image("china.jpg").copy()).float() / 255
grey = (photograph @ torch.tensor([0.299, 0.587, 0.114]))[None]
torch.manual_seed(0)
corners = torch.stack([torch.randint(395, (32,)), torch.randint(608, (32,))], dim=1)
images = torch.stack([grey[:, r : r + 32, c : c + 32] for r, c in corners.tolist()])
images = (images - images.mean()) / images.std()

sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
edges = torchconv.conv2d(images, sobel[None, None])

assert images.shape == (32, 1, 32, 32) and edges.shape == (32, 1, 30, 30)

# %%
# The layer begins with random weights. Its error is the mean square of the difference to the edges.

layer = torchconv.Conv2d(1, 1, 3, bias=False)
optimizer = torch.optim.Adam(layer.parameters(), lr=0.2)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
errors, kernels = [], []
for _ in range(500):
    error = torch.nn.functional.mse_loss(layer(images), edges)
    optimizer.zero_grad()
    error.backward()
    errors.append(error.item())
    kernels.append(layer.weight.detach()[0, 0].clone())
    optimizer.step()
    schedule.step()

learned = layer.weight.detach()[0, 0]
print(learned)

# %%
# It is Sobel's kernel, to three decimals, and the error has shrunk to less than a millionth:

assert torch.equal(learned.round(decimals=3) + 0.0, sobel)
assert errors[-1] < 1e-6 * errors[0]

figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
axis.semilogy(errors)
axis.set(xlabel="step", ylabel="mean squared error")

# %%
# What the kernel looks like on the way: every step at first, when most happens, then fewer.


def write_film(path):
    film, (left, right) = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")

    def draw_frame(step):
        kernel = kernels[step]
        edges_so_far = torchconv.conv2d(images[:1], kernel[None, None])[0, 0]
        left.clear()
        right.clear()
        draw_matrix(left, kernel, f"kernel before step {step + 1}", limits=(-2, 2), form=".2f")
        right.imshow(edges_so_far, cmap="RdBu_r", vmin=-6, vmax=6)
        right.set(title=f"its edges, error {errors[step]:.1e}", xticks=[], yticks=[])

    steps = [*range(20), *range(20, 60, 4), *range(60, 200, 20), 300, 499]
    FuncAnimation(film, draw_frame, frames=steps).save(path, writer=PillowWriter(fps=3))
    plt.close(film)


path = Path(tempfile.mkdtemp()) / "learning.gif"
write_film(path)
