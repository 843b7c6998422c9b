"""The handwritten digits that ship with scikit-learn, as a data set: no download is needed."""

from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset


class Digits(Dataset):
    """1797 digits, enlarged from 8x8 to 28x28; images are uint8 [1, 28, 28].

    A fifth of each class, always the same images, is set aside for testing.

    >>> len(Digits(train=True)), len(Digits(train=False))
    (1437, 360)
    """

    def __init__(self, train: bool, transform: Callable[[Tensor], Tensor] | None = None):
        digits = load_digits()
        train_part, test_part = train_test_split(
            range(len(digits.target)), test_size=0.2, stratify=digits.target, random_state=0
        )
        part = train_part if train else test_part
        small = torch.from_numpy(digits.images[part]).unsqueeze(1) * (255 / 16)  # 0..16 -> 0..255
        large = F.interpolate(small, size=(28, 28), mode="bilinear", align_corners=False)
        self.data = large.round().to(torch.uint8)
        self.targets = digits.target[part].tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.data[index]
        return (self.transform(image) if self.transform else image), self.targets[index]
