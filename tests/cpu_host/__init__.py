"""Runs the CPU kernels without torch: the files of csrc/cpu, all but those that know torch.

`build` makes a program of them and main.cpp, `CpuHost` is one running process of it.
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
LEVELS = ("portable", "avx2", "avx512", "avx512_bf16")
PARTS = [f"{level}_{part}" for level in LEVELS[:3] for part in ("dense", "depthwise")]
PARTS.append("avx512_pairs")
INTEGER_LEVELS = ("portable", "avx2", "avx512", "avx512_vnni")
INTEGERS = tuple(f"{level}_integer" for level in INTEGER_LEVELS)
PARTS += INTEGERS
EMULATED_PAIRS = "emulated_pairs"  # in the place of avx512_pairs, on any machine
_KINDS = {"dense": "Kernels", "depthwise": "DepthwiseKernels", "pairs": "PairKernels"}
_INTEGERS = ("kPortableIntegers", "kAvx2Integers", "kAvx512Integers", "kVnniIntegers")


def build(
    folder: Path,
    flags: Sequence[str],
    parts: Sequence[str] = PARTS,
    sources: Path = ROOT / "csrc",
) -> Path:
    """Compiles the program with the kernels of `isa/<part>.cpp`, and with none of other parts."""
    folders = {EMULATED_PAIRS: HERE}
    files = [HERE / "main.cpp"]
    files += [folders.get(part, sources / "cpu/isa") / f"{part}.cpp" for part in parts]
    files += [
        file
        for file in sorted(sources.glob("cpu/**/*.cpp"))
        if file.parent.name != "isa" and not file.name.endswith("_cpu.cpp")
    ]
    folder.mkdir(parents=True, exist_ok=True)
    left_out = set(PARTS) - {part.replace("emulated", "avx512") for part in parts}
    files.append(_without_kernels(folder / "left_out.cpp", left_out))
    options = ["-std=c++17", "-ffp-contract=off", "-g1", "-Wno-psabi", *flags]
    return kernel_host.build(folder, files, options, [sources])


def _without_kernels(file: Path, parts: set[str]) -> Path:
    """Defines the kernels of these parts as null."""
    headers = ("cpu/algorithms.h", "cpu/integer/kernels.h")
    lines = [*(f'#include "{header}"' for header in headers), "namespace torchconv::cpu {"]
    for part in sorted(parts):
        if part in INTEGERS:
            lines.append(f"const IntegerKernels {_INTEGERS[INTEGERS.index(part)]} = {{}};")
            continue
        level, _, kernels = part.partition("_")
        kind = _KINDS[kernels]
        lines.append(f"const {kind} k{level.capitalize()}{kind} = {{}};")
    text = "\n".join([*lines, "}  // namespace torchconv::cpu", ""])
    if not file.exists() or file.read_text() != text:
        file.write_text(text)
    return file


class CpuHost(kernel_host.HostProgram):
    """One process; `compute` sends it one call and gets the result, `applies` only asks for it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.levels = self._list("--levels")

    def applies(
        self,
        algorithm: str,
        op: str,
        case: Conv2dCase,
        dtype: torch.dtype,
        channels_last: bool = False,
        level: str = "portable",
        threads: int = 1,
    ) -> bool:
        """Whether `compute` would compute this. Not for integers and single images."""

        def empty(size):
            return torch.empty(size, dtype=dtype, device="meta")

        t = Operands(empty(case.input_size), empty(case.weight_size), None, empty(case.output_size))
        options = (LEVELS.index(level), threads, False, 0)
        return bool(self.request(algorithm, op, case, t, channels_last, False, options)[0])

    def compute(
        self,
        algorithm: str,
        op: str,
        case: Conv2dCase,
        t: Operands,
        channels_last: bool = False,
        level: str = "portable",
        threads: int = 1,
        exact: bool = False,
        callers: int = 1,
        misaligned: bool = False,
        mode: int = 0,
    ) -> torch.Tensor | None:
        """The result, or None if the algorithm does not apply or is not compiled for the level.

        `exact` gives every job scratch memory of its own, not a byte larger than the plan asks for
        and full of NaN. `callers`: one or two threads make the same call at once. `mode`: of the
        padding, by the number that csrc/padding_mode.h gives it.
        """
        levels = INTEGER_LEVELS if "integers" in algorithm else LEVELS
        index = levels.index(level)
        options = (index, threads, exact, callers, mode)
        status, result = self.request(algorithm, op, case, t, channels_last, misaligned, options)
        if status > 1:
            reason = "has no memory" if status == 2 else "gives two callers different bits"
            raise RuntimeError(f"{algorithm} {reason}: {op} of {case}")
        return result if status else None
