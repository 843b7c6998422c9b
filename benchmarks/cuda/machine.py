"""The GPU and the software that figures were measured with."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Machine:
    """The last columns of every row, so that rows of several runs can lie in one file."""

    gpu: str
    capability: str  # such as 9.0
    driver: str
    torch: str
    cudnn: str


@functools.cache
def machine(device: str = "cuda") -> Machine:
    cudnn = str(torch.backends.cudnn.version() or "none")
    if device == "cpu":
        return Machine("no GPU", "none", "none", torch.__version__, cudnn)
    properties = torch.cuda.get_device_properties(0)
    capability = f"{properties.major}.{properties.minor}"
    return Machine(properties.name, capability, driver(), torch.__version__, cudnn)


def driver() -> str:
    """Its version, or "unknown" where nvidia-smi does not tell."""
    if not shutil.which("nvidia-smi"):
        return "unknown"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return (done.stdout.split() or ["unknown"])[0] if done.returncode == 0 else "unknown"


def slug(device: str = "cuda") -> str:
    """For names of files: torch, CUDA and GPU, such as `torch214-cu130-nvidia-h200`."""
    version = "".join(torch.__version__.split(".")[:2])
    cuda = (torch.version.cuda or "none").replace(".", "")
    name = re.sub(r"[^a-z0-9]+", "-", machine(device).gpu.lower()).strip("-")
    return f"torch{version}-cu{cuda}-{name}"
