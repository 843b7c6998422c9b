"""No test leaves an instruction set or an algorithm forced."""

import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)


@pytest.fixture(autouse=True)
def _unforced():
    yield
    torch.ops.torchconv._force_isa("")
    torch.ops.torchconv._force_algorithm("")
