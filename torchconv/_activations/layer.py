"""``ConvActivation2d``, a convolution that ends with a residual addition and an activation."""

from typing import Any

from torch import Tensor

from torchconv._activations.function import Activation, activation_number, conv2d_activation_kept
from torchconv._packed_layer import PackedLayer
from torchconv.modules import Conv2d


class ConvActivation2d(PackedLayer, Conv2d):
    r"""A :class:`torchconv.Conv2d` whose result goes through an activation, in one pass.

    ``layer(input, residual)`` is ``activation(conv2d(input) + residual)``, see
    :func:`torchconv.conv2d_activation`. In training, ``'relu'``, ``'relu6'``, ``'sigmoid'`` and
    ``'leaky_relu'`` save no tensor beside input, weight and result.

    Args:
        activation: ``'relu'``, ``'relu6'``, ``'silu'``, ``'hardswish'``, ``'gelu'``, ``'sigmoid'``,
            ``'leaky_relu'`` or None.
        slope: of ``'leaky_relu'`` for negative sums.

    All other arguments, positional ones too, are those of :class:`torch.nn.Conv2d`; so are the
    parameters and the ``state_dict``.

    Shape:
        - Input: ``(n, in_channels, h, w)`` or ``(in_channels, h, w)``
        - Residual: as the output, or None
        - Output: ``(n, out_channels, p, q)`` or ``(out_channels, p, q)``

    Raises:
        ValueError: there is no such activation, or as the constructor of :class:`torch.nn.Conv2d`.
        RuntimeError: input, residual and parameters do not fit together.

    Example:
        >>> import torch
        >>> layer = ConvActivation2d(3, 8, 3, activation="relu6")
        >>> layer
        ConvActivation2d(3, 8, kernel_size=(3, 3), stride=(1, 1), activation='relu6')
        >>> layer(torch.randn(2, 3, 9, 9)).max().item() <= 6
        True
    """

    def __init__(
        self,
        *arguments: Any,
        activation: Activation | None = "relu",
        slope: float = 0.01,
        **options: Any,
    ) -> None:
        activation_number(activation)
        super().__init__(*arguments, **options)
        self.activation = activation
        self.slope = slope

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        weight, bias, kept = self._weights()
        return conv2d_activation_kept(
            input, weight, bias, (self.stride, self.padding, self.dilation, self.groups),
            self.activation, self.slope, residual, self.winograd, kept, self.padding_mode,
        )  # fmt: skip

    def extra_repr(self) -> str:
        slope = f", slope={self.slope}" if self.activation == "leaky_relu" else ""
        return f"{super().extra_repr()}, activation={self.activation!r}{slope}"
