"""What a trained network says about the images of a data set."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from examples.images.data import DataInfo
from examples.training.checkpoint import atomic_file

HEADER = ("index", "label", "predicted", "probability")
GREYS = " .:-=+*#%@"  # from dark to bright


@dataclass(frozen=True)
class Predictions:
    """One entry for each image: its class, the class that was predicted, and how surely."""

    labels: Tensor  # int64 [n]
    predicted: Tensor  # int64 [n]
    probability: Tensor  # float32 [n]
    loss: float  # mean cross-entropy

    @property
    def accuracy(self) -> float:
        return (self.labels == self.predicted).double().mean().item()

    def wrong(self) -> Tensor:
        """The places of wrong predictions, the surest ones first."""
        places = (self.labels != self.predicted).nonzero().flatten()
        return places[self.probability[places].argsort(descending=True, stable=True)]


def predict(
    model: nn.Module, dataset: Dataset, device: torch.device, *, amp: bool = False, batch: int = 256
) -> Predictions:
    """Applies `model` to every image of `dataset`, in order."""
    model.eval()
    logits, labels = [], []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=amp):
        for images, targets in DataLoader(dataset, batch):
            logits.append(model(images.to(device)).float().cpu())
            labels.append(targets)
    every, label = torch.cat(logits), torch.cat(labels)
    probability, predicted = every.softmax(1).max(1)
    loss = nn.functional.cross_entropy(every, label).item()
    return Predictions(label, predicted, probability, loss)


def write(path: Path, predictions: Predictions, classes: list[str]) -> None:
    """One line for each image: `index,label,predicted,probability`, classes by their names."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(HEADER)
    columns = (predictions.labels, predictions.predicted, predictions.probability)
    for i, (label, said, sure) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        lines.writerow((i, classes[label], classes[said], f"{sure:.4f}"))
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())


def pixels(image: Tensor, info: DataInfo) -> Tensor:
    """The colours of a normalised image [c, h, w], from 0 to 1."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (info.mean, info.std))
    return (image * std + mean).clamp(0, 1)


def in_text(images: list[Tensor], captions: list[str], width: int = 18) -> Iterator[str]:
    """Lines that show images [c, h, w], from 0 to 1, side by side, with captions below."""
    size = (width // 2, width)  # a letter is twice as high as wide
    rows = [[] for _ in range(size[0])]
    for image in images:
        small = nn.functional.interpolate(image.mean(0)[None, None], size, mode="area")[0, 0]
        shades = (small * (len(GREYS) - 1)).round().long()
        for row, line in zip(rows, shades.tolist(), strict=True):
            row.append("".join(GREYS[shade] for shade in line))
    for row in rows:
        yield "  ".join(row).rstrip()
    if max(map(len, captions)) <= width:
        yield "  ".join(f"{caption:^{width}}" for caption in captions).rstrip()
    else:
        yield f"From left to right: {'; '.join(captions)}"
