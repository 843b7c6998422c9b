"""setup.py finds what it needs to build."""

from __future__ import annotations

import runpy
import shutil
import sys

import pytest
import setuptools
from torch.utils.cpp_extension import is_ninja_available

from tools.check_objects import ROOT


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a compiler")
def test_ninja_is_found_in_an_environment_that_is_not_activated(tmp_path, monkeypatch):
    """Otherwise PyTorch compiles one file after the other."""
    pytest.importorskip("ninja")
    (tmp_path / "c++").symlink_to(shutil.which("c++"))
    for name, value in (("PATH", str(tmp_path)), ("TORCHCONV_CUDA", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["setup.py", "build_ext"])
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    assert not is_ninja_available()
    runpy.run_path("setup.py")
    assert is_ninja_available()
