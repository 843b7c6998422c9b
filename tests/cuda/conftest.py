"""Our kernels whatever has been accepted, and no zeros in memory that nothing has written."""

from __future__ import annotations

import pytest
import torch

import torchconv
from tests.cuda.poison import poison_free_memory


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
