#!/usr/bin/env bash
# Makes of a wheel that was just built in this folder one to publish: repair_wheel.sh WHEEL FOLDER.
# PyTorch's libraries stay out of it: they are PyTorch's, and loaded before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python -m tools.check_objects
auditwheel repair --exclude 'libtorch*' --exclude 'libc10*' --wheel-dir "$2" "$1"
