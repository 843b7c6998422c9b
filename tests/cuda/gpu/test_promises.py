"""Same bits, streams, graphs, more than 2**31 elements, devices, derivatives."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import torchconv
from tests.awkward import AWKWARD
from tests.cases import case, grouped, ids
from tests.compare import assert_all_near, assert_near
from tests.cuda.gpu import require_gpu
from tests.cuda.gpu.operators import applicable, forced, on_gpu, run_poisoned, same_bits
from tests.networks import NETWORKS
from tests.reference import DTYPES, OPS, random_operands, run

require_gpu()
pytestmark = pytest.mark.cuda

FEW = tuple(row for row in AWKWARD if row.n)[::9]
LAYERS = (
    case("dense", 5, 20, 13, 34, 3, bias=True),
    case("grouped", 5, 24, 13, 24, 3, groups=6),
    grouped("depthwise3", 5, 24, 17, 1, 3, bias=True),
    grouped("depthwise7", 18, 24, 17, 1, 7, stride=2),
    case("first", 4, 3, 30, 20, 7, 2),
    case("pointwise", 5, 40, 13, 50, 1, bias=True),
)


@pytest.mark.each_algorithm
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("case", LAYERS + FEW, ids=ids(LAYERS + FEW))
def test_three_runs_give_the_same_bits(case, dtype):
    for op in OPS:
        for channels_last in (False, True):
            names = applicable(op, case, dtype, channels_last)
            t = on_gpu(random_operands(case, dtype), channels_last) if names else None
            for name in names:
                with forced(name):
                    first, *others = (run_poisoned(op, case, t, channels_last) for _ in range(3))
                assert all(same_bits(first, other) for other in others), (name, op)


@pytest.mark.each_algorithm
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("case", LAYERS, ids=ids(LAYERS))
def test_the_batch_does_not_change_a_sample(case, dtype):
    for channels_last in (False, True):
        t = on_gpu(random_operands(case, dtype), channels_last)
        for op, many in (("forward", t.input), ("grad_input", t.grad)):
            for name in applicable(op, case, dtype, channels_last):
                with forced(name):
                    whole = run_poisoned(op, case, t, channels_last)
                    for n in (1, 3):
                        part = replace(t, **{"input" if op == "forward" else "grad": many[:n]})
                        alone = run_poisoned(op, case.with_batch(n), part, channels_last)
                        assert same_bits(alone, whole[:n]), (name, op)


def test_the_current_stream_is_used():
    """Operands that appear on a stream after a long wait: the default stream would not see them."""
    layer = case("", 4, 16, 32, 16, 3)
    t = on_gpu(random_operands(layer, torch.float32), False)
    expected = {op: run(op, layer, t) for op in OPS}
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    late = t.map(torch.zeros_like)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        for name in ("input", "weight", "grad"):
            getattr(late, name).copy_(getattr(t, name))
        found = {op: run(op, layer, late) for op in OPS}
        assert not stream.query(), "the call waited for the GPU, or the wait was too short"
    stream.synchronize()
    for op in OPS:
        assert same_bits(found[op], expected[op]), op


def run_every(case, t, channels_last) -> dict[tuple[str, str], torch.Tensor]:
    """Of each (operator, algorithm) that is tried."""
    found = {}
    for op in OPS:
        for name in applicable(op, case, t.weight.dtype, channels_last):
            with forced(name):
                found[op, name] = run(op, case, t, channels_last)
    return found


@pytest.mark.each_algorithm
@pytest.mark.parametrize("case", LAYERS, ids=ids(LAYERS))
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16), ids=lambda d: str(d)[6:])
def test_graphs_can_be_captured_and_replayed(case, dtype):
    for channels_last in (False, True):
        static = on_gpu(random_operands(case, dtype), channels_last)
        if not run_every(case, static, channels_last):  # what is set up once, before the capture
            continue
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = run_every(case, static, channels_last)
        for seed in (1, 2):
            fresh = on_gpu(random_operands(case, dtype, seed), channels_last)
            for name in ("input", "weight", "grad"):
                getattr(static, name).copy_(getattr(fresh, name))
            if case.bias:
                static.bias.copy_(fresh.bias)
            for result in results.values():
                result.fill_(float("nan"))
            graph.replay()
            for which, expected in run_every(case, fresh, channels_last).items():
                assert same_bits(results[which], expected), which


LEFT_TO_ATEN = 4 | 8 | 16
MIXED = (
    case("symmetric", 3, 8, 13, 12, 3, 2, bias=True),
    case("asymmetric", 3, 8, (13, 10), 12, (3, 4), padding=(2, 0, 1, 3), groups=2, bias=True),
)


def through_autograd(layer, t):
    """The three operators as PyTorch computes them in float64, with the padding added before."""
    wide = t.map(torch.Tensor.double)
    input, weight = wide.input.requires_grad_(), wide.weight.requires_grad_()
    top, bottom, left, right = layer.padding
    y = F.conv2d(
        F.pad(input, (left, right, top, bottom)), weight, wide.bias, layer.stride, 0,
        layer.dilation, layer.groups,
    )  # fmt: skip
    return dict(zip(OPS, (y, *torch.autograd.grad(y, (input, weight), wide.grad)), strict=True))


@pytest.mark.parametrize("channels_last", (False, True), ids=("nchw", "nhwc"))
@pytest.mark.parametrize("layer", MIXED, ids=ids(MIXED))
@pytest.mark.parametrize("captured", (False, True), ids=("eager", "graph"))
def test_what_is_left_to_aten_is_right(layer, channels_last, captured):
    """The way of an operator that was not accepted beside one that was."""
    t = on_gpu(random_operands(layer, torch.float16), channels_last)
    flags = int(channels_last) | LEFT_TO_ATEN
    found = {op: run(op, layer, t, flags) for op in OPS}
    if captured:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = {op: run(op, layer, t, flags) for op in OPS}
        for result in found.values():
            result.fill_(float("nan"))
        graph.replay()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for op, expected in through_autograd(layer, t).items():
        assert_near(found[op].double(), expected, 3e-3)
        assert found[op].is_contiguous(memory_format=layout), op


@pytest.mark.each_algorithm
@pytest.mark.parametrize("channels_last", (False, True), ids=("nchw", "nhwc"))
@pytest.mark.parametrize("groups", (1, 2), ids=("dense", "depthwise"))
def test_more_than_2_to_the_31_elements(channels_last, groups):
    layer = case("", 1, 2, (32_771, 32_780), 2, 3, groups=groups)
    names = {op: applicable(op, layer, torch.float16, channels_last) for op in OPS[:2]}
    if not any(names.values()):
        pytest.skip("it does not apply")
    if torch.cuda.mem_get_info()[0] < 24 << 30:
        pytest.skip("needs 24 GiB of free GPU memory")
    try:
        _more_than_2_to_the_31(layer, channels_last, names)
    except torch.OutOfMemoryError:
        pytest.skip("another process has taken the GPU memory")


def _more_than_2_to_the_31(layer, channels_last, names):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    h, groups, geometry = layer.h, layer.groups, layer.geometry(channels_last)
    x = torch.randint(-2, 3, layer.input_size, dtype=torch.int8, device="cuda").half()
    x = x.contiguous(memory_format=layout)
    assert x.numel() > 2**31
    weight = torch.randint(-2, 3, layer.weight_size, device="cuda").half()
    ops = torch.ops.torchconv
    for name in names["forward"]:
        with forced(name):
            y = ops.conv2d(x, weight, None, geometry)
        for rows in (slice(0, 9), slice(h // 2, h // 2 + 9), slice(h - 9, h)):
            first, last = max(rows.start - 1, 0), min(rows.stop + 1, h)
            window = F.pad(x[:, :, first:last], (1, 1, first == 0, last == h)).double()
            exact = F.conv2d(window, weight.double(), groups=groups).round()
            assert torch.equal(y[:, :, rows].double(), exact), name
        del y
    turned = weight.double().flip(2, 3)
    turned = turned if groups == 2 else turned.transpose(0, 1)
    window = F.pad(x[:, :, h - 10 :], (1, 1, 0, 1)).double()
    exact = F.conv2d(window, turned, groups=groups).round()
    for name in names["grad_input"]:
        with forced(name):  # x as the gradient of the output
            grad = ops.conv2d_grad_input(x, weight, x.shape, geometry)
        assert torch.equal(grad[:, :, h - 9 :].double(), exact), name
        del grad


def test_the_device_of_the_tensors_is_used():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    layer = torchconv.Conv2d(4, 6, 3).to("cuda:1")
    x = torch.randn(2, 4, 9, 9, device="cuda:1")
    with torch.cuda.device(0):
        assert layer(x).device == x.device
        assert torch.cuda.current_device() == 0
    with pytest.raises(RuntimeError):
        layer(x.to("cuda:0"))


def test_mixed_devices_are_refused():
    layer = torchconv.Conv2d(4, 6, 3)
    with pytest.raises(RuntimeError, match="same device|should be the same"):
        layer(torch.randn(2, 4, 9, 9, device="cuda"))
    ops = torch.ops.torchconv
    with pytest.raises((RuntimeError, NotImplementedError)):
        ops.conv2d(
            torch.ones(1, 1, 3, 3, device="cuda"), torch.ones(1, 1, 3, 3), None, [1] * 9 + [0]
        )


@pytest.mark.parametrize("backend", ("native", "auto"))
def test_a_training_step_is_that_of_nn_conv2d(backend):
    torchconv.set_backend(backend)
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=2, padding=1),
        torch.nn.Conv2d(16, 16, 3, padding="same", groups=16),
        torch.nn.Conv2d(16, 8, 2, padding="same"),
    ).to("cuda", torch.float64)
    ours = torchconv.convert(copy.deepcopy(theirs))
    x = torch.randn(4, 3, 20, 20, device="cuda", dtype=torch.float64, requires_grad=True)
    results = []
    for model in (theirs, ours):
        wanted = (x, *model.parameters())
        grads = torch.autograd.grad(model(x).square().mean(), wanted, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in grads), wanted)
        results.append((*grads, *second))
    assert_all_near(results[1], results[0])


def test_transforms():
    weight = torch.randn(4, 2, 3, 3, device="cuda", dtype=torch.float64)
    x = torch.randn(5, 2, 2, 8, 8, device="cuda", dtype=torch.float64)

    def loss(function):
        return lambda x, weight: function(x, weight, padding=1).square().sum()

    for transform in (
        lambda f: torch.vmap(torch.func.grad(f, argnums=(0, 1)), (0, None)),
        lambda f: torch.vmap(torch.func.jacfwd(f, argnums=1), (0, None)),
    ):
        ours = transform(loss(torchconv.conv2d))(x, weight)
        theirs = transform(loss(F.conv2d))(x, weight)
        assert_all_near(*(r if isinstance(r, tuple) else (r,) for r in (ours, theirs)))


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16), ids=str)
def test_autocast(dtype):
    layer = torchconv.Conv2d(8, 8, 3).cuda()
    x = torch.randn(2, 8, 9, 9, device="cuda")
    with torch.autocast("cuda", dtype=dtype):
        y = layer(x)
    assert y.dtype is dtype
    assert_near(y.float(), F.conv2d(x, layer.weight, layer.bias), 2e-2)
    y.sum().backward()
    assert layer.weight.grad.dtype is torch.float32


def test_a_compiled_layer(fresh_compiler):
    layer = torchconv.Conv2d(8, 8, 3).cuda()
    x = torch.randn(2, 8, 9, 9, device="cuda")
    compiled = torch.compile(layer, fullgraph=True)
    assert same_bits(compiled(x), layer(x))


def test_layers_of_real_networks():
    """One layer of each, as they come, beside nn.Conv2d in float64."""
    torch.backends.cudnn.conv.fp32_precision, before = (
        "ieee", torch.backends.cudnn.conv.fp32_precision,
    )  # fmt: skip
    try:
        for rows in NETWORKS.values():
            layer = rows[len(rows) // 2].with_batch(2)
            t = on_gpu(random_operands(layer, torch.float32), False)
            options = (layer.stride, layer.torch_padding, layer.dilation, layer.groups)
            found = torchconv.conv2d(t.input, t.weight, t.bias, *options)
            exact = t.map(torch.Tensor.double)
            assert_near(
                found.double(), F.conv2d(exact.input, exact.weight, exact.bias, *options), 1e-5
            )
    finally:
        torch.backends.cudnn.conv.fp32_precision = before
