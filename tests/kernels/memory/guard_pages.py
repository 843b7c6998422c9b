"""Runs every awkward shape on operands that touch a page nobody may read or write.

    python -m tests.kernels.memory.guard_pages after|before

A vector load past the last element, or before the first, ends this process with a segmentation
fault; test_memory.py looks at its exit status.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from dataclasses import replace
from itertools import product

import torch

import torchconv  # noqa: F401  (registers the operators)
from tests.awkward import AWKWARD
from tests.kernels.padding import test_padding_modes as padding_modes
from tests.kernels.test_integers import random_layer, random_planes
from tests.reference import DTYPES, OPS, random_operands, run
from torchconv._activations.function import NAMES

PAGE = mmap.PAGESIZE
PROT_NONE, PROT_READ_WRITE = 0, 3

libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class GuardedBuffer:
    """Memory between two forbidden pages, used again for one tensor after the other."""

    def __init__(self, pages: int):
        self.size = pages * PAGE
        self._memory = mmap.mmap(-1, self.size + 2 * PAGE)
        self._bytes = torch.frombuffer(self._memory, dtype=torch.uint8)
        start = self._bytes.data_ptr()
        for page in (start, start + PAGE + self.size):
            if libc.mprotect(page, PAGE, PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")

    def copy_of(self, tensor: torch.Tensor, side: str) -> torch.Tensor:
        """The tensor with its strides, at the end (`after`) or at the start of the buffer."""
        size = tensor.numel() * tensor.element_size()
        start = PAGE + (self.size - size if side == "after" else 0)
        flat = self._bytes[start : start + size].view(tensor.dtype)
        return flat.as_strided(tensor.shape, tensor.stride()).copy_(tensor)


def main(side: str) -> None:
    buffers = [GuardedBuffer(pages=800) for _ in range(4)]
    for case in AWKWARD:
        for dtype in DTYPES:
            for memory_format in (torch.contiguous_format, torch.channels_last):
                free = iter(buffers)

                def guarded(x, memory_format=memory_format, free=free):
                    if x.numel() == 0:
                        return x
                    if x.dim() == 4:
                        x = x.contiguous(memory_format=memory_format)
                    return next(free).copy_of(x, side)

                t = random_operands(case, dtype).map(guarded)
                for op in OPS:
                    print(op, case.name, dtype, memory_format, flush=True)
                    run(op, case, t, memory_format == torch.channels_last)
                print("grad_bias", case.name, dtype, memory_format, flush=True)
                geometry = case.geometry(memory_format == torch.channels_last)
                torch.ops.torchconv.conv2d_backward(
                    t.grad, t.input, None, case.weight_size, geometry, True
                )
    for case, mode, channels_last in product(
        padding_modes.CASES, padding_modes.MODES, (False, True)
    ):
        for dtype in (torch.float32, torch.bfloat16) if padding_modes.fits(case, mode) else ():
            print(mode, case.name, dtype, channels_last, flush=True)
            t = padding_modes.operands(case, dtype, channels_last)
            t = replace(t, input=buffers[0].copy_of(t.input, side))
            padding_modes.run("forward", case, t, mode, channels_last)
    for dtype, count in product(DTYPES, range(1, 41)):
        x, residual = (
            buffer.copy_of(torch.ones(count, dtype=dtype), side) for buffer in buffers[:2]
        )
        for number in range(len(NAMES)):
            print(NAMES[number], count, dtype, flush=True)
            torch.ops.torchconv.activate(x, None, number, 0.1)
            torch.ops.torchconv.activate(x, residual, number, 0.1)
    for seed, layer in product(range(48), (random_layer, random_planes)):
        *operands, geometry = layer(seed)
        guarded_operands = [
            None if tensor is None else buffer.copy_of(tensor, side)
            for buffer, tensor in zip(buffers, operands, strict=False)
        ]
        print("integers", layer.__name__, seed, flush=True)
        torch.ops.torchconv.conv2d_int32(*guarded_operands, geometry)
    print("done")


if __name__ == "__main__":
    main(sys.argv[1])
