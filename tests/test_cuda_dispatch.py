"""Who computes a call on a GPU, and what a kernel must show before it does so by itself.

No GPU is needed: tensors without data stand for tensors on one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import torchconv
from tests.cases import AWKWARD, ids
from tests.reference import OPS, assert_accurate, random_operands
from tests.test_cuda_accepted import CAPABILITY, ENTRY
from torchconv import _accepted, _autograd, _cuda, _load

needs_library = pytest.mark.skipif(
    _load.cuda_problem is not None, reason=f"CUDA kernels: {_load.cuda_problem}"
)
ATEN = {"forward": 4, "grad_input": 8, "grad_weight": 16}


class Recorder(TorchDispatchMode):
    """The convolutions that were dispatched, each with its geometry, the last list of its
    arguments."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "conv" in func.name() and "_explain" not in func.name():
            lists = [argument for argument in args if isinstance(argument, (list, tuple))]
            self.calls.append((func.name(), lists[-1]))
        return func(*args, **(kwargs or {}))


def dispatched(function, *arguments, **options):
    with Recorder() as recorder:
        function(*arguments, **options)
    return recorder.calls


@pytest.fixture
def gpu():
    """Tensors without data, which may be on a GPU."""
    with FakeTensorMode():
        yield lambda *size, **options: torch.empty(size, device="cuda", **options)


@pytest.fixture
def accept(monkeypatch):
    """Lets a GPU accept every algorithm for (operator, dtype, layout)."""

    def accept_all(*wanted):
        names = [line.split()[0] for line in torch.ops.torchconv._algorithms_cuda().splitlines()]
        entries = [
            replace(ENTRY, kernel=name, op=op, dtype=dtype, layout=layout)
            for name in names
            for op, dtype, layout in wanted
        ]
        answers = _accepted.Accepted(entries, dict.fromkeys(names, ENTRY.source))
        monkeypatch.setattr(_cuda, "accepted", lambda: answers)
        monkeypatch.setattr(_cuda, "capability", lambda index: CAPABILITY)
        _cuda._reasons.cache_clear()

    yield accept_all
    _cuda._reasons.cache_clear()


def conv(gpu, dtype=torch.float16, layout="nhwc", **options):
    """What one layer dispatches."""
    formats = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}
    x = gpu(2, 4, 8, 8, dtype=dtype).to(memory_format=formats[layout])
    weight = gpu(6, 4, 3, 3, dtype=dtype).requires_grad_(options.pop("training", False))
    return dispatched(torchconv.conv2d, x, weight, padding=1, **options)


def flags_of(calls) -> int:
    """The flags of a call of torchconv's."""
    ((name, geometry),) = calls
    assert name == "torchconv::conv2d"
    return geometry[9]


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
    monkeypatch.setattr(_cuda, "capability", lambda index: "7.7")
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


@pytest.fixture
def precision():
    before = torch.backends.cudnn.conv.fp32_precision
    yield lambda value: setattr(torch.backends.cudnn.conv, "fp32_precision", value)
    torch.backends.cudnn.conv.fp32_precision = before


@needs_library
def test_float32_and_tf32_are_accepted_apart(gpu, accept, precision):
    accept(("forward", "tf32", "nchw"))
    precision("tf32")
    assert flags_of(conv(gpu, torch.float32, "nchw")) & ~28 == _cuda.TF32
    precision("ieee")
    assert [name for name, _ in conv(gpu, torch.float32, "nchw")] == ["aten::convolution"]


@needs_library
def test_tf32_is_for_float32_where_torch_allows_it(gpu, precision):
    with torchconv.backend("native"):
        for value, dtype, expected in (
            ("ieee", torch.float32, 0),
            ("tf32", torch.float64, 0),
            ("tf32", torch.bfloat16, 0),
            ("tf32", torch.float32, _cuda.TF32),
        ):
            precision(value)
            assert flags_of(conv(gpu, dtype, "nchw")) == expected
        before = torch._C._get_cudnn_allow_tf32()
        torch._C._set_cudnn_allow_tf32(False)  # what torch.backends.cudnn.allow_tf32 sets
        assert flags_of(conv(gpu, torch.float32, "nchw")) == 0
        torch._C._set_cudnn_allow_tf32(before)


@pytest.fixture
def autocast():
    """torch.autocast("cuda", torch.bfloat16), which switches itself off without a GPU."""
    before = torch.get_autocast_dtype("cuda")
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    yield
    torch.set_autocast_enabled("cuda", False)
    torch.set_autocast_dtype("cuda", before)


@needs_library
def test_autocast_applies_to_our_kernels(gpu, accept, autocast):
    x, weight, bias = gpu(2, 4, 8, 8), gpu(6, 4, 3, 3).half(), gpu(6)
    with torchconv.backend("native"):
        assert torchconv.conv2d(x, weight, bias).dtype is torch.bfloat16
        assert torchconv.conv2d(x[0], weight, bias).shape == (6, 6, 6)
        double = [tensor.double() for tensor in (x, weight, bias)]
        assert torchconv.conv2d(*double).dtype is torch.float64
    accept(("forward", "bfloat16", "nchw"))  # the dtype that is computed in decides
    assert flags_of(dispatched(torchconv.conv2d, x, weight)) & ATEN["forward"] == 0


