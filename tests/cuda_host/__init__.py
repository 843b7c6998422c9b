"""Runs the CUDA kernels on the CPU: the unchanged files of csrc/cuda, compiled by the C++ compiler.

`build` makes a program of them and main.cpp, `HostProgram` is one running process of it. A request
is the struct Request of main.cpp followed by the bytes of input, weight, bias and grad; the answer
is a status (int64) followed by the bytes of the result.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.cases import Conv2dCase
from tests.reference import DTYPES, OPS, Operands

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
FORMATS = {False: torch.contiguous_format, True: torch.channels_last}
COMPILER = os.environ.get("CXX", "g++")


def build(folder: Path, flags: Sequence[str] = ("-O1",), sources: Path = ROOT / "csrc") -> Path:
    """Compiles the program; each .cu file is a process, two at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-maybe-uninitialized"]
    options = ["-std=c++20", "-g1", *warnings, *flags]
    includes = [f"-I{HERE / 'include'}", f"-I{sources}"]
    files = [HERE / "main.cpp", sources / "cuda/algorithms.cpp", *sources.glob("cuda/*.cu")]
    objects = [folder / f"{file.stem}.o" for file in files]
    commands = [
        [COMPILER, *options, *includes, "-x", "c++", "-c", str(file), "-o", str(target)]
        for file, target in zip(files, objects, strict=True)
    ]
    while commands:
        running = [(c, _start(c)) for c in (commands.pop() for _ in range(min(2, len(commands))))]
        for command, process in running:
            _finish(command, process)
    link = [COMPILER, *options, *map(str, objects), "-o", str(folder / "kernels")]
    _finish(link, _start(link))
    return folder / "kernels"


def _start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def _finish(command: list[str], process: subprocess.Popen) -> None:
    errors = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{errors[:4000]}")


def compiler_is_missing() -> bool:
    return shutil.which(COMPILER) is None


class HostProgram:
    """One process; `compute` sends it one call and gets the result."""

    def __init__(self, program: Path, environment: dict[str, str] | None = None, prefix=()):
        self._process = subprocess.Popen(
            [*prefix, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        self.algorithms = subprocess.run(
            [str(program), "--list"], capture_output=True, text=True, check=True
        ).stdout.split()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.stderr.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> HostProgram:
        return self

    def __exit__(self, *_) -> None:
        self.close()

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

        Raises:
            ProgramDied: the process ended, with what it wrote to stderr.
        """
        dtype = t.weight.dtype
        format = FORMATS[channels_last]
        size = dict(
            forward=case.output_size, grad_input=case.input_size, grad_weight=case.weight_size
        )[op]
        result = torch.empty(size, dtype=dtype).contiguous(memory_format=format)
        x = t.input.contiguous(memory_format=format)
        grad = t.grad.contiguous(memory_format=format)
        weight = result if op == "grad_weight" else t.weight
        operands = dict(
            forward=(x, t.weight, t.bias, None),
            grad_input=(None, t.weight, None, grad),
            grad_weight=(x, None, None, grad),
        )[op]
        buffers = [b"" if one is None else _bytes(one) for one in operands]
        geometry = case.geometry(channels_last)[:9]
        numbers = (
            OPS.index(op), DTYPES.index(dtype), channels_last, allow_tf32, backwards,
            misaligned * dtype.itemsize,
            *case.input_size, case.k, case.r, case.s, case.p, case.q, *geometry,
            *weight.stride(), *map(len, buffers), result.numel() * result.element_size(),
        )  # fmt: skip
        request = struct.pack(f"32s{len(numbers)}q", algorithm.encode(), *map(int, numbers))
        try:
            self._process.stdin.write(request + b"".join(buffers))
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ProgramDied(self._errors()) from None
        status = struct.unpack("q", self._read(8))[0]
        data = self._read(numbers[-1])
        if status == 2:
            raise RuntimeError(f"{algorithm} does not launch {op} of {case}")
        if status == 0:
            return None
        flat = torch.frombuffer(bytearray(data), dtype=dtype)
        return flat.as_strided(size, result.stride())

    def _read(self, count: int) -> bytes:
        data = self._process.stdout.read(count)
        if len(data) < count:
            raise ProgramDied(self._errors())
        return data

    def _errors(self) -> str:
        return self._process.stderr.read().decode()


class ProgramDied(Exception):
    """The process was ended by a sanitizer or by the emulation itself."""


def _bytes(tensor: torch.Tensor) -> bytes:
    """The memory of a dense tensor, in the order in which it lies there."""
    flat = tensor.as_strided((tensor.numel(),), (1,))
    return flat.view(torch.uint8).numpy().tobytes()
