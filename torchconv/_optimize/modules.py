"""What a module is to optimize(): left alone, one node of a graph, or code to look into."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from torchconv._activations.layer import ConvActivation2d
from torchconv._convert.weak_method import is_replaced_by_others
from torchconv._packed_layer import PackedLayer
from torchconv.modules import Conv2d

FROZEN_NORMS = frozenset(
    {
        "torchvision.ops.misc.FrozenBatchNorm2d",
        "timm.layers.norm_act.FrozenBatchNormAct2d",
    }
)
NORMS_WITH_ACTIVATION = frozenset(
    {
        "timm.layers.norm_act.BatchNormAct2d",
        "timm.layers.norm_act.SyncBatchNormAct",
        "timm.layers.norm_act.FrozenBatchNormAct2d",
    }
)
# In eval mode they return their input.
NOTHING_IN_EVAL = frozenset(
    {
        "torch.nn.modules.linear.Identity",
        "torch.nn.modules.dropout.Dropout",
        "torch.nn.modules.dropout.Dropout2d",
        "torchvision.ops.stochastic_depth.StochasticDepth",
        "timm.layers.drop.DropPath",
    }
)
_LEAVES = FROZEN_NORMS | NORMS_WITH_ACTIVATION | NOTHING_IN_EVAL

_QUANTISED = ("torch.ao.", "torch.nn.quantized", "torch.nn.intrinsic", "torch.nn.qat", "torchao.")
_WRAPPERS = ("torch.nn.parallel.", "torch.distributed.", "torch._dynamo.")

_CONTAINERS = (dict, list, tuple, set)

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def class_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def left_alone(module: nn.Module) -> str | None:
    """Why a module is not looked into at all, or None."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is TorchScript"
    name = class_name(module)
    if name.startswith(_QUANTISED):
        return "it belongs to quantisation"
    if name.startswith(_WRAPPERS):
        return f"it is a wrapper ({type(module).__name__}): optimise the model inside, then wrap it"
    if getattr(module, "_compiled_call_impl", None) is not None:
        return "it is compiled: optimise the model first, then compile it"
    if any(is_lazy(each) for each in module._parameters.values() if each is not None):
        return "it has no weights yet"
    return None


def has_hooks(module: nn.Module) -> bool:
    return any(vars(module).get(name) for name in _HOOKS)


def why_not_itself(module: nn.Module) -> str | None:
    """Why a module may do something else than its class says, or None."""
    if is_parametrized(module):
        return f"{type(module).__name__} has parametrizations"
    if has_hooks(module):
        return f"{type(module).__name__} has hooks"
    for name in ("forward", "_conv_forward"):
        if is_replaced_by_others(module, name):
            return f"the {name} of {type(module).__name__} was replaced"
    return None


def why_not_fused(layer: nn.Module) -> str | None:
    """Why a convolution cannot take part in a fusion, whatever is around it, or None."""
    problem = why_not_itself(layer)
    if problem is not None:
        return problem
    if type(layer) not in (nn.Conv2d, Conv2d, ConvActivation2d):
        return f"{type(layer).__name__} is a subclass of nn.Conv2d"
    parameters = [layer._parameters.get(name) for name in ("weight", "bias")]
    if not is_plain(parameters[0]) or not (parameters[1] is None or is_plain(parameters[1])):
        return "its weight or its bias is not an ordinary parameter"
    return None


def is_plain(parameter: Any) -> bool:
    """Whether it is a floating-point parameter without a class of its own."""
    return (
        type(parameter) is nn.Parameter
        and type(parameter.data) is Tensor
        and parameter.is_floating_point()
    )


def does_nothing(module: nn.Module) -> bool:
    """Whether a module returns its input in eval mode, in which it is."""
    return (
        class_name(module) in NOTHING_IN_EVAL
        and not module.training
        and why_not_itself(module) is None
    )


def is_leaf(module: nn.Module) -> bool:
    """Whether a trace records a call of this module and does not look into it."""
    if left_alone(module) is not None or why_not_itself(module) is not None:
        return True
    if isinstance(module, (nn.Conv2d, PackedLayer, _NormBase)) or class_name(module) in _LEAVES:
        return True
    kind = type(module)
    if hasattr(kind.forward, "__wrapped__"):
        return True
    return kind.__module__.startswith("torch.nn.") and kind is not nn.Sequential


def has_its_own_call(module: nn.Module) -> bool:
    """Whether calling a module does more than PyTorch would, so that no node can stand for it."""
    is_graph = isinstance(module, torch.fx.GraphModule)
    return type(module).__call__ is not nn.Module.__call__ and not is_graph


def held(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that a module refers to: its children, and those in its lists and dicts."""
    yield from (child for child in module._modules.values() if child is not None)
    for name, value in vars(module).items():
        if name != "_modules" and isinstance(value, (nn.Module, *_CONTAINERS)):
            yield from _modules_in(value)


def _modules_in(value: Any) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, dict):
        for element in value.values():
            yield from _modules_in(element)
    elif isinstance(value, _CONTAINERS):
        for element in value:
            yield from _modules_in(element)


def reachable(start: nn.Module) -> set[nn.Module]:
    """All modules that ``start`` leads to, itself among them."""
    found: set[nn.Module] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(held(module))
    return found
