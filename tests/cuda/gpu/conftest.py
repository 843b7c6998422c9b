"""Our kernels whatever has been accepted, and no zeros in memory that nothing has written."""

from __future__ import annotations

import pytest
import torch

import torchconv
from tests.cuda.gpu import operators
from tests.cuda.gpu.poison import poison_free_memory

MARK = "each_algorithm"


def pytest_addoption(parser):
    parser.addoption(
        "--algorithm", metavar="NAME", help="only what is tried for every algorithm, for this one; "
        "-: only the other tests",
    )  # fmt: skip


def pytest_configure(config):
    config.addinivalue_line("markers", f"{MARK}: is tried for every CUDA algorithm")
    name = config.getoption("--algorithm", None)
    operators.only = None if name == "-" else name


def pytest_collection_modifyitems(config, items):
    if name := config.getoption("--algorithm", None):
        left_out = [
            item for item in items if (item.get_closest_marker(MARK) is None) != (name == "-")
        ]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def _native_and_poisoned():
    torchconv.set_backend("native")
    poison_free_memory()
    yield
    torch.ops.torchconv._force_algorithm_cuda("")
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:  # after which every other test would fail as well
        pytest.exit(f"the GPU is lost: {error}", 3)
