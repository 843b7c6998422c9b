"""Loads the compiled libraries, which register the operators ``torch.ops.torchconv.*``.

torchconv._C, for the CPU, has to be there: whatever goes wrong becomes one ``ImportError`` that
says why and what to do. torchconv._C_cuda need not: without it tensors on a GPU are left to ATen.
"""

import importlib
import re
import warnings

import torch

MINIMUM_TORCH = (2, 11)

# Why there are no CUDA kernels, or None if there are.
cuda_problem: str | None = "torchconv._C_cuda has not been loaded"


def check_torch_version(version: str) -> None:
    """Raises ImportError if ``version`` (such as ``"2.9.1+cpu"``) is older than MINIMUM_TORCH."""
    match = re.match(r"(\d+)\.(\d+)", version)
    if match and (int(match[1]), int(match[2])) < MINIMUM_TORCH:
        needed = ".".join(map(str, MINIMUM_TORCH))
        raise ImportError(
            f"torchconv needs torch >= {needed}, but torch {version} is installed: "
            f"upgrade with `pip install 'torch>={needed}'`."
        )


def load_library() -> None:
    """Imports ``torchconv._C``.

    Raises:
        ImportError: torch is too old, the library was not built, or it does not load.
    """
    check_torch_version(torch.__version__)
    try:
        importlib.import_module("torchconv._C")
    except ImportError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImportError(
            f"torchconv's compiled library torchconv._C does not load ({reason}): build it with "
            "`pip install --no-build-isolation .` (or `-e .` in a checkout), which needs a C++ "
            f"compiler, against the torch in use ({torch.__version__})."
        ) from error


def load_cuda_library() -> None:
    """Imports ``torchconv._C_cuda`` where torch has CUDA and torchconv was built with it.

    A library that is there and does not load is a warning: the CPU goes on working.
    """
    global cuda_problem
    if torch.version.cuda is None:
        cuda_problem = f"torch {torch.__version__} is not a CUDA build"
        return
    try:
        importlib.import_module("torchconv._C_cuda")
    except ModuleNotFoundError:
        cuda_problem = "torchconv was built without CUDA kernels"
    except ImportError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        cuda_problem = f"torchconv's CUDA kernels do not load ({reason})"
        warnings.warn(
            f"{cuda_problem}: tensors on a GPU are left to PyTorch's own convolution; build "
            f"torchconv again against the torch in use ({torch.__version__}).",
            stacklevel=2,
        )
    else:
        cuda_problem = None
