"""A convolution that adds a residual, whatever the residual turns out to be."""

from typing import Any, cast

import torch
from torch import Tensor
from torch._C import _is_any_autocast_enabled

from torchconv import functional
from torchconv._activations.function import Activation, apply_activation
from torchconv._activations.layer import ConvActivation2d
from torchconv._arguments import output_extent, sides
from torchconv._winograd import Winograd
from torchconv.functional import PaddingMode


class ResidualConv2d(ConvActivation2d):
    """A :class:`ConvActivation2d` that is always called with a residual.

    Code may have added what is no tensor, or one of another shape or dtype. Such a sum is computed
    after the convolution, as it was, in place if it was (``in_place``).
    """

    def __init__(self, *arguments: Any, in_place: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.in_place = in_place

    def forward(self, input: Tensor, residual: Tensor) -> Tensor:  # type: ignore[override]
        if self._is_like_result(residual, input):
            return super().forward(input, residual)
        result = functional.conv2d(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups,
            padding_mode=cast("PaddingMode", self.padding_mode),
            winograd=cast("Winograd | None", self.winograd),
        )  # fmt: skip
        if self.in_place:
            result += residual
        else:
            result = result + residual
        return apply_activation(result, cast("Activation | None", self.activation), self.slope)

    def _is_like_result(self, residual: Any, input: Tensor) -> bool:
        if not isinstance(residual, Tensor) or residual.dtype is not input.dtype:
            return False
        if residual.device != input.device or _is_any_autocast_enabled():
            return False
        (r, s), (stride_h, stride_w), dilation = self.kernel_size, self.stride, self.dilation
        *batch, _, h, w = input.shape
        top, bottom, left, right = sides(self.padding, (h, w), (r, s), self.stride, dilation)
        p = output_extent(h, r, stride_h, top + bottom, dilation[0])
        q = output_extent(w, s, stride_w, left + right, dilation[1])
        return residual.shape == torch.Size([*batch, self.out_channels, p, q])
