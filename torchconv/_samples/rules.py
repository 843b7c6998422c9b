"""How the squares of the gradients of a layer's parameters are summed for each sample.

A rule takes the layer, its input [B, ...] and the gradient of its output [B, ...], and returns for
each trainable parameter of its own the sums, [B] in float64.
"""

import copy
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from torchconv._convert.convert import is_converted
from torchconv._samples.conv2d import grad_weight_squares
from torchconv.modules import Conv2d

Squares = dict[str, Tensor]
Rule = Callable[[Any, Tensor, Tensor], Squares]

# Elements of the gradients that exist at once where they are computed by torch.vmap.
_AT_ONCE = 2**22
# Their samples do not meet, whatever their options; of the norms see refusal().
_APART = (
    _ConvNd,
    nn.Embedding,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.Linear,
    nn.PReLU,
    nn.RMSNorm,
    _BatchNorm,
    _InstanceNorm,
)


def trainable(layer: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of the layer itself that have gradients."""
    parameters = layer.named_parameters(recurse=False)
    return {name: parameter for name, parameter in parameters if parameter.requires_grad}


def refuse(name: str, layer: nn.Module) -> None:
    """Raises where a layer has no gradients of single samples, or none that a rule computes.

    Raises:
        RuntimeError: the layer computes with the whole batch.
        NotImplementedError: there is no rule for its parameters.
    """
    kind = f"{name or 'the model itself'} ({type(layer).__name__})"
    if isinstance(layer, (_BatchNorm, _InstanceNorm)):
        # InstanceNorm keeps samples apart, but in training not what it tracks.
        tracks = layer.running_mean is not None
        in_batches = isinstance(layer, _BatchNorm) and (layer.training or not tracks)
        if in_batches or (layer.training and tracks):
            raise RuntimeError(
                f"per_sample_grad_norms(): {kind} computes with the statistics of the whole batch, "
                "so that samples have no gradients of their own; use model.eval() or GroupNorm"
            )
    names = list(trainable(layer))
    alone = isinstance(layer, _APART) and next(layer.children(), None) is None
    # A weight that a hook or a parametrization computes has other names.
    if names and not (alone and set(names) <= {"weight", "bias"}):
        raise NotImplementedError(
            f"per_sample_grad_norms(): no rule for the parameters {names} of {kind}; "
            "requires_grad_(False) leaves them out"
        )


def rule_of(layer: nn.Module) -> Rule:
    """A layer of a class of somebody's own may compute something else: torch.vmap finds out."""
    if type(layer) is Conv2d or (type(layer) is nn.Conv2d and _computes_as_its_class(layer)):
        return _conv2d
    if type(layer) is nn.Linear:
        return _linear
    if type(layer) is nn.Embedding and layer.max_norm is None and not layer.scale_grad_by_freq:
        return _embedding
    return _by_vmap


def _computes_as_its_class(layer: nn.Module) -> bool:
    return is_converted(layer) or "_conv_forward" not in vars(layer)


def _conv2d(layer: nn.Conv2d, input: Tensor, grad: Tensor) -> Squares:
    squares, wanted = {}, trainable(layer)
    if "weight" in wanted:
        squares["weight"] = grad_weight_squares(layer, input, grad)
    if "bias" in wanted:
        sums = grad.sum((2, 3), dtype=torch.promote_types(grad.dtype, torch.float32))
        squares["bias"] = sums.double().square().sum(1)
    return squares


def _linear(layer: nn.Linear, input: Tensor, grad: Tensor) -> Squares:
    """The squares of a product of two vectors are products of squares.

    Of more of them, [t, d] and [t, e], they are a sum over pairs of t.
    """
    input, grad = _steps(input), _steps(grad)
    squares, wanted = {}, trainable(layer)
    if "bias" in wanted:
        squares["bias"] = grad.sum(1).square().sum(1)
    if "weight" not in wanted:
        return squares
    steps = input.shape[1]
    if steps == 1:
        squares["weight"] = input.square().sum((1, 2)) * grad.square().sum((1, 2))
    elif steps**2 <= layer.weight.numel():
        pairs = ((x @ x.T).mul_(g @ g.T) for x, g in zip(input, grad, strict=True))
        squares["weight"] = torch.stack([each.sum() for each in pairs]).clamp_(min=0)
    else:
        gradients = (g.T @ x for x, g in zip(input, grad, strict=True))
        squares["weight"] = torch.stack([each.square_().sum() for each in gradients])
    return squares


def _steps(tensor: Tensor) -> Tensor:
    """[B, ..., d] -> [B, t, d] in float64."""
    return tensor.double().reshape(len(tensor), math.prod(tensor.shape[1:-1]), tensor.shape[-1])


def _embedding(layer: nn.Embedding, input: Tensor, grad: Tensor) -> Squares:
    sums = []
    for indices, grads in zip(input.reshape(len(input), -1), _steps(grad), strict=True):
        used = torch.ones_like(indices, dtype=torch.bool)
        if layer.padding_idx is not None:
            used = indices != layer.padding_idx
        found, rows = indices[used].unique(return_inverse=True)
        total = grads.new_zeros(len(found), grads.shape[-1]).index_add_(0, rows, grads[used])
        sums.append(total.square_().sum())
    return {"weight": torch.stack(sums)}


def _by_vmap(layer: nn.Module, input: Tensor, grad: Tensor) -> Squares:
    parameters = {name: parameter.detach() for name, parameter in trainable(layer).items()}
    bare = _without_hooks(layer)

    def squares(sample: Tensor, its_grad: Tensor) -> Squares:
        def output(parameters: dict[str, Tensor]) -> Tensor:
            return functional_call(bare, parameters, (sample.unsqueeze(0),))

        pull = vjp(output, parameters)[1]
        (gradients,) = pull(its_grad.unsqueeze(0))
        return {name: each.double().square().sum() for name, each in gradients.items()}

    elements = sum(parameter.numel() for parameter in parameters.values())
    return vmap(squares, chunk_size=max(1, _AT_ONCE // max(1, elements)))(input, grad)


def _without_hooks(layer: nn.Module) -> nn.Module:
    """Shares the parameters; a hook is the user's and has seen the layer run."""
    bare = copy.copy(layer)
    for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        vars(bare)[kind] = OrderedDict()
    return bare
