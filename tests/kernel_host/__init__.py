"""Programs that run kernels without torch, so that sanitizers and emulations can see all of them.

`build` compiles one, `HostProgram` is one running process of it. A request is the struct Request of
host.h followed by the bytes of input, weight, bias and grad; the answer is a status (int64)
followed by the bytes of the result. See tests/cpu_host and tests/cuda_host.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch

from tests.cases import Conv2dCase
from tests.reference import DTYPES, OPS, Operands

ROOT = Path(__file__).parents[2]
FORMATS = {False: torch.contiguous_format, True: torch.channels_last}
COMPILER = os.environ.get("CXX", "g++")
OPTIONS = 5  # of a Request

# -O0 compiles many times faster than -O1 under a sanitizer, and no faulty access is optimised away.
# Undefined behaviour executes an illegal instruction, at which the address sanitizer reports file
# and line: messages that also say what it was are three quarters of the program.
_TRAPS = "-fsanitize-undefined-trap-on-error"
SANITIZERS = {
    "address": ("-O0", "-fsanitize=address,undefined", _TRAPS),
    "thread": ("-O0", "-fsanitize=thread"),
}
# A part of "address" that compiles in less time, for programs with planted faults.
SOME_OF_ADDRESS = ("-O0", "-fsanitize=address,signed-integer-overflow", _TRAPS)
_REPORTS = {"TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "handle_sigill=1"}


def build(
    folder: Path, sources: Iterable[Path], flags: Sequence[str], includes: Iterable[Path]
) -> Path:
    """Compiles a program; in a folder that was used before, only what has changed."""
    folder.mkdir(parents=True, exist_ok=True)
    includes = [*includes, ROOT / "tests"]
    command = [COMPILER, "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", *flags]
    command += [f"-I{path}" for path in includes]
    objects = {f"{file.parent.name}-{file.stem}.o": file for file in sources}
    lines = [
        f"compiler = {' '.join(command)}",
        "rule compile",
        "  command = $compiler -MMD -MF $out.d -x c++ -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "rule link",
        "  command = $compiler -pthread $in -o $out",
        *(f"build {name}: compile {file}" for name, file in objects.items()),
        f"build kernels: link {' '.join(objects)}",
    ]
    (folder / "build.ninja").write_text("\n".join(lines) + "\n")
    ninja = [sys.executable, "-m", "ninja", "-C", str(folder), f"-j{os.cpu_count()}"]
    done = subprocess.run(ninja, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"compiling {folder} failed:\n{(done.stdout + done.stderr)[-8000:]}")
    return folder / "kernels"


NEEDS_COMPILER = pytest.mark.skipif(
    shutil.which(COMPILER) is None, reason=f"there is no C++ compiler {COMPILER}"
)


def sanitizer_prefix(folder: Path, kind: str) -> list[str]:
    """What to start a program with; skips the test on a machine without the sanitizer."""
    folder.mkdir(parents=True, exist_ok=True)
    # The shadow memory of threads needs addresses that are not random.
    prefix = ["setarch", "-R"] if kind == "thread" else []
    trial = folder / "trial.cpp"
    trial.write_text("int main() {}\n")
    command = [COMPILER, *SANITIZERS[kind], str(trial), "-o", str(folder / "trial")]
    if (
        (prefix and not shutil.which(prefix[0]))
        or subprocess.run(command, capture_output=True).returncode
        or subprocess.run([*prefix, str(folder / "trial")], capture_output=True).returncode
    ):
        pytest.skip(f"this machine has no working {kind} sanitizer")
    return prefix


def damaged(folder: Path, *changes: tuple[str, str, str]) -> Path:
    """A copy of csrc with (file, text before, text after) changed; each text must be there once."""
    sources = folder / "csrc"
    shutil.copytree(ROOT / "csrc", sources)
    for file, before, after in changes:
        text = (sources / file).read_text()
        assert text.count(before) == 1, f"{before!r} is not once in {file}"
        (sources / file).write_text(text.replace(before, after))
    return sources


class HostProgram:
    """One process; `request` sends it one call and gets the result."""

    def __init__(self, program: Path, environment: dict[str, str] | None = None, prefix=()):
        self._command = [*prefix, str(program)]
        self._environment = {**os.environ, **_REPORTS, **(environment or {})}
        self._process = self._start()
        self.algorithms = self._list("--list")

    def _start(self) -> subprocess.Popen:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(self._command, env=self._environment, **pipes)

    def restart(self) -> None:
        """For more requests after ProgramDied."""
        self.close()
        self._process = self._start()

    def _list(self, option: str) -> list[str]:
        return subprocess.run(
            [*self._command, option], capture_output=True, text=True, check=True
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

    def request(
        self,
        algorithm: str,
        op: str,
        case: Conv2dCase,
        t: Operands,
        channels_last: bool,
        misaligned: bool = False,
        options: Sequence[int] = (),
    ) -> tuple[int, torch.Tensor]:
        """The status and the result. `misaligned` begins all tensors one element past an aligned
        address. The op "grad_bias" sums `t.grad` for each channel. Of operands on the device "meta"
        no byte is sent, and none of a result comes back.

        Raises:
            ProgramDied: the process ended, with what it wrote to stderr.
        """
        dtype = t.grad.dtype
        format = FORMATS[channels_last]
        size = dict(
            forward=case.output_size,
            grad_input=case.input_size,
            grad_weight=case.weight_size,
            grad_bias=(case.k,),
        )[op]
        result = torch.empty(size, dtype=dtype, device=t.grad.device)
        if op != "grad_bias":
            result = result.contiguous(memory_format=format)
        x = t.input.contiguous(memory_format=format)
        grad = t.grad.contiguous(memory_format=format)
        weight = result if op == "grad_weight" else t.weight
        operands = dict(
            forward=(x, t.weight, t.bias, None),
            grad_input=(None, t.weight, None, grad),
            grad_weight=(x, None, None, grad),
            grad_bias=(None, None, None, grad),
        )[op]
        buffers = [b"" if one is None else _bytes(one) for one in operands]
        geometry = case.geometry(channels_last)[:9]
        numbers = (
            *options, *[0] * (OPTIONS - len(options)),
            OPS.index("grad_weight" if op == "grad_bias" else op),
            DTYPES.index(dtype) if dtype in DTYPES else 0,  # integers are an algorithm
            channels_last, misaligned * dtype.itemsize,
            *case.input_size, case.k, case.r, case.s, case.p, case.q, *geometry,
            *weight.stride(), *map(len, buffers), 0 if result.is_meta else result.nbytes,
        )  # fmt: skip
        request = struct.pack(f"32s{len(numbers)}q", algorithm.encode(), *map(int, numbers))
        try:
            self._process.stdin.write(request + b"".join(buffers))
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ProgramDied(self._errors()) from None
        status = struct.unpack("q", self._read(8))[0]
        if result.is_meta:
            return status, result
        flat = torch.frombuffer(bytearray(self._read(numbers[-1])), dtype=dtype)
        return status, flat.as_strided(size, result.stride())

    def _read(self, count: int) -> bytes:
        data = self._process.stdout.read(count)
        if len(data) < count:
            raise ProgramDied(self._errors())
        return data

    def _errors(self) -> str:
        errors = self._process.stderr.read().decode()
        errors = errors.replace("AddressSanitizer: ILL", "AddressSanitizer: undefined behaviour")
        if self._process.wait() == -signal.SIGALRM:
            errors += "no answer within the time that host.h gives a request"
        return errors


class ProgramDied(Exception):
    """The process was ended by a sanitizer or by the emulation itself."""


def _bytes(tensor: torch.Tensor) -> bytes:
    """The memory of a dense tensor, in the order in which it lies there; of a meta tensor, none."""
    if tensor.is_meta:
        return b""
    flat = tensor.as_strided((tensor.numel(),), (1,))
    return flat.view(torch.uint8).numpy().tobytes()
