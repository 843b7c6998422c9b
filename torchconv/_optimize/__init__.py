"""``optimize``: a model for inference, with what surrounds its convolutions folded into them."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

Module = TypeVar("Module", bound=nn.Module)


def optimize(
    model: Module,
    example_input: Tensor | tuple[Any, ...] | None = None,
    *,
    dtype: torch.dtype | None = None,
    memory_format: torch.memory_format | None = torch.channels_last,
    inplace: bool = False,
) -> Module:
    """Makes a model in eval mode faster for inference, with the same results up to rounding.

    BatchNorm is folded into the convolution before it, and so is zero padding before a convolution.
    A convolution also computes the activation and the addition of a residual that follow it. All
    other convolutions compute with torchconv, as after :func:`torchconv.convert`. Whatever cannot
    be changed safely is left as it is; :func:`torchconv.report` tells what was done and why not
    more. Modules whose own code changes, such as residual blocks, become
    :class:`torch.fx.GraphModule`; all others keep their class, and all keep their names. The model
    can no longer be trained: folded weights do not require gradients.

    Linear layers of float32 with up to 32 MB of weights are computed as the 1x1 convolutions that
    they are, too, so that their results do not depend on the batch.

    Weights are packed for the kernels at the first call and kept packed for inputs of the same
    size, which takes about as much memory again, for small 3x3 layers with Winograd's transforms
    four times as much; the report tells how much. Whoever changes a weight, in whatever way, has it
    packed anew.

    Consecutive layers are computed in one call of an operator from the second of two calls with
    inputs of the same sizes on, where nobody can tell: with hooks on a layer, autograd, autocast,
    transforms, tracers and the like each layer is called as before. The results between them are
    in memory that is kept; the report tells how much.

    A BatchNorm after a convolution is folded if nothing else uses the result between them, and if
    neither is called twice, has hooks, or is a subclass. Weights that two layers share are folded
    separately, and are not shared afterwards.

    Args:
        model: any module in eval mode.
        example_input: a tensor ``(n, c, h, w)``, or a tuple of all positional arguments of the
            model. The result is then compared with the original on it, and the report shows sizes.
        dtype: floating-point parameters are rounded to it, after folding, and floating-point inputs
            are cast to it, so that outputs have it, too. None leaves all as they are.
        memory_format: of the weights of convolutions; the outputs follow. None leaves them as they
            are.
        inplace: changes ``model`` itself and not a copy.

    Returns:
        The optimised copy of ``model``, or ``model``.

    Raises:
        RuntimeError: a module is in training mode; or the outputs for ``example_input`` differ from
            those of the original by more than 1e-4 of the largest value (0.02 in float16, 0.3 in
            bfloat16), after which a model changed in place must not be used.
        TypeError: an argument has a wrong type.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> image = torch.randn(1, 3, 32, 32)
        >>> optimized = optimize(model, image)
        >>> torch.allclose(optimized(image), model(image), atol=1e-4)
        True
        >>> optimized[1], optimized[2]
        (Identity(), Identity())
    """
    from torchconv._optimize import check
    from torchconv._optimize.walk import Walk
    from torchconv._programs import link, unlink

    _refuse(model, dtype, memory_format)
    if isinstance(example_input, Tensor):
        example_input = (example_input,)
    expected = None if example_input is None else check.run(model, example_input)
    if not inplace:
        model = copy.deepcopy(model)
    unlink(model)
    walk = Walk(model, dtype)
    walk.visit(model)
    _finish(model, walk, dtype, memory_format)
    link(walk.traced, walk.leaves)
    if example_input is not None:
        _compare(model, example_input, expected)
    return model


def _refuse(model: Any, dtype: Any, memory_format: Any) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"optimize(): model must be a Module, but got {type(model).__name__}")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"optimize(): dtype must be a floating-point dtype, but got {dtype}")
    if memory_format is not None:
        torch.empty(0, 0, 0, 0).to(memory_format=memory_format)
    for name, module in model.named_modules():
        if module.training:
            which = f"its module {name!r}" if name else "it"
            raise RuntimeError(
                f"optimize(): the model must be in eval mode, but {which} is in training mode; "
                "call model.eval()"
            )


def _finish(model: nn.Module, walk: Any, dtype: Any, memory_format: Any) -> None:
    """All that concerns layers one by one."""
    from torchconv._convert.convert import convert_layer
    from torchconv._optimize.cast import cast_inputs
    from torchconv._optimize.linear import keep_packed_linear
    from torchconv._optimize.packed import keep

    for layer in walk.layers(nn.Module):
        convert_layer(layer)
    for layer in walk.layers(nn.Conv2d):
        if memory_format is not None:
            layer.to(memory_format=memory_format)
    if dtype is not None:
        model.to(dtype)
        cast_inputs(model, dtype)
    for layer in walk.layers(nn.Conv2d):
        keep(layer)
    for layer in walk.layers(nn.Linear):
        keep_packed_linear(layer)


def _compare(model: nn.Module, arguments: tuple[Any, ...], expected: Any) -> None:
    from torchconv._optimize import check
    from torchconv._report import note

    def see(layer: nn.Module, output: Any) -> None:
        note(layer, output_size=tuple(output.shape))

    handles = check.observed(model, _ConvNd, see)
    try:
        actual = check.run(model, arguments)
    finally:
        for handle in handles:
            handle.remove()
    check.refuse_difference(expected, actual)
