"""The fused multiply-add of a float32 unit, and the order of torchconv's sums, in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np


def fused(a, b, c) -> np.ndarray:
    """a * b + c of float32 numbers with a single rounding at the end, as the processor computes it.

    In float64 the product is exact, the sum need not be. Its last bit is made odd where something
    was lost, so that the second rounding, to float32, goes where a single one would have gone
    (S. Boldo, G. Melquiond: Emulation of FMA and correctly rounded sums, 2008). Holds where
    nothing overflows or becomes denormal.
    """
    product = np.multiply(a, b, dtype=np.float64)
    total = product + np.asarray(c, np.float64)
    added = total - product
    lost = (product - (total - added)) + (c - added)
    beyond = np.nextafter(total, np.copysign(np.inf, lost))
    last_bit = np.asarray(total).view(np.int64) & 1
    return np.where((lost != 0) & (last_bit == 0), beyond, total).astype(np.float32)


def channel_block(channels: int, taps: int) -> int:
    """How many channels are summed tap by tap before others follow: see ``sum_order.h``.

    There a kernel that covers its whole image is summed channel by channel, too.
    """
    if channels <= 3:
        return 1
    block = min(channels, 32, max(1, 144 // taps))
    while channels % block:
        block -= 1
    return block


def partial_sums(channels: int, height: int, width: int) -> Iterator[list[tuple[int, int, int]]]:
    """(c, r, s) of the products of each partial sum, in the order in which torchconv adds them up.

    The partial sums, about 144 products each, are then added one after the other.
    """
    block = channel_block(channels, height * width)
    partial = channels
    if channels > 3:
        blocks = max(1, 144 // (block * height * width))
        partial = block * 2 ** (blocks.bit_length() - 1)  # a power of two of blocks
    for first in range(0, channels, partial):
        yield [
            (c, r, s)
            for begin in range(first, min(first + partial, channels), block)
            for r in range(height)
            for s in range(width)
            for c in range(begin, begin + block)
        ]


def in_order(channels: int, height: int, width: int) -> Iterator[tuple[int, int, int]]:
    """(c, r, s) of every product of all partial sums."""
    return chain.from_iterable(partial_sums(channels, height, width))
