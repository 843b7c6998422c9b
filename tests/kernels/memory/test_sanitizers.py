"""The CPU kernels under sanitizers: a part of `make sanitize`, and faults that must be found."""

from __future__ import annotations

import re
import secrets
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks.machine import isa_levels
from tests.awkward import AWKWARD
from tests.cases import Conv2dCase, case
from tests.compare import same_bits
from tests.cpu_host import EMULATED_PAIRS
from tests.fuzz.run import fuzz
from tests.fuzz.sanitized import check_with
from tests.kernel_host import NEEDS_COMPILER, SOME_OF_ADDRESS, ProgramDied, damaged
from tests.kernels.test_accuracy import algorithm_names
from tests.kernels.test_pairs import CASES, LEVEL, PIXELS, TAPS
from tests.reference import DTYPES, Operands, random_operands
from tests.sanitize import (
    FAR,
    SHARED,
    Call,
    check,
    check_integers,
    is_too_large,
    run_address,
    run_folded,
    run_images,
    run_integers,
    run_threads,
    start,
)

pytestmark = NEEDS_COMPILER

PAIRS = ("portable_dense", EMULATED_PAIRS)
# `make sanitize` has the other levels, and guard_pages.py what they read outside of operands.
PORTABLE = ("portable_dense", "portable_depthwise", "portable_integer")
# Plans of depthwise have ways of their own to use scratch memory where there are runs of pixels.
PARTS = (*PORTABLE, "avx2_depthwise", EMULATED_PAIRS)
RANDOM_SECONDS = 20


@pytest.fixture(scope="module")
def address():
    with start("address", PARTS) as running:
        yield running


def test_the_host_program_has_every_algorithm(address):
    assert {*address.algorithms} == {*algorithm_names(), "grad_bias"}
    compiled = [level for level in isa_levels() if level in ("portable", "avx2")]
    assert address.levels == compiled  # pairs alone are no level
    one = case("", 1, 2, 4, 3, 3)
    assert check(address, "reference", "forward", one, Call(DTYPES[0], False, "portable"))
    assert not check(address, "grad_weight", "grad_weight", one, Call(DTYPES[0], False, "avx2"))


@pytest.mark.slow
def test_no_read_outside_and_nothing_undefined(address):
    computed = run_address(address, (*AWKWARD, *FAR, *SHARED), everything=False)
    # Few shapes are kernels of one row or column, or of four with a stride; some know one operator.
    few = ("1x", "x1", "4x4_stride2", "folded")
    rare = {name for name in computed if any(part in name for part in few)}
    assert all(n >= (2 if name in rare else 10) for name, n in computed.items()), computed


@pytest.mark.slow
def test_random_shapes(address):
    seed = secrets.randbelow(2**31)
    print(f"python -m tests.fuzz --sanitize --seed {seed}")
    count, problem = fuzz(RANDOM_SECONDS, seed, check_with(address))
    assert problem is None, f"seed {seed}: {problem}"
    assert count > 0


@pytest.mark.slow
def test_integers_and_single_images(address):
    computed = run_integers(address, (*AWKWARD, *FAR), everything=False, exact=True)
    assert min(computed.values()) >= 100, computed
    assert run_images(address, SHARED, everything=False) == 2 * len(SHARED)
    folded = run_folded(address, everything=False, exact=True)
    assert min(folded["winograd_f4_folded"], folded["winograd_5x5_folded"]) >= 2, folded
    assert not check_integers(address, SHARED[0], torch.int8, False, "avx2")  # not compiled


@pytest.mark.slow
def test_no_data_race():
    with start("thread", PORTABLE) as running:
        computed = run_threads(running, SHARED, everything=False)
        integers = run_integers(running, SHARED, everything=False, threads=3, callers=2)
        images = run_images(running, SHARED, everything=False)
    assert min(computed.values()) >= 2, computed
    small = [one for one in SHARED if not is_too_large("reference", one)]
    assert (integers["portable"], images) == (len(small), 2 * len(SHARED)) and len(small) >= 4


ROW = "row = p * shape.stride_h - shape.pad_top + r * shape.dilation_h;\n      const int64_t"
FAULTS = (
    ("cpu/reference.cpp", "row >= height || column", "row > height || column"),
    ("cpu/reference.cpp", ROW, ROW.replace("p * shape.stride_h", "(int)p * (int)shape.stride_h")),
    ("cpu/grad_bias/job.h", "V::load_first(in + i, count - i)", "V::load(in + i)"),
    # With the second product of a pair summed first, sums have other bits.
    (
        "cpu/simd/pairs.h",
        "(uint32_t)first.bits << 16 | second.bits",
        "(uint32_t)second.bits << 16 | first.bits",
    ),
    ("cpu/integer/load_quads.h", "y < gather().rows.src_size", "y <= gather().rows.src_size"),
    ("cpu/run_each.h", "index * result_step", "(index + 1) * result_step"),
)


