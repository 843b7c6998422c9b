"""torchconv's CUDA kernels beside nn.Conv2d, operator by operator.

    python -m benchmarks.cuda [--budget SECONDS] [--csv PATH]

`ratio` is time(nn.Conv2d) / time(torchconv) inside a CUDA graph, where only the GPU counts;
`eager_ratio` is that of calls as Python issues them. nn.Conv2d runs in cuDNN's benchmark mode and
in the same memory format, for that is what a layer of ours takes the place of; `best_ratio`
compares with the faster of both formats. `percent_of_floor` is how near the kernel is to reading
its operands and writing its result once at the speed of a copy.

Every row is in the file as soon as it is measured, and a run goes on where the last one ended. What
is wrong, or ends the process, is a row that says so. Kernels that wait for a GPU come first, each
beside the one in whose place it would run, then the depthwise layers.
"""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import torchconv
from benchmarks.cuda import csv_rows
from benchmarks.cuda.layers import Wanted, wanted_rows
from benchmarks.cuda.machine import Machine, machine, slug
from benchmarks.cuda.peers import (
    DTYPES,
    FORMATS,
    RESULTS,
    Layer,
    copy_speed,
    operands_bytes,
    parse_arguments,
    precision,
    tuned,
)
from benchmarks.cuda.timing import graph_seconds, seconds, warm_up
from benchmarks.timing import geometric_mean
from tests.cuda.gpu.operators import forced
from torchconv._gpu import acceptance, dispatch

TF32 = 2
# Least error that is no rounding, of the largest element; the tests hold small layers to less.
WRONG = {"bfloat16": 2e-2, "float16": 3e-3, "tf32": 5e-3}
ROW_SECONDS = 90  # after which a kernel is taken for one that never ends
MOST_DEATHS = 12
NAN = float("nan")


@dataclass(frozen=True)
class CudaRow(Machine):
    case: str
    batch: int
    kernel: str
    size: str
    stride: str
    dilation: str
    op: str
    dtype: str
    layout: str
    source: str
    status: str  # ok, or what went wrong
    error: float = NAN  # of the largest element
    ratio: float = NAN
    eager_ratio: float = NAN
    best_ratio: float = NAN
    graph_ms: float = NAN
    eager_ms: float = NAN
    peer_graph_ms: float = NAN
    peer_eager_ms: float = NAN
    peer_default_ms: float = NAN  # eager, without torch.backends.cudnn.benchmark
    other_graph_ms: float = NAN  # the peer in the other memory format
    percent_of_floor: float = NAN


@dataclass(frozen=True)
class Peer:
    """Seconds that nn.Conv2d needs in one memory format."""

    default: float
    eager: float
    graph: float


def wanted_algorithm(wanted: Wanted) -> AbstractContextManager[None]:
    """In which torchconv computes a row with the algorithm that is wanted for it."""
    return forced(wanted.algorithm) if wanted.algorithm else nullcontext()


def place(wanted: Wanted, device: str) -> acceptance.Key:
    """What an acceptance calls the kernel that torchconv has for a row."""
    case, op, dtype, layout = wanted[:4]
    arguments = (case.input_size, case.weight_size, case.geometry(layout == "nhwc"))
    if device != "cpu":
        with wanted_algorithm(wanted):
            return dispatch.key(machine(device).capability, op, *arguments, dtype)
    text = torch.ops.torchconv._explain(op, *arguments, str(DTYPES[dtype]).removeprefix("torch."))
    name = text.splitlines()[-1].partition(":")[0]
    pairs = (arguments[1][2:], case.stride, case.dilation)
    return acceptance.Key("none", name, *(f"{a}x{b}" for a, b in pairs), op, dtype, layout)


@functools.cache
def sources() -> dict[str, str]:
    """The hash of every CUDA algorithm's source as it was compiled."""
    if not hasattr(torch.ops.torchconv, "_algorithms_cuda"):
        return {}
    return acceptance.sources(torch.ops.torchconv._algorithms_cuda())


