"""The bits of every operator on every awkward shape, kept in ``stored_results.txt``.

A sum that is formed in another order has other bits. So a change that is not meant to change any
result is tested against these, and one that is meant to writes them anew, with an entry in
CHANGELOG.md:

    python -m tests.kernels.stored_results --write

A line holds the name of a case, the operator and a digest over all dtypes and both memory formats.
Operators whose padding repeats elements of the input have the mode in their name.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import torch

import torchconv  # noqa: F401  (registers the operators)
from tests.awkward import AWKWARD
from tests.cases import Conv2dCase
from tests.compare import bits
from tests.kernels.padding import test_padding_modes as padding_modes
from tests.reference import DTYPES, Operands, run

OPS = ("forward", "grad_input", "grad_weight", "grad_bias")
FILE = Path(__file__).with_suffix(".txt")


def operands(case: Conv2dCase, dtype: torch.dtype) -> Operands:
    """Numbers from -1 to 1 that no random generator and no rounding has a part in."""

    def numbers(size: tuple[int, ...], seed: int) -> torch.Tensor:
        count = torch.Size(size).numel()
        mixed = (torch.arange(count) + seed) * 2654435761 % 2**32
        mixed = (mixed ^ (mixed >> 15)) * 2246822519 % 2**32
        return ((mixed ^ (mixed >> 13)) % 2**16 * 2.0**-15 - 1).reshape(size).to(dtype)

    return Operands(
        input=numbers(case.input_size, 1),
        weight=numbers(case.weight_size, 2),
        bias=numbers((case.k,), 3) if case.bias else None,
        grad=numbers(case.output_size, 4),
    )


def keys() -> Iterator[tuple[Conv2dCase, str]]:
    yield from itertools.product(AWKWARD, OPS)
    modes = itertools.product(padding_modes.CASES, padding_modes.MODES, OPS[:3])
    yield from (
        (case, f"{op}:{mode}") for case, mode, op in modes if padding_modes.fits(case, mode)
    )


def compute(op: str, case: Conv2dCase, t: Operands, channels_last: bool) -> torch.Tensor:
    if ":" in op:
        op, mode = op.split(":")
        return padding_modes.run(op, case, t, mode, channels_last)
    if op != "grad_bias":
        return run(op, case, t, channels_last)
    return torch.ops.torchconv.conv2d_backward.default(
        t.grad, t.input, None, case.weight_size, case.geometry(channels_last), True
    )[2]


def digest(case: Conv2dCase, op: str) -> str:
    found = hashlib.sha256()
    for dtype in DTYPES:
        t = operands(case, dtype)
        for channels_last in (False, True):
            result = compute(op, case, t, channels_last).contiguous()
            found.update(bits(result).numpy().tobytes())
    return found.hexdigest()[:16]


def stored() -> dict[tuple[str, str], str]:
    lines = (line.split() for line in FILE.read_text().splitlines())
    return {(name, op): found for name, op, found in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the bits as they are now")
    write = parser.parse_args().write
    before = stored() if FILE.exists() else {}
    now = {(case.name, op): digest(case, op) for case, op in keys()}
    changed = [key for key, found in now.items() if before.get(key) != found]
    print(f"{len(now)} results, {len(changed)} of them not as stored", *map(" ".join, changed[:20]))
    if write:
        FILE.write_text("".join(f"{name} {op} {found}\n" for (name, op), found in now.items()))


if __name__ == "__main__":
    main()
