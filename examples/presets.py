"""Options by name and from files: `--preset NAME` and `--config FILE`.

Both only put options before those of the command line, so that argparse checks all of them alike
and the command line has the last word.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from examples import RunError

NOT_RUN = "not run here"


@dataclass(frozen=True)
class Preset:
    """`reaches`: the test accuracy that was seen, or that nobody has tried it here."""

    options: dict[str, Any]
    reaches: str = NOT_RUN


PRESETS = {
    "lenet-mnist-5k": Preset(
        {"data": "mnist-5k", "model": "lenet", "epochs": 15},
        "98.7 %, the mean of five seeds (98.4 to 99.0)",
    ),
    "lenet-mnist": Preset({"data": "mnist", "model": "lenet", "epochs": 15}),
    "lenet-fashionmnist": Preset({"data": "fashionmnist", "model": "lenet", "epochs": 30}),
    "lenet-digits": Preset(
        {"data": "digits", "model": "lenet", "epochs": 15}, "99.7 and 100 % with two seeds"
    ),
    "alexnet-photographs": Preset(
        {"data": "photographs", "model": "alexnet-cifar", "epochs": 8, "batch-size": 64},
        "43 % of twelve classes, with one seed",
    ),
    "alexnet-cifar10": Preset(
        {
            "data": "cifar10",
            "model": "alexnet-cifar",
            "epochs": 60,
            "batch-size": 128,
            "lr": 5e-4,
            "warmup": 3,
            "ema": 0.999,
            "clip-norm": 1.0,
        }
    ),
    "alexnet-cifar100": Preset(
        {
            "data": "cifar100",
            "model": "alexnet-cifar",
            "epochs": 90,
            "batch-size": 128,
            "lr": 5e-4,
            "warmup": 3,
            "ema": 0.999,
            "clip-norm": 1.0,
            "label-smoothing": 0.1,
        }
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("options by name or from a file")
    known = "; ".join(f"{name}: {preset.reaches}" for name, preset in PRESETS.items())
    group.add_argument(
        "--preset",
        choices=PRESETS,
        help=f"options that go together, with the test accuracy they reach ({known})".replace(
            "%", "%%"
        ),
    )
    group.add_argument(
        "--config",
        metavar="FILE",
        help="a YAML file of options, such as the options.yaml of a run; options on the "
        "command line take precedence",
    )


def expand(argv: Sequence[str]) -> list[str]:
    """The arguments of the preset, those of the file, and then `argv` itself.

    >>> expand(["--preset", "lenet-mnist", "--epochs", "3"])[:6]
    ['--data=mnist', '--model=lenet', '--epochs=15', '--preset', 'lenet-mnist', '--epochs']
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset")
    early.add_argument("--config")
    given, _ = early.parse_known_args(argv)
    arguments = []
    if given.preset in PRESETS:  # argparse refuses others
        arguments += _as_arguments(PRESETS[given.preset].options)
    if given.config is not None:
        arguments += _as_arguments(_read(given.config))
    return [*arguments, *argv]


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            options = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"The options in {path} cannot be read ({reason}).") from error
    if options is None:
        return {}
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise RunError(f"{path} is not a list of options, one on each line, such as 'epochs: 20'.")
    for name in ("config", "preset"):
        if name in options:
            raise RunError(f"{path} sets {name!r}, which is allowed on the command line only.")
    for name, value in options.items():
        if isinstance(value, (dict, list)):
            raise RunError(f"{path} gives {name!r} more than one value.")
    return options


def _as_arguments(options: dict[str, Any]) -> list[str]:
    arguments = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            arguments.append(option)
        elif value is False:
            if name == "augment":
                arguments.append("--no-augment")  # the only one that is on by itself
        elif value is not None:
            arguments.append(f"{option}={value}")
    return arguments


def to_yaml(options: dict[str, Any]) -> str:
    """What `--config` reads."""
    return yaml.safe_dump(
        {name: value for name, value in options.items() if value is not None}, sort_keys=False
    )
