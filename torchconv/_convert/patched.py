"""``patched``: what code of others computes with ``F.conv2d``, computed by torchconv."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ContextDecorator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from torchconv import functional

# torch.nn.functional has the same functions.
_OURS = {
    torch.conv1d: functional.conv1d,
    torch.conv2d: functional.conv2d,
    torch.conv3d: functional.conv3d,
    torch.conv_transpose1d: functional.conv_transpose1d,
    torch.conv_transpose2d: functional.conv_transpose2d,
}


class patched(TorchFunctionMode, ContextDecorator):
    """Sends convolutions of PyTorch through torchconv inside a ``with`` block.

    ``torch.nn.functional.conv2d``, ``conv1d``, ``conv3d``, ``conv_transpose1d`` and
    ``conv_transpose2d`` are computed by their namesakes of torchconv, whoever calls them and under
    whatever name they were imported. That is for code that :func:`torchconv.convert` cannot change,
    such as the filters of torchvision and kornia. What torchconv does not compute is left to
    PyTorch as always. ``aten`` operators and ``torch.convolution`` are not looked at.

    A block counts for its own thread, may be entered again and inside of itself, and is a decorator
    of functions, too. It must not contain an ``await`` or a ``yield``: meanwhile it would count for
    whatever else runs in that thread, as every mode of PyTorch does. A backward pass runs what its
    forward pass ran. Inside, every function of PyTorch takes about a microsecond longer.

    Example:
        >>> import torch.nn.functional as F
        >>> image, mean = torch.rand(1, 1, 64, 64), torch.full((1, 1, 23, 23), 1 / 529)
        >>> with patched():
        ...     F.conv2d(image, mean).shape
        torch.Size([1, 1, 42, 42])
        >>> @patched()
        ... def blurred(image):
        ...     return F.conv2d(image, mean)
        >>> torch.equal(blurred(image), functional.conv2d(image, mean))
        True
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        return _OURS.get(function, function)(*arguments, **(options or {}))
