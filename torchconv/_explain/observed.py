"""The convolutions that a model computes for an example, and which module asked for each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from torchconv import functional
from torchconv._activations.function import conv2d_activation
from torchconv._undisturbed import undisturbed

_OPTIONS = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_TRANSPOSED = {
    "bias": None, "stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1,
}  # fmt: skip
_OURS = {
    functional.conv1d: "conv1d",
    functional.conv2d: "conv2d",
    conv2d_activation: "conv2d",
    functional.conv3d: "conv3d",
    functional.conv_transpose1d: "conv_transpose1d",
    functional.conv_transpose2d: "conv_transpose2d",
}
_THEIRS = {
    torch.conv1d: "conv1d",
    torch.conv2d: "conv2d",
    torch.conv3d: "conv3d",
    torch.conv_transpose1d: "conv_transpose1d",
    torch.conv_transpose2d: "conv_transpose2d",
}


class Call(NamedTuple):
    """One convolution: the module whose code asked for it, and the arguments of ``function``."""

    module: nn.Module
    function: str  # "conv2d" or a relative, without an activation
    is_ours: bool
    arguments: tuple[Any, ...]
    winograd: Any
    padding_mode: str
    output: Tensor


def observe(model: nn.Module, example_input: Any, see: Callable[[Call], None]) -> None:
    """Runs a model in eval mode; ``see`` is called after each convolution.

    Raises:
        Exception: whatever ``model`` raises for ``example_input``.
    """
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    running: list[nn.Module] = [model]
    with undisturbed(model), _noting(model, running), _Watch(running, see):
        model(*inputs)


@contextmanager
def _noting(model: nn.Module, running: list[nn.Module]) -> Iterator[None]:
    """Keeps in ``running`` the modules that are being called, the innermost last."""
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):  # which takes no hooks
                continue
            before = module.register_forward_pre_hook(lambda it, _: running.append(it))
            after = module.register_forward_hook(
                lambda *_: (running.pop(), None)[1], prepend=True, always_call=True
            )
            stack.callback(before.remove)
            stack.callback(after.remove)
        yield


class _Watch(TorchFunctionMode):
    def __init__(self, running: list[nn.Module], see: Callable[[Call], None]) -> None:
        super().__init__()
        self._running, self._see = running, see

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(options or {})
        output = function(*arguments, **options)
        name = _OURS.get(function) or _THEIRS.get(function)
        if name is not None:
            defaults = _TRANSPOSED if "transpose" in name else _OPTIONS
            named = dict(zip(("input", "weight", *defaults), arguments, strict=False)) | options
            call = named["input"], named["weight"], *(
                named.get(key, default) for key, default in defaults.items()
            )  # fmt: skip
            modes = named.get("winograd"), named.get("padding_mode", "zeros")
            self._see(Call(self._running[-1], name, function in _OURS, call, *modes, output))
        return output
