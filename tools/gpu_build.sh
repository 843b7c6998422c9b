#!/usr/bin/env bash
# Builds both libraries in place for the GPU of this machine, unless they are there, load and are made
# of these very sources: a finished build from elsewhere is not compiled again. The argument is the
# Python to build for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The listing names the hash of the file that each algorithm was compiled from.
stands='
import build_cuda, torch, torchconv._operators.load as load
if load.cuda_problem:
    raise SystemExit(load.cuda_problem)
compiled = {line.split()[-1] for line in torch.ops.torchconv._algorithms_cuda().splitlines()}
stale = [name for name, digest in build_cuda.source_hashes().items() if digest not in compiled]
if stale:
    raise SystemExit("built from another source: " + ", ".join(stale))
'
if "$1" -c "$stands"; then
    echo "torchconv._C_cuda is there, loads and is made of these sources"
    exit 0
fi
capability=$("$1" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())')
[[ $capability == 9.0 ]] && capability=9.0a
export TORCHCONV_CUDA=1 TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-$capability}
"$1" setup.py build_ext --inplace
"$1" -c "$stands"
