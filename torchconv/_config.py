"""Who computes a call: torchconv or ATen, and how a user finds out and decides."""

from typing import Literal

import torch
from torch import Tensor
from torch._C import _get_tracing_state

from torchconv._arguments import refuse_tensors
from torchconv._gpu import dispatch
from torchconv._operators import load
from torchconv._setting import Block, Setting

Backend = Literal["native", "auto", "aten"]

_BACKENDS = ("native", "auto", "aten")
_CHOSEN: Setting[str] = Setting("backend", "auto")

PLAIN_TYPES = frozenset((Tensor, torch.nn.Parameter))
_STRIDED = torch.strided
_DTYPES = frozenset((torch.float32, torch.float64, torch.bfloat16, torch.float16))

# Not a reason yet: who computes a call on a GPU depends on its shape.
ON_CUDA = "on a GPU"


def set_backend(name: Backend) -> None:
    """Chooses who computes convolutions from now on, in all threads.

    Inside a ``with torchconv.backend(...)`` block the choice also holds for the rest of that block.
    Blocks of other threads keep theirs.

    Args:
        name: ``'native'``: torchconv wherever it has kernels. ``'auto'`` (the default): on
            the CPU the same as ``'native'``; on a GPU only those kernels that were tested on this
            kind of GPU and were no slower there. ``'aten'``: always ``torch.nn.functional.conv2d``.

    Raises:
        ValueError: there is no such backend.
        RuntimeError: ``'native'`` is asked for and there is no compiled library.

    Example:
        >>> set_backend("aten")
        >>> get_backend()
        'aten'
        >>> set_backend("auto")
    """
    _CHOSEN.set(_known(name))


def get_backend() -> str:
    """Returns the backend in use: that of the innermost block :class:`backend`, if this thread or
    task is in one, or the one given to :func:`set_backend`; ``'auto'`` by default.
    """
    return _CHOSEN.get()


def _known(name: str) -> str:
    if name not in _BACKENDS:
        raise ValueError(f"backend must be one of {_BACKENDS}, got {name!r}")
    if name == "native":
        load.require_library()
    return name


class backend(Block[str]):
    """Chooses the backend inside a ``with`` block, as :func:`set_backend` does for good.

    A block counts for its own thread or asyncio task (it sets a ``contextvars.ContextVar``). A
    backward pass runs what was chosen for its forward pass.

    Example:
        >>> with backend("aten"):
        ...     get_backend()
        'aten'
        >>> get_backend()
        'auto'
    """

    def __init__(self, name: Backend) -> None:
        super().__init__(_CHOSEN, _known(name))


def reason_for_aten(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    function: str = "conv2d",
    dtypes: frozenset[torch.dtype] = _DTYPES,
) -> str | None:
    """Why a call is left to ATen, None if torchconv computes it, ON_CUDA if its shape decides.

    Raises:
        TypeError: an argument is not a tensor.
    """
    if (
        type(input) not in PLAIN_TYPES
        or type(weight) not in PLAIN_TYPES
        or (bias is not None and type(bias) not in PLAIN_TYPES)
    ):
        given = {} if bias is None else {"bias": bias}
        refuse_tensors(function, input=input, weight=weight, **given)
        for tensor in (input, weight, bias):
            if tensor is not None and _has_own_dispatcher(tensor):
                return f"{type(tensor).__name__} has a dispatcher of its own"
        if torch.onnx.is_in_onnx_export():
            return "an ONNX model is exported, in operators that others know"
    if _get_tracing_state() is not None:
        return "TorchScript is tracing, in operators that others know"
    if load.problem is not None:
        return load.problem
    chosen = _CHOSEN.get()
    if chosen == "aten":
        return "the backend is 'aten'"
    if not (input.is_cpu and weight.is_cpu and (bias is None or bias.is_cpu)):
        devices = {tensor.device for tensor in (input, weight, bias) if tensor is not None}
        if devices != {torch.device("meta")}:
            return (
                _elsewhere(devices, input, weight, chosen)
                or _not_computed(input, weight, dtypes)
                or ON_CUDA
            )
    if (
        input.dtype not in dtypes
        or input.layout is not _STRIDED
        or weight.layout is not _STRIDED
        or (weight.numel() == 0 and weight.dim() == 4 and weight.shape[1] == 0)
    ):
        return _not_computed(input, weight, dtypes)
    return None


def _elsewhere(
    devices: set[torch.device], input: Tensor, weight: Tensor, chosen: str
) -> str | None:
    """Why there is no kernel for tensors that are not all on the CPU, or None if there may be."""
    if len(devices) > 1 or not input.is_cuda:
        return f"torchconv has no kernels for {' and '.join(sorted(map(str, devices)))}"
    return dispatch.reason_for_aten(input, weight, chosen)


def _not_computed(input: Tensor, weight: Tensor, dtypes: frozenset[torch.dtype]) -> str | None:
    """Why torchconv computes such tensors on no device, or None if it does."""
    if input.dtype not in dtypes:
        return f"torchconv has no kernels for input {input.dtype} and weight {weight.dtype}"
    if input.layout is not _STRIDED or weight.layout is not _STRIDED:
        return f"torchconv has no kernels for input {input.layout} and weight {weight.layout}"
    if weight.numel() == 0 and weight.dim() == 4 and weight.shape[1] == 0:
        return "there are no input channels"
    return None


def is_like_the_cpus(tensor: Tensor) -> bool:
    """Whether kernels of the CPU can take a tensor: in its data type, and as memory."""
    return (
        (type(tensor) in PLAIN_TYPES or not _has_own_dispatcher(tensor))
        and (tensor.is_cpu or tensor.is_meta)
        and tensor.layout is _STRIDED
        and tensor.dtype in _DTYPES
    )


def _has_own_dispatcher(tensor: Tensor) -> bool:
    """Whether a subclass takes operators in its own hands (DTensor, quantised tensors, ...).

    Fake and functional tensors, with which PyTorch traces, stand for ordinary ones.
    """
    from torch._subclasses.fake_tensor import FakeTensor
    from torch._subclasses.functional_tensor import FunctionalTensor

    if isinstance(tensor, (FakeTensor, FunctionalTensor)):
        return False
    dispatch = getattr(type(tensor), "__torch_dispatch__", None)
    return dispatch is not torch._C._disabled_torch_dispatch_impl  # that of Tensor
