"""Tests a trained network once more: `python -m examples.evaluate RUN`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from examples import predictions, trained
from examples.images import data


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.evaluate", description="Tests a trained network once more."
    )
    trained.arguments(parser)
    parser.add_argument("--data-dir", type=Path, help="data sets (where the run found them)")
    parser.add_argument(
        "--predictions", type=Path, help="write a line for each image to this CSV file"
    )
    return trained.run_command("examples.evaluate", evaluate, parser, argv)


def evaluate(options: argparse.Namespace) -> None:
    network = trained.load(options.run, options.best, options.conv)
    _, test = data.load(
        network.options["data"],
        options.data_dir or Path(network.options["data_dir"]),
        image_size=network.model.image_size,
        augment=False,
        download=False,
    )
    said = predictions.predict(network.model, test, torch.device("cpu"))
    if options.predictions:
        predictions.write(options.predictions, said, network.classes)
    width = max(map(len, network.classes))
    for label, name in enumerate(network.classes):
        mine = said.labels == label
        if count := int(mine.sum()):
            right = int((said.predicted[mine] == label).sum())
            print(f"{name:>{width}}  {right / count:7.2%}  {right} of {count}")
    print(
        f"Test accuracy {said.accuracy:.2%} ({len(said.wrong())} of {len(test)} images wrong), "
        f"loss {said.loss:.4f}, after {network.epoch} epochs"
    )


if __name__ == "__main__":
    sys.exit(main())
