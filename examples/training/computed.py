"""Who computed the convolutions of a network: torchconv, or PyTorch in its place.

torchconv leaves tensors to PyTorch where it was told so, where its kernels are missing, and on a
GPU wherever none of its kernels has been accepted. Its speed is not what is measured then.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn

OPERATORS = ("forward", "grad_input", "grad_weight")
Shares = dict[str, Any]  # {"torchconv": 5, "PyTorch": {"the backend is 'aten'": 3}}


@contextmanager
def watch(model: nn.Module, shares: Shares) -> Iterator[None]:
    """Counts the convolutions of the training step inside by who computes them.

    A layer counts once for its output and once for each gradient that training needs. What PyTorch
    computes is counted for each reason that torchconv gives.

    Example:
        >>> import torchconv
        >>> layer, image, shares = torchconv.Conv2d(1, 2, 3), torch.zeros(1, 1, 8, 8), {}
        >>> with torchconv.backend("aten"), watch(layer, shares):
        ...     layer(image).sum().backward()
        >>> shares
        {'torchconv': 0, 'PyTorch': {"the backend is 'aten'": 2}}
    """
    import torchconv

    calls: list[tuple[torchconv.Conv2d, Tensor, bool]] = []

    def note(layer: torchconv.Conv2d, inputs: tuple[Tensor, ...]) -> None:
        (input,) = inputs
        calls.append((layer, _cast(input.detach()), input.requires_grad))

    layers = (m for m in model.modules() if isinstance(m, torchconv.Conv2d))
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    reasons = [reason for call in calls for reason in _reasons(*call)]  # the step is over by now
    shares["torchconv"] = reasons.count(None)
    shares["PyTorch"] = dict(Counter(reason for reason in reasons if reason is not None))


def _reasons(layer: nn.Conv2d, input: Tensor, wants_grad: bool) -> list[str | None]:
    """For each convolution of a layer why PyTorch computes it, or None where torchconv does."""
    import torchconv

    weight, bias = (
        p if p is None else p.detach().to(input.dtype) for p in (layer.weight, layer.bias)
    )
    text = torchconv.explain(
        input, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups
    )
    if text.startswith("aten: "):
        text = "\n".join(f"{operator}: {text}" for operator in OPERATORS)
    left = dict(re.findall(r"^(\w+): aten: (.*)$", text, re.MULTILINE))
    needed = (True, wants_grad, layer.weight.requires_grad)
    return [left.get(operator) for operator in compress(OPERATORS, needed)]


def _cast(input: Tensor) -> Tensor:
    """As autocast passes it to a convolution."""
    kind = input.device.type
    return input.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else input


def describe(shares: Shares) -> str | None:
    """A sentence on what PyTorch computed in torchconv's place; None if that is nothing."""
    left = sum(shares["PyTorch"].values())
    if not left:
        return None
    total = left + shares["torchconv"]
    which = f"all {total}" if left == total else f"{left} of the {total}"
    reasons = "; ".join(shares["PyTorch"])
    return (
        f"PyTorch computes {which} convolutions of a training step with torchconv.Conv2d, "
        f"gradients included ({reasons})."
    )
