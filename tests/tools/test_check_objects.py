"""No CPU gets an instruction it does not have, and the check of that finds planted ones."""

from __future__ import annotations

import platform
import shutil
import subprocess

import pytest

from tools.check_objects import AVX_UNIT, cpu_objects, folder_of_build, problems

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86-64"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("c++", "objdump", "nm"))), reason="needs a compiler"
    ),
]

KERNEL = """
namespace torchconv::cpu {
namespace {
float kernel(float a, float b) { return a * b; }
}
extern float (*const kAvx2Kernels)(float, float);
float (*const kAvx2Kernels)(float, float) = kernel;
}
"""
SHARED = "inline float shared(float a) { return a * 3; } float (*user)(float) = shared;"
AT_LOAD = '#include <cstdlib>\nstatic float scale = std::atof(std::getenv("SCALE"));'
PLAIN = "float plain(float a) { return a * 3; }"
# A VEX prefix, but no vector register and no name that begins with a v.
SHIFT = "unsigned shift(unsigned a, unsigned b) { return a << b; }"


@pytest.mark.parametrize(
    "name, source, flag, found",
    [
        ("isa/avx2_dense", KERNEL, "-mavx2", None),
        ("isa/avx2_dense", SHARED, "-msse2", None),
        ("plain", PLAIN, "-msse2", None),
        ("plain", PLAIN, "-mavx2", "plain(float) holds an AVX instruction: vmulss"),
        ("isa/portable_dense", PLAIN, "-mavx512f", "plain(float) holds an AVX instruction"),
        ("plain", SHIFT, "-mbmi2", "holds an AVX instruction: shlx"),
        ("isa/avx512_dense", PLAIN, "-mavx512f", "plain(float), visible to other units, holds"),
        ("isa/avx2_depthwise", SHARED, "-mavx2", "shared(float), visible to other units, holds"),
        ("isa/avx2_dense", AT_LOAD, "-mavx2", "runs when the library is loaded"),
    ],
)
def test_planted_violations_are_found(tmp_path, name, source, flag, found):
    path = tmp_path / f"{name}.o"
    path.parent.mkdir(exist_ok=True)
    command = ["c++", "-x", "c++", "-std=c++17", "-O2", flag, "-c", "-o", str(path), "-"]
    subprocess.run(command, input=source, text=True, check=True)
    lines = list(problems([path]))
    assert lines == [] if found is None else found in "\n".join(lines)


def test_the_library_is_made_of_such_files():
    try:
        objects = cpu_objects(folder_of_build())
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert any(AVX_UNIT.search(path.as_posix()) for path in objects)
    assert list(problems(objects)) == []