def new_row(wanted: Wanted, status: str, device: str, **measured: float) -> CudaRow:
    key = place(wanted, device)
    return CudaRow(
        **asdict(machine(device)), case=wanted.case.name, batch=wanted.case.n, kernel=key.kernel,
        size=key.size, stride=key.stride, dilation=key.dilation, op=wanted.op, dtype=wanted.dtype,
        layout=wanted.layout, source=sources().get(key.algorithm, ""), status=status, **measured,
    )  # fmt: skip


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


def error_of(found: torch.Tensor, layer: Layer, op: str) -> float:
    """The largest error, of the largest element, beside PyTorch in float64. NaN if an element is
    none. PyTorch in float32 would not do: an H200's cuDNN is off by 1e-2 in the weight gradient of
    AlexNet's 5x5 layer."""
    expected = layer.first(torch.float64).aten(op)(0)
    error = (found.double() - expected).abs().max().item()
    return error / max(expected.abs().max().item(), 1e-30)


@functools.lru_cache(maxsize=len(FORMATS))
def peer(wanted: Wanted, device: str) -> Peer:
    layer = Layer.build(wanted.case, DTYPES[wanted.dtype], wanted.layout, device)
    call, count = layer.aten(wanted.op), len(layer.input)
    with precision(wanted.dtype), torch.no_grad():
        default = seconds(call, count, device)
    eager = tuned(wanted.dtype, lambda: seconds(call, count, device))
    graph = eager
    if device != "cpu":
        graph = tuned(wanted.dtype, lambda: graph_seconds(call, count))
    return Peer(default, eager, graph)


def measure(wanted: Wanted, bytes_per_second: float, device: str) -> CudaRow:
    """Both sides of a row; a wrong result is not timed."""
    case, op, dtype, layout = wanted[:4]
    layer = Layer.build(case, DTYPES[dtype], layout, device)
    call, count = ours(layer, op, dtype), len(layer.input)
    native = torchconv.backend("native")
    with precision(dtype), torch.no_grad(), native, wanted_algorithm(wanted):
        error, limit = error_of(call(0), layer, op), WRONG.get(dtype, 1e-4)
        if not error <= limit:  # also for NaN
            return new_row(wanted, f"wrong result (limit {limit:g})", device, error=error)
        eager = graph = seconds(call, count, device)
        if device != "cpu":
            graph = graph_seconds(call, count)
    here, there = (
        peer(wanted._replace(layout=name, algorithm=""), device)
        for name in sorted(FORMATS, key=layout.__ne__)
    )
    floor = operands_bytes(case, DTYPES[dtype]) / bytes_per_second
    return new_row(
        wanted, "ok", device, error=error, ratio=here.graph / graph,
        eager_ratio=here.eager / eager, best_ratio=min(here.graph, there.graph) / graph,
        graph_ms=graph * 1e3, eager_ms=eager * 1e3, peer_graph_ms=here.graph * 1e3,
        peer_eager_ms=here.eager * 1e3, peer_default_ms=here.default * 1e3,
        other_graph_ms=there.graph * 1e3, percent_of_floor=100 * floor / graph,
    )  # fmt: skip


def missing(arguments, path: Path) -> list[Wanted]:
    """What the file does not have yet of this GPU and of the kernels as they are compiled now."""
    device = arguments.device
    done = {
        tuple(row[name] for name in ("capability", "case", "batch", "op", "dtype", "layout"))
        + (row["kernel"], row["source"])
        for row in csv_rows.read(path)
    }
    found = []
    for wanted in wanted_rows(arguments.layers, arguments.dtypes, arguments.batch):
        if wanted.algorithm and device == "cpu":
            continue
        key = place(wanted, device)
        here = (key.capability, wanted.case.name, str(wanted.case.n), *wanted[1:4])
        if (*here, key.kernel, sources().get(key.algorithm, "")) not in done:
            found.append(wanted)
    return found


