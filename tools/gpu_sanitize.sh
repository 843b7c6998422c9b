#!/usr/bin/env bash
# Runs a few small cases under the four tools of compute-sanitizer at once, with every allocation a
# block of its own. Exits with 77 where the sanitizer is not installed or cannot attach, as in some
# virtual machines. The argument is the Python to run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sanitizer=$(command -v compute-sanitizer || echo "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")
if [[ ! -x $sanitizer ]]; then
    echo "skipped: there is no compute-sanitizer"
    exit 77
fi
export PYTORCH_NO_CUDA_MEMORY_CACHING=1
if ! timeout 30 "$sanitizer" --error-exitcode 3 "$1" -c 'import torch; torch.ones(1, device="cuda")' \
    >/dev/null 2>&1; then
    echo "skipped: compute-sanitizer does not work on this machine"
    exit 77
fi
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
declare -A pid=()
for tool in memcheck racecheck initcheck synccheck; do
    options=(--tool "$tool" --error-exitcode 3)
    # What PyTorch's kernels have written would look uninitialised if they were not watched.
    [[ $tool == initcheck ]] || options+=(--kernel-regex kns=torchconv)
    timeout 50 "$sanitizer" "${options[@]}" "$1" -m tools.gpu_small_cases >"$logs/$tool" 2>&1 &
    pid[$tool]=$!
done
failed=0
for tool in "${!pid[@]}"; do
    code=0
    wait "${pid[$tool]}" || code=$?
    echo "-- $tool: exit code $code"
    tail -n 40 "$logs/$tool"
    # An error that was found counts for more than a tool that ran out of time.
    ((code == 0 || (code == 124 && failed))) || failed=$code
done
exit "$failed"
