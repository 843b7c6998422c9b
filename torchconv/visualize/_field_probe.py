"""Receptive fields measured on any model: a NaN in the image reaches all that depends on it.

A gradient would not do: it is zero behind a ReLU that is off, and max pooling passes it to one
element of its window. A NaN passes through both, and 0 times NaN is NaN.
"""

import copy
from contextlib import suppress

import torch
from torch import Tensor, nn

from torchconv.visualize._field_trace import Pair, ReceptiveField
from torchconv.visualize._layers import Named, title

SIZES = (32, 64, 128, 256)
AT_ONCE = 16  # images in a batch


class _TooSmall(ValueError):
    """The image has no room for three windows."""


class _NotRun(RuntimeError):
    """The model ended without the layer."""


class _Reached(Exception):
    """Ends a forward pass with the output of the layer."""


def probe(model: nn.Module, layer: Named, image_size: Pair | None, function: str) -> ReceptiveField:
    """Measures the field of a layer; ValueError if it has none that moves by a constant step."""
    model = copy.deepcopy(model).cpu().double().eval()
    module = model.get_submodule(layer.name)
    for part in model.modules():
        part._forward_hooks.clear()  # the user's, which are not to meet the NaNs
    who = f"{function}(): {title(layer)}"
    if image_size:
        return _probe(model, module, image_size, who)
    for size in SIZES[:-1]:
        # Images smaller than those a model is made for are refused by its own layers.
        with suppress(_TooSmall, RuntimeError):
            return _probe(model, module, (size, size), who)
    try:
        return _probe(model, module, (SIZES[-1], SIZES[-1]), who)
    except _NotRun:
        raise
    except RuntimeError as error:
        raise ValueError(
            f"{who} cannot be measured with images of {SIZES[0]} to {SIZES[-1]} pixels ({error}); "
            "give the image_size that the model takes"
        ) from error


def _probe(model: nn.Module, module: nn.Module, size: Pair, who: str) -> ReceptiveField:
    channels = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)
    image = torch.rand(channels, *size, dtype=torch.float64) + 0.5
    sizes, strides, offsets = [], [], []
    for dim in (1, 2):
        reached = []  # for each row or column of the image, the outputs that it reaches
        for start in range(0, size[dim - 1], AT_ONCE):
            stop = min(start + AT_ONCE, size[dim - 1])
            batch = image.repeat(stop - start, 1, 1, 1)
            for i in range(start, stop):
                batch[i - start].select(dim, i).fill_(torch.nan)
            output = _run(model, module, batch, who)
            reached.append(output.isnan().any(1).any(3 - dim))
        measured = _window(torch.cat(reached).T.tolist(), who, size)
        for values, value in zip((sizes, strides, offsets), measured, strict=True):
            values.append(value)
    return ReceptiveField(tuple(sizes), tuple(strides), tuple(offsets))


def _run(model: nn.Module, module: nn.Module, batch: Tensor, who: str) -> Tensor:
    def stop(module: nn.Module, inputs: tuple, output: object) -> None:
        raise _Reached(output)

    hook = module.register_forward_hook(stop)
    try:
        with torch.no_grad():
            model(batch)
    except _Reached as reached:
        output = reached.args[0]
    else:
        raise _NotRun(f"{who} does not run")
    finally:
        hook.remove()
    if not isinstance(output, Tensor) or output.dim() != 4:
        got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"{who} has no receptive field: it gives {got}, not maps (n, k, p, q)")
    return output


def _window(sees: list[list[bool]], who: str, image_size: Pair) -> tuple[int, int, int]:
    """Size, stride and offset, from what each output sees of a row or column of the image.

    They are taken from the outputs in the middle and hold for all whose window lies in the image.
    """
    last = len(sees[0]) - 1
    ends = [(s.index(True), last - s[::-1].index(True)) if any(s) else (0, last) for s in sees]
    middle = len(ends) // 2
    some = ends[max(0, middle - 1) : middle + 2]
    if len(some) < 3 or any(first == 0 or stop == last for first, stop in some):
        raise _TooSmall(
            f"{who} sees too much of the image: in {image_size[0]} x {image_size[1]} pixels "
            "there are no three windows that do not touch the border"
        )
    (before, _), (first, stop), _ = some
    size, stride = stop - first + 1, first - before
    offset = first - middle * stride
    expected = [(offset + i * stride, offset + i * stride + size - 1) for i in range(len(ends))]
    inside = [(a, b) for a, b in zip(ends, expected, strict=True) if 0 <= b[0] and b[1] <= last]
    if stride < 1 or any(found != window for found, window in inside):
        raise ValueError(f"{who} does not move its window over the image by a constant step")
    return size, stride, offset
