"""What a trained network sees in pictures: `python -m examples.predict RUN IMAGE...`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from examples import RunError, trained
from examples.predictions import in_text, pixels
from examples.trained import Trained

MOST = 3  # classes told for each picture


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.predict",
        description="Says what a trained network sees in pictures.",
    )
    trained.arguments(parser)
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="PNG, JPEG, ...")
    parser.add_argument(
        "--invert",
        action=argparse.BooleanOptionalAction,
        help="exchange dark and bright (for dark digits on bright paper: the network has learned "
        "bright digits on a dark ground)",
    )
    return trained.run_command("examples.predict", predict, parser, argv)


def predict(options: argparse.Namespace) -> None:
    network = trained.load(options.run, options.best, options.conv)
    inputs = [read(path, network, options.invert) for path in options.images]  # all, before any
    with torch.inference_mode():
        probabilities = network.model(torch.stack(inputs)).softmax(1)
    for path, image, row in zip(options.images, inputs, probabilities, strict=True):
        sure, classes = row.topk(min(MOST, len(network.classes)))
        told = ", ".join(
            f"{network.classes[c]} {p:.1%}" for c, p in zip(classes.tolist(), sure, strict=True)
        )
        print(f"{path}: {told}")
        print("\n".join(list(in_text([pixels(image, network.info)], [""], 36))[:-1]))


def read(path: Path, network: Trained, invert: bool | None) -> Tensor:
    """The picture as an input of the network, [c, h, w]: square, of its size and colours."""
    info = network.info
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB" if info.channels == 3 else "L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RunError(f"The picture {path} cannot be read ({error}).") from error
    if invert is None:
        invert = info.channels == 1 and _margin(image) > 127
    if invert:
        image = ImageOps.invert(image)
    return network.transform(ImageOps.fit(image, (info.size, info.size)))


def _margin(image: Image.Image) -> float:
    """The mean grey of the outermost pixels."""
    grey = np.asarray(image)
    return float(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]).mean())


if __name__ == "__main__":
    sys.exit(main())
