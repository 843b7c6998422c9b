"""A network that a run has trained, ready to be used."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from examples import RunError
from examples.images import data
from examples.images.data import DATA, DataInfo
from examples.models import MODELS
from examples.training import checkpoint, folder
from examples.training.run import conv_class


@dataclass(frozen=True)
class Trained:
    model: nn.Module  # on the CPU, in evaluation mode
    classes: list[str]
    options: dict[str, Any]  # of the run, those that decide what it is
    epoch: int

    @property
    def info(self) -> DataInfo:
        return DATA[self.options["data"]]

    @property
    def transform(self) -> Callable[[Any], torch.Tensor]:
        """Turns a picture into an input of the model, [c, h, w]."""
        return data.transform(self.info, self.model.image_size, augment=False)


def load(run: Path, best: bool = False, conv: str | None = None) -> Trained:
    """Reads the network of a run: that of its last epoch, or of its best one.

    `conv` is the convolution to compute with, "torch" or "torchconv"; by default that of the run.
    """
    path = run / (folder.BEST if best else folder.CHECKPOINT)
    if not path.exists():
        raise RunError(f"{run} holds no trained network: there is no {path}.")
    state = checkpoint.load(path)
    if not {"options", "classes", "learners"} <= state.keys():
        raise RunError(f"{path} was written by an older version of this program; train again.")
    name, learner = list(state["learners"].items())[-1]
    options, classes = state["options"], state["classes"]
    model = MODELS[options["model"]](
        conv_class(conv or name), DATA[options["data"]].channels, len(classes)
    )
    model.load_state_dict(_weights(learner))
    return Trained(model.eval(), classes, options, state["epoch"])


def _weights(learner: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Those of the moving average, where there is one."""
    average = learner.get("average")
    if average is None:
        return learner["model"]
    start = "module."
    return {key.removeprefix(start): t for key, t in average.items() if key.startswith(start)}


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds what every command on a trained network takes."""
    parser.add_argument("run", type=Path, help="the directory of a run, such as runs/...")
    parser.add_argument(
        "--best",
        action="store_true",
        help="use the weights with the best test accuracy, not the last ones; the test images "
        "chose them, so that accuracy is slightly optimistic",
    )
    parser.add_argument(
        "--conv", choices=("torch", "torchconv"), help="which convolution to use (that of the run)"
    )
    return parser


def run_command(
    name: str,
    command: Callable[[argparse.Namespace], None],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
) -> int:
    """Shows what the user can fix as one sentence."""
    try:
        command(parser.parse_args(argv))
        return 0
    except (RunError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
