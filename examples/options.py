"""The options of the training program, and how a resumed run takes up those it started with."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples import RunError, presets
from examples.images.data import DATA
from examples.models import MODELS
from examples.training import checkpoint, folder
from examples.training.learner import OPTIMIZERS
from examples.training.schedule import SCHEDULES

LEARNING_RATE = {"lenet": 3e-3, "alexnet": 2e-4, "alexnet-cifar": 5e-4}

# What decides the weights and metrics: a resumed run cannot change these.
FIXED = (
    "data model conv batch_size optimizer lr schedule warmup lr_decay label_smoothing clip_norm "
    "ema patience augment limit seed amp channels_last workers"
).split()


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m examples.train",
        description="Train LeNet or AlexNet with torchconv.Conv2d, nn.Conv2d, or both together.",
    )
    presets.add_arguments(p)
    what = p.add_argument_group("what to train")
    what.add_argument("--data", choices=DATA, default="mnist-5k", help="images (%(default)s)")
    what.add_argument("--model", choices=MODELS, default="lenet", help="network (%(default)s)")
    what.add_argument(
        "--conv",
        choices=("torch", "torchconv", "both"),
        default="torchconv",
        help="convolution (%(default)s); 'both' trains two equal models on the same batches and "
        "compares them",
    )
    what.add_argument("--limit", type=_positive, help="use only this many images of each set")
    what.add_argument("--data-dir", type=_path, default="data", help="data sets (%(default)s)")
    what.add_argument("--download", action="store_true", help="download a missing data set")

    how = p.add_argument_group("how to train it")
    how.add_argument(
        "--epochs", type=_positive, default=15, help="total number of epochs (%(default)s)"
    )
    how.add_argument(
        "--batch-size",
        type=_positive,
        default=32,
        help="images per step, in all processes together (%(default)s)",
    )
    how.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw", help="(%(default)s)")
    how.add_argument("--lr", type=float, help="learning rate (depends on the model)")
    how.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="cosine",
        help="how the learning rate falls (%(default)s); 'cosine' ends with the last epoch, so "
        "--epochs cannot change when such a run is resumed",
    )
    how.add_argument(
        "--warmup",
        type=_not_negative,
        default=1.0,
        help="epochs in which the learning rate rises at first (%(default)s)",
    )
    how.add_argument(
        "--lr-decay", type=float, default=0.85, help="factor of 'exponential' (%(default)s)"
    )
    how.add_argument(
        "--label-smoothing",
        type=_fraction,
        default=0.05,
        help="share of each label that is spread over all classes while training (%(default)s)",
    )
    how.add_argument(
        "--ema",
        type=_fraction,
        default=0.0,
        help="decay of a moving average of the weights, such as 0.99; the average is then what is "
        "tested (no average)",
    )
    how.add_argument("--clip-norm", type=_norm, help="clip the gradient to this norm (no limit)")
    how.add_argument(
        "--patience",
        type=_positive,
        help="stop after this many epochs without a better test accuracy (never)",
    )
    how.add_argument(
        "--augment",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="move the training images at random, turn digits, mirror photographs (yes)",
    )
    how.add_argument("--seed", type=int, default=0, help="random seed (%(default)s)")
    how.add_argument("--amp", action="store_true", help="mixed precision with bfloat16")
    how.add_argument(
        "--channels-last", action="store_true", help="use the channels_last memory format"
    )
    how.add_argument(
        "--device", default="auto", help="'cpu', 'cuda', ...; 'auto' chooses the best one"
    )
    how.add_argument("--threads", type=_positive, help="CPU threads per process")
    how.add_argument(
        "--workers", type=int, default=0, help="processes that load images (%(default)s)"
    )

    where = p.add_argument_group("where the results go")
    where.add_argument(
        "--out",
        type=_path,
        help="directory (a new one: runs/DATA-MODEL-CONV, then the same with -2, -3, ...; with "
        "--overwrite or --resume the newest of them)",
    )
    where.add_argument("--overwrite", action="store_true", help="replace the run that is in --out")
    where.add_argument("--resume", action="store_true", help="continue the run that is in --out")
    return p


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, Any] | None]:
    """The options, and the checkpoint to continue from if there is one.

    With --resume every option that is not given is that of the interrupted run. `out` is None for
    a run that is to get a new directory.
    """
    argv = presets.expand(sys.argv[1:] if argv is None else argv)
    options = _fill(parser().parse_args(argv))
    if options.out is None and (options.resume or options.overwrite):
        options.out = folder.newest(default_out(options))
    if not options.resume:
        if options.out is not None:
            folder.check(options.out, options.overwrite)
        return options, None
    state = checkpoint.load(options.out / folder.CHECKPOINT)
    if not set(FIXED) <= state["options"].keys():
        raise RunError(
            f"The run in {options.out} was written by an older version of this program and cannot "
            "be continued; start again without --resume."
        )
    again = parser()
    again.set_defaults(**state["options"], out=options.out)
    resumed = _fill(again.parse_args(argv))
    fixed = (*FIXED, "epochs") if resumed.schedule == "cosine" else FIXED
    for name in fixed:
        before, now = state["options"][name], getattr(resumed, name)
        if before != now:
            option = "--" + name.replace("_", "-")
            why = ", on which --schedule cosine depends" if name == "epochs" else ""
            raise RunError(f"The run in {options.out} has {option} {before}, not {now}{why}.")
    return resumed, state


def to_save(options: argparse.Namespace) -> dict[str, Any]:
    """What a resumed run needs to know."""
    names = (*FIXED, "epochs", "device", "threads")
    saved = {name: getattr(options, name) for name in names}
    return {**saved, "data_dir": str(options.data_dir.absolute())}


def _fill(options: argparse.Namespace) -> argparse.Namespace:
    if options.lr is None:
        options.lr = LEARNING_RATE[options.model]
    return options


def default_out(options: argparse.Namespace) -> Path:
    return Path("runs", f"{options.data}-{options.model}-{options.conv}")


def _path(text: str) -> Path:
    """A path, in which ~ is the home of the user also where no shell has replaced it."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{number} is not 0 or more")
    return number


def _fraction(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 0 and below 1")
    return number


def _norm(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number
