"""Who computes a call on a GPU, and what a kernel must show before it does so by itself.

No GPU is needed: tensors without data stand for tensors on one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import torchconv
from tests.cuda.dispatched import ATEN, CAPABILITY, ENTRY, conv, dispatched, flags_of, needs_library
from tests.reference import OPS
from torchconv._gpu import acceptance, dispatch
from torchconv._operators import load


@needs_library
@pytest.mark.parametrize("name", ["", "_grad_input", "_grad_weight", "_backward"])
def test_the_operators_have_kernels_on_both_devices(name):
    for key in ("CPU", "CUDA"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"torchconv::conv2d{name}", key)


@needs_library
def test_auto_is_aten_until_a_kernel_is_accepted(gpu, accept):
    accept()
    assert [name for name, _ in conv(gpu)] == ["aten::convolution"]
    x = gpu(2, 4, 8, 8)
    assert torchconv.explain(x, gpu(6, 4, 3, 3)).startswith("aten: no CUDA kernel of torchconv")


@needs_library
def test_auto_runs_what_was_accepted(gpu, accept):
    accept(("forward", "float16", "nhwc"))
    assert flags_of(conv(gpu)) == 1 | ATEN["grad_input"] | ATEN["grad_weight"]
    for other in (dict(layout="nchw"), dict(dtype=torch.bfloat16)):
        assert [name for name, _ in conv(gpu, **other)] == ["aten::convolution"]


@needs_library
def test_a_layer_is_not_shared(gpu, accept):
    """Whatever a call asks for has been accepted, or ATen computes all of it: networks were slower
    with gradients of ours beside forward passes of ATen."""
    accept(("grad_input", "float16", "nhwc"), ("grad_weight", "float16", "nhwc"))
    assert [name for name, _ in conv(gpu, training=True)] == ["aten::convolution"]
    assert [name for name, _ in conv(gpu)] == ["aten::convolution"]
    accept(("forward", "float16", "nhwc"))
    assert flags_of(conv(gpu)) == 1 | ATEN["grad_input"] | ATEN["grad_weight"]
    assert [name for name, _ in conv(gpu, training=True)] == ["aten::convolution"]
    with torch.no_grad():
        assert flags_of(conv(gpu, training=True)) & ATEN["forward"] == 0
    accept(("forward", "float16", "nhwc"), ("grad_weight", "float16", "nhwc"))
    weight = gpu(6, 4, 3, 3, dtype=torch.float16).requires_grad_()
    image = gpu(2, 4, 8, 8, dtype=torch.float16).to(memory_format=torch.channels_last)
    assert flags_of(dispatched(torchconv.conv2d, image, weight)) == 1 | ATEN["grad_input"]


@needs_library
def test_explain_tells_that_a_layer_is_not_shared(gpu, accept):
    accept(("grad_weight", "float16", "nchw"))
    weight = gpu(6, 4, 3, 3, dtype=torch.float16).requires_grad_()
    lines = torchconv.explain(gpu(2, 4, 8, 8, dtype=torch.float16), weight).splitlines()
    assert lines[2] == "grad_weight: aten: ATen computes forward, and a layer is not shared"


@needs_library
def test_a_kernel_size_that_nothing_serves_is_left_to_aten_at_once(gpu, accept, monkeypatch):
    """Most layers of most networks: no argument is looked at, nothing is cast."""
    accept(*((op, "float16", "nhwc") for op in OPS))
    image = gpu(2, 4, 8, 8).half()
    with monkeypatch.context() as patch:
        patch.setattr("torchconv.functional.resolve", None)
        calls = dispatched(torchconv.conv2d, image, gpu(6, 4, 1, 1).half())
    assert [name for name, _ in calls] == ["aten::convolution"]
    assert "1x1 with 4 channels per group" in torchconv.explain(image, gpu(6, 4, 1, 1).half())


@needs_library
def test_another_kind_of_gpu_has_accepted_nothing(gpu, accept, monkeypatch):
    accept(*((op, "float16", "nhwc") for op in OPS))
    monkeypatch.setattr(dispatch, "capability", lambda index: "7.7")
    assert [name for name, _ in conv(gpu)] == ["aten::convolution"]
    assert "7.7" in torchconv.explain(gpu(2, 4, 8, 8), gpu(6, 4, 3, 3))


@needs_library
def test_native_and_aten_are_the_users_choice(gpu, accept):
    accept()
    with torchconv.backend("native"):
        assert flags_of(conv(gpu)) == 1
    accept(*((op, "float16", "nhwc") for op in OPS))
    with torchconv.backend("aten"):
        assert [name for name, _ in conv(gpu)] == ["aten::convolution"]


@needs_library
@pytest.mark.parametrize("mode", ["off", "f2"])
def test_the_switch_for_winograd_is_not_for_a_gpu(gpu, mode):
    image, weight = gpu(2, 4, 8, 8), gpu(6, 4, 3, 3)
    with torchconv.backend("native"):
        expected = flags_of(conv(gpu)), torchconv.explain(image, weight)
        with torchconv.winograd(mode):
            assert (flags_of(conv(gpu)), torchconv.explain(image, weight)) == expected
    # Graphs made on the CPU may hold the flags.
    geometry = (1, 1, 0, 0, 0, 0, 1, 1, 1)
    arguments = ("forward", image.shape, weight.shape)
    with_flags, without = (
        torch.ops.torchconv._explain_cuda(*arguments, (*geometry, flags), "float32")
        for flags in (96, 0)
    )
    assert with_flags == without


@needs_library
def test_one_of_several_kernels_is_accepted_alone(gpu, monkeypatch):
    """Of one algorithm, by kernel, kernel size and stride: a slow one keeps no other out."""
    fast = replace(ENTRY, kernel="depthwise.planes", layout="nchw", size="3x3")
    slow = replace(fast, kernel="depthwise.channels", layout="nhwc", ratio=0.9)
    answers = acceptance.Accepted([fast, slow], {"depthwise": ENTRY.source})
    monkeypatch.setattr(dispatch, "accepted", lambda: answers)
    monkeypatch.setattr(dispatch, "capability", lambda index: CAPABILITY)

    def left_to_aten(layout, size=3, stride=1, channels=64):
        layout = torch.channels_last if layout == "nhwc" else torch.contiguous_format
        x = gpu(2, channels, 8, 8, dtype=torch.float16).to(memory_format=layout)
        weight = gpu(channels, 1, size, size, dtype=torch.float16)
        calls = dispatched(torchconv.conv2d, x, weight, None, stride, groups=channels)
        return [name for name, _ in calls] == ["aten::convolution"]

    dispatch._reasons.cache_clear()
    assert not left_to_aten("nchw")
    assert left_to_aten("nhwc") and left_to_aten("nchw", 5) and left_to_aten("nchw", stride=2)
    assert left_to_aten("nhwc", channels=9)  # which another kernel computes
    dispatch._reasons.cache_clear()


@needs_library
def test_compiled_graphs(gpu, accept, fresh_compiler):
    """A compiler that chooses and fuses ATen's convolutions keeps them; native is native."""
    accept(*((op, dtype, "nchw") for op in OPS for dtype in ("float32", "tf32")))
    seen = []

    def inspect(graph, _):
        seen.append({str(node.target) for node in graph.graph.nodes})
        return graph.forward

    x, weight = gpu(2, 4, 8, 8), gpu(6, 4, 3, 3)
    for backend in ("auto", "native"):
        with torchconv.backend(backend):
            layer = torch.compile(
                lambda x: torchconv.conv2d(x, weight), fullgraph=True, backend=inspect
            )
            assert layer(x).device.type == "cuda"
    assert "<built-in method conv2d" in str(seen[0]) and "autograd.conv2d" not in str(seen[0])
    assert "autograd.conv2d" in str(seen[1]) or "function conv2d" in str(seen[1])


