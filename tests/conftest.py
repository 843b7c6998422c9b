"""Every test starts from the same seed and leaves the process as it found it."""

import pytest
import torch

import torchconv


@pytest.fixture(autouse=True)
def _same_start():
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torchconv.set_backend("auto")


@pytest.fixture
def fresh_compiler():
    """Nothing that torch.compile remembers from other tests."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
