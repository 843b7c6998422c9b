"""The raw operators on a GPU, one algorithm at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tests import reference
from tests.cases import Conv2dCase
from tests.cuda.gpu.poison import poison_free_memory, poison_like
from tests.reference import Operands

TF32 = 2
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

only: str | None = None  # the algorithm that is tried, of a run for one of them


def algorithms() -> list[str]:
    return [line.split()[0] for line in torch.ops.torchconv._algorithms_cuda().splitlines()]


def kernel_of(op: str, case: Conv2dCase, dtype: torch.dtype, channels_last: bool) -> str:
    """What runs: an algorithm, or the one of its kernels, such as "depthwise.planes"."""
    text = torch.ops.torchconv._explain_cuda(
        op, case.input_size, case.weight_size, case.geometry(channels_last), str(dtype)[6:]
    )
    return text.splitlines()[-1].partition(":")[0]


def chosen(op: str, case: Conv2dCase, dtype: torch.dtype, channels_last: bool) -> str:
    return kernel_of(op, case, dtype, channels_last).partition(".")[0]


@contextmanager
def forced(name: str) -> Iterator[None]:
    torch.ops.torchconv._force_algorithm_cuda(name)
    try:
        yield
    finally:
        torch.ops.torchconv._force_algorithm_cuda("")


def applicable(op: str, case: Conv2dCase, dtype: torch.dtype, channels_last: bool) -> list[str]:
    """Every algorithm that computes this, the one that runs by itself first; of a run for one
    algorithm that one, if it does."""
    names = [chosen(op, case, dtype, channels_last)]
    for name in algorithms():
        with forced(name):
            if chosen(op, case, dtype, channels_last) == name and name not in names:
                names.append(name)
    return [name for name in names if only in (None, name)]


def on_device(operands: Operands, channels_last: bool, device: str) -> Operands:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return operands.map(
        lambda t: t.to(device).contiguous(memory_format=layout) if t.dim() == 4 else t.to(device)
    )


def on_gpu(operands: Operands, channels_last: bool) -> Operands:
    return on_device(operands, channels_last, "cuda")


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Also of zeros, whose signs are equal as numbers, and of NaN."""
    as_integers = BITS[a.dtype.itemsize]
    return a.dtype == b.dtype and torch.equal(a.view(as_integers), b.view(as_integers))


def result_size(op: str, case: Conv2dCase) -> tuple[int, int, int, int]:
    return {
        "forward": case.output_size,
        "grad_input": case.input_size,
        "grad_weight": case.weight_size,
    }[op]


def run_poisoned(
    op: str, case: Conv2dCase, t: Operands, channels_last: bool, flags: int = 0
) -> torch.Tensor:
    """One operator, into memory that holds NaN; strict float32 unless ``flags`` say otherwise."""
    poison_free_memory()
    poison_like(result_size(op, case), t.input.dtype, channels_last)
    return reference.run(op, case, t, int(channels_last) | flags)
