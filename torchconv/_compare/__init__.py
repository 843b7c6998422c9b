"""``compare``, which measures the convolutions of a model beside those of PyTorch."""

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:  # what it needs takes longer to import than all of torchconv
    from torchconv._compare.comparison import Comparison


def compare(model: nn.Module, example_input: Any, *, seconds: float = 0.1) -> "Comparison":
    """Measures every convolution of a model, on its real inputs, beside that of PyTorch.

    The model runs a few times, in eval mode and without gradients. While it does, each call of an
    ``nn.Conv2d``, ``nn.Conv1d``, ``nn.Conv3d``, ``nn.ConvTranspose1d`` or ``nn.ConvTranspose2d`` is
    computed by torchconv and by PyTorch, in turn, and timed. It does not matter which of them the
    model itself uses: layers of :func:`torchconv.convert` and plain ones are measured alike. A
    :class:`torchconv.ConvActivation2d` is compared with the separate steps of PyTorch. Layers with
    a ``forward`` of their own are left out, and calls of functions are not seen. The model, its
    hooks and modes, and the random state of the process stay as they are.

    Args:
        model: any module; nothing on a GPU is measured.
        example_input: a tensor, or a tuple of positional arguments of ``model``. For a network of
            images ``(n, c, h, w)``, of the dtype of the model. Its memory format counts.
        seconds: time to measure each layer for; at least three pairs are measured.

    Returns:
        The rows, one for each layer and shape of its input, the slowest first (``rows``), the time
        of the whole model and the part of it that is spent in convolutions. ``str()`` of it is a
        table, ``to_dict()`` plain data.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: ``seconds`` is not positive.
        Exception: whatever ``model`` raises for ``example_input``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2))
        >>> found = compare(model, torch.randn(1, 3, 16, 16), seconds=0.001)
        >>> sorted((row.name, row.shape) for row in found.rows)[1]
        ('2', '1x8x14x14 -> 1x16x6x6, 3x3, stride 2')
        >>> found.macs
        83808
        >>> "whole model" in str(found)
        True
    """
    from torchconv._compare.layers import measure

    if not isinstance(model, nn.Module):
        raise TypeError(f"compare(): model must be a torch.nn.Module, got {type(model).__name__}")
    if not seconds > 0:
        raise ValueError(f"compare(): seconds must be positive, got {seconds}")
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    return measure(model, inputs, seconds)
