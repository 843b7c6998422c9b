"""Loads the compiled library, which registers the operators ``torch.ops.torchconv.*``.

Whatever goes wrong on the way becomes one ``ImportError`` that says why and what to do.
"""

import importlib
import re

import torch

MINIMUM_TORCH = (2, 11)


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
