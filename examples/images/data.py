"""Labelled images: a set that comes with a Python package, or a data set of torchvision.

Files are downloaded into a directory of their own and move to their place only when torchvision
has checked and read them, so an interrupted download leaves nothing behind that looks whole.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset
from torchvision import datasets
from torchvision.transforms import v2

from examples import RunError
from examples.images import bundled, missing
from examples.images.augment import RandomAffine
from examples.training.processes import Processes


@dataclass(frozen=True)
class DataInfo:
    """How training images change at random: `shift` pixels, `turn` degrees, mirrored (`flip`)."""

    source: type | None  # a class of torchvision.datasets
    size: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shift: int
    flip: bool = False
    turn: float = 0.0
    images: Callable[..., bundled.Images] | None = None  # where there is no `source`

    @property
    def channels(self) -> int:
        return len(self.mean)


DATA = {
    "mnist-5k": DataInfo(None, 28, 10, (0.1307,), (0.3081,), 2, turn=10, images=bundled.mnist_5k),
    "digits": DataInfo(None, 28, 10, (0.305,), (0.325,), 2, turn=10, images=bundled.digits),
    "photographs": DataInfo(
        None,
        32,
        12,
        (0.392, 0.434, 0.398),
        (0.375, 0.302, 0.329),
        2,
        images=bundled.photographs,
    ),
    "mnist": DataInfo(datasets.MNIST, 28, 10, (0.1307,), (0.3081,), shift=2),
    "fashionmnist": DataInfo(datasets.FashionMNIST, 28, 10, (0.2860,), (0.3530,), 2, flip=True),
    "cifar10": DataInfo(
        datasets.CIFAR10, 32, 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 4, flip=True
    ),
    "cifar100": DataInfo(
        datasets.CIFAR100, 32, 100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), 4, flip=True
    ),
}


SCALE = 0.1  # how much larger or smaller digits become at random


def transform(info: DataInfo, image_size: int, augment: bool) -> v2.Transform:
    """Turns an image into a normalised float32 tensor [c, image_size, image_size].

    Of the sets in memory it takes a batch of images, too.
    """
    steps: list[Any] = [v2.ToImage()]
    if augment and info.images:
        steps.append(RandomAffine(info.turn, info.shift, SCALE))
    elif augment:
        steps.append(v2.RandomCrop(info.size, padding=info.shift))
        if info.flip:
            steps.append(v2.RandomHorizontalFlip())
    if image_size != info.size:
        steps.append(v2.Resize((image_size, image_size), antialias=True))
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(info.mean, info.std)]
    return v2.Compose(steps)


def load(
    name: str, directory: Path, *, image_size: int, augment: bool, download: bool
) -> tuple[Dataset, Dataset]:
    """The training set and the test set; raises RunError where they cannot be had."""
    info = DATA[name]
    train, test = (transform(info, image_size, augment and part) for part in (True, False))
    if info.images:
        return info.images(True, train), info.images(False, test)
    try:
        return _read(info.source, directory, train, test)
    except Exception as error:  # whatever a missing or damaged file makes torchvision raise
        if not download:
            raise RunError(
                f"The data set {name!r} is missing or damaged in {directory} ({_reason(error)}): "
                f"{missing.explain(info.source, directory)}; add --download to fetch it, name its "
                "place with --data-dir, or train with --data digits, which needs no download."
            ) from error
    _download(name, info.source, directory)
    return _read(info.source, directory, train, test)


def class_names(name: str, dataset: Dataset) -> list[str]:
    """What the labels 0, 1, ... mean; of digits themselves."""
    names = getattr(dataset, "classes", None) or map(str, range(DATA[name].classes))
    return [text.split(" - ")[0] for text in names]  # torchvision's MNIST has "0 - zero"


def _read(source: type, directory: Path, *transforms: v2.Transform) -> tuple[Dataset, Dataset]:
    parts = [
        source(directory, train=train, transform=change)
        for train, change in zip((True, False), transforms, strict=True)
    ]
    for part in parts:
        if not 0 < len(part.data) == len(part.targets):
            raise ValueError(f"{len(part.data)} images but {len(part.targets)} labels")
    return tuple(parts)


def _download(name: str, source: type, directory: Path) -> None:
    """Downloads into a new directory beside, starting from the archives that are already there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=directory) as temporary:
            new = Path(temporary)
            for archive in filter(Path.is_file, map(directory.joinpath, missing.archives(source))):
                copy = new / archive.relative_to(directory)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(archive, copy)
            source(new, train=True, download=True)
            _read(source, new, None, None)
            for file in filter(Path.is_file, sorted(new.rglob("*"))):
                target = directory / file.relative_to(new)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
    except Exception as error:  # no network, no space, no right to write, a wrong checksum ...
        raise RunError(
            f"The data set {name!r} could not be downloaded into {directory} ({_reason(error)}); "
            f"put {', '.join(missing.archives(source))} there yourself, or train with "
            "--data digits, which needs no download."
        ) from error


def _reason(error: Exception) -> str:
    """An exception in one line; torchvision says only in the last ones what a mirror answered."""
    lines = str(error).split(". You can use")[0].splitlines()
    words = "; ".join(filter(None, map(str.strip, lines))).replace(":;", ":").rstrip(".")
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def batches(
    dataset: Dataset,
    batch_size: int,
    processes: Processes,
    *,
    train: bool,
    seed: int,
    workers: int,
    generator: torch.Generator,
) -> DataLoader:
    """Loads batches of `batch_size` images over all processes; each gets its share.

    The order of the training images follows from `seed` and the epoch (`sampler.set_epoch`) alone,
    so it is the same for any number of processes and after a restart.
    """
    if train:
        sampler = DistributedSampler(dataset, processes.size, processes.rank, seed=seed)
    else:
        dataset = Subset(dataset, range(processes.rank, len(dataset), processes.size))
        sampler = None
    return DataLoader(
        dataset,
        batch_size // processes.size,
        sampler=sampler,
        num_workers=workers,
        generator=generator,
        pin_memory=processes.device.type == "cuda",
    )
