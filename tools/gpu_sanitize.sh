#!/usr/bin/env bash
# Runs a few small cases under compute-sanitizer, with every allocation a block of its own. Exits with
# 77 where the sanitizer is not installed or cannot attach, as in some virtual machines. The
# argument is the Python to run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sanitizer=$(command -v compute-sanitizer || echo "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")
if [[ ! -x $sanitizer ]]; then
    echo "skipped: there is no compute-sanitizer"
    exit 77
fi
export PYTORCH_NO_CUDA_MEMORY_CACHING=1
if ! "$sanitizer" --error-exitcode 3 "$1" -c 'import torch; torch.ones(1, device="cuda")' >/dev/null 2>&1; then
    echo "skipped: compute-sanitizer does not work on this machine"
    exit 77
fi
for tool in memcheck racecheck initcheck synccheck; do
    echo "-- $tool"
    timeout 40 "$sanitizer" --tool "$tool" --error-exitcode 3 "$1" -m tools.gpu_small_cases
done
