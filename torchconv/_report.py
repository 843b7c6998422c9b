"""What ``optimize`` did to each layer, and why it did not do more."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchconv._conv_activation import ConvActivation2d
from torchconv._convert.convert import is_converted

_ATTRIBUTE = "_torchconv_note"  # of a module, so that copies and files of it have it, too


class Note(NamedTuple):
    """What ``optimize`` leaves at a module."""

    done: tuple[str, ...] = ()
    reason: str = ""
    output_size: tuple[int, ...] | None = None


class Row(NamedTuple):
    """One layer in a report.

    Attributes:
        name: as in ``model.named_modules()``.
        layer: what it is.
        done: what the convolution does besides: ``"BatchNorm"``, ``"padding"``, ``"residual"``, the
            name of an activation; ``"torchconv"`` if torchconv computes it; ``"in one call"`` if it
            is computed together with other layers where nothing speaks against it.
        reason: why no more was done, if there was more; otherwise empty.
        output_size: the shape of its result for the ``example_input``, if there was one.
        packed_bytes: what it keeps of its weight beside the weight, packed for the kernels; nothing
            before the first call.
        kept_bytes: of a module that computes its layers in one call, the memory that it keeps for
            their results; nothing before the second call.
    """

    name: str
    layer: str
    done: tuple[str, ...]
    reason: str
    output_size: tuple[int, ...] | None
    packed_bytes: int = 0
    kept_bytes: int = 0


class Report(list[Row]):
    """Rows, one for each layer; as text, a table."""

    @property
    def packed_bytes(self) -> int:
        """What all layers keep packed."""
        return sum(row.packed_bytes for row in self)

    @property
    def kept_bytes(self) -> int:
        """What is kept for the results of layers that are computed in one call."""
        return sum(row.kept_bytes for row in self)

    def __str__(self) -> str:
        if not self:
            return "no convolutions"
        lines = [("name", "layer", "output", "packed", "kept", "done", "why not more")]
        for row in self:
            size = "" if row.output_size is None else "x".join(map(str, row.output_size))
            packed, kept = _kilobytes(row.packed_bytes), _kilobytes(row.kept_bytes)
            done = ", ".join(row.done)
            lines.append((row.name, row.layer, size, packed, kept, done, row.reason))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        used = [
            place for place, width in enumerate(widths) if any(line[place] for line in lines[1:])
        ]
        return "\n".join(
            "  ".join(line[place].ljust(widths[place]) for place in used).rstrip() for line in lines
        )


def _kilobytes(count: int) -> str:
    return f"{count / 1024:.0f} KB" if count else ""


def noted(module: nn.Module) -> Note:
    return vars(module).get(_ATTRIBUTE, Note())


def note(module: nn.Module, **changes: Any) -> None:
    vars(module)[_ATTRIBUTE] = noted(module)._replace(**changes)


def report(model: nn.Module) -> Report:
    """Tells of each convolution of a model what it does besides, and if not more, why.

    There are also rows for each BatchNorm that is left, for each module whose code
    :func:`torchconv.optimize` could not look into, and for each that keeps memory to compute its
    layers in one call. Of a model that was never optimised, the report
    tells which layers torchconv computes.

    Args:
        model: any module.

    Returns:
        A list of :class:`Row`; ``print`` shows a table.

    Raises:
        TypeError: ``model`` is no module.

    Example:
        >>> import torchconv
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> print(report(torchconv.optimize(model)))
        name  layer                               done
        0     ConvActivation2d(3, 8, kernel 3x3)  BatchNorm, relu, torchconv
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"report(): model must be a Module, but got {type(model).__name__}")
    return Report(_rows(model))


def _rows(model: nn.Module) -> Iterator[Row]:
    from torchconv._programs.shortcut import layers_in_one_call, shortcut_of

    in_one_call = layers_in_one_call(model)
    for name, module in model.named_modules():
        known = noted(module)
        done, reason = known.done, known.reason
        shortcut = shortcut_of(module)
        results = 0 if shortcut is None else shortcut.bytes
        if isinstance(module, nn.Conv2d):
            if isinstance(module, ConvActivation2d) or is_converted(module):
                done = (*done, "torchconv")
            else:
                reason = reason or _why_not_computed(module)
            if module in in_one_call:
                done = (*done, "in one call")
        elif not isinstance(module, _BatchNorm) and not reason and not results:
            continue
        kept = module._kept if isinstance(module, ConvActivation2d) else None
        packed = 0 if kept is None else kept.bytes
        yield Row(name, _describe(module), done, reason, known.output_size, packed, results)


def _describe(module: nn.Module) -> str:
    kind = type(module).__name__
    if isinstance(module, _BatchNorm):
        return f"{kind}({module.num_features})"
    if not isinstance(module, nn.Conv2d):
        return kind
    r, s = module.kernel_size
    text = f"{kind}({module.in_channels}, {module.out_channels}, kernel {r}x{s}"
    if module.stride != (1, 1):
        text += f", stride {module.stride[0]}x{module.stride[1]}"
    if module.groups > 1:
        text += f", {module.groups} groups"
    return text + ")"


def _why_not_computed(layer: nn.Conv2d) -> str:
    if type(layer) is nn.Conv2d:
        return "torchconv.convert or torchconv.optimize was not called"
    return f"{type(layer).__name__} is a subclass of nn.Conv2d"
