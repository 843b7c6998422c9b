"""Runs the CUDA kernels on the CPU: the unchanged files of csrc/cuda, compiled by the C++ compiler.

device_host.h is what they take for a GPU. `build` makes a program of them and main.cpp, `CudaHost`
is one running process of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from tests import kernel_host
from tests.cases import Conv2dCase
from tests.kernel_host import ROOT
from tests.reference import Operands

HERE = Path(__file__).parent


def build(folder: Path, flags: Sequence[str] = ("-O1",), sources: Path = ROOT / "csrc") -> Path:
    kernels = sorted(sources.glob("cuda/**/*.cu"))
    files = [HERE / "main.cpp", sources / "cuda/algorithms.cpp", *kernels]
    options = ["-std=c++20", "-g1", "-Wno-maybe-uninitialized", *flags]
    return kernel_host.build(folder, files, options, [HERE / "include", sources])


class CudaHost(kernel_host.HostProgram):
    """One process; `compute` sends it one call and gets the result."""

    def compute(
        self,
        algorithm: str,
        op: str,
        case: Conv2dCase,
        t: Operands,
        channels_last: bool = False,
        allow_tf32: bool = False,
        backwards: bool = False,
        misaligned: bool = False,
    ) -> torch.Tensor | None:
        """The result, or None if the algorithm does not apply.

        `backwards` runs blocks and threads last to first; `misaligned` begins all tensors one
        element past an aligned address.
        """
        status, result = self.request(
            algorithm, op, case, t, channels_last, misaligned, (allow_tf32, backwards)
        )
        if status == 2:
            raise RuntimeError(f"{algorithm} does not launch {op} of {case}")
        return result if status else None
