"""What the compiler made of the CUDA kernels: registers, shared memory, spills, instructions.

    python -m tools.cuda_report            prints the table and what is wrong
    python -m tools.cuda_report --update   writes tools/cuda_resources.txt anew

Reads the built library with cuobjdump; no GPU is needed. A kernel must use no stack (a spill), no
more registers or shared memory than that table says for the same version of the toolkit, and the
instructions it was written for, and none that are slow by accident or give up the order of sums.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sysconfig
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

import torchconv
from torchconv._operators import load

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "tools" / "cuda_resources.txt"

# Local memory, division of 64-bit integers through float, atomic additions.
FORBIDDEN = re.compile(r"LDL\b|STL\b|I2F\.U64|ATOM|RED\b|REDG?\.E")

# Kernels by name, and an instruction that each must have.
REQUIRED = (
    (r"TensorCore<.*Float16", r"HMMA\.16816"),
    (r"TensorCore<float", r"HMMA\.1688.*TF32"),
    (r"^toeplitz_(images_)?kernel<.*Float16", r"HMMA\.16816"),
    (r"^(toeplitz_images|depthwise_halves)_kernel<", r"LDGSTS\.E"),
    (r"^depthwise_channels_kernel<", r"LDG\.E\.128"),
)


@dataclass(frozen=True)
class Resources:
    registers: int
    shared: int
    stack: int


Usage = dict[str, dict[str, Resources]]  # by kernel and architecture


def library() -> Path | None:
    found = sorted(Path(torchconv.__file__).parent.glob("_C_cuda*.so"))
    return found[0] if found else None


def why_not() -> str | None:
    """Why there is nothing to report, or None."""
    if library() is None or load.cuda_problem is not None:
        return f"no CUDA kernels: {load.cuda_problem}"
    return None if cuobjdump() else "there is no cuobjdump, neither in a toolkit nor with triton"


@cache
def cuobjdump() -> str | None:
    """Of the toolkit, of the PATH, or the one that comes with triton."""
    wheel = Path(sysconfig.get_path("purelib")) / "triton/backends/nvidia/bin/cuobjdump"
    homes = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    candidates = [f"{home}/bin/cuobjdump" for home in homes if home]
    candidates += [shutil.which("cuobjdump") or "", str(wheel)]
    return next((path for path in candidates if path and os.access(path, os.X_OK)), None)


def dump(*options: str, path: Path | None = None) -> str:
    """What cuobjdump says about the library, or about another file."""
    command = [cuobjdump(), *options, str(path or library())]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def short_names(mangled: list[str]) -> dict[str, str]:
    """Readable names without namespaces and arguments."""
    done = subprocess.run(
        ["c++filt"], input="\n".join(mangled), capture_output=True, text=True, check=True
    )
    return dict(zip(mangled, map(_shorten, done.stdout.splitlines()), strict=True))


def _shorten(name: str) -> str:
    name = re.sub(r"\btorchconv::(cuda::)?", "", name.removeprefix("void "))
    name = re.sub(r"\((int|bool|long)\)", "", name)
    depth = 0
    for index, letter in enumerate(name):  # the arguments begin outside of all templates
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            return name[:index]
    return name


def parse_usage(text: str) -> Usage:
    """What `cuobjdump --dump-resource-usage` prints."""
    found: dict[str, dict[str, Resources]] = {}
    architecture = name = ""
    for line in text.splitlines():
        if match := re.match(r"arch = (\S+)", line):
            architecture = match[1]
        elif match := re.match(r"\s*Function (\S+):", line):
            name = match[1]
        elif match := re.match(r"\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line):
            registers, stack, shared, local = map(int, match.groups())
            found.setdefault(name, {})[architecture] = Resources(registers, shared, stack + local)
    return found


def usage() -> Usage:
    found = parse_usage(dump("--dump-resource-usage"))
    names = short_names(list(found))
    return {names[mangled]: columns for mangled, columns in sorted(found.items())}


def parse_instructions(text: str) -> dict[str, Counter[str]]:
    """What `cuobjdump -sass` prints: how often each kernel has each instruction."""
    found: dict[str, Counter[str]] = {}
    counts: Counter[str] = Counter()
    instruction = re.compile(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z][A-Z0-9_.]*)")
    for line in text.splitlines():
        if "Function :" in line:
            counts = found.setdefault(line.split(":", 1)[1].strip(), Counter())
        elif match := instruction.match(line):
            counts[match[1]] += 1
    return found


def instructions(architecture: str) -> dict[str, Counter[str]]:
    found = parse_instructions(dump("-sass", "-arch", architecture))
    names = short_names(list(found))
    return {names[mangled]: counts for mangled, counts in found.items()}


def wrong_instructions(found: dict[str, Counter[str]]) -> list[str]:
    """One sentence for every forbidden instruction and every missing one."""
    problems = []
    for name, counts in found.items():
        for instruction, count in counts.items():
            # The definition is not meant to be fast, and some architectures divide in it.
            divides = name.startswith("reference_kernel") and instruction.startswith("I2F")
            if FORBIDDEN.match(instruction) and not divides:
                problems.append(f"{name} has {count} {instruction}")
        for kernels, required in REQUIRED:
            if re.search(kernels, name) and not any(re.match(required, one) for one in counts):
                problems.append(f"{name} has no {required}")
    return problems


def wrong_resources(found: Usage, table: Usage, same_toolkit: bool) -> list[str]:
    """One sentence for every spill, and for every growth and every kernel not in the table."""
    problems = []
    for name, columns in found.items():
        for architecture, now in columns.items():
            where = f"{name} on {architecture}"
            if now.stack:
                problems.append(f"{where} spills: {now.stack} bytes of stack")
            before = table.get(name, {}).get(architecture)
            if before is None:
                problems.append(f"{where} is not in {TABLE.name}")
            elif same_toolkit and now.registers > before.registers:
                problems.append(
                    f"{where} grew from {before.registers} to {now.registers} registers"
                )
            elif now.shared > before.shared:
                problems.append(f"{where} grew from {before.shared} to {now.shared} bytes shared")
    gone = [name for name in table if name not in found]
    return problems + [f"{name} is in {TABLE.name}, but not in the library" for name in gone]


def read_table(path: Path = TABLE) -> tuple[str, Usage]:
    """The version of the toolkit, and the resources. A line is
    `<shared bytes> <architecture>:<registers>,... <name>`."""
    toolkit, table = "", {}
    for line in path.read_text().splitlines() if path.exists() else ():
        if match := re.match(r"# .*CUDA (\d+\.\d+)", line):
            toolkit = match[1]
        if line and not line.startswith("#"):
            shared, columns, name = line.split(maxsplit=2)
            pairs = (column.split(":") for column in columns.split(","))
            table[name] = {sm: Resources(int(count), int(shared), 0) for sm, count in pairs}
    return toolkit, table


def write_table(found: Usage, toolkit: str, path: Path = TABLE) -> None:
    """Architectures that this library was not built for keep what is known of them."""
    _, before = read_table(path)
    lines = [
        f"# What the kernels need as CUDA {toolkit} compiles them: bytes of shared memory,",
        "# registers, and no stack. Written and checked by tools/cuda_report.py.",
    ]
    for name, columns in found.items():
        merged = {**before.get(name, {}), **columns}
        registers = ",".join(
            f"{sm}:{merged[sm].registers}" for sm in sorted(merged, key=_by_number)
        )
        lines.append(f"{max(c.shared for c in merged.values())} {registers} {name}")
    path.write_text("\n".join(lines) + "\n")


def _by_number(architecture: str) -> int:
    return int(re.sub(r"\D", "", architecture))


def architectures(found: Usage) -> list[str]:
    return sorted({sm for columns in found.values() for sm in columns}, key=_by_number)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.cuda_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--update", action="store_true", help=f"write {TABLE.name}")
    arguments = parser.parse_args(argv)
    if reason := why_not():
        raise SystemExit(reason)
    found, toolkit = usage(), torch.ops.torchconv._toolkit_cuda()
    if arguments.update:
        write_table(found, toolkit)
        print(f"wrote {TABLE}")
    for name, columns in found.items():
        cells = " ".join(f"{sm}:{one.registers}/{one.shared}" for sm, one in columns.items())
        print(f"{name}\n    registers/shared {cells}")
    known, table = read_table()
    problems = wrong_resources(found, table, known == toolkit)
    for architecture in architectures(found):
        for problem in wrong_instructions(instructions(architecture)):
            problems.append(f"{architecture}: {problem}")
    print("\n".join(problems) or "nothing is wrong")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
