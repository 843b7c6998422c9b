"""What the compiler made of the CUDA kernels, and that the report would tell if it were bad."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import torch

from tools import cuda_report
from tools.cuda_report import Resources

needs_library = pytest.mark.skipif(
    cuda_report.why_not() is not None, reason=str(cuda_report.why_not())
)

USAGE = """
Fatbin elf code:
================
arch = sm_80
 Function _ZN9torchconv4cuda4fastIfEEvNS0_4TaskE:
  REG:40 STACK:0 SHARED:1024 LOCAL:0 CONSTANT[0]:912 TEXTURE:0 SURFACE:0 SAMPLER:0
arch = sm_90a
 Function _ZN9torchconv4cuda4fastIfEEvNS0_4TaskE:
  REG:50 STACK:16 SHARED:1024 LOCAL:0 CONSTANT[0]:912 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
SASS = """
		Function : fast
        /*0000*/                   LDC R1, c[0x0][0x37c] ;       /* 0x0000 */
        /*0010*/              @!P0 HMMA.16816.F32 R4, R8, R2, R4 ;
        /*0020*/                   STL.64 [R1], R2 ;
        /*0030*/              @P1  STL.64 [R1], R2 ;
"""


@needs_library
def test_no_kernel_spills_or_has_grown():
    known, table = cuda_report.read_table()
    same_toolkit = known == torch.ops.torchconv._toolkit_cuda()
    problems = cuda_report.wrong_resources(cuda_report.usage(), table, same_toolkit)
    assert problems == [], "if that is meant: python -m tools.cuda_report --update"


@needs_library
def test_kernels_have_the_instructions_they_are_for():
    names = cuda_report.architectures(cuda_report.usage())
    architecture = "sm_90a" if "sm_90a" in names else names[-1]
    found = cuda_report.instructions(architecture)
    assert found and all(sum(counts.values()) > 10 for counts in found.values())
    assert cuda_report.wrong_instructions(found) == []


@needs_library
def test_every_rule_is_about_some_kernel():
    """A kernel that was renamed would escape its rule."""
    import re

    names = list(cuda_report.usage())
    for kernels, _ in cuda_report.REQUIRED:
        assert any(re.search(kernels, name) for name in names), kernels


def test_usage_is_read():
    found = cuda_report.parse_usage(USAGE)
    assert list(found.values()) == [
        {"sm_80": Resources(40, 1024, 0), "sm_90a": Resources(50, 1024, 16)}
    ]


def test_instructions_are_counted():
    assert cuda_report.parse_instructions(SASS) == {
        "fast": Counter({"LDC": 1, "HMMA.16816.F32": 1, "STL.64": 2})
    }


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="needs c++filt")
def test_names_are_short():
    name = "_ZN9torchconv4cuda26general_grad_weight_kernelINS_7Float16ELi64EEEvNS0_11GeneralTaskE"
    assert cuda_report.short_names([name]) == {name: "general_grad_weight_kernel<Float16, 64>"}


BEFORE = Resources(registers=40, shared=1024, stack=0)


@pytest.mark.parametrize(
    "now, told",
    [
        (BEFORE, None),
        (Resources(38, 512, 0), None),
        (Resources(41, 1024, 0), "grew from 40 to 41 registers"),
        (Resources(40, 2048, 0), "grew from 1024 to 2048 bytes shared"),
        (Resources(40, 1024, 8), "spills: 8 bytes"),
    ],
)
def test_growth_and_spills_are_told(now, told):
    problems = cuda_report.wrong_resources(
        {"fast": {"sm_80": now}}, {"fast": {"sm_80": BEFORE}}, same_toolkit=True
    )
    assert [] == problems if told is None else [told in problem for problem in problems] == [True]


def test_another_compiler_may_need_other_registers_but_no_stack():
    table = {"fast": {"sm_80": BEFORE}}
    grown = {"fast": {"sm_80": Resources(60, 1024, 0)}}
    assert cuda_report.wrong_resources(grown, table, same_toolkit=False) == []
    spilled = {"fast": {"sm_80": Resources(30, 1024, 4)}}
    assert "spills" in cuda_report.wrong_resources(spilled, table, same_toolkit=False)[0]


def test_kernels_and_their_table_are_the_same_set():
    new = cuda_report.wrong_resources({"new": {"sm_80": BEFORE}}, {}, True)
    old = cuda_report.wrong_resources({}, {"old": {"sm_80": BEFORE}}, True)
    assert "new on sm_80 is not in" in new[0] and "old is in" in old[0]


def test_instructions_that_are_wrong_are_told():
    tensor = "kernel<TensorCore<Float16, 64>, 64>"
    good = {tensor: Counter({"HMMA.16816.F32": 4})}
    assert cuda_report.wrong_instructions(good) == []
    assert "has no HMMA" in cuda_report.wrong_instructions({tensor: Counter(["FFMA"])})[0]
    for bad in ("LDL.64", "STL", "I2F.U64.RP", "ATOMG.E.ADD", "RED.E.ADD.F32.FTZ.RN", "REDG.E.ADD"):
        assert bad in cuda_report.wrong_instructions({"plain": Counter([bad])})[0]
    definition = {"reference_kernel<float>": Counter(["I2F.U64.RP"])}
    assert cuda_report.wrong_instructions(definition) == []
    for fine in ("LDG.E.128", "STS", "LDS", "REDUX.SUM", "I2F.RP", "I2FP.F32.U32"):
        assert cuda_report.wrong_instructions({"plain": Counter([fine])}) == []


def test_the_table_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "resources.txt"
    found = {"a<b, 1>": {"sm_90a": BEFORE, "sm_80": Resources(9, 1024, 0)}}
    cuda_report.write_table(found, "13.0", path)
    assert cuda_report.read_table(path) == ("13.0", found)
    cuda_report.write_table({"a<b, 1>": {"sm_80": BEFORE}}, "13.0", path)
    assert cuda_report.read_table(path)[1] == {"a<b, 1>": {"sm_90a": BEFORE, "sm_80": BEFORE}}


SPILLING = """
__global__ void spill(float* out, int i) {
  float values[64];
  for (int j = 0; j < 64; ++j) values[(i * j) & 63] = out[j];
  for (int j = 0; j < 64; ++j) out[j] = values[(j + i) & 63];
}
"""


def test_a_planted_spill_is_found(tmp_path):
    """By the compiler that builds the kernels, not by a text that looks like its output."""
    from torch.utils.cpp_extension import CUDA_HOME

    nvcc = Path(CUDA_HOME or "/no/toolkit") / "bin" / "nvcc"
    if not os.access(nvcc, os.X_OK) or cuda_report.cuobjdump() is None:
        pytest.skip("needs nvcc and cuobjdump")
    source, binary = tmp_path / "spill.cu", tmp_path / "spill.fatbin"
    source.write_text(SPILLING)
    subprocess.run([nvcc, "-fatbin", "-arch=sm_80", source, "-o", binary], check=True)
    usage = cuda_report.parse_usage(cuda_report.dump("--dump-resource-usage", path=binary))
    assert any("spills" in text for text in cuda_report.wrong_resources(usage, {}, True))
    counts = cuda_report.parse_instructions(cuda_report.dump("-sass", path=binary))
    assert any("STL" in text for text in cuda_report.wrong_instructions(counts))
