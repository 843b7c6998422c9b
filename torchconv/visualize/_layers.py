"""Layers of a model: by name or as modules, and what they give for an image."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Named(NamedTuple):
    name: str
    module: nn.Module


def find(model: nn.Module, layer: str | nn.Module, function: str) -> Named:
    """The layer with its name in the model.

    Raises:
        AttributeError: the model has no layer of that name.
        ValueError: the module is not part of the model.
        TypeError: neither a name nor a module.
    """
    if isinstance(layer, str):
        try:
            return Named(layer, model.get_submodule(layer))
        except AttributeError as error:
            known = ", ".join(name for name, _ in model.named_modules() if name)
            raise AttributeError(
                f"{function}(): the model has no layer {layer!r} ({error}); it has: {known}"
            ) from None
    if not isinstance(layer, nn.Module):
        raise TypeError(
            f"{function}(): a layer must be a name or a module, but got {type(layer).__name__}"
        )
    for name, module in model.named_modules():
        if module is layer:
            return Named(name, module)
    raise ValueError(f"{function}(): the layer {layer} is not part of the model")


def title(layer: Named) -> str:
    """Name and class, such as ``features.0 (Conv2d)``."""
    kind = type(layer.module).__name__
    return f"{layer.name} ({kind})" if layer.name else kind


def outputs(model: nn.Module, image: Tensor, layers: Sequence[Named]) -> list[Tensor | None]:
    """What each layer gives for a batch, in evaluation mode; None if it does not run.

    Of a layer that runs several times it is the last output. The model's modes are left as they
    were.
    """
    found: dict[int, Tensor] = {}

    def record(module: nn.Module, inputs: tuple, output: object) -> None:
        if isinstance(output, Tensor):
            found[id(module)] = output.detach().clone()  # the next layer may work in place

    modes = {module: module.training for module in model.modules()}
    hooks = [layer.module.register_forward_hook(record) for layer in layers]
    model.eval()
    try:
        with torch.no_grad():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return [found.get(id(layer.module)) for layer in layers]
