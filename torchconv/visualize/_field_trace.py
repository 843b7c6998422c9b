"""Receptive fields by arithmetic along the graph of a model, which torch.fx records."""

import copy
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.node import Target

from torchconv import _arguments
from torchconv.visualize._layers import Named

Pair = tuple[int, int]

WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d)
POINTWISE = (
    nn.BatchNorm2d, nn.Identity, nn.LocalResponseNorm, nn.ChannelShuffle,
    nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU,
    nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Hardshrink, nn.Softshrink,
    nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Tanhshrink, nn.Softplus, nn.Softsign, nn.Threshold,
    nn.Softmax2d,
)  # fmt: skip
POINTWISE_FUNCTIONS: set[Callable] = {
    operator.add, operator.iadd, operator.sub, operator.mul, operator.imul, operator.truediv,
    operator.neg, torch.add, torch.sub, torch.mul, torch.relu, torch.sigmoid, torch.tanh, torch.abs,
    F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid,
    F.sigmoid, F.tanh, F.softplus, F.dropout, F.dropout2d,
}  # fmt: skip
POINTWISE_METHODS = {
    "add", "add_", "mul", "mul_", "sub", "relu", "relu_", "sigmoid", "tanh", "clone", "contiguous",
}  # fmt: skip
# With the names of the arguments that say where their window is.
POOL_FUNCTIONS: dict[Target, tuple[str, ...]] = {
    F.max_pool2d: ("kernel_size", "stride", "padding", "dilation"),
    F.avg_pool2d: ("kernel_size", "stride", "padding"),
}


class ReceptiveField(NamedTuple):
    """Pixels of the image, as pairs (rows, columns), that an element of a layer's output sees."""

    size: Pair
    stride: Pair
    offset: Pair


class Unknown(Exception):
    """The arithmetic has no rule for the model; says for what."""


class _Window(NamedTuple):
    kernel: Pair
    stride: Pair
    padding: Pair  # top and left
    dilation: Pair


class _Tracer(fx.Tracer):
    """Records a model and finds the node that holds the output of one layer."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer
        self.found: fx.Node | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, (*WINDOWED, *POINTWISE))
        return known or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable, args: Any, kwargs: Any) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        if m is self.layer and isinstance(output, fx.Proxy):
            self.found = output.node
        return output


def trace(model: nn.Module, layer: Named, function: str) -> list[tuple[Named, ReceptiveField]]:
    """The fields of the windowed layers that lead to a layer, and its own as the last one.

    Raises:
        Unknown: something on the way has no rule, or torch.fx cannot record the model.
        RuntimeError: the layer does not run.
        ValueError: branches that meet have different strides.
    """
    try:
        model = _copy_without_hooks(model)
        target = model.get_submodule(layer.name)
        if isinstance(model, WINDOWED):
            model = nn.Sequential(model)
        tracer = _Tracer(target)
        graph = tracer.trace(model)
    except Exception as error:  # the model's own code ran, with stand-ins for tensors
        raise Unknown(str(error)) from error
    if model is target:
        outputs = next(node for node in graph.nodes if node.op == "output").all_input_nodes
        if len(outputs) != 1:
            raise Unknown(f"the model has {len(outputs)} outputs")
        tracer.found = outputs[0]
    if tracer.found is None:
        raise RuntimeError(f"{function}(): the layer {layer.name!r} does not run")
    modules = dict(model.named_modules())
    image = next(node for node in graph.nodes if node.op == "placeholder")
    known = {image: ReceptiveField((1, 1), (1, 1), (0, 0))}
    ancestors = _ancestors(tracer.found)
    path = []
    for node in graph.nodes:
        if node not in ancestors or node is image:
            continue
        module = modules[node.target] if node.op == "call_module" else None
        window = _window(node, module)
        before = _join([known[n] for n in node.all_input_nodes], node, function)
        known[node] = _through(before, window) if window else before
        if window and node is not tracer.found:
            path.append((_named(node, module), known[node]))
    return [*path, (layer, known[tracer.found])]


def _copy_without_hooks(model: nn.Module) -> nn.Module:
    """A copy that shares its tensors: nothing that the tracer does is left behind in the model."""
    tensors = [*model.parameters(), *model.buffers()]
    model = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for module in model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return model


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found, waiting = set(), [node]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found


def _named(node: fx.Node, module: nn.Module | None) -> Named:
    return Named(str(node.target), module) if module else Named(node.name, nn.Module())


def _window(node: fx.Node, module: nn.Module | None) -> _Window | None:
    """The window with which a node looks at its input; None if it looks at each element alone."""
    if isinstance(module, WINDOWED):
        return _window_of(
            module.kernel_size,
            module.stride,
            getattr(module, "padding", 0),
            getattr(module, "dilation", 1),
        )
    if isinstance(module, POINTWISE):
        return None
    if node.op == "call_function":
        if node.target in POOL_FUNCTIONS:
            names = POOL_FUNCTIONS[node.target]
            given = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
            return _window_of(**{name: given[name] for name in names if name in given})
        if node.target in POINTWISE_FUNCTIONS:
            return None
        if node.target is torch.cat:
            dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
            if dim in (1, -3):
                return None
    if node.op == "call_method" and node.target in POINTWISE_METHODS:
        return None
    raise Unknown(f"no rule for {node.format_node()}")


def _window_of(
    kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1
) -> _Window:
    try:
        kernel = _arguments.pair(kernel_size, "kernel_size")
        steps = _arguments.pair(kernel if stride is None else stride, "stride")
        gaps = _arguments.pair(dilation, "dilation")
        if padding == "same" and max(steps) > 1:
            raise Unknown("padding='same' with a stride depends on the size of the image")
        top, _, left, _ = _arguments.sides(padding, (1, 1), kernel, steps, gaps)
    except (TypeError, RuntimeError) as error:  # numbers that the graph computes
        raise Unknown(str(error)) from error
    return _Window(kernel, steps, (top, left), gaps)


def _through(field: ReceptiveField, window: _Window) -> ReceptiveField:
    """The field behind a window, whose input has the given one."""
    sizes, strides, offsets = [], [], []
    for size, stride, offset, kernel, step, padding, gap in zip(*field, *window, strict=True):
        sizes.append(size + gap * (kernel - 1) * stride)
        strides.append(stride * step)
        offsets.append(offset - padding * stride)
    return ReceptiveField(tuple(sizes), tuple(strides), tuple(offsets))


def _join(fields: list[ReceptiveField], node: fx.Node, function: str) -> ReceptiveField:
    """What an element sees through several branches: from the first pixel to the last one."""
    if not fields:
        raise Unknown(f"{node.format_node()} does not depend on the image")
    strides = {field.stride for field in fields}
    if len(strides) > 1:
        raise ValueError(
            f"{function}(): the branches that meet in {node.name} have the strides "
            f"{sorted(strides)}, so that no single window describes it"
        )
    offset, end = [], []
    for i in range(2):
        offset.append(min(field.offset[i] for field in fields))
        end.append(max(field.offset[i] + field.size[i] for field in fields))
    size = (end[0] - offset[0], end[1] - offset[1])
    return ReceptiveField(size, strides.pop(), (offset[0], offset[1]))
