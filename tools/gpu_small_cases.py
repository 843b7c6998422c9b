"""Runs every CUDA algorithm on a few tiny cases: what compute-sanitizer looks at.

python -m tools.gpu_small_cases
"""

from __future__ import annotations

import torch

from tests.cases import case, grouped
from tests.cuda.gpu.operators import applicable, forced, on_gpu
from tests.reference import OPS, assert_accurate, random_operands, run

DTYPES = (torch.float32, torch.bfloat16)  # one of each width: time is short
CASES = (
    case("dense", 2, 5, (6, 9), 7, 3, bias=True),
    case("strided", 1, 17, 7, 9, 3, 2),
    case("groups", 2, 12, 7, 12, 3, groups=3),
    case("pointwise", 2, 9, 5, 10, 1),
    case("first", 1, 3, 12, 33, 7, 2),
    grouped("depthwise3", 1, 9, 7, 1, 3, bias=True),
    grouped("depthwise7", 3, 2, 9, 1, 7),
)
# What takes every kernel beside these, for tools/gpu_smoke.py.
MORE = (
    grouped("depthwise3_vectors", 2, 16, 13, 1, 3, bias=True),
    grouped("depthwise3_s2", 2, 16, 13, 1, 3, stride=2),
    grouped("depthwise5", 3, 16, 14, 1, 5, bias=True),
    grouped("depthwise5_s2", 2, 16, 15, 1, 5, stride=2),
    grouped("depthwise7_vectors", 3, 16, 14, 1, 7, bias=True),
    grouped("depthwise13", 17, 8, 14, 1, 13),
    grouped("depthwise31", 3, 8, 33, 1, 31),
    grouped("depthwise_dilated", 2, 9, 12, 1, 3, dilation=2),
    grouped("multiplier", 2, 6, 10, 3, 3, bias=True),
    case("one_channel", 3, 1, 20, 6, 5, bias=True),
    case("groups_of_4", 2, 32, 10, 32, 3, groups=8, bias=True),
    case("larger", 2, 64, 14, 70, 3, bias=True),
)


def main() -> None:
    runs = 0
    for row in CASES:
        for dtype in DTYPES:
            for channels_last in (False, True):
                t = on_gpu(random_operands(row, dtype), channels_last)
                for op in OPS:
                    for name in applicable(op, row, dtype, channels_last):
                        with forced(name):
                            assert_accurate(run(op, row, t, channels_last).cpu(), op, row)
                        runs += 1
    torch.cuda.synchronize()
    print(f"{runs} runs")


if __name__ == "__main__":
    main()
