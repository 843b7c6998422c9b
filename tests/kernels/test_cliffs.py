"""No cliffs: denormals, ever new shapes, far-reaching kernels, forked children and several Python
threads."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import statistics
import threading
import time
from pathlib import Path

import pytest
import torch

import torchconv
from tests.cases import case, grouped
from tests.compare import same_bits
from tests.reference import OPS, Operands, random_operands, run, threads

SHAPES = (
    case("3x3", 2, 32, 28, 32, 3, bias=True),
    case("1x1", 2, 64, 28, 64, 1),
    case("strided", 2, 16, 33, 24, 5, 2),
    grouped("depthwise", 2, 32, 28, 1, 3),
    grouped("depthwise7", 2, 32, 28, 1, 7),
    case("groups", 2, 32, 28, 32, 3, groups=8),
)
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


def seconds(function, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def slowdown(slow, normal, good: float = 1.2, rounds: int = 60) -> float:
    """min(slow) / min(normal) over interleaved runs: what a neighbour takes from a run only ever
    makes it longer. Stops as soon as the ratio is good."""
    calls = max(1, round(5e-4 / seconds(normal, 3)))
    least_slow = least_normal = float("inf")
    for round_number in range(rounds):
        least_slow = min(least_slow, seconds(slow, calls))
        least_normal = min(least_normal, seconds(normal, calls))
        if round_number >= 5 and least_slow < good * least_normal:
            break
    return least_slow / least_normal


DENORMAL = {torch.float32: 1e-40, torch.float64: 1e-310}
UNDERFLOW = {torch.float32: 1e-20, torch.float64: 1e-160}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@EVERY_SHAPE
def test_denormals_cost_nothing(shape, dtype, count):
    """Denormal operands, and ordinary ones whose products underflow, take no longer. Without
    flushing they take ten to a hundred times as long."""
    t = random_operands(shape, dtype)

    def scaled(factor, *names):
        fields = {name: getattr(t, name) for name in ("input", "weight", "bias", "grad")}
        return Operands(**{k: v * factor if k in names else v for k, v in fields.items()})

    cases = {
        "denormal input": scaled(DENORMAL[dtype], "input"),
        "denormal weight": scaled(DENORMAL[dtype], "weight"),
        "denormal grad": scaled(DENORMAL[dtype], "grad"),
        "underflow": scaled(UNDERFLOW[dtype], "input", "weight", "grad"),
    }
    used = {"forward": "input weight", "grad_input": "weight grad", "grad_weight": "input grad"}
    with threads(count):
        for name, slow in cases.items():
            for op in OPS:
                if not name.startswith("denormal") or name.split()[1] in used[op]:
                    ratio = slowdown(
                        lambda op=op, slow=slow: run(op, shape, slow),
                        lambda op=op: run(op, shape, t),
                    )
                    assert ratio < 1.5, f"{op} with {name} takes {ratio:.1f} times as long"


def flushes() -> bool:
    """Whether ordinary arithmetic of this thread makes zeros of denormals."""
    return (torch.full((64,), 1e-30) * torch.full((64,), 1e-10)).count_nonzero().item() == 0


@EVERY_SHAPE
def test_floating_point_mode_of_the_caller_stays(shape):
    """Denormals are flushed inside of a call only; a caller who flushes keeps flushing."""
    t = random_operands(shape, torch.float32)
    assert not flushes()
    for op in OPS:
        run(op, shape, t)
        assert not flushes(), op
    assert torch.set_flush_denormal(True), "this CPU cannot flush denormals"
    try:
        for op in OPS:
            run(op, shape, t)
            assert flushes(), op
    finally:
        torch.set_flush_denormal(False)
    assert not flushes()


def test_floating_point_mode_of_the_pool_stays():
    """The threads of torch's pool compute with denormals after a call as before."""
    shape = case("", 4, 64, 28, 64, 3)
    t = random_operands(shape, torch.float32)
    with threads(4):
        for op in OPS:
            run(op, shape, t)
            # More than 32768 elements per thread, so that the pool takes part.
            denormal = torch.full((1 << 20,), 1e-30) * torch.full((1 << 20,), 1e-10)
            assert denormal.count_nonzero() == denormal.numel(), op


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_flushing_changes_denormals_only(dtype):
    """With results far from the smallest normal number nothing is lost; a denormal comes out as
    itself or as zero."""
    tiny = torch.finfo(dtype).tiny
    x = torch.tensor([tiny * 4, tiny / 4, -tiny / 4, 1.0], dtype=dtype).reshape(1, 1, 1, 4)
    one = torch.ones(1, 1, 1, 1, dtype=dtype)
    result = torchconv.conv2d(x, one).flatten()
    assert torch.equal(result[[0, 3]], x.flatten()[[0, 3]])
    assert all(value in (0, tiny / 4, -tiny / 4) for value in result[1:3].tolist())


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


