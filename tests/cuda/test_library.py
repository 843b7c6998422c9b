"""Whether the library of the CUDA kernels is there, and loads: an import goes well in any case."""

import importlib
import subprocess
import sys
from unittest.mock import patch

import pytest
import torch

import torchconv
from torchconv._operators import load


def test_a_library_that_does_not_load_is_one_warning(monkeypatch):
    monkeypatch.setattr(load, "cuda_problem", None)
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    def fail(name):
        raise ImportError("libtorch_cuda.so: cannot open shared object file\nmore")

    with patch.object(importlib, "import_module", fail), pytest.warns(UserWarning) as caught:
        load.load_cuda_library()
    (warning,) = caught
    text = str(warning.message)
    assert "libtorch_cuda.so" in text and "left to PyTorch's own" in text and "\n" not in text
    assert "do not load" in load.cuda_problem
    x = torch.ones(1, 1, 3, 3)
    assert torch.equal(torchconv.conv2d(x, x), torch.full((1, 1, 1, 1), 9.0))


def test_a_torch_without_cuda_never_looks_for_the_library(monkeypatch):
    monkeypatch.setattr(load, "cuda_problem", None)
    monkeypatch.setattr(torch.version, "cuda", None)
    with patch.object(importlib, "import_module", side_effect=AssertionError):
        load.load_cuda_library()
    assert "not a CUDA build" in load.cuda_problem


def test_an_import_without_the_library_is_silent():
    """As after a build with TORCHCONV_CUDA=0: None makes Python raise ModuleNotFoundError."""
    code = (
        "import sys; sys.modules['torchconv._C_cuda'] = None; "
        "import torchconv; print(torchconv.show_config())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert "CUDA kernels: none, torchconv was built without CUDA kernels" in done.stdout
