"""The command line, `python -m torchconv {info, compare, explain, convert-report}`."""

import argparse
import difflib
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

import torchconv

DTYPES = ("float32", "float64", "bfloat16", "float16")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    options.run(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m torchconv",
        description="About this installation of torchconv, and what it gains in a model.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="versions, machine and settings, for bug reports")
    info.set_defaults(run=lambda _: print(torchconv.show_config()))

    for name, run, help, more in (
        ("compare", _compare, "each convolution of a network, computed by torchconv and by PyTorch",
         "Measures each convolution of a network of torchvision, with random weights and images, "
         "computed by torchconv and by PyTorch in turn. For a model of your own, call "
         "torchconv.compare(model, example_input)."),
        ("explain", _explain, "the algorithm of each convolution of a network, and why not another",
         "Tells which algorithm computes each convolution of a network of torchvision, and why "
         "those before it do not apply. For a model of your own, call "
         "torchconv.explain(model, example_input)."),
        ("convert-report", _report, "what torchconv.convert changes in a network",
         "Converts a network of torchvision and prints the report. For a model of your own, call "
         "torchconv.report(torchconv.convert(model), example_input)."),
    ):  # fmt: skip
        command = commands.add_parser(name, help=help, description=more)
        _add_options_of_networks(command)
        command.set_defaults(run=run, error=command.error)
        if run is _compare:
            text = "time to measure each layer for (%(default)s)"
            command.add_argument("--seconds", type=_seconds, default=0.1, help=text)
    return parser


def _add_options_of_networks(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("model", help="a classification network of torchvision.models or torchvision.models.video")
    add("--batch", type=_positive, default=1, metavar="N", help="images (%(default)s)")
    add("--size", type=_positive, default=224, metavar="PIXELS", help="of an image (%(default)s)")
    add("--frames", type=_positive, default=16, metavar="N", help="of a video (%(default)s)")
    add("--dtype", choices=DTYPES, default="float32", help="(%(default)s)")
    add("--channels-last", action="store_true", help="model and images in that memory format")
    add("--threads", type=_positive, metavar="N", help="(what PyTorch chooses)")


def _compare(options: argparse.Namespace) -> None:
    print(torchconv.compare(*_network(options), seconds=options.seconds))


def _explain(options: argparse.Namespace) -> None:
    print(torchconv.explain(*_network(options)))


def _report(options: argparse.Namespace) -> None:
    model, images = _network(options)
    print(torchconv.report(torchconv.convert(model), images))


def _network(options: argparse.Namespace) -> tuple[nn.Module, Tensor]:
    """A network in eval mode, and images for it."""
    if options.threads:
        torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)
    torch.manual_seed(0)
    model, is_of_videos = _build(options)
    size = (options.size, options.size)
    images = torch.randn(options.batch, 3, *((options.frames,) if is_of_videos else ()), *size)
    memory_format = torch.contiguous_format
    if options.channels_last:
        memory_format = torch.channels_last_3d if is_of_videos else torch.channels_last
    model = model.to(dtype).to(memory_format=memory_format)
    return model.eval(), images.to(dtype).contiguous(memory_format=memory_format)


def _build(options: argparse.Namespace) -> tuple[nn.Module, bool]:
    """The network, and whether it is one of videos."""
    refuse: Callable[[str], NoReturn] = options.error
    try:
        from torchvision import models
    except ImportError as error:
        refuse(f"needs torchvision (pip install 'torchconv[compare]'): {error}")
    videos = models.list_models(module=models.video)
    names = models.list_models(module=models) + videos
    if options.model not in names:
        close = difflib.get_close_matches(options.model, names, n=5, cutoff=0.5)
        near = f"close to it are {', '.join(close)}" if close else f"there are {', '.join(names)}"
        refuse(f"torchvision has no classification network {options.model!r}; {near}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of how it will draw weights some day
        return models.get_model(options.model, weights=None), options.model in videos


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
