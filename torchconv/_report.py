"""What ``convert`` and ``optimize`` did to each layer, and why they did not do more."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from torchconv._convert.plan import computes_with_torchconv, plan_of
from torchconv._description import by, describe
from torchconv._packed_layer import PackedLayer

_TITLES: tuple[str, ...] = tuple(
    "name,layer,output,algorithm,packed,kept,done,why not more".split(",")
)
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
            name of an activation; ``"torchconv"`` if torchconv computes it, for the
            ``example_input`` if there is one; ``"in one call"`` if it is computed together with
            other layers where nothing speaks against it.
        reason: why no more was done, or why torchconv does not compute it; otherwise empty.
        output_size: the shape of its result for the ``example_input``, if there was one.
        packed_bytes: what it keeps of its weight beside the weight, packed for the kernels; nothing
            before the first call.
        kept_bytes: of a module that computes its layers in one call, the memory that it keeps for
            their results; nothing before the second call.
        algorithm: what computes it for the ``example_input`` of the report, as
            :func:`torchconv.explain` names it, ``"aten"`` if that is PyTorch; several where it
            depends on the call, nothing if it is not called.
    """

    name: str
    layer: str
    done: tuple[str, ...]
    reason: str
    output_size: tuple[int, ...] | None
    packed_bytes: int = 0
    kept_bytes: int = 0
    algorithm: str = ""


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
        lines = [_TITLES]
        for row in self:
            size = "" if row.output_size is None else by(row.output_size)
            packed, kept = _kilobytes(row.packed_bytes), _kilobytes(row.kept_bytes)
            done = ", ".join(row.done)
            lines.append((row.name, row.layer, size, row.algorithm, packed, kept, done, row.reason))
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


def report(model: nn.Module, example_input: Any = None) -> Report:
    """Tells of each convolution of a model what it does besides, and if not more, why.

    The report tells which layers torchconv computes, 1-d, 3-d, transposed and linear ones too, and
    why it does not compute others. There are also rows for each BatchNorm that is left, for each
    module whose code :func:`torchconv.optimize` could not look into, and for each that keeps memory
    to compute its layers in one call.

    Args:
        model: any module.
        example_input: a tensor, or a tuple of all positional arguments of the model. It runs once,
            in eval mode and without gradients, and stays as it is. The report then shows
            algorithms and sizes, and has rows for modules whose own code calls ``F.conv2d`` or
            one of its relatives.

    Returns:
        A list of :class:`Row`; ``print`` shows a table.

    Raises:
        TypeError: ``model`` is no module.
        Exception: whatever ``model`` raises for ``example_input``.

    Example:
        >>> import torch, torchconv
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> print(report(torchconv.optimize(model)))
        name  layer                               done
        0     ConvActivation2d(3, 8, kernel 3x3)  BatchNorm, relu, torchconv
        >>> layers = torchconv.convert(nn.Conv1d(2, 8, 1)), nn.ConvTranspose3d(8, 8, 1)
        >>> [row.reason for row in report(nn.Sequential(*layers))]
        ['', 'torchconv has no counterpart of ConvTranspose3d']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"report(): model must be a Module, but got {type(model).__name__}")
    return Report(_rows(model, {} if example_input is None else _calls_of(model, example_input)))


def _rows(model: nn.Module, calls: dict[nn.Module, "_Called"]) -> Iterator[Row]:
    from torchconv._programs.shortcut import layers_in_one_call, shortcut_of

    in_one_call = layers_in_one_call(model)
    for name, module in model.named_modules():
        known, called = noted(module), calls.get(module, _Called())
        done, reason = known.done, known.reason
        shortcut = shortcut_of(module)
        results = 0 if shortcut is None else shortcut.bytes
        is_ours = isinstance(module, PackedLayer) or computes_with_torchconv(module)
        if called.left_to_torch and set(called.algorithms) == {"aten"}:
            reason = reason or called.left_to_torch
        elif is_ours or (called.algorithms and not called.by_torch):
            done = (*done, "torchconv")
        elif isinstance(module, _ConvNd) or called.by_torch:
            reason = reason or _why_not_computed(module)
        elif not (isinstance(module, _BatchNorm) or reason or results):
            continue
        if module in in_one_call:
            done = (*done, "in one call")
        kept = module._kept if isinstance(module, PackedLayer) else None
        packed = 0 if kept is None else kept.bytes
        yield Row(
            name, describe(module), done, reason, called.output_size or known.output_size, packed,
            results, ", ".join(called.algorithms),
        )  # fmt: skip


def _why_not_computed(module: nn.Module) -> str:
    plan = plan_of(module)
    if isinstance(plan, str):
        return plan
    if plan is None:
        return "its code calls F.conv2d or a relative: see torchconv.register, torchconv.patched"
    return "torchconv.convert or torchconv.optimize was not called"


def _calls_of(model: nn.Module, example_input: Any) -> dict[nn.Module, "_Called"]:
    """What modules compute for an example."""
    from torchconv._explain import forward_algorithm
    from torchconv._explain.call import explain_call
    from torchconv._explain.observed import (  # which need functions that need this module
        Call,
        observe,
    )

    found: dict[nn.Module, _Called] = {}

    def see(call: Call) -> None:
        called = found.setdefault(call.module, _Called())
        called.output_size = tuple(call.output.shape)
        if call.is_ours:
            text = explain_call(call.function, call.arguments, call.winograd, call.padding_mode)
            called.algorithms[forward_algorithm(text)] = None
            if text.startswith("aten: "):
                called.left_to_torch = text.removeprefix("aten: ")
        else:
            called.by_torch = True
            called.algorithms["aten"] = None

    observe(model, example_input, see)
    return found


class _Called:
    def __init__(self) -> None:
        self.output_size: tuple[int, ...] | None = None
        self.algorithms: dict[str, None] = {}  # in the order of the calls
        self.by_torch = False
        self.left_to_torch = ""  # why torchconv, which was asked, left a call to it
