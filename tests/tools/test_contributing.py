"""What CONTRIBUTING.md says of the code is there."""

from __future__ import annotations

import re

import pytest
import torch

import torchconv
from tests.kernel_host import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
WALK = TEXT.partition("## From `layer(x)` to the innermost loop")[2].partition("\n## ")[0]


def named_files(text: str) -> list[str]:
    """Files and folders, from the root of the repository."""
    tops = "|".join(("csrc", "torchconv", "tests", "tools", "benchmarks", "examples", "gallery"))
    return re.findall(rf"`((?:{tops})/[\w./]*)`", text)


@pytest.mark.parametrize("name", sorted({*named_files(TEXT)}))
def test_files_that_it_names_exist(name):
    assert (ROOT / name).exists(), name


def test_the_walk_names_what_runs():
    layer, image = torchconv.Conv2d(64, 64, 3, padding=1), torch.randn(1, 64, 56, 56)
    said = torchconv.explain(image, layer.weight, layer.bias, padding=1).partition("grad_input")[0]
    algorithm = said.split(": runs")[0].rpartition("\n")[2].strip()
    assert f"`{algorithm}` (`csrc/cpu/{algorithm.partition('_')[0]}/algorithm.cpp`)" in WALK


def test_the_walk_finds_its_functions():
    """Each in the file that follows it, or that it follows."""
    for name, file in (
        ("_conv_forward", "torchconv/modules.py"),
        ("conv2d", "torchconv/functional.py"),
        ("Operators", "csrc/operators.h"),
        ("select_algorithm", "csrc/cpu/select.cpp"),
        ("winograd", "csrc/cpu/winograd/job.h"),
        ("sum_group", "csrc/cpu/winograd/job.h"),
        ("tile_kernel", "csrc/cpu/common/register_tile.h"),
    ):
        assert name in WALK and f"`{file}`" in WALK, name
        assert re.search(rf"\b{name}\b", (ROOT / file).read_text()), (name, file)
