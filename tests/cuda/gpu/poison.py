"""Fills the memory that PyTorch would hand out next with NaN, so that an element of a result or of
a workspace that no thread has written does not look right by accident."""

from __future__ import annotations

import torch

SMALL, LARGE = 1 << 20, 24 << 20  # bytes: of the allocator's two pools


def poison_free_memory() -> None:
    """All bytes 0xff, a NaN in every floating dtype. Freed blocks grow together again, so that one
    of any size is cut from poisoned memory."""
    held = [torch.empty(SMALL, dtype=torch.uint8, device="cuda") for _ in range(8)]
    held += [torch.empty(LARGE, dtype=torch.uint8, device="cuda") for _ in range(2)]
    for block in held:
        block.fill_(0xFF)


def poison_like(size, dtype: torch.dtype, channels_last: bool = False) -> None:
    """The block that the next tensor of this size gets."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    torch.empty(size, dtype=dtype, device="cuda", memory_format=layout).fill_(float("nan"))
