"""The hash of a CUDA kernel's source, which decides whether its acceptance still holds."""

from __future__ import annotations

from pathlib import Path

import pytest

import build_cuda
from torchconv._gpu import acceptance

ROOT = Path(__file__).parents[2]


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def kernel_tree(folder: Path) -> Path:
    """Two kernels, of which one reaches a header of csrc; returns csrc/cuda."""
    cuda = folder / "csrc" / "cuda"
    cuda.mkdir(parents=True)
    (folder / "csrc" / "conv2d.h").write_text("struct Shape {};\n")
    (cuda / "device.h").write_text('#include "conv2d.h"\n#include "cuda/device_host.h"\n')
    (cuda / "device_host.h").write_text("int emulated;\n")
    (cuda / "algorithms.h").write_text("extern int list;\n")
    (cuda / "a.cu").write_text(
        '#include "cuda/device.h"\n#include "cuda/algorithms.h"\n'
        'int a = f(1);  // one\nconst char* text = "// a";\n'
    )
    (cuda / "b.cu").write_text("int b;\n")
    return cuda


@pytest.mark.parametrize(
    "file, before, after",
    [
        ("cuda/a.cu", "// one", "/* uno\n*/"),
        ("cuda/a.cu", "f(1)", "f(\n    1 )"),
        ("cuda/device_host.h", "int", "double"),
        ("cuda/algorithms.h", "int", "double"),
    ],
)
def test_a_kernel_stays_the_same(tmp_path, file, before, after):
    """Where no token of it changes."""
    cuda = kernel_tree(tmp_path)
    hashes = build_cuda.source_hashes(cuda)
    assert hashes.keys() == {"a", "b"}
    edit(cuda.parent / file, before, after)
    assert build_cuda.source_hashes(cuda) == hashes


@pytest.mark.parametrize(
    "file, before, after",
    [
        ("cuda/a.cu", "f(1)", "f(2)"),
        ("cuda/a.cu", "// a", "//a"),
        ("cuda/a.cu", "int a", "inta"),
        ("cuda/device.h", '#include "conv2d.h"\n', ""),
        ("conv2d.h", "{}", "{ int n; }"),
    ],
)
def test_a_kernel_becomes_another(tmp_path, file, before, after):
    """Where a token changes, of its file or of a header that it reaches."""
    cuda = kernel_tree(tmp_path)
    hashes = build_cuda.source_hashes(cuda)
    edit(cuda.parent / file, before, after)
    changed = build_cuda.source_hashes(cuda)
    assert changed["a"] != hashes["a"] and changed["b"] == hashes["b"]


def test_a_kernel_may_move(tmp_path):
    """Its files get other folders, other names and another order of includes."""
    cuda = kernel_tree(tmp_path)
    hashes = build_cuda.source_hashes(cuda)
    for name in ("device", "small"):
        (cuda / name).mkdir()
    (cuda / "device.h").rename(cuda / "device" / "zebra.h")
    (cuda / "a.cu").rename(cuda / "small" / "a.cu")
    edit(
        cuda / "small" / "a.cu",
        '#include "cuda/device.h"\n#include "cuda/algorithms.h"\n',
        '#include "cuda/algorithms.h"\n#include "conv2d.h"\n#include "cuda/device/zebra.h"\n',
    )
    assert build_cuda.source_hashes(cuda) == hashes


def test_no_acceptance_is_void():
    """Whoever changes a kernel measures it again, or takes its entries out."""
    hashes = build_cuda.source_hashes(ROOT / "csrc" / "cuda")
    entries = acceptance.read()
    void = {entry.kernel for entry in entries if entry.source != hashes.get(entry.key.algorithm)}
    assert entries and not void