@needs_library
def test_autocast_is_left_to_aten_with_the_call(gpu, accept, autocast, monkeypatch):
    """Which casts a weight once for all calls of a region."""
    accept(("forward", "bfloat16", "nhwc"))
    given, seen = (gpu(2, 4, 8, 8), gpu(6, 4, 3, 3), gpu(6)), []
    theirs = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *all: (seen.extend(all[:3]), theirs(*all))[1])
    assert torchconv.conv2d(*given).shape == (2, 6, 6, 6)
    assert all(one is other for one, other in zip(seen, given, strict=True))


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
def test_one_of_several_kernels_is_accepted_alone(gpu, monkeypatch):
    """Of one algorithm, by kernel, kernel size and stride: a slow one keeps no other out."""
    fast = replace(ENTRY, kernel="depthwise.planes", layout="nchw", size="3x3")
    slow = replace(fast, kernel="depthwise.channels", layout="nhwc", ratio=0.9)
    answers = _accepted.Accepted([fast, slow], {"depthwise": ENTRY.source})
    monkeypatch.setattr(_cuda, "accepted", lambda: answers)
    monkeypatch.setattr(_cuda, "capability", lambda index: CAPABILITY)

    def left_to_aten(layout, size=3, stride=1, channels=64):
        layout = torch.channels_last if layout == "nhwc" else torch.contiguous_format
        x = gpu(2, channels, 8, 8, dtype=torch.float16).to(memory_format=layout)
        weight = gpu(channels, 1, size, size, dtype=torch.float16)
        calls = dispatched(torchconv.conv2d, x, weight, None, stride, groups=channels)
        return [name for name, _ in calls] == ["aten::convolution"]

    _cuda._reasons.cache_clear()
    assert not left_to_aten("nchw")
    assert left_to_aten("nhwc") and left_to_aten("nchw", 5) and left_to_aten("nchw", stride=2)
    assert left_to_aten("nhwc", channels=9)  # which another kernel computes
    _cuda._reasons.cache_clear()


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
    assert "<built-in method conv2d" in str(seen[0]) and "_autograd" not in str(seen[0])
    assert "_autograd.conv2d" in str(seen[1]) or "function conv2d" in str(seen[1])


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
    monkeypatch.setattr(_load, "cuda_problem", "torchconv was built without CUDA kernels")
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
        monkeypatch.setattr(_cuda, name, never)
    layer = torchconv.Conv2d(4, 6, 3)
    layer(torch.randn(2, 4, 8, 8, requires_grad=True)).sum().backward()
    assert torchconv.explain(torch.ones(1, 4, 8, 8), layer.weight)


def test_derivatives_keep_the_flags():
    """The CPU ignores them, so it can show that every derivative passes them on."""
    geometry = (1, 1, 1, 1, 1, 1, 1, 1, 1, 0 | _cuda.TF32 | ATEN["grad_input"])
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    with Recorder() as recorder:
        y = _autograd.conv2d(x, weight, None, geometry)
        (gx, gw) = torch.autograd.grad(y.square().sum(), (x, weight), create_graph=True)
        (gx.sum() + gw.sum()).backward()
        _autograd.conv2d(x, weight, None, geometry).sum().backward()
        torch.vmap(lambda x: _autograd.conv2d(x, weight, None, geometry))(x[None])
    assert {name for name, _ in recorder.calls} == {
        "torchconv::conv2d", "torchconv::conv2d_grad_input", "torchconv::conv2d_grad_weight",
        "torchconv::conv2d_backward",
    }  # fmt: skip
    assert {flags[9] for _, flags in recorder.calls} == {geometry[9]}
    expected = F.conv2d(x, weight, padding=1)
    torch.testing.assert_close(y, expected)
    channels_last = (*geometry[:9], geometry[9] | 1)
    result = _autograd.conv2d(x, weight, None, channels_last)
    assert result.is_contiguous(memory_format=torch.channels_last)


LEFT_TO_ATEN = [
    case
    for index, case in enumerate(AWKWARD)
    if case.n and (index % 5 == 0 or "four_sides" in case.name or "same" in case.name)
]


@needs_library
@pytest.mark.parametrize("case", LEFT_TO_ATEN, ids=ids(LEFT_TO_ATEN))
def test_what_is_left_to_aten_is_right(case):
    for channels_last in (False, True):
        geometry = case.geometry(channels_last)
        for op in OPS:
            t = random_operands(case, torch.float32)
            a, b, size = {
                "forward": (t.input, t.weight, ()),
                "grad_input": (t.grad, t.weight, case.input_size),
                "grad_weight": (t.grad, t.input, case.weight_size),
            }[op]
            bias = t.bias if op == "forward" else None
            found = torch.ops.torchconv._through_aten(op, a, b, bias, size, geometry)
            assert_accurate(found, op, case)
            layout = torch.channels_last if channels_last else torch.contiguous_format
            assert found.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("channels_last", [0, 1])
def test_gradients_that_are_differentiated_ignore_the_flags(channels_last):
    """A geometry ends with more than the memory format, which is all that the CPU asks for."""
    input = torch.randn(2, 4, 5, 6, requires_grad=True)
    weight, grad = torch.randn(4, 4, 3, 3), torch.randn(2, 4, 5, 6)
    found = []
    for flags in (0, _cuda.TF32 + sum(ATEN.values())):
        geometry = (1, 1, 1, 1, 1, 1, 1, 1, 1, channels_last + flags)
        output = _autograd.conv2d(input, weight, None, geometry)
        found.append(torch.autograd.grad(output, input, grad)[0])
    assert torch.equal(*found)
    assert found[0].stride() == found[1].stride()
