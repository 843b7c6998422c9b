"""What a call dispatches, on a GPU or on tensors that stand for tensors on one."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import torchconv
from torchconv._gpu import acceptance
from torchconv._operators import load

needs_library = pytest.mark.skipif(
    load.cuda_problem is not None, reason=f"CUDA kernels: {load.cuda_problem}"
)
ATEN = {"forward": 4, "grad_input": 8, "grad_weight": 16}

# A GPU that there is not, and what it has accepted.
CAPABILITY = "9.9"
ENTRY = acceptance.Entry(
    capability=CAPABILITY, kernel="fast.planes", size="3x3", stride="1x1", dilation="1x1",
    op="forward", dtype="float16", layout="nhwc", source="c0ffee", ratio=1.2, eager_ratio=0.8,
    layers=5, problem="", gpu="Test GPU", torch="2.14.1", date="2026-11-01",
)  # fmt: skip


class Recorder(TorchDispatchMode):
    """The convolutions that were dispatched, each with its geometry, the last list of its
    arguments."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "conv" in func.name() and "_explain" not in func.name():
            lists = [argument for argument in args if isinstance(argument, (list, tuple))]
            self.calls.append((func.name(), lists[-1]))
        return func(*args, **(kwargs or {}))


def dispatched(function, *arguments, **options):
    with Recorder() as recorder:
        function(*arguments, **options)
    return recorder.calls


def conv(gpu, dtype=torch.float16, layout="nhwc", **options):
    """What one layer dispatches."""
    formats = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}
    x = gpu(2, 4, 8, 8, dtype=dtype).to(memory_format=formats[layout])
    weight = gpu(6, 4, 3, 3, dtype=dtype).requires_grad_(options.pop("training", False))
    return dispatched(torchconv.conv2d, x, weight, padding=1, **options)


def flags_of(calls) -> int:
    """The flags of a call of torchconv's."""
    ((name, geometry),) = calls
    assert name == "torchconv::conv2d"
    return geometry[9]
