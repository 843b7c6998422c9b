"""What only a GPU can show: marked `cuda`, and skipped with the reason where there is none."""

import pytest
import torch

from torchconv._operators import load


def require_gpu() -> None:
    """Skips the module that calls this, as one line of the summary and not a thousand."""
    if load.cuda_problem is not None:
        pytest.skip(f"needs CUDA kernels: {load.cuda_problem}", allow_module_level=True)
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU", allow_module_level=True)
