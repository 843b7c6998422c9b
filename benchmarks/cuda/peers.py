"""What PyTorch alone needs for a convolution on a GPU, in each of its ways; no torchconv.

    python -m benchmarks.cuda.peers [--budget SECONDS] [--csv PATH]

For every layer, operator, dtype and memory format: nn.Conv2d as it comes, with
torch.backends.cudnn.benchmark, without cuDNN, and in the other memory format; the names of the
kernels that ran as it comes; and the least time in which its operands can be read and its result
written once. Stops when the budget is spent; the most telling layers come first.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F

from benchmarks.cuda import csv_rows
from benchmarks.cuda.layers import BATCH, Wanted, every_kind, telling_layers
from benchmarks.cuda.machine import Machine, machine, slug
from benchmarks.cuda.timing import copies, seconds, warm_up
from benchmarks.kinds import kind_of
from tests.cases import Conv2dCase

RESULTS = Path(__file__).parent / "results"
FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
OPERATORS = ("forward", "grad_weight", "grad_input")
# "tf32" is float32 whose operands may be rounded to TF32, PyTorch's default.
DTYPES = {
    "bfloat16": torch.bfloat16,
    "tf32": torch.float32,
    "float32": torch.float32,
    "float16": torch.float16,
    "float64": torch.float64,
}
T = TypeVar("T")
# cuDNN's plans are remembered per thread, and found there whatever the flag says: one that has been
# chosen by itself would pass for the one of benchmark mode.
_TUNED = ThreadPoolExecutor(1)


@dataclass(frozen=True)
class PeerRow(Machine):
    case: str
    kind: str
    op: str
    dtype: str
    layout: str
    batch: int
    default_ms: float
    benchmark_ms: float
    without_cudnn_ms: float
    other_layout_ms: float
    floor_ms: float  # operands read and result written once at the speed of a copy
    kernels: str


def operands_bytes(case: Conv2dCase, dtype: torch.dtype) -> int:
    """Of input, weight and output; what any of the three operators reads or writes."""
    sizes = (case.input_size, case.weight_size, case.output_size)
    return sum(torch.Size(size).numel() for size in sizes) * dtype.itemsize


def rotated_bytes(case: Conv2dCase, dtype: torch.dtype) -> int:
    """Of the smaller of input and output: an operator reads one of them, and the other is its
    result, whose memory PyTorch hands out anew for the next call."""
    sizes = (case.input_size, case.output_size)
    return min(torch.Size(size).numel() for size in sizes) * dtype.itemsize


@dataclass(frozen=True)
class Layer:
    """Copies of the tensors of one layer."""

    case: Conv2dCase
    dtype: torch.dtype
    layout: str
    input: list[torch.Tensor]
    weight: list[torch.Tensor]
    grad: list[torch.Tensor]
    bias: torch.Tensor | None

    @classmethod
    def build(cls, case: Conv2dCase, dtype: torch.dtype, layout: str, device: str) -> Layer:
        count = copies(rotated_bytes(case, dtype)) if device != "cpu" else 2

        def tensors(size):
            one = torch.randn(size, device=device).to(dtype, memory_format=FORMATS[layout])
            return [one, *(one.clone() for _ in range(count - 1))]

        bias = torch.randn(case.k, device=device).to(dtype) if case.bias else None
        sizes = (case.input_size, case.weight_size, case.output_size)
        return cls(case, dtype, layout, *map(tensors, sizes), bias)

    def first(self, dtype: torch.dtype) -> Layer:
        """The first copy of every tensor in another dtype."""
        bias = None if self.bias is None else self.bias.to(dtype)
        one = ([copies[0].to(dtype)] for copies in (self.input, self.weight, self.grad))
        return Layer(self.case, dtype, self.layout, *one, bias)

    def aten(self, op: str) -> Callable[[int], torch.Tensor]:
        """What nn.Conv2d runs for one operator."""
        case, bias = self.case, self.bias
        options = (case.stride, case.torch_padding, case.dilation)
        if op == "forward":
            return lambda i: F.conv2d(self.input[i], self.weight[i], bias, *options, case.groups)
        mask = [op == "grad_input", op == "grad_weight", False]
        backward = torch.ops.aten.convolution_backward.default  # as ours: no search for an overload
        return lambda i: backward(
            self.grad[i], self.input[i], self.weight[i], None, *options, False, (0, 0),
            case.groups, mask,
        )[mask.index(True)]  # fmt: skip


@contextmanager
def cudnn(name: str, value: bool) -> Iterator[None]:
    """A setting of torch.backends.cudnn, and no other one."""
    before = getattr(torch.backends.cudnn, name)
    setattr(torch.backends.cudnn, name, value)
    try:
        yield
    finally:
        setattr(torch.backends.cudnn, name, before)


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """TF32 for "tf32" alone."""
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "tf32" if dtype == "tf32" else "ieee"
    try:
        yield
    finally:
        torch.backends.cudnn.conv.fp32_precision = before


def tuned(dtype: str, measure_it: Callable[[], T]) -> T:
    """What `measure_it` returns in a thread in which cuDNN has always been in benchmark mode."""

    def work() -> T:
        with precision(dtype), torch.no_grad(), cudnn("benchmark", True):  # grad mode is a thread's
            return measure_it()

    return _TUNED.submit(work).result()


def measure(
    case: Conv2dCase, op: str, dtype: str, layout: str, bytes_per_second: float, device: str
) -> tuple[PeerRow, Layer]:
    """One row, and the layer that it was measured with."""
    layer = Layer.build(case, DTYPES[dtype], layout, device)
    call, count = layer.aten(op), len(layer.input)
    with precision(dtype), torch.no_grad():
        kernels = kernel_names(call) if device != "cpu" else ""
        default = seconds(call, count, device)
        benchmark = tuned(dtype, lambda: seconds(call, count, device))
        with cudnn("enabled", False):
            # ATen's own kernels can be slower by orders of magnitude; then once is enough.
            without = _at_most(call, count, device, 20 * default)
        other = Layer.build(case, DTYPES[dtype], "nhwc" if layout == "nchw" else "nchw", device)
        elsewhere = seconds(other.aten(op), count, device)
    floor = operands_bytes(case, DTYPES[dtype]) / bytes_per_second
    times = (1e3 * value for value in (default, benchmark, without, elsewhere, floor))
    here = astuple(machine(device))
    row = PeerRow(*here, case.name, kind_of(case), op, dtype, layout, case.n, *times, kernels)
    return row, layer


def _at_most(call, count: int, device: str, limit: float) -> float:
    try:
        call(0)
        if device != "cpu":
            torch.cuda.synchronize()
        once = time.perf_counter()
        call(0)
        if device != "cpu":
            torch.cuda.synchronize()
        once = time.perf_counter() - once
        return once if once > limit else seconds(call, count, device)
    except RuntimeError:  # no such kernel
        return float("inf")


def kernel_names(call: Callable[[int], object]) -> str:
    """The kernels of one call, without their template arguments."""
    from torch.profiler import ProfilerActivity, profile

    call(0)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        call(0)
        torch.cuda.synchronize()
    on_gpu = torch.autograd.DeviceType.CUDA
    names = [event.key for event in recorded.key_averages() if event.device_type == on_gpu]
    return " + ".join(re.split(r"[<(]", name.removeprefix("void "))[0] for name in names)


def copy_speed(device: str) -> float:
    """Bytes read and written per second by a copy: what `floor_ms` rests on."""
    size = 256 << 20 if device != "cpu" else 8 << 20
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds(lambda _: target.copy_(source), 1, device)


def matmul_speed(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of a large product of matrices."""
    size = 8192 if device != "cpu" else 256
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda _: a @ b, 1, device)


