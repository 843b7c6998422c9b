"""Measures the convolutions of a model from forward hooks, while it runs on its example input.

So each layer gets the input that it really has, and no more than one of them is kept in memory.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from torchconv import _explain, _padding, functional
from torchconv._arguments import suggests_channels_last
from torchconv._comparison import Comparison, LayerComparison
from torchconv._conv_activation import ConvActivation2d
from torchconv._timing import measure_pairs
from torchconv.modules import Conv2d, is_converted

MODEL_RUNS = 5  # that are timed
NOT_CALLED = "the model does not call it"

Call = Callable[[], Tensor]


def measure(model: nn.Module, inputs: tuple[Any, ...], seconds: float) -> Comparison:
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    rows: dict[tuple, LayerComparison] = {}
    left_out = dict.fromkeys(layers, NOT_CALLED)

    def measure_call(name: str, arguments: dict[str, Any]) -> None:
        layer = layers[name]
        if (reason := _reason_against(layer, arguments["input"])) is not None:
            left_out[name] = reason
            return
        left_out.pop(name, None)
        tensors = (x for x in arguments.values() if isinstance(x, Tensor))
        key = name, *((x.shape, x.stride(), x.dtype) for x in tensors)
        if key in rows:
            rows[key] = replace(rows[key], calls=rows[key].calls + 1)
        else:
            rows[key] = _measure_layer(name, layer, seconds, **arguments)

    with _undisturbed(model):
        with _after_each_call(layers, measure_call):
            model(*inputs)
        model_seconds, share = _time_of_model(model, inputs, layers)
    slowest_first = sorted(rows.values(), key=lambda row: row.calls * row.ms, reverse=True)
    threads = torch.get_num_threads()
    return Comparison(slowest_first, left_out, model_seconds * 1e3, share, threads)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """In eval mode, eager and without gradients; modes and random state are put back.

    The flag itself is set, because ``train()`` and ``eval()`` of a class may do more. Not in
    inference mode: a model may keep what it computes once for all, and train with it later.
    """
    modes = [(module, module.training) for module in model.modules()]
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(cuda))
        stack.enter_context(torch.no_grad())
        if "torch._dynamo" in sys.modules:  # or compiled code would not know of the hooks
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for module, _ in modes:
                module.training = False
            yield
        finally:
            for module, training in modes:
                module.training = training


@contextmanager
def _after_each_call(
    layers: dict[str, nn.Conv2d], then: Callable[[str, dict[str, Any]], None]
) -> Iterator[None]:
    """Calls ``then(name, arguments)`` after ``forward``, before other hooks."""

    def hook(name: str, layer: nn.Module, positional: tuple, named: dict, output: Any) -> None:
        then(name, {**dict(zip(("input", "residual"), positional, strict=False)), **named})

    with ExitStack() as stack:
        for name, layer in layers.items():
            handle = layer.register_forward_hook(
                partial(hook, name), with_kwargs=True, prepend=True
            )
            stack.callback(handle.remove)
        yield


def _time_of_model(
    model: nn.Module, inputs: tuple[Any, ...], layers: dict[str, nn.Conv2d]
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


def _reason_against(layer: nn.Conv2d, input: Tensor) -> str | None:
    """Why a layer is not measured, or None."""
    if not input.is_cpu:
        return f"its input is on {input.device}"
    kind = type_before_parametrizations(layer)
    fused = issubclass(kind, ConvActivation2d) and kind.__module__.startswith("torchconv.")
    if kind not in (nn.Conv2d, Conv2d) and not fused:
        return f"{kind.__name__} is a subclass of nn.Conv2d, which torchconv leaves alone"
    own = vars(layer)
    if "forward" in own or ("_conv_forward" in own and not is_converted(layer)):
        return "its forward has been replaced"
    return None


def _measure_layer(
    name: str,
    layer: nn.Conv2d,
    seconds: float,
    input: Tensor,
    residual: Any = None,
) -> LayerComparison:
    weight = layer.weight
    convolution = (
        input, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups,
    )  # fmt: skip
    mode, winograd = layer.padding_mode, getattr(layer, "winograd", None)
    ours: Call = partial(functional.conv2d, *convolution, padding_mode=mode, winograd=winograd)
    theirs: Call = partial(_padding.conv2d, *convolution, padding_mode=mode)
    ending = ""
    if isinstance(layer, ConvActivation2d):
        ours = partial(layer.forward, input, residual)
        theirs = partial(_separate_steps, layer, convolution, residual)
        parts = (None if residual is None else "residual", layer.activation)
        ending = ", ".join(part for part in parts if part is not None)
    with torch.inference_mode():
        output, expected = ours(), theirs()
        pairs = measure_pairs(ours, theirs, seconds)
        algorithm = _explain.forward_algorithm(*convolution, padding_mode=mode, winograd=winograd)
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
        macs=output.numel() * weight[0].numel(),
        bytes=sum(x.numel() * x.element_size() for x in (input, weight, output)),
        ms=statistics.median(pairs.ours) * 1e3,
        torch_ms=statistics.median(pairs.theirs) * 1e3,
        speedup=pairs.speedup,
        difference=_difference(output, expected),
    )


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
    return x.dim() == 4 and suggests_channels_last(x.shape, x.stride())


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest, over the largest element."""
    if not expected.numel():
        return 0.0
    difference = (found.double() - expected.double()).abs().max().item()
    return difference and difference / expected.double().abs().max().item()
