"""Receptive fields as numbers: by arithmetic where the layers are known, else measured."""

from typing import NamedTuple

from torch import nn

from torchconv import _arguments
from torchconv.visualize import _field_probe, _field_trace, _layers
from torchconv.visualize._field_trace import Pair, ReceptiveField, Unknown


class Fields(NamedTuple):
    """The field of a layer, and those of the layers with a window on the way to it, if known."""

    layer: _layers.Named
    field: ReceptiveField
    path: list[tuple[_layers.Named, ReceptiveField]]


def compute_receptive_field(
    model: nn.Module,
    layer: str | nn.Module,
    *,
    image_size: int | tuple[int, int] | None = None,
) -> ReceptiveField:
    r"""Computes which pixels of the image one element of a layer's output depends on.

    Output ``(i, j)`` sees ``size[0]`` rows from row ``offset[0] + i * stride[0]`` on, and the
    columns likewise. Numbers below 0 and beyond the image are padding. With dilation there
    may be pixels in between that it does not see, and with a padding mode other than zeros elements
    near the border see what the padding repeats.

    Convolutions, pooling, elementwise operations, sums and concatenations are followed through the
    graph of the model by arithmetic (Araujo, Norris and Sim, 2019, "Computing Receptive
    Fields of Convolutional Neural Networks", Distill): for each layer with kernel ``k``, stride
    ``s``, padding ``p`` and dilation ``d``

    .. math::
        \text{size} \mathrel{+}= d\,(k - 1)\,\text{stride}, \quad
        \text{offset} \mathrel{-}= p\,\text{stride}, \quad
        \text{stride} \mathrel{\times}= s.

    For any other model it is measured: a NaN in one row or column of the image reaches exactly the
    outputs that depend on it. A copy of the model runs in float64 once for each of them.

    Args:
        model: any module that takes a batch of images ``(n, c, h, w)``; a copy of it runs.
        layer: its name as in ``model.named_modules()``, or the module.
        image_size: height and width of the image, an int or a pair, where the field is measured;
            by default the smallest of 32, 64, 128 and 256 that is large enough.

    Raises:
        AttributeError: the model has no layer of that name.
        RuntimeError: the layer does not run.
        ValueError: its outputs see the whole image, or more than an image of that size, or do not
            move their window by a constant step; the layer gives no maps; branches that meet have
            different strides.

    Example:
        >>> from torch import nn
        >>> layers = nn.Conv2d(1, 6, 5, padding=2), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5)
        >>> compute_receptive_field(nn.Sequential(*layers), "2")
        ReceptiveField(size=(14, 14), stride=(2, 2), offset=(-2, -2))
    """
    return fields(model, layer, image_size, "compute_receptive_field").field


def fields(
    model: nn.Module,
    layer: str | nn.Module,
    image_size: int | tuple[int, int] | None,
    function: str,
) -> Fields:
    """What both public functions start from."""
    named = _layers.find(model, layer, function)
    size = None if image_size is None else image_size_of(image_size, function)
    try:
        path = _field_trace.trace(model, named, function)
        return Fields(named, path[-1][1], path[:-1])
    except Unknown:
        return Fields(named, _field_probe.probe(model, named, size, function), [])


def image_size_of(value: int | tuple[int, int], function: str) -> Pair:
    size = _arguments.pair(value, "image_size", function)
    if min(size) < 1:
        raise ValueError(f"{function}(): image_size must be positive, but got {size}")
    return size
