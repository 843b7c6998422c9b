"""A wheel has every package, and what must not be in one is found there."""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

import pytest

from tools.check_wheel import LIBRARY, check_contents

ROOT = Path(__file__).parents[2]
GOOD = [LIBRARY, "torchconv/__init__.py", "torchconv/py.typed", "torchconv/gpu_accepted.json"]
GOOD += ["torchconv-0.1.0.dist-info/METADATA"]


@pytest.mark.parametrize(
    "tag, names, found",
    [
        ("cp310-abi3", GOOD, None),
        ("cp311-cp311", GOOD, "cp311-cp311"),
        ("cp310-abi3", GOOD[1:], LIBRARY),
        ("cp310-abi3", [*GOOD, "torchconv/_C_cuda.abi3.so"], "_C_cuda"),
        ("cp310-abi3", [*GOOD, "tests/cases.py"], "would install tests"),
        ("cp310-abi3", [name for name in GOOD if "json" not in name], "gpu_accepted.json"),
    ],
)
def test_contents(tmp_path, tag, names, found):
    wheel = tmp_path / f"torchconv-0.1.0-{tag}-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    if found is None:
        check_contents(wheel)
    else:
        with pytest.raises(SystemExit, match=found):
            check_contents(wheel)


def test_every_package_is_installed():
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "torchconv").rglob("__init__.py")
    }
    after = (ROOT / "pyproject.toml").read_text().partition("\npackages = ")[2]
    assert set(ast.literal_eval(after.partition("]")[0] + "]")) == packages