def status_bytes(field: str) -> int:
    """VmRSS, the memory of this process now, or VmHWM, its most so far."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return int(lines[field].split()[0]) * 1024


@needs_proc
def test_new_shapes_leave_no_memory_behind():
    """400 input sizes through one layer: the memory of the process stays what it was."""
    layer = torchconv.Conv2d(16, 16, 3, padding=1)
    generator = random.Random(0)

    def step(h: int, w: int) -> None:
        x = torch.randn(1, 16, h, w, requires_grad=True)
        layer(x).sum().backward()
        layer.zero_grad(set_to_none=True)

    step(96, 96)  # the largest, so that scratch and allocator have grown to it
    for _ in range(20):
        step(generator.randint(8, 96), generator.randint(8, 96))
    gc.collect()
    before = status_bytes("VmRSS")
    for _ in range(400):
        step(generator.randint(8, 96), generator.randint(8, 96))
    gc.collect()
    assert status_bytes("VmRSS") - before < 8 << 20


def most_memory_beside_result(function) -> int:
    """Bytes the process grew by at its largest, less what the result takes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory goes back, so that using it again counts
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the high-water mark starts again
    except OSError:
        pytest.skip("this system keeps its high-water mark")
    before = status_bytes("VmRSS")
    result = function()
    return status_bytes("VmHWM") - before - result.numel() * result.element_size()


LARGE = (
    case("3x3", 1, 64, 512, 64, 3),
    case("1x1", 1, 64, 512, 64, 1),
    case("15x15", 1, 4, 512, 4, 15),
    grouped("depthwise23", 1, 16, 512, 1, 23),
    case("many weights", 1, 1024, 16, 1024, 3),
    case("many images", 512, 16, 32, 16, 3),
)


@needs_proc
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", LARGE, ids=lambda shape: shape.name)
def test_scratch_is_bounded(shape, channels_last):
    """A call takes some megabytes beside its operands and its result, by the shape of one image
    and not by the batch; an im2col of the depthwise input would take nine gigabytes."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    t = random_operands(shape, torch.float32).contiguous(memory_format)
    with threads(2):
        for op in OPS:
            extra = most_memory_beside_result(lambda op=op: run(op, shape, t, channels_last))
            assert extra < 64 << 20, f"{op} took {extra >> 20} MB beside its result"


@needs_proc
def test_large_scratch_is_given_back():
    """What a call needs beyond some megabytes for all its threads, as for the packed weights of a
    large layer, is gone after it. Each thread that calls has such a buffer of its own: a new one
    has none of an earlier call."""
    # So many pixels that the weights are packed once for all jobs, and no algorithm of Winograd's.
    shape = case("37 MB of weights", 4, 1024, 20, 1024, 3, 3)
    t = random_operands(shape, torch.float32)
    trim = ctypes.CDLL(None).malloc_trim
    most_memory_beside_result(lambda: torch.empty(0))  # skips here rather than in a thread
    kept, peak = {}, {}

    def measure(op: str) -> None:
        trim(0)
        before = status_bytes("VmRSS")
        peak[op] = most_memory_beside_result(lambda: run(op, shape, t))
        trim(0)
        kept[op] = status_bytes("VmRSS") - before

    for op in ("forward", "grad_input"):
        worker = threading.Thread(target=measure, args=(op,))
        worker.start()
        worker.join()
        assert peak[op] > 32 << 20, f"{op} needs so little that nothing is shown"
        assert kept[op] < 16 << 20, op


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("op", OPS)
def test_forked_child_computes(op):
    """The pool of the parent does not exist in a forked child, where nn.Conv2d waits for it for
    ever. The child computes the same bits."""
    shape = case("", 4, 32, 28, 32, 3, bias=True)
    t = random_operands(shape, torch.float32)
    with threads(2):
        expected = run(op, shape, t)
        child = os.fork()
        if child == 0:
            # Nothing but the call: the child must not return into pytest.
            same = run(op, shape, t).numpy().tobytes() == expected.numpy().tobytes()
            os._exit(0 if same else 1)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            finished, status = os.waitpid(child, os.WNOHANG)
            if finished:
                break
            time.sleep(0.01)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


def test_many_python_threads_at_once():
    """Calls from several threads at a time give what they give one after the other."""
    jobs = [
        (op, shape, random_operands(shape, torch.float32, seed))
        for seed, shape in enumerate(SHAPES)
        for op in OPS
    ]
    expected = [run(op, shape, t) for op, shape, t in jobs]
    wrong: list[str] = []
    start = threading.Barrier(6)

    def work(number: int) -> None:
        order = list(range(len(jobs)))
        random.Random(number).shuffle(order)
        start.wait()
        for _ in range(10):
            for i in order:
                op, shape, t = jobs[i]
                if not same_bits(run(op, shape, t), expected[i]):
                    wrong.append(f"{op} {shape.name}")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        assert not worker.is_alive(), "a call does not return"
    assert not wrong


def test_tiny_calls_stay_tiny():
    """A call on a few pixels costs microseconds, not the start of a thread pool."""
    x, weight = torch.randn(1, 1, 5, 5), torch.randn(1, 1, 3, 3)
    with torch.inference_mode(), threads(2):
        times = [seconds(lambda: torchconv.conv2d(x, weight), 50) for _ in range(20)]
    assert statistics.quantiles(times, n=4)[0] < 100e-6


@pytest.mark.parametrize("op", ["forward", "grad_input"])
@pytest.mark.parametrize(
    "layer",
    [
        case("dilated", 1, 16, 56, 16, 9, padding=400, dilation=100, groups=16),
        case("large", 1, 16, 60, 16, 600, padding=299, groups=16),
    ],
    ids=lambda layer: layer.name,
)
def test_depthwise_kernels_that_reach_far(layer, op):
    """Rows of all channels that such a kernel sees would exceed the scratch memory of a thread."""
    geometry = layer.geometry(False)
    text = torch.ops.torchconv._explain(
        op, layer.input_size, layer.weight_size, geometry, "float32"
    )
    assert "depthwise: runs" in text.splitlines(), text
