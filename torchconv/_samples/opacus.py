"""What Opacus is told: how gradients of single samples of torchconv's layers are made.

Its own rule for ``nn.Conv2d`` unfolds the input and multiplies all groups with each other.
Converted layers are ``nn.Conv2d`` by type, under which Opacus looks rules up: there the rule that
was found goes on for all other layers, and for a batch without samples.
"""

from types import ModuleType
from typing import Any

from torch import Tensor, nn

from torchconv._convert.convert import is_converted
from torchconv._samples.conv2d import grad_weight_squares, grad_weights
from torchconv.modules import Conv2d


def register(grad_sample: ModuleType) -> None:
    """Registers the rules with the package ``opacus.grad_sample``."""
    found = grad_sample.GradSampleModule.GRAD_SAMPLERS[nn.Conv2d]

    def gradients_of(layer: Any, activations: list[Tensor], backprops: Tensor) -> Any:
        rule = gradients if is_converted(layer) and len(backprops) else found
        return rule(layer, activations, backprops)

    grad_sample.register_grad_sampler([nn.Conv2d, Conv2d])(gradients_of)
    grad_sample.register_norm_sampler(Conv2d)(norms)


def gradients(
    layer: nn.Conv2d, activations: list[Tensor], backprops: Tensor
) -> dict[nn.Parameter, Tensor]:
    """[n, ...] for each parameter."""
    result = {}
    if layer.weight.requires_grad:
        result[layer.weight] = grad_weights(layer, activations[0], backprops)
    if layer.bias is not None and layer.bias.requires_grad:
        result[layer.bias] = backprops.sum((2, 3))
    return result


def norms(
    layer: nn.Conv2d, activations: list[Tensor], backprops: Tensor
) -> dict[nn.Parameter, Tensor]:
    """[n] for each parameter, for clipping without the gradients themselves."""
    result = {}
    if layer.weight.requires_grad:
        squares = grad_weight_squares(layer, activations[0], backprops)
        result[layer.weight] = squares.sqrt().to(backprops.dtype)
    if layer.bias is not None and layer.bias.requires_grad:
        result[layer.bias] = backprops.sum((2, 3)).norm(dim=1)
    return result
