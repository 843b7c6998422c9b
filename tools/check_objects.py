"""Checks in the object files that no CPU gets an instruction it does not have.

    python -m tools.check_objects [FOLDER]     without a name that of this Python in build/

The units for AVX2 and AVX-512 hold such instructions, and may do so only in functions of their own.
Of equal inline functions in several units the linker keeps one, for every CPU, so those that these
units offer must be compiled without: csrc/cpu/isa/baseline.h comes before the level begins. The
linked library cannot show that: which one it has depends on the order of the files. Nor may these
units run anything when the library is loaded.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

# The units that are compiled for AVX, by file name.
AVX_UNIT = re.compile(r"isa/avx(2|512)")

# Bytes that may stand before an instruction with a VEX or EVEX prefix: segment, address size.
_BEFORE = {"26", "2e", "36", "3e", "64", "65", "67"}
_VEX_OR_EVEX = {"c4", "c5", "62"}  # nothing else begins like this in 64-bit code


def output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def functions_with_avx(path: Path) -> dict[str, str]:
    """The functions that hold an instruction with a VEX or EVEX prefix, and the first of these."""
    found: dict[str, str] = {}
    function = ""
    for line in output_of("objdump", "-d", "-C", "-w", str(path)).splitlines():
        if header := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            function = header[1]
            continue
        fields = line.split("\t")
        if len(fields) < 3:
            continue
        code = [byte for byte in fields[1].split() if byte not in _BEFORE]
        if code and code[0] in _VEX_OR_EVEX:
            found.setdefault(function, " ".join(fields[2].split()))
    return found


def visible_symbols(path: Path) -> Iterator[str]:
    """What the linker may use from this file in the place of another file's, weak ones included."""
    for line in output_of("nm", "-C", "--extern-only", "--defined-only", str(path)).splitlines():
        yield line.split(maxsplit=2)[2]


def problems(objects: Iterable[Path]) -> Iterator[str]:
    """One line for each function that a CPU without AVX could run and that may hold AVX code."""
    for path in objects:
        if AVX_UNIT.search(path.as_posix()):
            visible = set(visible_symbols(path))
            for function, instruction in functions_with_avx(path).items():
                if function in visible:
                    yield f"{path}: {function}, visible to other units, holds {instruction}"
            if ".init_array" in output_of("objdump", "-h", str(path)):
                yield f"{path}: is compiled for AVX and runs when the library is loaded"
        else:
            for function, instruction in functions_with_avx(path).items():
                yield f"{path}: {function} holds an AVX instruction: {instruction}"


def folder_of_build() -> Path:
    """Where setup.py keeps the object files of this Python."""
    folders = list(ROOT.glob(f"build/temp.*-{sys.implementation.cache_tag}"))
    if len(folders) != 1:
        raise FileNotFoundError("build torchconv first: there is no build/temp.* of this Python")
    return folders[0]


def cpu_objects(folder: Path) -> list[Path]:
    """The object file of each source for the CPU; what else lies in ``folder`` may be old."""
    sources = sorted([*ROOT.glob("csrc/*.cpp"), *ROOT.glob("csrc/cpu/**/*.cpp")])
    objects = [folder / path.relative_to(ROOT).with_suffix(".o") for path in sources]
    if missing := [str(path) for path in objects if not path.exists()]:
        raise FileNotFoundError(f"build torchconv first: there is no {', '.join(missing)}")
    return objects


def main() -> None:
    if platform.machine() != "x86_64":
        sys.exit("check_objects: knows the instructions of x86-64 only")
    try:
        objects = cpu_objects(Path(sys.argv[1]) if sys.argv[1:] else folder_of_build())
    except FileNotFoundError as error:
        sys.exit(f"check_objects: {error}")
    found = list(problems(objects))
    for problem in found:
        print(problem)
    avx = sum(bool(AVX_UNIT.search(path.as_posix())) for path in objects)
    print(f"check_objects: {len(objects)} files, {avx} of them for AVX; {len(found)} problems")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
