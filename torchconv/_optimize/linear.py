"""Linear layers, which are 1x1 convolutions: each row of their input is an image of one pixel."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C import (
    _are_functorch_transforms_active,
    _get_tracing_state,
    _is_any_autocast_enabled,
)
from torch.compiler import is_dynamo_compiling

from torchconv._config import get_backend
from torchconv._integrations.one_node import one_node
from torchconv._kept_weights import keep_packed
from torchconv._operators import load
from torchconv._operators.autograd_activation import conv2d_activation
from torchconv._optimize.modules import is_plain, why_not_itself
from torchconv._packed_layer import PackedLayer
from torchconv._winograd import CHOSEN

_CHANNELS_LAST = 1  # in the last number of a geometry
_LEAST_WEIGHTS, _MOST_BYTES = 2**16, 2**25


def keep_packed_linear(layer: nn.Linear) -> None:
    """Makes a layer a ``PackedLinear`` if it is what its class says and of a size that gains."""
    weight: Any = layer._parameters.get("weight")
    bias = layer._parameters.get("bias")
    if type(layer) is not nn.Linear or why_not_itself(layer) is not None or not is_plain(weight):
        return
    if weight.dtype is not torch.float32 or not (bias is None or is_plain(bias)):
        return
    if weight.numel() >= _LEAST_WEIGHTS and weight.numel() * weight.element_size() <= _MOST_BYTES:
        layer.__class__ = PackedLinear
        vars(layer)["__module__"] = nn.Linear.__module__
        keep_packed(layer)


@one_node
class PackedLinear(PackedLayer, nn.Linear):
    """A ``nn.Linear`` whose weight stays packed from one call to the next.

    In float32, where PyTorch does not keep it: with few rows, reading the weight is all the work.
    Other calls are PyTorch's.
    """

    # Of the convolution that it is.
    stride = dilation = groups = 1
    padding = 0
    padding_mode = "zeros"
    winograd = activation = None
    slope = 0.01

    def forward(self, input: Tensor) -> Tensor:
        if not self._is_ours(input):
            return F.linear(input, self.weight, self.bias)
        # As pixels of one image, several would have other sums than one.
        images = input.reshape(-1, self.in_features, 1, 1)
        return self._conv2d(images).reshape(*input.shape[:-1], self.out_features)

    def _conv2d(self, input: Tensor) -> Tensor:
        weight, bias, kept = self._weights()
        flags = CHOSEN.get()
        geometry = (1, 1, 0, 0, 0, 0, 1, 1, 1, flags + _CHANNELS_LAST)
        packed = None
        if kept is not None:
            options = self.stride, self.padding, self.dilation, self.groups
            threads = torch.get_num_threads()
            call = (input.shape, input.stride(), input.dtype, options, flags, threads)
            known = kept.known(call)
            packed = kept.pack(weight, call, geometry) if known is None else known[1]
        kernel = weight[:, :, None, None]
        return conv2d_activation(input, kernel, bias, None, geometry, 0, self.slope, packed)

    def _is_ours(self, input: Any) -> bool:
        return (
            type(input) is Tensor
            and input.is_cpu
            and input.dtype is torch.float32
            and input.dim() >= 2
            and input.shape[-1] == self.in_features
            and input.numel() > 0
            and input.layout is torch.strided
            and not _is_any_autocast_enabled()
            and not _are_functorch_transforms_active()
            and _get_tracing_state() is None
            and not is_dynamo_compiling()
            and load.problem is None
            and get_backend() != "aten"
            and self._holds_float32()
        )

    def _holds_float32(self) -> bool:
        parameters: Any = self._parameters
        held = [dict.get(parameters, name) for name in ("weight", "bias")]
        return held[0] is not None and all(
            each is None or (each.dtype is torch.float32 and each.is_cpu) for each in held
        )
