"""The raw operators on a GPU, one algorithm at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tests import reference
from tests.cases import Conv2dCase
from tests.cuda.poison import poison_free_memory, poison_like
from tests.reference import Operands

TF32 = 2


def algorithms() -> list[str]:
    return [line.split()[0] for line in torch.ops.torchconv._algorithms_cuda().splitlines()]


def chosen(op: str, case: Conv2dCase, dtype: torch.dtype, channels_last: bool) -> str:
    text = torch.ops.torchconv._explain_cuda(
        op, case.input_size, case.weight_size, case.geometry(channels_last), str(dtype)[6:]
    )
    return text.splitlines()[-1].partition(":")[0]


@contextmanager
def forced(name: str) -> Iterator[None]:
    torch.ops.torchconv._force_algorithm_cuda(name)
    try:
        yield
    finally:
        torch.ops.torchconv._force_algorithm_cuda("")


def applicable(op: str, case: Conv2dCase, dtype: torch.dtype, channels_last: bool) -> list[str]:
    """Every algorithm that computes this, the one that runs by itself first."""
    names = [chosen(op, case, dtype, channels_last)]
    for name in algorithms():
        with forced(name):
            if chosen(op, case, dtype, channels_last) == name and name not in names:
                names.append(name)
    return names


def on_gpu(operands: Operands, channels_last: bool) -> Operands:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return operands.map(
        lambda t: t.cuda() if t.dim() != 4 else t.cuda().contiguous(memory_format=layout)
    )


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
