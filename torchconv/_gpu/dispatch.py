"""Who computes a call on a GPU: torchconv's kernels or ATen, for each of the three operators.

Nothing here is asked for tensors on the CPU. The answer travels with the call, as flags in the last
number of its geometry (csrc/library.cpp): a backward pass runs what was decided for its forward.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.compiler import is_compiling

from torchconv._gpu import acceptance
from torchconv._operators import load

OPERATORS = ("forward", "grad_input", "grad_weight")
TF32 = 2
_ATEN = (4, 8, 16)  # leaves one of the operators to ATen


@functools.cache
def accepted() -> acceptance.Accepted:
    return acceptance.load(torch.ops.torchconv._algorithms_cuda())


@functools.cache
def capability(index: int) -> str:
    """Compute capability of a GPU, such as "9.0"."""
    if not torch.cuda.is_available():  # tensors without data need no GPU
        return "none"
    return "{}.{}".format(*torch.cuda.get_device_capability(index))


def reason_for_aten(input: Tensor, weight: Tensor, backend: str) -> str | None:
    """Why a call is left to ATen whatever its other arguments, or None if they decide."""
    if load.cuda_problem is not None:
        return load.cuda_problem
    if backend == "native":
        return None
    if is_compiling():
        return "a compiler chooses among ATen's convolutions and may fuse them"
    if not accepted().capabilities:
        return "no CUDA kernel of torchconv has been accepted on a GPU and found faster yet"
    if (found := capability(input.device.index)) not in accepted().capabilities:
        return f"no CUDA kernel of torchconv has been accepted on compute capability {found}"
    if weight.dim() == 4:
        _, channels, rows, columns = weight.shape
        if not accepted().may_serve(found, rows, columns, channels):
            return (
                f"no kernel of torchconv for {rows}x{columns} with {channels} channels per group "
                f"has been accepted on compute capability {found}"
            )
    return None


def allow_tf32() -> bool:
    """Whether PyTorch lets convolutions round float32 to TF32."""
    # The module has `conv`, but only from when it is imported.
    convolutions = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue]
    return convolutions.fp32_precision == "tf32"


def choice(
    input: Tensor, weight: Tensor, geometry: Sequence[int], backend: str
) -> tuple[tuple[int, ...], tuple[str | None, ...]]:
    """The geometry with its flags, and for each operator why it is left to ATen, or None.

    A layer is not shared: if ATen has to compute one of the operators that a call asks for, it
    computes all of them. On an H200 a training step of ConvNeXt or MobileNetV2 took up to 1.3 times
    as long with the gradients that torchconv computes faster beside ATen's forward pass.
    """
    tf32 = input.dtype is torch.float32 and allow_tf32()
    flags = TF32 if tf32 else 0
    reasons: tuple[str | None, ...] = (None, None, None)
    if backend != "native":
        sizes = (*input.shape, *weight.shape)
        if all(type(size) is int for size in sizes):
            dtype = "tf32" if tf32 else str(input.dtype).removeprefix("torch.")
            reasons = _reasons(capability(input.device.index), sizes, tuple(geometry), dtype)
            asked_for = zip(OPERATORS, reasons, _asked_for(input, weight), strict=True)
            if left := next((op for op, reason, asked in asked_for if asked and reason), None):
                shared = f"ATen computes {left}, and a layer is not shared"
                reasons = tuple(reason or shared for reason in reasons)
        else:
            reasons = ("its sizes are symbolic",) * 3
        flags += sum(bit for bit, reason in zip(_ATEN, reasons, strict=True) if reason is not None)
    return (*geometry[:-1], geometry[-1] | flags), reasons


@functools.lru_cache(maxsize=4096)
def _reasons(
    capability: str, sizes: tuple[int, ...], geometry: tuple[int, ...], dtype: str
) -> tuple[str | None, ...]:
    return tuple(
        accepted().why_not(key(capability, op, sizes[:4], sizes[4:], geometry, dtype))
        for op in OPERATORS
    )


def key(
    capability: str,
    op: str,
    input_size: Sequence[int],
    weight_size: Sequence[int],
    geometry: Sequence[int],
    dtype: str,
) -> acceptance.Key:
    """What a GPU must have accepted for torchconv's kernel to run a call by itself."""
    stored = "float32" if dtype == "tf32" else dtype
    text = torch.ops.torchconv._explain_cuda(op, input_size, weight_size, geometry, stored)
    return acceptance.Key(
        capability,
        kernel=text.splitlines()[-1].partition(":")[0],
        size="x".join(map(str, weight_size[2:])),
        stride="x".join(map(str, geometry[:2])),
        dilation="x".join(map(str, geometry[6:8])),
        op=op,
        dtype=dtype,
        layout="nhwc" if geometry[-1] & 1 else "nchw",
    )


def all_left_to_aten(input: Tensor, weight: Tensor, geometry: Sequence[int]) -> bool:
    """Whether torchconv would compute nothing of a call and of the gradients it records."""
    asked_for = zip(_ATEN, _asked_for(input, weight), strict=True)
    return all(geometry[-1] & bit for bit, asked in asked_for if asked)


def _asked_for(input: Tensor, weight: Tensor) -> tuple[bool, bool, bool]:
    """Which operators a call runs or may run later."""
    if torch._C._are_functorch_transforms_active():  # what they will ask for is not known here
        return True, True, True
    recorded = torch.is_grad_enabled()
    return True, recorded and input.requires_grad, recorded and weight.requires_grad
