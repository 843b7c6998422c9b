"""The CUDA kernels, run on the CPU under sanitizers, and faults that must be found.

Small programs of one algorithm, unoptimised: they compile faster.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import cuda_host
from tests.cases import case, grouped
from tests.cuda.test_kernels import COMBINATIONS
from tests.cuda_host import CudaHost
from tests.kernel_host import (
    FORMATS,
    NEEDS_COMPILER,
    ROOT,
    SANITIZERS,
    ProgramDied,
    damaged,
    sanitizer_prefix,
)
from tests.reference import DTYPES, OPS, assert_accurate, random_operands

pytestmark = NEEDS_COMPILER

SANITIZED_CASES = (
    case("dense", 1, 3, (4, 5), 5, 3, bias=True),
    case("one", 1, 1, 1, 1, 1),
    case("stride2", 1, 2, 7, 17, 3, 2, groups=1),
    case("groups3", 1, 6, (4, 5), 6, 3, groups=2),
    case("first", 1, 3, (4, 9), 17, 3, bias=True),
    grouped("depthwise", 1, 1, (5, 9), 1, 3, bias=True),
    grouped("depthwise7", 2, 8, (8, 9), 1, 7),
    grouped("depthwise5_stride2", 1, 8, (8, 12), 1, 5, stride=2),
    case("splits", 2, 1, 33, 1, 1),
)


def start_sanitized(folder: Path, kind: str, sources: Path) -> CudaHost:
    """A program under a sanitizer; skips the test where the machine has none."""
    prefix = sanitizer_prefix(folder, kind)
    return CudaHost(cuda_host.build(folder, SANITIZERS[kind], sources), prefix=prefix)


def run_sanitized(running: CudaHost, cases=SANITIZED_CASES) -> None:
    """Layouts and dtypes take turns."""
    turn = 0
    for algorithm in running.algorithms:
        for one in cases:
            for op in OPS:
                turn += 1
                dtype, channels_last = COMBINATIONS[turn * 3 % len(COMBINATIONS)]
                if "toeplitz" in algorithm or "halves" in algorithm:
                    dtype, channels_last = DTYPES[2 + turn % 2], False
                t = random_operands(one, dtype).contiguous(FORMATS[channels_last])
                found = running.compute(algorithm, op, one, t, channels_last)
                if found is not None:
                    assert_accurate(found, op, one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SANITIZERS)
def test_sanitizers_find_nothing(kind, tmp_path):
    with start_sanitized(tmp_path, kind, ROOT / "csrc") as running:
        run_sanitized(running)


def damaged_algorithm(folder: Path, algorithm: str, file: str, before: str, after: str) -> Path:
    """A copy of csrc with that algorithm alone, one of its lines changed."""
    sources = damaged(folder, (f"cuda/{file}", before, after))
    for other in sources.glob("cuda/**/*.cu"):
        if other.stem != algorithm:
            other.unlink()
    name = "k" + "".join(word.capitalize() for word in algorithm.split("_"))
    (sources / "cuda/algorithms.cpp").write_text(
        '#include "cuda/algorithms.h"\nnamespace torchconv::cuda {\n'
        f"Algorithms algorithms() {{ return {{&{name}, 1}}; }}\n}}\n"
    )
    return sources


def test_a_read_out_of_bounds_is_found(tmp_path):
    sources = damaged_algorithm(
        tmp_path,
        "reference",
        "reference/reference.cuh",
        "row >= height || column",
        "row > height || column",
    )
    with start_sanitized(tmp_path / "build", "address", sources) as running:
        with pytest.raises(ProgramDied, match="heap-buffer-overflow"):
            run_sanitized(running)


@pytest.mark.slow
def test_a_missing_barrier_is_found(tmp_path):
    before = "memory.sums[strand][lane] = sum;\n  sync_block();"
    after = "memory.sums[strand][lane] = sum;"
    sources = damaged_algorithm(tmp_path, "general", "gemm/ordered_sum.cuh", before, after)
    with start_sanitized(tmp_path / "build", "thread", sources) as running:
        with pytest.raises(ProgramDied, match="data race"):
            run_sanitized(running, SANITIZED_CASES[-1:])


def test_a_barrier_that_some_threads_skip_is_found(tmp_path):
    before = "int64_t a, b, c, d;"
    sources = damaged_algorithm(
        tmp_path,
        "reference",
        "reference/reference.cuh",
        before,
        before + "if (i % 2) sync_block();",
    )
    with CudaHost(cuda_host.build(tmp_path / "build", ["-O0"], sources)) as running:
        with pytest.raises(ProgramDied, match="barrier that others skip"):
            run_sanitized(running)
