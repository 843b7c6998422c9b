"""The gallery is whole. What its pages say, they assert themselves: `make gallery` runs them."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "gallery"
CHAPTERS = runpy.run_path(str(GALLERY / "chapters.py"))["CHAPTERS"]
PAGES = [f"{chapter}/{page}" for chapter, pages in CHAPTERS.items() for page in pages]


def test_every_page_is_in_a_chapter():
    scripts = {path.relative_to(GALLERY).as_posix() for path in GALLERY.glob("*/plot_*.py")}
    assert scripts == {f"{page}.py" for page in PAGES}
    assert len(PAGES) == len(set(PAGES)) > 20


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_a_title_and_asserts_what_it_states(page):
    tree = ast.parse((GALLERY / f"{page}.py").read_text())
    title, underline, *_ = ast.get_docstring(tree).splitlines()
    assert set(underline) == {"="} and len(underline) >= len(title) > 0
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(tree)) >= 3


def test_every_line_of_the_texts_has_a_page_and_a_test():
    table = (GALLERY / "texts.rst").read_text()
    rows = table.split("   * - ")[2:]
    assert len(rows) > 20
    for row in rows:
        _, pages, tests = row.split("\n     - ")
        named = re.findall(r":doc:`pages/(\S+)`", pages)
        assert named and set(named) <= set(PAGES), row
        found = re.findall(r"``(\w+\.py)::(\w+)``", tests)
        assert found or tests.strip() == "the page itself", row
        for file, test in found:
            (path,) = (ROOT / "tests").rglob(file)
            assert f"def {test}(" in path.read_text(), row
