"""The arithmetic: BatchNorm and zero padding as part of the convolution beside them."""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Node

from torchconv._arguments import lists_sides, pair
from torchconv._optimize.modules import (
    FROZEN_NORMS,
    NORMS_WITH_ACTIVATION,
    class_name,
    why_not_itself,
)


def is_norm(module: nn.Module | None) -> bool:
    """Whether a module is a BatchNorm over channels of images, of a class that is known."""
    if module is None:
        return False
    known = FROZEN_NORMS | NORMS_WITH_ACTIVATION
    return type(module) in (nn.BatchNorm2d, nn.SyncBatchNorm) or class_name(module) in known


def why_not_folded(norm: Any, channels: int) -> str | None:
    """Why a BatchNorm is not the same map for every image, or None."""
    problem = why_not_itself(norm)
    if problem is not None:
        return problem
    is_frozen = class_name(norm) in FROZEN_NORMS
    if norm.training and not is_frozen:
        return "its BatchNorm is in training mode"
    if not is_frozen and not norm.track_running_stats:
        return "its BatchNorm does not track statistics (track_running_stats=False)"
    if norm.running_mean is None or norm.running_var is None:
        return "its BatchNorm has no running statistics"
    if norm.running_mean.shape != (channels,) or norm.running_var.shape != (channels,):
        return f"its BatchNorm has {norm.running_mean.numel()} channels, it has {channels}"
    if not norm.running_mean.is_floating_point():
        return "its BatchNorm has statistics that are not floating point"
    if class_name(norm) in NORMS_WITH_ACTIVATION and not _drops_nothing(norm):
        return "its BatchNorm drops values"
    return None


def _drops_nothing(norm: Any) -> bool:
    return type(getattr(norm, "drop", None)) in (type(None), nn.Identity)


def activation_inside(norm: Any) -> nn.Module | None:
    """The activation that timm's BatchNormAct2d ends with, if any."""
    activation = getattr(norm, "act", None) if class_name(norm) in NORMS_WITH_ACTIVATION else None
    return None if type(activation) is nn.Identity else activation


def folded(
    layer: nn.Conv2d, norms: Sequence[Any], dtype: torch.dtype | None
) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias of a convolution that does what ``layer`` and the norms after it do.

    Computed in float64 and rounded once, to ``dtype`` or that of the weight.
    """
    weight = _wide(layer.weight)
    bias = weight.new_zeros(layer.out_channels) if layer.bias is None else _wide(layer.bias)
    for norm in norms:
        scale = (_wide(norm.running_var) + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * _wide(norm.weight)
        weight = weight * scale[:, None, None, None]
        bias = (bias - _wide(norm.running_mean)) * scale
        if norm.bias is not None:
            bias = bias + _wide(norm.bias)
    like = {"device": layer.weight.device, "dtype": dtype or layer.weight.dtype}
    return (
        nn.Parameter(weight.to(**like), requires_grad=False),
        nn.Parameter(bias.to(**like), requires_grad=False),
    )


def _wide(tensor: Tensor) -> Tensor:
    """Some devices have no float64."""
    device = tensor.device if tensor.is_meta else "cpu"
    return tensor.detach().to(device, torch.float64)


def zero_padding(node: Node) -> tuple[int, int] | None:
    """The (height, width) that a node adds on both sides of its first argument, which is an image.

    None if it does anything else.
    """
    if node.op == "call_module":
        return _padding_of_module(node)
    if node.op != "call_function" or node.target is not F.pad:
        return None
    arguments = dict(zip(("input", "pad", "mode", "value"), node.args, strict=False)) | dict(
        node.kwargs
    )
    if arguments.get("mode", "constant") != "constant" or arguments.get("value") not in (None, 0):
        return None
    return _both_sides(arguments.get("pad"))


def _padding_of_module(node: Node) -> tuple[int, int] | None:
    module: Any = node.meta.get("module")
    if type(module) not in (nn.ZeroPad2d, nn.ConstantPad2d) or why_not_itself(module) is not None:
        return None
    if len(node.args) != 1 or node.kwargs or getattr(module, "value", 0) != 0:
        return None
    return _both_sides(module.padding)


def _both_sides(sides: Any) -> tuple[int, int] | None:
    """From (left, right, top, bottom), as F.pad takes them; None if a side differs from the other
    or is cut off."""
    if not isinstance(sides, (tuple, list)) or len(sides) not in (2, 4):
        return None
    if not all(type(side) is int and side >= 0 for side in sides):
        return None
    left, right, top, bottom = (*sides, 0, 0)[:4]
    return (top, left) if left == right and top == bottom else None


def added_padding(layer: nn.Conv2d, extra: tuple[int, int]) -> tuple[int, ...] | None:
    """The padding of a layer with ``extra`` before it, or None where that is no padding."""
    if layer.padding_mode != "zeros" or layer.padding == "same":
        return None
    if lists_sides(layer.padding, 2):
        left, right, top, bottom = cast("tuple[int, ...]", layer.padding)
        return left + extra[1], right + extra[1], top + extra[0], bottom + extra[0]
    height, width = (0, 0) if layer.padding == "valid" else pair(layer.padding, "padding")
    return height + extra[0], width + extra[1]
