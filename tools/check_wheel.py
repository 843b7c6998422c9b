"""Builds the wheel, audits it, and tries it in fresh environments.

    python -m tools.check_wheel                  builds it and puts it into dist/
    python -m tools.check_wheel WHEEL            checks one that was built before
        --torch "torch==2.11.*"                  tries it with this PyTorch; may be repeated

Without --torch it is tried with the oldest PyTorch that torchconv supports and with the newest.
Each environment takes some gigabytes for as long as it is in use.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from tools.check_objects import ROOT, output_of

TORCHES = ("torch==2.11.*", "torch")
LEVELS = ("portable", "avx2", "")  # the last one: the best of this CPU
LIBRARY = "torchconv/_C.abi3.so"
# C++ of ATen and c10: names and layouts that change with every release of PyTorch.
UNSTABLE = re.compile(r"\b(at|c10|torch|caffe2)::")


def run(*command: str | Path, folder: Path = ROOT, **environment: str) -> None:
    """Runs a command; those of this environment are found first. Ends here if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path, **environment})
    if done.returncode:
        sys.exit(f"check_wheel: this failed: {' '.join(map(str, command))}")


def build(folder: Path) -> Path:
    """The wheel for the PyTorch in this environment, its object files checked."""
    for old in ROOT.glob("build/lib*"):  # what it holds, CUDA kernels too, would go into the wheel
        shutil.rmtree(old)
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    # With the ninja that built before: another version would compile everything again.
    run(*command, "--wheel-dir", folder, ROOT, TORCHCONV_CUDA="0", PATH=os.environ["PATH"])
    (built,) = folder.glob("*.whl")
    run(ROOT / "tools" / "repair_wheel.sh", built, folder / "repaired")
    (repaired,) = folder.glob("repaired/*.whl")
    (ROOT / "dist").mkdir(exist_ok=True)
    return Path(shutil.copy(repaired, ROOT / "dist"))


def require(condition: bool, sentence: str) -> None:
    if not condition:
        sys.exit(f"check_wheel: {sentence}")


def check_contents(wheel: Path) -> None:
    """One wheel for every Python, with one library, and nothing that belongs to the repository."""
    require("-cp310-abi3-" in wheel.name, f"{wheel.name} is not for every Python from 3.10")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    libraries = [name for name in names if name.endswith(".so")]
    require(libraries == [LIBRARY], f"{wheel.name} has {libraries}, not {LIBRARY} alone")
    for name in ("torchconv/py.typed", "torchconv/gpu_accepted.json"):
        require(name in names, f"{wheel.name} is without {name}")
    strangers = {name.split("/")[0] for name in names if not name.startswith("torchconv")}
    require(not strangers, f"{wheel.name} would install {', '.join(sorted(strangers))}")


def check_symbols(wheel: Path, folder: Path) -> None:
    """Of PyTorch the library uses C functions only."""
    with zipfile.ZipFile(wheel) as archive:
        library = archive.extract(LIBRARY, folder)
    lines = output_of("nm", "-D", "-C", "--undefined-only", library).splitlines()
    names = [line.split(maxsplit=1)[1] for line in lines]
    stable = [name for name in names if name.startswith("aoti_torch_")]
    require(bool(stable), f"{LIBRARY} uses nothing of PyTorch")
    unstable = [name for name in names if UNSTABLE.search(name)]
    require(not unstable, f"{LIBRARY} uses PyTorch's C++: {', '.join(unstable)}")
    print(f"check_wheel: {len(names)} symbols from elsewhere, none of PyTorch's C++")


def try_with(torch: str, wheel: Path, folder: Path) -> None:
    """The smoke test at each level, in a new environment and outside of the repository."""
    print(f"check_wheel: installing {torch} and {wheel.name}", flush=True)
    venv.create(folder / "venv", with_pip=True, clear=True)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", torch, wheel, folder=folder)
    smoke = (ROOT / "tools" / "wheel_smoke.py").read_text()
    (folder / "wheel_smoke.py").write_text(smoke)
    for level in LEVELS:
        run(python, "wheel_smoke.py", folder=folder, TORCHCONV_ISA=level)


def main() -> None:
    description, _, epilogue = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_wheel", description=description, epilog=epilogue,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("wheel", nargs="?", type=Path)
    parser.add_argument("--torch", action="append", metavar="REQUIREMENT")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = options.wheel.resolve() if options.wheel else build(folder)
        check_contents(wheel)
        check_symbols(wheel, folder)
        run("abi3audit", "--strict", "--summary", wheel)
        for torch in options.torch or TORCHES:
            try_with(torch, wheel, folder)
        print(f"check_wheel: {wheel.name}, {wheel.stat().st_size / 1e6:.2f} MB: all right")


if __name__ == "__main__":
    main()