def combinations(arguments: argparse.Namespace) -> list[Wanted]:
    """What to measure, the telling layers first."""
    found = telling_layers(arguments.layers, arguments.batch)
    return list(every_kind(found, arguments.dtypes, OPERATORS))


def parse_arguments(prog: str, description: str | None, argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--layers", default="", metavar="REGEX", help="only layers whose name matches")
    add("--dtypes", default="bfloat16,float16,tf32,float32", help=f"of {','.join(DTYPES)}")
    add("--batch", type=int, default=BATCH)
    add("--budget", type=float, default=400, metavar="SECONDS", help="for all rows")
    add("--csv", type=Path, help="default: a file in benchmarks/results named by the environment")
    add("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: to try the program")
    add("--worker", action="store_true", help=argparse.SUPPRESS)  # of benchmarks.cuda
    return parser.parse_args(argv)


def measure_all(arguments: argparse.Namespace, bytes_per_second: float) -> None:
    """Appends and prints a row for each combination until the budget is spent."""
    wanted, done = combinations(arguments), 0
    end = time.monotonic() + arguments.budget
    path = arguments.csv or RESULTS / f"cuda-peers-{slug(arguments.device)}.csv"
    for combination in wanted:
        if time.monotonic() > end:
            break
        row, _ = measure(*combination[:4], bytes_per_second, arguments.device)
        csv_rows.append(path, row)
        print(_line(row), flush=True)
        done += 1
    print(f"{done} of {len(wanted)} rows in the budget of {arguments.budget:g} s in {path}")


def main(argv=None) -> None:
    arguments = parse_arguments("python -m benchmarks.cuda.peers", __doc__, argv)
    device = arguments.device
    warm_up(device)
    speed = copy_speed(device)
    print(f"{machine(device)}, copy {speed / 1e12:.3f} TB/s, matmul " + ", ".join(
        f"{name} {matmul_speed(DTYPES[name], device) / 1e12:.3g} TFLOP/s"
        for name in ("bfloat16", "float32")
    ))  # fmt: skip
    measure_all(arguments, speed)


def _line(row: PeerRow) -> str:
    return (
        f"{row.case:24} {row.batch:3} {row.op:11} {row.dtype:8} {row.layout} "
        f"default {row.default_ms:8.4f} benchmark {row.benchmark_ms:8.4f} "
        f"no cudnn {row.without_cudnn_ms:8.4f} other layout {row.other_layout_ms:8.4f} "
        f"floor {row.floor_ms:8.4f} ms  {row.kernels}"
    )


if __name__ == "__main__":
    main()
