#!/usr/bin/env bash
# Builds both libraries in place for the GPU of this machine, unless they are there and load: a
# finished build from elsewhere is not compiled again. The argument is the Python to build for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

loads='import torchconv._load as l; raise SystemExit(l.cuda_problem)'
if "$1" -c "$loads"; then
    echo "torchconv._C_cuda is there and loads"
    exit 0
fi
capability=$("$1" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())')
[[ $capability == 9.0 ]] && capability=9.0a
export TORCHCONV_CUDA=1 TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-$capability}
"$1" setup.py build_ext --inplace
"$1" -c "$loads"