def leave_out_winograd(sources: Path) -> None:
    """It has none of FAULTS, and is most of the dense kernels."""
    file = sources / "cpu/isa/dense.inc"
    text, count = re.subn(r"\bwinograd\w*<.*>(?=,$)", "nullptr", file.read_text(), flags=re.M)
    assert count >= 20, text
    file.write_text(text)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Starts a program with some faults, each of which other calls meet."""
    folder = tmp_path_factory.mktemp("faulty")
    sources = damaged(folder, *FAULTS)
    leave_out_winograd(sources)
    parts = (*PAIRS, "portable_integer")
    return partial(start, "address", parts, folder / "build", SOME_OF_ADDRESS, sources=sources)


OVERFLOW = r"(?s)undefined behaviour.*cpu/reference\.cpp:\d"


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm, op, one, channels_last, error",
    [
        ("reference", "grad_input", case("", 1, 1, 4, 3, 3), False, "heap-buffer-overflow"),
        ("reference", "forward", FAR[0], False, OVERFLOW),
        ("grad_bias", "grad_bias", case("", 1, 3, 5, 3, 3), True, "heap-buffer-overflow"),
    ],
    ids=["read out of bounds", "signed overflow", "vector that ends outside"],
)
def test_a_fault_is_found(faulty, algorithm, op, one, channels_last, error):
    with faulty() as running, pytest.raises(ProgramDied, match=error):
        check(running, algorithm, op, one, Call(DTYPES[0], channels_last, "portable"))


@pytest.mark.slow
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_fault_of_integers_is_found(faulty, channels_last):
    one = case("depthwise", 1, 8, 6, 8, 3, groups=8)
    with faulty() as running, pytest.raises(ProgramDied, match="heap-buffer-overflow"):
        check_integers(running, one, torch.uint8, channels_last, "portable", exact=True)


@pytest.mark.slow
def test_a_fault_of_single_images_is_found(faulty):
    one = case("dense", 3, 20, 6, 40, 3)
    with faulty() as running, pytest.raises(ProgramDied, match="heap-buffer-overflow"):
        check(running, "each", "forward", one, Call(DTYPES[0], False, "portable"))


def test_a_data_race_is_found(tmp_path):
    before = "std::atomic<int64_t> job;"
    after = """struct {
      int64_t value;
      void operator=(int64_t first) { value = first; }
      int64_t fetch_add(int64_t by, std::memory_order) { return (value += by) - by; }
    } job;"""
    sources = damaged(tmp_path, ("cpu/run_plan.h", before, after))
    with start("thread", (), tmp_path / "build", sources=sources) as running:
        with pytest.raises(ProgramDied, match="data race"):
            call = Call(DTYPES[0], False, "portable")
            check(running, "reference", "forward", SHARED[0], call, threads=3)


@pytest.mark.slow
def test_scratch_memory_of_two_threads_is_a_race(tmp_path):
    before = "Arena& scratch_arena() {\n  static thread_local"
    sources = damaged(tmp_path, ("cpu/runtime.cpp", before, before.replace(" thread_local", "")))
    with start("thread", ("portable_depthwise",), tmp_path / "build", sources=sources) as running:
        with pytest.raises(ProgramDied, match="data race|heap-use-after-free"):
            for one in SHARED:
                call = Call(DTYPES[0], True, "portable")
                check(running, "depthwise", "forward", one, call, threads=3)


ALGORITHMS = {
    "forward": ("grouped_channels", "pointwise", "dense_pixels", "dense_channels"),
    "grad_input": ("grouped_channels", "pointwise", "dense_pixels", "dense_channels"),
    "grad_weight": ("grad_weight",),
}


def cancelling(one: Conv2dCase, dtype: torch.dtype) -> Operands:
    """The last two pixels cancel, and what was summed before is rounded by the first of them."""
    t = random_operands(one, dtype)
    t.input[..., -2], t.input[..., -1], t.grad[..., -2:] = 2**18, -(2**18), 1
    return t


def differing(running, cases=CASES + TAPS + PIXELS, operands=random_operands) -> list[tuple]:
    """What the kernels in pairs, emulated, compute with other bits than the portable ones."""
    found = []
    computed = {name: 0 for names in ALGORITHMS.values() for name in names}
    for one in cases:
        t = operands(one, torch.bfloat16)
        for channels_last in (False, True):
            for op, algorithms in ALGORITHMS.items():
                expected = running.compute(algorithms[-1], op, one, t, channels_last)
                for algorithm in algorithms:
                    result = running.compute(
                        algorithm, op, one, t, channels_last, LEVEL, exact=True
                    )
                    if result is None:
                        continue
                    computed[algorithm] += 1
                    if not same_bits(result, expected):
                        found.append((algorithm, op, channels_last, one.name))
    assert min(computed.values()) > 0, computed
    return found


@pytest.mark.slow
def test_emulated_pairs_under_the_address_sanitizer(address):
    """On any machine: the same kernels as with AVX-512 with BF16, the instruction in plain C++."""
    assert differing(address) == []


@pytest.mark.slow
def test_an_exchanged_order_is_found(faulty):
    with faulty() as running:
        names = ("stride", "wide", "groups in a vector")
        found = differing(running, [one for one in CASES if one.name in names])
        # Of a weight gradient, bfloat16 hides most of it.
        pixels = case("pixels", 1, 64, (1, 8), 64, 1)
        found += differing(running, [pixels, case("groups", 1, 16, 4, 16, 1, groups=4)], cancelling)
    assert {algorithm for algorithm, *_ in found} == {
        name for names in ALGORITHMS.values() for name in names
    }