def work(arguments, path: Path) -> None:
    """Measures until the budget is spent, in a process that the first lost GPU or the first row
    that takes for ever ends."""
    device, end = arguments.device, time.monotonic() + arguments.budget
    warm_up(device)
    speed = copy_speed(device)
    print(f"{machine(device)}, copy {speed / 1e12:.3f} TB/s", flush=True)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # Python would wait for the GPU
    for wanted in missing(arguments, path):
        if time.monotonic() > end:
            return
        signal.alarm(ROW_SECONDS)
        try:
            row = measure(wanted, speed, device)
        except RuntimeError as error:  # of the launch, or of anything before it on the GPU
            row = new_row(wanted, " ".join(str(error).split())[:200], device)
        signal.alarm(0)
        csv_rows.append(path, row)
        print(_line(row), flush=True)
        if row.status != "ok" and device != "cpu":
            torch.cuda.synchronize()  # an error that stays ends this process; the next one goes on


def supervise(arguments, path: Path, command: list[str]) -> None:
    """Runs `work` in a process of its own, and another one after each that died."""
    end, deaths, code = time.monotonic() + arguments.budget, 0, -1
    while code and deaths <= MOST_DEATHS and (left := end - time.monotonic()) > 0:
        before = len(csv_rows.read(path))
        code = subprocess.run([*command, "--budget", str(left)]).returncode
        if code == 0:
            return
        deaths += 1
        if len(csv_rows.read(path)) == before:  # it died of the first row that is missing
            if wanted := missing(arguments, path)[:1]:
                told = f"the process ended with {code}"
                csv_rows.append(path, new_row(wanted[0], told, arguments.device))
    if code:
        raise SystemExit(f"the benchmark ended with {code} after {deaths} attempts")


def print_means(rows: list[dict[str, str]]) -> None:
    """Geometric means by kernel, and how many rows are slower than PyTorch."""
    names = ("kernel", "size", "stride", "op", "dtype", "layout")
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        if row["status"] == "ok":
            groups.setdefault(tuple(row[name] for name in names), []).append(float(row["ratio"]))
    print(f"\n{'kernel':30} {'size':6} {'stride':6} {'op':11} {'dtype':8} layout rows mean low")
    for key, ratios in groups.items():
        print(
            f"{key[0]:30} {key[1]:6} {key[2]:6} {key[3]:11} {key[4]:8} {key[5]:6} {len(ratios):4} "
            f"{geometric_mean(ratios):6.2f}x {min(ratios):6.2f}x"
        )
    slower = sum(ratio < 1 for ratios in groups.values() for ratio in ratios)
    bad = [row for row in rows if row["status"] != "ok"]
    print(f"{len(rows)} rows, {slower} below 1.0, {len(bad)} with no figure")
    for row in bad:
        print(f"{row['case']} {row['op']} {row['dtype']} {row['layout']}: {row['status']}")


def _line(row: CudaRow) -> str:
    where = f"{row.case:24} {row.batch:3} {row.op:11} {row.dtype:8} {row.layout}"
    if row.status != "ok":
        return f"{where} {row.status} (error {row.error:.2g})  {row.kernel}"
    return (
        f"{where} {row.ratio:6.2f}x (eager {row.eager_ratio:.2f}, best format "
        f"{row.best_ratio:.2f}) {row.graph_ms:8.4f} ms, {row.percent_of_floor:.0f}% of floor  "
        f"{row.kernel}"
    )


def main(argv=None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    arguments = parse_arguments("python -m benchmarks.cuda", __doc__, argv)
    path = arguments.csv or RESULTS / f"cuda-{slug(arguments.device)}.csv"
    if arguments.worker:
        return work(arguments, path)
    command = [sys.executable, "-m", "benchmarks.cuda", *argv, "--worker"]
    try:
        if missing(arguments, path):
            supervise(arguments, path, command)
    finally:
        if rows := csv_rows.read(path):
            print_means(rows)
            print(f"{len(rows)} rows in {path}, {len(missing(arguments, path))} to go")
    if not csv_rows.read(path):
        raise SystemExit("nothing was measured")


if __name__ == "__main__":
    main()
