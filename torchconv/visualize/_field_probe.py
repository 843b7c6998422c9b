"""Receptive fields measured on any model: a NaN in the image reaches all that depends on it.

A gradient would not do: it is zero behind a ReLU that is off, and max pooling passes it to one
element of its window. A NaN passes through both, and 0 times NaN is NaN.
"""

import copy

import torch
from torch import Tensor, nn

from torchconv.visualize._field_trace import Pair, ReceptiveField
from torchconv.visualize._layers import Named, title

SIZES = (32, 64, 128, 256)
AT_ONCE = 16  # images in a batch


class _TooSmall(ValueError):
    """The image has no room for the window to move."""


class _Reached(Exception):
    """Ends a forward pass with the output of the layer."""


def probe(model: nn.Module, layer: Named, image_size: Pair | None, function: str) -> ReceptiveField:
    """Measures the field of a layer; ValueError if it has none that moves by a constant step."""
    model = copy.deepcopy(model).cpu().double().eval()
    module = model.get_submodule(layer.name)
    sizes = [image_size] if image_size else [(size, size) for size in SIZES]
    for size in sizes:
        try:
            return _probe(model, module, size, f"{function}(): {title(layer)}")
        except (_TooSmall, RuntimeError) as error:
            # Smaller images than a model is made for are refused by its own layers.
            if size == sizes[-1] or isinstance(error, _NotRun):
                raise
    raise AssertionError("unreachable")


class _NotRun(RuntimeError):
    """The model ended without the layer."""


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
    """Size, stride and offset, from what each output sees of a row or column of the image."""
    last = len(sees[0]) - 1
    ends = [(s.index(True), last - s[::-1].index(True)) if any(s) else None for s in sees]
    inside = [(i, end) for i, end in enumerate(ends) if end and 0 < end[0] and end[1] < last]
    if len(inside) < 2:
        raise _TooSmall(
            f"{who} sees the whole image, or too much of it: an image of "
            f"{image_size[0]} x {image_size[1]} has no two windows within its borders"
        )
    (i, (first, stop)), (j, (next_first, _)) = inside[:2]
    size, stride = stop - first + 1, (next_first - first) // (j - i)
    offset = first - i * stride
    if stride < 1 or any(
        end != (offset + i * stride, offset + i * stride + size - 1) for i, end in inside
    ):
        raise ValueError(f"{who} has no window that moves over the image by a constant step")
    return size, stride, offset
