"""Writes a trained network for other programs: `python -m examples.export RUN --onnx FILE`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from examples import RunError, trained
from examples.training.checkpoint import atomic_file


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.export",
        description="Writes a trained network as an ONNX model: normalised images [n, c, h, w] "
        "come in, one number for each class comes out, its softmax being the probability.",
    )
    trained.arguments(parser)
    parser.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="file to write")
    return trained.run_command("examples.export", export, parser, argv)


def export(options: argparse.Namespace) -> None:
    network = trained.load(options.run, options.best, options.conv)
    size = network.model.image_size
    # Two images: a batch of one would be taken for a constant.
    images = torch.zeros(2, network.info.channels, size, size)
    try:
        program = torch.onnx.export(
            network.model,
            (images,),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"x": {0: torch.export.Dim("n")}},
            dynamo=True,
            verbose=False,
        )
    except ImportError as error:  # also what torch raises where onnxscript is missing
        raise RunError(
            f"The export needs onnx and onnxscript ({error}): pip install onnx onnxscript."
        ) from error
    model = program.model_proto
    described = {
        "classes": "\n".join(network.classes),
        "mean": " ".join(map(str, network.info.mean)),
        "std": " ".join(map(str, network.info.std)),
    }
    for key, value in described.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    with atomic_file(options.onnx) as file:
        file.write(model.SerializeToString())
    print(
        f"{options.onnx}: {network.options['model']}, {len(network.classes)} classes, "
        f"images [n, {network.info.channels}, {size}, {size}], normalised with mean "
        f"{described['mean']} and standard deviation {described['std']}"
    )


if __name__ == "__main__":
    sys.exit(main())
