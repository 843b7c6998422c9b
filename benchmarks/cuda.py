"""torchconv's CUDA kernels beside PyTorch, operator by operator.

    python -m benchmarks.cuda [--budget SECONDS] [--csv PATH]

`ratio` is time(PyTorch) / time(torchconv), the lower of two: calls as Python issues them, and calls
inside a CUDA graph. PyTorch is the faster of nn.Conv2d as it comes and with
torch.backends.cudnn.benchmark, in the same memory format; `best_ratio` compares with the fastest of
all its ways. `percent_of_floor` is how near the kernel is to reading its operands and writing its
result once at the speed of a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

import torchconv
from benchmarks.cuda_peers import (
    OPERATORS,
    Layer,
    PeerRow,
    copy_speed,
    environment,
    measure,
    measure_all,
    parse_arguments,
    precision,
    tuned,
)
from benchmarks.cuda_timing import graph_seconds, seconds, warm_up
from benchmarks.timing import geometric_mean

TF32 = 2
# Least error that is no rounding, of the largest element; the tests hold small layers to less.
WRONG = {"bfloat16": 2e-2, "float16": 3e-3, "tf32": 5e-3}


@dataclass(frozen=True)
class CudaRow:
    case: str
    kind: str
    op: str
    dtype: str
    layout: str
    batch: int
    algorithm: str
    source: str
    ratio: float
    eager_ratio: float
    graph_ratio: float
    best_ratio: float
    ms: float
    graph_ms: float
    default_ms: float
    benchmark_ms: float
    aten_graph_ms: float
    best_ms: float
    percent_of_floor: float
    kernels: str


def algorithm(layer: Layer, op: str, device: str) -> str:
    """The name of the algorithm torchconv has for a layer."""
    explain = torch.ops.torchconv._explain if device == "cpu" else torch.ops.torchconv._explain_cuda
    geometry = layer.case.geometry(layer.layout == "nhwc")
    dtype = str(layer.dtype).removeprefix("torch.")
    text = explain(op, layer.case.input_size, layer.case.weight_size, geometry, dtype)
    return text.splitlines()[-1].partition(":")[0]


def sources() -> dict[str, str]:
    """The hash of every CUDA algorithm's source as it was compiled."""
    if not hasattr(torch.ops.torchconv, "_algorithms_cuda"):
        return {}
    lines = torch.ops.torchconv._algorithms_cuda().splitlines()
    return {name: digest for name, _, digest in (line.partition(" ") for line in lines)}


def ours(layer: Layer, op: str, dtype: str) -> Callable[[int], torch.Tensor]:
    """One operator of torchconv: forward as a user calls it, a gradient as autograd does."""
    case, bias = layer.case, layer.bias
    options = (case.stride, case.torch_padding, case.dilation, case.groups)
    flags = int(layer.layout == "nhwc") + TF32 * (dtype == "tf32")
    geometry = (*case.geometry(False)[:9], flags)
    operators = torch.ops.torchconv
    if op == "forward":
        return lambda i: torchconv.conv2d(layer.input[i], layer.weight[i], bias, *options)
    if op == "grad_input":
        return lambda i: operators.conv2d_grad_input.default(
            layer.grad[i], layer.weight[i], case.input_size, geometry
        )
    return lambda i: operators.conv2d_grad_weight.default(
        layer.grad[i], layer.input[i], case.weight_size, geometry
    )


def check(found: torch.Tensor, expected: torch.Tensor, peer: PeerRow) -> None:
    """Ends the program where ours is not what PyTorch computes: no test is as large as a layer."""
    limit = WRONG.get(peer.dtype, 1e-4)
    error = (found.double() - expected.double()).abs().max().item()
    error /= max(expected.abs().max().item(), 1e-30)
    if not error <= limit:  # also for NaN
        raise SystemExit(
            f"{peer.case}, batch {peer.batch}, {peer.op} in {peer.dtype}, {peer.layout}: the "
            f"result is wrong, {error:.2g} of its largest element away from PyTorch's "
            f"(limit {limit:g})"
        )


def compare(peer: PeerRow, layer: Layer, device: str) -> CudaRow:
    """Our side of a row of PyTorch's."""
    op, count = peer.op, len(layer.input)
    call, theirs = ours(layer, op, peer.dtype), layer.aten(op)
    with precision(peer.dtype), torch.no_grad(), torchconv.backend("native"):
        check(call(0), theirs(0), peer)
        eager = seconds(call, count, device) * 1e3
        graph, aten_graph = eager, peer.same_layout_ms
        if device != "cpu":
            graph, default = (graph_seconds(f, count) * 1e3 for f in (call, theirs))
            aten_graph = min(default, tuned(peer.dtype, lambda: graph_seconds(theirs, count)) * 1e3)
    eager_ratio, graph_ratio = peer.same_layout_ms / eager, aten_graph / graph
    name = algorithm(layer, op, device)
    return CudaRow(
        peer.case, peer.kind, op, peer.dtype, peer.layout, peer.batch, name,
        sources().get(name, ""), min(eager_ratio, graph_ratio), eager_ratio, graph_ratio,
        min(peer.best_ms, aten_graph) / min(eager, graph), eager, graph, peer.default_ms,
        peer.benchmark_ms, aten_graph, peer.best_ms, 100 * peer.floor_ms / graph, peer.kernels,
    )  # fmt: skip


def print_means(rows: list[CudaRow]) -> None:
    """Geometric means by algorithm, and how many rows are slower than PyTorch."""
    print(
        f"\n{'algorithm':24} {'op':11} {'dtype':8} {'layout':6} {'rows':>4} {'mean':>7} {'low':>7}"
    )
    for key in dict.fromkeys((r.algorithm, r.op, r.dtype, r.layout) for r in rows):
        ratios = [r.ratio for r in rows if (r.algorithm, r.op, r.dtype, r.layout) == key]
        print(
            f"{key[0]:24} {key[1]:11} {key[2]:8} {key[3]:6} {len(ratios):4} "
            f"{geometric_mean(ratios):6.2f}x {min(ratios):6.2f}x"
        )
    slower = sum(row.ratio < 1 for row in rows)
    print(f"{len(rows)} rows, {slower} below 1.0; operators: {', '.join(OPERATORS)}")


def _line(row: CudaRow) -> str:
    return (
        f"{row.case:24} {row.batch:3} {row.op:11} {row.dtype:8} {row.layout} "
        f"{row.ratio:6.2f}x (eager {row.eager_ratio:.2f}, graph {row.graph_ratio:.2f}, "
        f"best peer {row.best_ratio:.2f}) {row.graph_ms:8.4f} ms, "
        f"{row.percent_of_floor:.0f}% of floor  {row.algorithm}"
    )


def main(argv=None) -> None:
    arguments = parse_arguments("python -m benchmarks.cuda", __doc__, argv)
    device = arguments.device
    warm_up(device)
    speed = copy_speed(device)
    print(f"{environment(device)}, copy {speed / 1e12:.3f} TB/s")
    rows: list[CudaRow] = []
    measure_all(
        arguments, "cuda", rows,
        lambda *wanted: compare(*measure(*wanted, speed, device), device), _line,
    )  # fmt: skip
    if rows:
        print_means(rows)


if __name__ == "__main__":
    main()
