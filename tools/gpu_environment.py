"""One line per fact about the GPU and the software on it; ends with an error where there is none.

python -m tools.gpu_environment
"""

from __future__ import annotations

import shutil
import subprocess
import sys

import torch


def main() -> None:
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU that PyTorch can use")
    print(f"cuDNN {torch.backends.cudnn.version()}")
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        print(
            f"GPU {index}: {gpu.name}, sm_{gpu.major}{gpu.minor}, "
            f"{gpu.multi_processor_count} multiprocessors, {gpu.total_memory / 2**30:.0f} GiB"
        )
    if shutil.which("nvidia-smi"):
        query = "--query-gpu=driver_version,clocks.sm,clocks.max.sm,power.limit"
        subprocess.run(["nvidia-smi", query, "--format=csv"], check=False)


if __name__ == "__main__":
    main()
