"""The list of the CUDA algorithms, which of them takes a layer, and what users are told of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import torchconv
from benchmarks.cuda import layers
from tests.awkward import AWKWARD
from tests.cases import case, grouped
from tests.cuda.dispatched import CAPABILITY, needs_library
from tests.cuda.gpu import operators
from tests.reference import OPS
from torchconv._gpu import acceptance


@needs_library
def test_explain_tells_for_every_operator(gpu, accept):
    accept(("forward", "float16", "nchw"))
    text = torchconv.explain(gpu(2, 4, 8, 8).half(), gpu(6, 4, 3, 3).half())
    lines = text.splitlines()
    starts = [line for line in lines if line.startswith(tuple(f"{op}: " for op in OPS))]
    assert len(starts) == 3 and not starts[0].startswith("forward: aten")
    assert any(line.endswith(": runs") for line in lines)
    assert starts[1].startswith("grad_input: aten: ") and CAPABILITY in starts[1]


@needs_library
def test_show_config_lists_cuda_kernels():
    (line,) = [row for row in torchconv.show_config().splitlines() if row.startswith("CUDA")]
    for row in torch.ops.torchconv._algorithms_cuda().splitlines():
        assert row.split()[0] in line


@needs_library
def test_every_algorithm_has_a_source():
    """An algorithm whose source the build does not know could never be accepted."""
    for line in torch.ops.torchconv._algorithms_cuda().splitlines():
        name, digest = line.split(" ")
        assert len(digest) == 16, name


CLASSES = {
    "grouped": ((4, 128, 56, 56), (128, 4, 3, 3), (1, 1, 1, 1, 1, 1, 1, 1, 32, 0)),
    "general": ((4, 64, 56, 56), (64, 64, 3, 3), (1, 1, 1, 1, 1, 1, 1, 1, 1, 0)),
    "depthwise.planes": ((4, 64, 56, 56), (64, 1, 3, 3), (1, 1, 1, 1, 1, 1, 1, 1, 64, 0)),
    "depthwise.channels": ((4, 64, 56, 56), (64, 1, 3, 3), (1, 1, 1, 1, 1, 1, 1, 1, 64, 1)),
    "depthwise.any": ((4, 64, 56, 56), (64, 1, 3, 3), (1, 1, 1, 1, 1, 1, 2, 2, 64, 0)),
    "depthwise.vectors": ((4, 64, 56, 56), (64, 1, 3, 3), (1, 1, 1, 1, 1, 1, 2, 2, 64, 1)),
    "depthwise.multiplier": ((4, 64, 56, 56), (128, 1, 3, 3), (1, 1, 1, 1, 1, 1, 1, 1, 64, 1)),
    "depthwise.one_channel": ((4, 1, 28, 28), (6, 1, 5, 5), (1, 1, 2, 2, 2, 2, 1, 1, 1, 0)),
}


@needs_library
@pytest.mark.parametrize("name", CLASSES)
def test_a_class_of_layers_has_its_algorithm(name):
    """ResNeXt's groups, LeNet's first layer, every depthwise kernel: each is accepted alone."""
    text = torch.ops.torchconv._explain_cuda("forward", *CLASSES[name], "bfloat16")
    assert text.splitlines()[-1] == f"{name}: runs"


# Every reason for which an algorithm is not chosen, and whether it is true of a call.
REASONS = {
    "computes the weight gradient only": lambda op, *_: op != "grad_weight",
    "computes forward and input gradient only": lambda op, *_: op == "grad_weight",
    "a group has several input channels": lambda op, row, *_: row.c > row.groups,
    "a group has several output channels": lambda op, row, *_: row.k > row.groups,
    "the kernel is neither 3x3 nor 5x5": lambda op, row, *_: (row.r, row.s) not in ((3, 3), (5, 5)),
    "the strides are not both 1 or both 2": lambda op, row, *_: row.stride not in ((1, 1), (2, 2)),
    "the input gradient of stride 2": lambda op, row, *_: (
        op == "grad_input" and row.stride == (2, 2)
    ),
    "the dtype is not a half type": lambda op, row, dtype, _: dtype.itemsize > 2,
    "channels lie side by side in memory": lambda op, row, dtype, last: last,
    "the kernel is not square, of 7 to 32 rows": lambda op, row, *_: (
        row.r != row.s or not 7 <= row.r <= 32
    ),
    "the stride is not 1": lambda op, row, *_: row.stride != (1, 1),
    "the kernel is dilated": lambda op, row, *_: row.dilation != (1, 1),
    "there are more than 65535 channels": lambda op, row, *_: row.c > 65535,
    "there is one group": lambda op, row, *_: row.groups == 1,
    "a group has more than 16 channels": lambda op, row, *_: max(row.c, row.k) > 16 * row.groups,
    "the padded image, the kernel or a group is too large for 32-bit indices": lambda op, row, *_: (
        max(row.h, row.w, *row.padding) >= 2**28
    ),
}
REFUSED = (
    *(grouped(f"depthwise{size}", 1, 4, 9, 1, size) for size in (3, 7, (7, 8), 33)),
    grouped("depthwise7_s2", 1, 4, 9, 1, 7, stride=2),
    grouped("depthwise7_dilated", 1, 4, 13, 1, 7, dilation=2),
    grouped("depthwise7_multiplier", 1, 4, 9, 2, 7),
    *(grouped("depthwise_wide", 1, 65536, 9, 1, size) for size in (3, 7)),
    *(grouped("depthwise3_strided", 1, 4, 9, 1, 3, stride=stride) for stride in (2, (1, 2))),
    *(case("", 1, 2, (3, wide), 4, 3, groups=groups) for wide in (5, 2**28) for groups in (1, 2)),
    *(case("", 1, 40, 6, per * 2, 3, groups=2) for per in (3, 20)),
)


@needs_library
def test_every_refusal_has_a_true_reason():
    """Of the algorithms up to the one that runs, and of those behind it, as they are forced."""
    ops, seen = torch.ops.torchconv, set()
    names = [line.split()[0] for line in ops._algorithms_cuda().splitlines()]
    try:
        for name in ("", *names):
            ops._force_algorithm_cuda(name)
            seen |= set(refusals(name))
    finally:
        ops._force_algorithm_cuda("")
    assert seen == REASONS.keys()


def refusals(forced: str) -> Iterator[str]:
    """Those of one algorithm, or of all that come before the one that runs, each held against
    what is true of the call."""
    for row in (*AWKWARD, *REFUSED):
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            for last in (False, True):
                for op in OPS:
                    sizes = (row.input_size, row.weight_size, row.geometry(last))
                    text = torch.ops.torchconv._explain_cuda(op, *sizes, str(dtype)[6:])
                    lines = text.splitlines()
                    assert lines[-1].endswith("runs")
                    for line in lines[:1] if forced else lines:
                        reason = line.partition(": ")[2].removeprefix("forced, ")
                        if reason != "runs":
                            assert REASONS[reason](op, row, dtype, last), (line, op, row)
                            yield reason


@needs_library
def test_what_waits_for_a_gpu_stands_behind_what_has_been_accepted():
    """A call that a GPU computes faster today still runs the kernel that was measured there."""
    names = [line.split()[0] for line in torch.ops.torchconv._algorithms_cuda().splitlines()]
    measured = {entry.key.algorithm for entry in acceptance.read()}
    assert set(layers.WAITING) <= set(names) - measured
    for row in layers.waiting():
        arguments = (row.case.input_size, row.case.weight_size, row.case.geometry(False))
        *_, runs = torch.ops.torchconv._explain_cuda(row.op, *arguments, row.dtype).splitlines()
        assert runs.partition(":")[0].partition(".")[0] in measured
        if row.algorithm:
            with operators.forced(row.algorithm):
                text = torch.ops.torchconv._explain_cuda(row.op, *arguments, row.dtype)
            assert text == f"{row.algorithm}: forced, runs"


@needs_library
def test_an_algorithm_can_be_forced():
    ops = torch.ops.torchconv
    last = ops._algorithms_cuda().splitlines()[-1].split()[0]
    arguments = ("forward", (2, 4, 8, 8), (6, 4, 3, 3), (1, 1, 0, 0, 0, 0, 1, 1, 1, 0), "float32")
    try:
        ops._force_algorithm_cuda(last)
        assert ops._explain_cuda(*arguments) == f"{last}: forced, runs"
        with pytest.raises(RuntimeError, match="no such CUDA algorithm: other"):
            ops._force_algorithm_cuda("other")
        ops._force_algorithm_cuda("grouped")
        refused, *rest = ops._explain_cuda(*arguments).splitlines()
        assert refused == "grouped: forced, there is one group"
    finally:
        ops._force_algorithm_cuda("")
    assert ops._explain_cuda(*arguments).splitlines() == rest
    assert "forced" not in ops._explain_cuda(*arguments)
