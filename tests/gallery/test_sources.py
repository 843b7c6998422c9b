"""Pages of the gallery name source files, and each of them exists and is linked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = [*ROOT.glob("gallery/*/plot_*.py"), ROOT / "gallery" / "texts.rst"]
NAME = re.compile(r"``([\w/]+\.(?:py|h|cpp|cuh?))(?:::\w+)?``")


@pytest.fixture
def sources(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(ROOT / "gallery")
    import sources

    return sources


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("csrc/cpu/common/gather.h", "csrc/cpu/common/gather.h"),
        ("common/gather.h", "csrc/cpu/common/gather.h"),
        ("gather.h", "csrc/cpu/common/gather.h"),
        ("test_same_bits.py::test_batch", "tests/kernels/test_same_bits.py"),
        ("ather.h", None),
        ("__init__.py", None),  # there are several
        ("csrc/cpu/missing.h", None),
        ("torchconv", None),
    ],
)
def test_a_name_means_one_file(sources, text, file):
    assert sources.named(text) == file


def test_every_source_file_that_a_page_names_exists(sources):
    names = {name for text in TEXTS for name in NAME.findall(text.read_text())}
    assert len(names) > 30
    assert [name for name in sorted(names) if not sources.named(name)] == []
