"""Measures the convolutions of a model from forward hooks, while it runs on its example input.

So each layer gets the input that it really has, and no more than one of them is kept in memory.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import type_before_parametrizations

from torchconv import _padding, functional
from torchconv._activations.layer import ConvActivation2d
from torchconv._arguments import suggests_channels_last
from torchconv._compare.comparison import Comparison, LayerComparison
from torchconv._convert.plan import NAMESAKES, OURS, plan_of
from torchconv._convert.weak_method import is_replaced_by_others
from torchconv._explain import forward_algorithm
from torchconv._explain.call import explain_call
from torchconv._timing import measure_pairs
from torchconv._undisturbed import undisturbed

MODEL_RUNS = 5  # that are timed
NOT_CALLED = "the model does not call it"
_FUNCTIONS = {
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
    nn.ConvTranspose1d: "conv_transpose1d",
    nn.ConvTranspose2d: "conv_transpose2d",
}

Call = Callable[[], Tensor]


def measure(model: nn.Module, inputs: tuple[Any, ...], seconds: float) -> Comparison:
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, _ConvNd)}
    rows: dict[tuple, LayerComparison] = {}
    left_out = dict.fromkeys(layers, NOT_CALLED)

    def measure_call(name: str, arguments: dict[str, Any]) -> None:
        layer = layers[name]
        if (reason := _reason_against(layer, arguments["input"])) is not None:
            left_out[name] = reason
            return
        left_out.pop(name, None)
        tensors = (x for x in arguments.values() if isinstance(x, Tensor))
        key = name, *((x.shape, x.stride(), x.dtype) for x in tensors), _sizes(arguments)
        if key in rows:
            rows[key] = replace(rows[key], calls=rows[key].calls + 1)
        else:
            rows[key] = _measure_layer(name, layer, seconds, **arguments)

    with undisturbed(model):
        with _after_each_call(layers, measure_call):
            model(*inputs)
        model_seconds, share = _time_of_model(model, inputs, layers)
    slowest_first = sorted(rows.values(), key=lambda row: row.calls * row.ms, reverse=True)
    threads = torch.get_num_threads()
    return Comparison(slowest_first, left_out, model_seconds * 1e3, share, threads)


@contextmanager
def _after_each_call(
    layers: dict[str, _ConvNd], then: Callable[[str, dict[str, Any]], None]
) -> Iterator[None]:
    """Calls ``then(name, arguments)`` after ``forward``, before other hooks."""

    def hook(name: str, layer: nn.Module, positional: tuple, named: dict, output: Any) -> None:
        second = "output_size" if isinstance(layer, _ConvTransposeNd) else "residual"
        then(name, {**dict(zip(("input", second), positional, strict=False)), **named})

    with ExitStack() as stack:
        for name, layer in layers.items():
            handle = layer.register_forward_hook(
                partial(hook, name), with_kwargs=True, prepend=True
            )
            stack.callback(handle.remove)
        yield


def _time_of_model(
    model: nn.Module, inputs: tuple[Any, ...], layers: dict[str, _ConvNd]
) -> tuple[float, float]:
    """Median seconds of the model, and of the part of them that its layers take."""
    started, spent = 0.0, 0.0

    def start(*_: Any) -> None:
        nonlocal started
        started = time.perf_counter()

    def stop(*_: Any) -> None:
        nonlocal spent
        spent += time.perf_counter() - started

    totals, shares = [], []
    with ExitStack() as stack:
        for layer in layers.values():
            stack.callback(layer.register_forward_pre_hook(start).remove)
            stack.callback(layer.register_forward_hook(stop, prepend=True).remove)
        for _ in range(MODEL_RUNS):
            spent, begin = 0.0, time.perf_counter()
            model(*inputs)
            totals.append(time.perf_counter() - begin)
            shares.append(spent / totals[-1])
    return statistics.median(totals), statistics.median(shares)


def _sizes(arguments: dict[str, Any]) -> tuple[int, ...]:
    return tuple(arguments.get("output_size") or ())


def _reason_against(layer: _ConvNd, input: Tensor) -> str | None:
    """Why a layer is not measured, or None."""
    if not input.is_cpu:
        return f"its input is on {input.device}"
    plan = plan_of(layer)
    if isinstance(plan, str):
        return plan
    kind = type_before_parametrizations(layer)
    fused = issubclass(kind, ConvActivation2d) and kind.__module__.startswith("torchconv.")
    if not fused and not _has_forward_of_torch(kind):
        return f"{kind.__name__} has a forward of its own"
    if any(is_replaced_by_others(layer, name) for name in ("forward", "_conv_forward")):
        return "its forward was replaced"
    return None


def _has_forward_of_torch(kind: type[Any]) -> bool:
    methods = kind.forward, getattr(kind, "_conv_forward", None)
    return any(
        methods == (each.forward, getattr(each, "_conv_forward", None))
        for each in (*OURS, *NAMESAKES)
    )


def _measure_layer(
    name: str,
    layer: Any,
    seconds: float,
    input: Tensor,
    residual: Any = None,
    output_size: Any = None,
) -> LayerComparison:
    function = _FUNCTIONS[next(kind for kind in _FUNCTIONS if isinstance(layer, kind))]
    convolution = _arguments_of(layer, input, output_size)
    weight = layer.weight
    winograd = getattr(layer, "winograd", None)
    transposed = isinstance(layer, _ConvTransposeNd)
    namesakes, mode = F, {}
    if function in ("conv1d", "conv2d"):
        namesakes, mode = _padding, {"padding_mode": layer.padding_mode}
    options = {"winograd": winograd} if function == "conv2d" else {}
    ours: Call = partial(getattr(functional, function), *convolution, **mode, **options)
    theirs: Call = partial(getattr(namesakes, function), *convolution, **mode)
    ending = "transposed" if transposed else ""
    if isinstance(layer, ConvActivation2d):
        ours = partial(layer.forward, input, residual)
        theirs = partial(_separate_steps, layer, convolution, residual)
        parts = (None if residual is None else "residual", layer.activation)
        ending = ", ".join(part for part in parts if part is not None)
    with torch.inference_mode():
        output, expected = ours(), theirs()
        pairs = measure_pairs(ours, theirs, seconds)
        algorithm = forward_algorithm(explain_call(function, convolution, winograd, **mode))
    return LayerComparison(
        name=name,
        input_size=tuple(input.shape),
        output_size=tuple(output.shape),
        kernel_size=layer.kernel_size,
        stride=layer.stride,
        dilation=layer.dilation,
        groups=layer.groups,
        ending=ending,
        dtype=str(input.dtype).removeprefix("torch."),
        memory_format="channels_last" if _is_channels_last(input) else "contiguous",
        algorithm=algorithm,
        calls=1,
        macs=(input if transposed else output).numel() * weight[0].numel(),
        bytes=sum(x.numel() * x.element_size() for x in (input, weight, output)),
        ms=statistics.median(pairs.ours) * 1e3,
        torch_ms=statistics.median(pairs.theirs) * 1e3,
        speedup=pairs.speedup,
        difference=_difference(output, expected),
    )


def _arguments_of(layer: Any, input: Tensor, output_size: Any) -> tuple[Any, ...]:
    """What the layer calls its function with."""
    weight, bias, stride, padding = layer.weight, layer.bias, layer.stride, layer.padding
    dilation, groups = layer.dilation, layer.groups
    if isinstance(layer, _ConvTransposeNd):
        kernel: Any = layer.kernel_size
        output_padding = layer._output_padding(
            input, output_size, stride, padding, kernel, len(kernel), dilation
        )
        return input, weight, bias, stride, padding, output_padding, groups, dilation
    if isinstance(layer, nn.Conv3d) and layer.padding_mode != "zeros":  # a copy for either of both
        input = F.pad(input, layer._reversed_padding_repeated_twice, layer.padding_mode)
        padding = 0
    return input, weight, bias, stride, padding, dilation, groups


def _separate_steps(layer: ConvActivation2d, convolution: tuple[Any, ...], residual: Any) -> Tensor:
    """What PyTorch does without a fused layer, in place where it can."""
    result = _padding.conv2d(*convolution, padding_mode=layer.padding_mode)
    if residual is not None:
        alike = getattr(residual, "shape", None) == result.shape and residual.dtype == result.dtype
        result = result.add_(residual) if alike else result + residual
    match layer.activation:
        case None:
            return result
        case "sigmoid":
            return result.sigmoid_()
        case "gelu":
            return F.gelu(result)
        case "leaky_relu":
            return F.leaky_relu(result, layer.slope, inplace=True)
        case name:
            return getattr(F, name)(result, inplace=True)


def _is_channels_last(x: Tensor) -> bool:
    if x.dim() == 5:
        return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last_3d)
    return x.dim() == 4 and suggests_channels_last(x.shape, x.stride())


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest, over the largest element."""
    if not expected.numel():
        return 0.0
    difference = (found.double() - expected.double()).abs().max().item()
    return difference and difference / expected.double().abs().max().item()
