"""Times a call on a GPU, one by one as PyTorch issues them and as a CUDA graph.

Every call works on the next of several copies of its operands, so that what one call has left in
the cache is not there for the next. The CPU stands in for a GPU in tests; there is no graph then.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import torch

ROTATED_BYTES = 120 << 20  # more than any cache
MOST_COPIES = 48
SAMPLES = 5
SAMPLE_SECONDS = 4e-3
SLOW_SECONDS = 20e-3  # from which on a call is timed less often: a budget is for many rows

WARM_SECONDS = 0.5

Call = Callable[[int], object]  # works on this copy of the operands


def copies(bytes_of_one: int) -> int:
    """How many copies of operands of this size it takes to have none in the cache."""
    return max(2, min(MOST_COPIES, math.ceil(ROTATED_BYTES / max(1, bytes_of_one))))


def warm_up(device: str = "cuda") -> None:
    """Products of matrices until the clock of the GPU is the one of a GPU at work."""
    if device == "cpu":
        return
    a = torch.randn(4096, 4096, device=device, dtype=torch.bfloat16)
    end = time.monotonic() + WARM_SECONDS
    while time.monotonic() < end:
        a @ a
        torch.cuda.synchronize()


def seconds(call: Call, count: int, device: str = "cuda") -> float:
    """Median seconds of one call as it is issued from Python."""
    call(0)
    once = max(_elapsed(call, 2, count, device) / 2, 1e-7)
    if once > SLOW_SECONDS:
        return statistics.median(_elapsed(call, 1, count, device) for _ in range(3))
    calls = max(2, min(400, round(SAMPLE_SECONDS / once)))
    return statistics.median(_elapsed(call, calls, count, device) / calls for _ in range(SAMPLES))


def graph_seconds(call: Call, count: int) -> float:
    """Median seconds of one call inside a CUDA graph of one call for every copy."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call(0)
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = [call(index) for index in range(count)]
    per_replay = seconds(lambda _: graph.replay(), 1)
    del results
    graph.reset()
    torch.cuda.empty_cache()  # of the graph's own pool, from which nothing else is given
    return per_replay / count


def _elapsed(call: Call, calls: int, count: int, device: str) -> float:
    if device == "cpu":
        start = time.perf_counter()
        for index in range(calls):
            call(index % count)
        return time.perf_counter() - start
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for index in range(calls):
        call(index % count)
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e-3
