"""Loads the compiled libraries, which register the operators ``torch.ops.torchconv.*``.

Neither has to be there. Without torchconv._C, for the CPU, ATen computes everything, after one
warning that says why and what to do; without torchconv._C_cuda tensors on a GPU are left to it.
"""

import importlib
import logging
import os
import re
import warnings
from pathlib import Path

import torch

MINIMUM_TORCH = (2, 11)
REQUIRE = "TORCHCONV_REQUIRE_NATIVE"

logger = logging.getLogger("torchconv")

# Why there is no compiled library, and why there are no CUDA kernels, or None if there are.
problem: str | None = "torchconv._C has not been loaded"
cuda_problem: str | None = "torchconv._C_cuda has not been loaded"

_operators: torch.library.Library | None = None  # those of ATen's, while there is no library


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
    """Imports ``torchconv._C``, or warns that ATen computes everything.

    Raises:
        ImportError: torch is too old; or the library was not built or does not load, and
            TORCHCONV_REQUIRE_NATIVE=1 asks for it.
    """
    global problem, _operators
    check_torch_version(torch.__version__)
    try:
        importlib.import_module("torchconv._C")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        reason = f"it is not in {Path(__file__).parents[1]}" if missing else _first_line(error)
        found = f"torchconv's compiled library torchconv._C does not load ({reason})"
        if os.environ.get(REQUIRE) == "1":
            raise ImportError(f"{found}: {_remedy()}.") from error
        warnings.warn(
            f"{found} and PyTorch's own convolution computes everything: {_remedy()}.",
            stacklevel=3,
        )
        from torchconv._operators import aten

        problem, _operators = found, aten.define()
    else:
        problem = None
        _check_isa()


def require_library() -> None:
    """Raises RuntimeError where there is no compiled library."""
    if problem is not None:
        raise RuntimeError(f"{problem}: {_remedy()}.")


def load_cuda_library() -> None:
    """Imports ``torchconv._C_cuda`` where torch has CUDA and torchconv was built with it.

    A library that is there and does not load is a warning: the CPU goes on working.
    """
    global cuda_problem
    if problem is not None:
        cuda_problem = problem
        return
    if torch.version.cuda is None:
        cuda_problem = f"torch {torch.__version__} is not a CUDA build"
        return
    try:
        importlib.import_module("torchconv._C_cuda")
    except ModuleNotFoundError:
        cuda_problem = "torchconv was built without CUDA kernels (FORCE_CUDA=1 builds them)"
    except ImportError as error:
        cuda_problem = f"torchconv's CUDA kernels do not load ({_first_line(error)})"
        warnings.warn(
            f"{cuda_problem}: tensors on a GPU are left to PyTorch's own convolution; build "
            f"torchconv again against the torch in use ({torch.__version__}).",
            stacklevel=3,
        )
    else:
        cuda_problem = None


def _check_isa() -> None:
    """Tells of a TORCHCONV_ISA that the library ignores."""
    wanted = os.environ.get("TORCHCONV_ISA")
    if wanted and wanted != (used := torch.ops.torchconv._isa()):
        logger.warning("TORCHCONV_ISA=%s is not supported on this CPU; %s is used", wanted, used)


def _remedy() -> str:
    return (
        "build it with `pip install --no-build-isolation .` (or `-e .` in a checkout), which needs "
        f"a C++ compiler, against the torch in use ({torch.__version__})"
    )


def _first_line(error: ImportError) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
