"""The list of the CUDA algorithms, which of them takes a layer, and what users are told of it."""

from __future__ import annotations

import pytest
import torch

import torchconv
from tests.cuda.dispatched import CAPABILITY, needs_library
from tests.reference import OPS


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
    "few_channels": ((4, 3, 224, 224), (64, 3, 7, 7), (2, 2, 3, 3, 3, 3, 1, 1, 1, 0)),
    "small": ((64, 6, 14, 14), (16, 6, 5, 5), (1, 1, 0, 0, 0, 0, 1, 1, 1, 0)),
    "pointwise": ((4, 64, 56, 56), (256, 64, 1, 1), (1, 1, 0, 0, 0, 0, 1, 1, 1, 0)),
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
    """ResNeXt's groups, ResNet's first layer, LeNet's two, every depthwise kernel: each is accepted
    on its own."""
    text = torch.ops.torchconv._explain_cuda("forward", *CLASSES[name], "bfloat16")
    assert text.splitlines()[-1] == f"{name}: runs"


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
    finally:
        ops._force_algorithm_cuda("")
    assert "forced" not in ops._explain_cuda(*arguments)