def test_mixed_devices_raise_what_f_conv2d_raises(gpu):
    x, weight = gpu(2, 4, 8, 8), gpu(6, 4, 3, 3).cpu()
    with torchconv.backend("native"):
        with pytest.raises(RuntimeError) as ours:
            torchconv.conv2d(x, weight)
        assert "cpu and cuda:0" in torchconv.explain(x, weight)
    with pytest.raises(RuntimeError) as theirs:
        F.conv2d(x, weight)
    assert str(ours.value) == str(theirs.value)


def test_without_the_library_a_gpu_is_left_to_aten(gpu, monkeypatch):
    monkeypatch.setattr(load, "cuda_problem", "torchconv was built without CUDA kernels")
    for backend in ("auto", "native"):
        with torchconv.backend(backend):
            assert [name for name, _ in conv(gpu)] == ["aten::convolution"]
    assert torchconv.explain(gpu(2, 4, 8, 8), gpu(6, 4, 3, 3)).endswith("without CUDA kernels")
    assert "none, torchconv was built without CUDA kernels" in torchconv.show_config()


def test_the_cpu_is_not_asked(monkeypatch):
    """Who computes on a GPU must cost a call on the CPU nothing."""

    def never(*arguments):
        raise AssertionError("asked for a tensor on the CPU")

    for name in ("reason_for_aten", "choice", "accepted", "capability", "allow_tf32"):
        monkeypatch.setattr(dispatch, name, never)
    layer = torchconv.Conv2d(4, 6, 3)
    layer(torch.randn(2, 4, 8, 8, requires_grad=True)).sum().backward()
    assert torchconv.explain(torch.ones(1, 4, 8, 8), layer.weight)
