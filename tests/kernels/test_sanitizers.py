"""The CPU kernels under sanitizers: a part of `make sanitize`, and faults that must be found."""

from __future__ import annotations

import pytest

from tests.awkward import AWKWARD
from tests.cases import case
from tests.kernel_host import COMPILER, ProgramDied, compiler_is_missing, damaged
from tests.kernels.test_accuracy import algorithm_names
from tests.reference import DTYPES
from tests.sanitize import (
    FAR,
    SHARED,
    Call,
    check,
    run_address,
    run_threads,
    start,
)

pytestmark = pytest.mark.skipif(
    compiler_is_missing(), reason=f"there is no C++ compiler {COMPILER}"
)

DENSE = ("portable_dense",)
PORTABLE = ("portable_dense", "portable_depthwise")
PARTS = (*PORTABLE, "avx2_dense", "avx2_depthwise")


def test_the_host_program_has_every_algorithm(tmp_path):
    with start("address", (), tmp_path) as running:
        assert {*running.algorithms} == {*algorithm_names(), "grad_bias"}
        assert running.levels == []
        one = case("", 1, 2, 4, 3, 3)
        assert check(running, "reference", "forward", one, Call(DTYPES[0], False, "portable"))
        assert not check(running, "grad_weight", "grad_weight", one, Call(DTYPES[0], False, "avx2"))


@pytest.mark.slow
def test_no_read_outside_and_nothing_undefined():
    with start("address", PARTS) as running:
        computed = run_address(running, (*AWKWARD, *FAR), everything=False)
    assert "portable" in running.levels
    assert min(computed.values()) >= 10, computed


@pytest.mark.slow
def test_no_data_race():
    with start("thread", PORTABLE) as running:
        computed = run_threads(running, SHARED, everything=False)
    assert min(computed.values()) >= 2, computed


def test_a_read_out_of_bounds_is_found(tmp_path):
    sources = damaged(
        tmp_path, "cpu/reference.cpp", "row >= height || column", "row > height || column"
    )
    with start("address", (), tmp_path / "build", sources=sources) as running:
        with pytest.raises(ProgramDied, match="heap-buffer-overflow"):
            one = case("", 1, 1, 4, 3, 3)
            check(running, "reference", "forward", one, Call(DTYPES[0], False, "portable"))


def test_a_signed_overflow_is_found(tmp_path):
    before = "row = p * shape.stride_h - shape.pad_top + r * shape.dilation_h;\n      const int64_t"
    after = before.replace("p * shape.stride_h", "(int)p * (int)shape.stride_h")
    sources = damaged(tmp_path, "cpu/reference.cpp", before, after)
    with start("address", (), tmp_path / "build", sources=sources) as running:
        with pytest.raises(ProgramDied, match="signed integer overflow"):
            check(running, "reference", "forward", FAR[0], Call(DTYPES[0], False, "portable"))


def test_a_data_race_is_found(tmp_path):
    before = "std::atomic<int64_t> job;"
    after = """struct {
      int64_t value;
      void operator=(int64_t first) { value = first; }
      int64_t fetch_add(int64_t by, std::memory_order) { return (value += by) - by; }
    } job;"""
    sources = damaged(tmp_path, "cpu/run_plan.h", before, after)
    with start("thread", (), tmp_path / "build", sources=sources) as running:
        with pytest.raises(ProgramDied, match="data race"):
            call = Call(DTYPES[0], False, "portable")
            check(running, "reference", "forward", SHARED[0], call, threads=3)


@pytest.mark.slow
def test_a_vector_that_ends_outside_is_found(tmp_path):
    before, after = "V::load_first(in + i, count - i)", "V::load(in + i)"
    sources = damaged(tmp_path, "cpu/grad_bias/job.h", before, after)
    with start("address", DENSE, tmp_path / "build", sources=sources) as running:
        with pytest.raises(ProgramDied, match="heap-buffer-overflow"):
            one = case("", 1, 3, 5, 3, 3)
            check(running, "grad_bias", "grad_bias", one, Call(DTYPES[0], True, "portable"))


@pytest.mark.slow
def test_scratch_memory_of_two_threads_is_a_race(tmp_path):
    before = "Arena& scratch_arena() {\n  static thread_local"
    sources = damaged(tmp_path, "cpu/runtime.cpp", before, before.replace(" thread_local", ""))
    with start("thread", DENSE, tmp_path / "build", sources=sources) as running:
        with pytest.raises(ProgramDied, match="data race|heap-use-after-free"):
            for one in SHARED:
                call = Call(DTYPES[0], True, "portable")
                check(running, "dense_channels", "forward", one, call, threads=3)
