"""What must not be in a wheel is found there."""

from __future__ import annotations

import zipfile

import pytest

from tools.check_wheel import LIBRARY, check_contents

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
