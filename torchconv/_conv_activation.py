"""``ConvActivation2d``, a convolution that ends with a residual addition and an activation."""

from typing import Any

from torch import Tensor

from torchconv._activation import Activation, conv2d_activation
from torchconv.modules import Conv2d


class ConvActivation2d(Conv2d):
    """A :class:`Conv2d` whose result goes through a residual addition and an activation."""

    def __init__(
        self,
        *arguments: Any,
        activation: Activation | None = "relu",
        slope: float = 0.01,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.activation = activation
        self.slope = slope

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        return conv2d_activation(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            activation=self.activation,
            slope=self.slope,
            residual=residual,
            winograd=self.winograd,
        )
