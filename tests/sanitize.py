"""Runs the CPU kernels under sanitizers, against float64: every algorithm, case, dtype and level.

    python -m tests.sanitize [address|thread]      without a name both, one after the other

`address` finds reads and writes outside of operands and scratch memory, and undefined behaviour;
`thread` finds data races. tests/kernels/memory/test_sanitizers.py runs a part of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F

from tests import cpu_host
from tests.awkward import AWKWARD
from tests.cases import Conv2dCase, case, grouped
from tests.compare import same_bits
from tests.cpu_host import CpuHost
from tests.kernel_host import ROOT, SANITIZERS, sanitizer_prefix
from tests.kernels.padding import test_padding_modes as padding_modes
from tests.reference import (
    DTYPES,
    OPS,
    Operands,
    assert_accurate,
    is_too_large,
    random_operands,
)

COMBINATIONS = list(product(DTYPES, (False, True)))
BUILDS = ROOT / "build" / "sanitize"  # kept, so that the next build compiles only what has changed

# Distances at which a product of 32 bits overflows, and strides as long as which no loop may be. No
# tensor of float64 could hold the padded input, so bits are compared with the reference.
FAR = (
    case("far_padding", 1, 3, (2, 3), 5, 1, 2**30, padding=2**30),
    case("far_dilation", 1, 3, (2, 3), 5, 3, 2**30, padding=2**30, dilation=2**30),
    # A patch of 2^64 elements and some more, which would look small.
    case("wrapped_patch", 1, 3, 3, 3, 3, padding=2**31 - 2, dilation=2**31 - 2),
    grouped("depthwise_far_padding", 1, 3, (2, 3), 1, 1, stride=2**30, padding=2**30),
    grouped("depthwise_far_dilation", 1, 3, 3, 1, 3, padding=2**31, dilation=2**31),
    case("huge_stride", 2, 3, 6, 17, 3, 2**40),
    grouped("depthwise_huge_stride", 2, 3, 6, 1, 3, stride=2**40),
    case("1x1_huge_stride", 2, 20, 6, 17, 1, 2**40),
    case("groups_far_padding", 1, 16, (2, 3), 16, 1, 2**30, padding=2**30, groups=4),
    case("groups_far_dilation", 1, 16, 3, 16, 3, padding=2**31, dilation=2**31, groups=4),
    case("groups_huge_stride", 2, 16, 6, 16, 1, 2**40, groups=4),
)
# Jobs for several threads: both stages of packed weights, repeats of weight gradients.
SHARED = (
    case("dense", 3, 20, (9, 10), 40, 3, bias=True),
    case("few", 3, 3, (9, 12), 10, 3, bias=True),
    case("1x1", 3, 40, (9, 10), 70, 1),
    case("groups", 2, 12, 8, 12, 3, groups=3),
    case("many_images", 70, 3, 6, 4, 3),
    grouped("depthwise", 3, 35, (9, 10), 1, 3, bias=True),
    grouped("depthwise_many_images", 300, 16, 5, 1, 3),
    grouped("depthwise_parts", 3, 35, (9, 20), 1, 9, stride=2, bias=True),
    case("one_pixel", 300, 70, 1, 50, 1, bias=True),
    case("groups_in_a_vector", 2, 32, (20, 9), 32, 3, groups=8, bias=True),
    case("5x5", 3, 20, (9, 10), 40, 5, bias=True),
    case("5x5_dilated", 3, 17, (9, 10), 16, 5, dilation=(1, 2)),
    case("5x5_even", 2, 16, (8, 6), 16, 5),
    *(
        case(f"{r}x{s}_{size}", 3, 17, (3, size) if r == 1 else (size, 4), 33, (r, s))
        for r, s in ((1, 3), (3, 1), (1, 5), (5, 1))
        for size in (9, 12, 14)
    ),
    case("parts_4x7", 2, 17, (9, 10), 33, (4, 7), bias=True),
    case("parts_3x6", 2, 17, (9, 10), 33, (3, 6), dilation=(1, 2)),
    case("parts_7x7", 1, 16, (8, 9), 20, 7),
    case("parts_9x9", 1, 16, (9, 11), 20, 9),
    *(
        case(f"parts_{r}x{s}_{size}", 2, 17, (3, size) if r == 1 else (size, 3), 33, (r, s))
        for r, s in ((1, 7), (1, 9), (7, 1), (9, 1))
        for size in (10, 14)
    ),
    case("stride2", 3, 20, (9, 10), 40, 3, 2, bias=True),
    case("stride2_even", 2, 16, (8, 12), 20, 3, 2),
    case("4x4_stride2", 3, 20, (9, 11), 40, 4, 2, bias=True),
    case("4x4_stride2_even", 2, 16, (8, 12), 20, 4, 2, padding=2),
    case("1x3_stride2", 3, 20, (2, 19), 40, (1, 3), (1, 2), bias=True),
    case("1x3_stride2_even", 2, 16, (1, 18), 20, (1, 3), (1, 2), padding=(0, 2)),
)


@dataclass(frozen=True)
class Call:
    """What one call of the host program varies beside its operands."""

    dtype: torch.dtype
    channels_last: bool
    level: str
    misaligned: bool = False


def start(
    kind: str,
    parts: Sequence[str],
    folder: Path | None = None,
    flags: Sequence[str] | None = None,
    **options,
) -> CpuHost:
    """The kernels of `parts` under a sanitizer, compiled where that is needed."""
    folder = folder or BUILDS / kind
    prefix = sanitizer_prefix(folder, kind)
    program = cpu_host.build(folder, flags or SANITIZERS[kind], parts, **options)
    return CpuHost(program, prefix=prefix)


def check(running: CpuHost, algorithm: str, op: str, one: Conv2dCase, call: Call, **how) -> bool:
    """Whether the algorithm computes the case at this level, and then as the reference does."""
    if 0 in one.input_size + one.weight_size + one.output_size:  # never reaches an algorithm
        return False
    # Most algorithms refuse most calls, for which no operands are made and sent.
    about = (call.dtype, call.channels_last, call.level, how.get("threads", 1))
    if algorithm != "each" and not running.applies(algorithm, op, one, *about):
        return False
    t = random_operands(one, call.dtype)
    arguments = (one, t, call.channels_last, call.level)
    found = running.compute(algorithm, op, *arguments, misaligned=call.misaligned, **how)
    if found is None:
        return False
    if op == "grad_bias":
        assert_bias_accurate(found, t)
    elif one in FAR:
        expected = running.compute("reference", op, *arguments)
        assert op == "grad_weight" or same_bits(found, expected), (algorithm, op, one, call)
    else:
        assert_accurate(found, op, one, winograd=algorithm.startswith("winograd"))
    return True


def check_integers(
    running: CpuHost, one: Conv2dCase, dtype: torch.dtype, channels_last: bool, level: str, **how
) -> bool:
    """The same for integers of 8 bits, whose sums are exact; of FAR cases, that it comes back."""
    if 0 in one.input_size + one.weight_size + one.output_size:
        return False
    generator = torch.Generator().manual_seed(0)

    def numbers(size, kind):
        low, high = torch.iinfo(kind).min, torch.iinfo(kind).max + 1
        return torch.randint(low, high, size, generator=generator, dtype=kind)

    bias = torch.arange(one.k, dtype=torch.int32) - 7 if one.bias else None
    grad = torch.zeros(one.output_size, dtype=torch.int32)
    t = Operands(numbers(one.input_size, dtype), numbers(one.weight_size, torch.int8), bias, grad)
    algorithm = "integers" if dtype is torch.uint8 else "signed_integers"
    found = running.compute(algorithm, "forward", one, t, channels_last, level, **how)
    if found is not None and one not in FAR:
        top, bottom, left, right = one.padding
        x = F.pad(t.input.double(), (left, right, top, bottom))
        geometry = dict(stride=one.stride, dilation=one.dilation, groups=one.groups)
        bias = None if bias is None else bias.double()
        expected = F.conv2d(x, t.weight.double(), bias, **geometry)
        assert torch.equal(found.double(), expected), (one, dtype, channels_last, level)
    return found is not None


def run_integers(
    running: CpuHost, cases: Sequence[Conv2dCase], everything: bool, **how
) -> dict[str, int]:
    """How many were computed at every level."""
    levels = cpu_host.INTEGER_LEVELS if everything else cpu_host.INTEGER_LEVELS[:1]
    computed = dict.fromkeys(levels, 0)
    for turn, one in enumerate(cases):
        if is_too_large("reference", one):
            continue
        kinds = list(product((torch.uint8, torch.int8), (False, True)))
        for level in levels:
            for dtype, last in kinds if everything else [kinds[turn % len(kinds)]]:
                how["misaligned"] = turn % 2 == 1
                computed[level] += check_integers(running, one, dtype, last, level, **how)
    return computed


def run_images(running: CpuHost, cases: Sequence[Conv2dCase], everything: bool) -> int:
    """How many calls of `run_each.h` were computed, with images as its tasks."""
    computed = 0
    # Images choose among all algorithms: of the other levels a part may have compiled few.
    levels = running.levels if everything else running.levels[:1]
    for turn, one in enumerate(cases):
        for op in OPS[:2]:
            for call in calls(levels, turn, everything):
                computed += check(running, "each", op, one, call, threads=3)
    return computed


def run_folded(running: CpuHost, everything: bool, **how) -> dict[str, int]:
    """How many input gradients of padding that repeats elements were computed by the algorithms
    that add it themselves. At the portable level depthwise does not."""
    computed = dict.fromkeys(("depthwise", "winograd_f4_folded", "winograd_5x5_folded"), 0)
    for turn, (one, mode) in enumerate(product(padding_modes.CASES, padding_modes.MODES)):
        if not padding_modes.fits(one, mode):
            continue
        for algorithm, call in product(computed, calls(running.levels, turn, everything)):
            t = random_operands(one, call.dtype)
            found = running.compute(
                algorithm, "grad_input", one, t, call.channels_last, call.level,
                misaligned=call.misaligned, mode=padding_modes.MODES[mode] // 128, **how,
            )  # fmt: skip
            if found is not None:
                padding_modes.assert_grad_input(found, one, t, mode)
                computed[algorithm] += 1
    return computed


def assert_bias_accurate(found: torch.Tensor, t: Operands) -> None:
    """The tolerance of `assert_accurate`, for a sum of gradients."""
    grad = t.grad.double()
    value, magnitude = grad.sum((0, 2, 3)), grad.abs().sum((0, 2, 3))
    eps = torch.finfo(torch.float64 if found.dtype == torch.float64 else torch.float32).eps
    tolerance = magnitude * eps * (2 + (grad.numel() / found.numel()) ** 0.5)
    if found.dtype.itemsize == 2:
        tolerance += value.abs() * torch.finfo(found.dtype).eps
    assert ((found.double() - value).abs() <= tolerance).all(), (found, value)


def ops_of(algorithm: str) -> tuple[str, ...]:
    return ("grad_bias",) if algorithm == "grad_bias" else OPS


def calls(levels: Sequence[str], turn: int, everything: bool) -> Iterable[Call]:
    """All dtypes and layouts at these levels, or those whose turn it is."""
    turns = COMBINATIONS if everything else [COMBINATIONS[turn * 5 % len(COMBINATIONS)]]
    for level, (dtype, channels_last) in product(levels, turns):
        yield Call(dtype, channels_last, level, misaligned=turn % 2 == 1)


def leaves_out(algorithm: str, one: Conv2dCase, everything: bool) -> bool:
    """Of a part: the definition took most of its time, unoptimised."""
    return not everything and is_too_large(algorithm, one, most_flops=200_000)


def run_address(running: CpuHost, cases: Sequence[Conv2dCase], everything: bool) -> dict[str, int]:
    """How many calls of every algorithm were computed."""
    computed = dict.fromkeys(running.algorithms, 0)
    for index, one in enumerate(cases):
        if everything:
            print(f"{index}/{len(cases)} {one.name}", flush=True)
        for number, algorithm in enumerate(running.algorithms):
            if is_too_large(algorithm, one) or leaves_out(algorithm, one, everything):
                continue
            for op in ops_of(algorithm):
                turn = index + number + len(op)
                for call in calls(running.levels, turn, everything):
                    computed[algorithm] += check(running, algorithm, op, one, call, exact=True)
    return computed


def run_threads(running: CpuHost, cases: Sequence[Conv2dCase], everything: bool) -> dict[str, int]:
    """Every call from two threads at once, each of which brings two others. Algorithms that were
    not computed twice, because it was the turn of other dtypes and layouts, have further turns."""
    computed = dict.fromkeys(running.algorithms, 0)
    for extra in range(1 if everything else len(COMBINATIONS)):
        wanted = [name for name in computed if computed[name] < 2]
        for index, one in enumerate(cases):
            for number, algorithm in enumerate(running.algorithms):
                if algorithm not in wanted or leaves_out(algorithm, one, everything):
                    continue
                for op in ops_of(algorithm):
                    for call in calls(running.levels, index + number + extra, everything):
                        how = dict(threads=3, callers=2)
                        computed[algorithm] += check(running, algorithm, op, one, call, **how)
    return computed


def main(kinds: Iterable[str]) -> None:
    for kind in kinds:
        print(f"{kind}: compiling", flush=True)
        with start(kind, cpu_host.PARTS) as running:
            run = run_address if kind == "address" else run_threads
            cases = (*AWKWARD, *FAR) if kind == "address" else SHARED
            computed = run(running, cases, everything=True)
            how = dict(exact=True) if kind == "address" else dict(threads=3)
            integers = run_integers(running, cases, everything=True, **how)
            images = run_images(running, SHARED, everything=True)
            folded = run_folded(running, everything=True, **how)
        print(f"{kind}: {sum(integers.values())} calls of integers: {integers}; {images} of images")
        print(f"{kind}: input gradients of other padding than zeros: {folded}")
        print(f"{kind}: {sum(computed.values())} calls at {', '.join(running.levels)}: {computed}")


if __name__ == "__main__":
    main(sys.argv[1:] or SANITIZERS)
