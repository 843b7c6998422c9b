"""The relatives of conv2d under torch.compile and export, autocast, on fake and meta tensors."""

import pytest
import torch
from torch._decomp import get_decompositions
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

import torchconv
from tests.compare import assert_all_near, assert_near, same_bits
from tests.relatives.calls import CALLS, each_call, each_of_few

pytestmark = pytest.mark.usefixtures("fresh_compiler")


def with_gradients(function, tensors):
    output = function(*tensors)
    return [output, *torch.autograd.grad(output.sin().sum(), tensors)]


def assert_same(compiled, call, tensors):
    found, eager = with_gradients(compiled, tensors), with_gradients(call.ours, tensors)
    assert_all_near(found, eager)
    assert_all_near(found, with_gradients(call.theirs, tensors))
    assert [tensor.stride() for tensor in found] == [tensor.stride() for tensor in eager]


@each_call
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_compile(call):
    def block(*tensors):
        return call.ours(*tensors)

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    tensors = call.tensors()
    assert_same(compiled, call, tensors)
    with torch.no_grad():
        assert same_bits(compiled(*tensors), call.ours(*tensors))
        one = tensors[0][0], *tensors[1:]
        assert same_bits(compiled(*one), call.ours(*one))


@each_of_few
def test_compile_with_dynamic_shapes_compiles_once(call):
    def block(*tensors):
        return call.ours(*tensors)

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager", dynamic=True)

    def tensors(n, w):
        _, weight, bias = call.tensors()
        size = (n, call.input[1], *call.input[2:-1], w)
        return torch.randn(size).double().requires_grad_(), weight, bias

    assert_same(compiled, call, tensors(7, 11))
    with torch.compiler.set_stance("fail_on_recompile"):
        for n, w in ((5, 12), (8, 13)):
            assert_same(compiled, call, tensors(n, w))


def test_compile_with_inductor():
    call = CALLS[8]
    assert call.name == "conv_transpose2d"
    assert_same(torch.compile(call.ours, fullgraph=True), call, call.tensors(torch.float32))


@each_of_few
def test_compile_of_per_sample_gradients(call):
    tensors = [tensor.detach() for tensor in call.tensors()]

    def gradients(function):
        def loss(weight, bias, image):
            return function(image[None], weight, bias).sin().sum()

        return lambda x, w, b: vmap(grad(loss, (0, 1)), (None, None, 0))(w, b, x)

    found = torch.compile(gradients(call.ours), fullgraph=True, backend="aot_eager")(*tensors)
    assert_all_near(found, gradients(call.theirs)(*tensors))


class Selected(torch.nn.Module):
    """A call on as many of its images as the data say."""

    def __init__(self, call):
        super().__init__()
        self.call = call
        self.weight, self.bias = (torch.nn.Parameter(tensor) for tensor in call.tensors()[1:])

    def forward(self, images, mask):
        return self.call.ours(images[mask], self.weight, self.bias)


@each_of_few
def test_export_of_a_batch_as_large_as_the_data_say(call):
    net, mask = Selected(call), torch.tensor([True, False])
    images = call.tensors()[0].detach()
    program = torch.export.export(net, (images, mask))
    operators = {node.target for node in program.graph.nodes if node.op == "call_function"}
    assert any("torchconv" in str(operator) for operator in operators)
    for chosen in (mask, ~mask, mask | ~mask, mask & ~mask):
        expected = net(images, chosen)
        assert torch.equal(program.module()(images, chosen), expected)


@each_call
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_decomposed_into_aten(call):
    tensors = [tensor.detach() for tensor in call.tensors()]
    table = get_decompositions([torch.ops.torchconv.conv2d, torch.ops.torchconv.conv2d_grad_input])
    assert len(table) == 2
    graph = make_fx(call.ours, decomposition_table=table)(*tensors)
    assert "torchconv" not in graph.code
    assert_near(graph(*tensors), call.theirs(*tensors))


def test_uneven_padding_decomposed_into_aten():
    """As in the gradient of a padding='same'."""
    operator = torch.ops.torchconv.conv2d_grad_input.default
    table = get_decompositions([operator])
    grad_, weight = torch.randn(2, 4, 7, 6).double(), torch.randn(4, 3, 2, 4).double()
    geometry = (2, 1, 0, 1, 1, 2, 1, 1, 1, 0)

    def gradient(grad, weight):
        return operator(grad, weight, (2, 3, 14, 6), geometry)

    graph = make_fx(gradient, decomposition_table=table)(grad_, weight)
    assert "torchconv" not in graph.code
    assert_near(graph(grad_, weight), gradient(grad_, weight))


@each_of_few
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(call, dtype):
    tensors = call.tensors(torch.float32)
    with torch.autocast("cpu", dtype):
        found, expected = call.ours(*tensors), call.theirs(*tensors)
        mixed = call.ours(tensors[0].bfloat16(), *tensors[1:])
        double = call.ours(*(tensor.double() for tensor in tensors))
        with pytest.raises(RuntimeError, match="should be the same"):
            call.ours(tensors[0].double(), *tensors[1:])
    assert found.dtype is expected.dtype is mixed.dtype is dtype
    assert double.dtype is torch.float64
    assert_near(found, expected)
    cotangent = torch.randn_like(found)
    gradients = torch.autograd.grad(found, tensors, cotangent)
    assert all(gradient.dtype is torch.float32 for gradient in gradients)
    assert_all_near(gradients, torch.autograd.grad(expected, tensors, cotangent), 2e-2)


@each_call
def test_meta_and_fake_tensors_have_the_right_strides(call):
    tensors = call.tensors()
    real = with_gradients(call.ours, tensors)
    with FakeTensorMode() as mode:
        fake = [mode.from_tensor(tensor) for tensor in tensors]
    for others in ([tensor.detach().to("meta").requires_grad_() for tensor in tensors], fake):
        for one, other in zip(with_gradients(call.ours, others), real, strict=True):
            assert (one.shape, one.dtype, one.stride()) == (
                other.shape,
                other.dtype,
                other.stride(),
            )


@each_call
@pytest.mark.filterwarnings("ignore")
def test_flops_and_torchscript(call):
    """Counted as PyTorch's own; recorded as PyTorch's own."""
    tensors = call.tensors(torch.float32)
    counts = []
    for function in (call.ours, call.theirs):
        with FlopCounterMode(display=False) as counter:
            function(*tensors).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
    traced = torch.jit.trace(call.ours, tensors)
    assert "torchconv::" not in str(traced.inlined_graph)
    assert_near(traced(*tensors), call.ours(*tensors))


class Calls(torch.nn.Module):
    def forward(self, images, sequences, weight, weights):
        rows = torchconv.conv1d(sequences, weights)
        return torchconv.conv_transpose2d(images, weight), torchconv.conv_transpose1d(rows, weights)


def test_symbolic_trace_records_the_functions():
    graph = torch.fx.symbolic_trace(Calls()).graph
    called = {node.target for node in graph.nodes if node.op == "call_function"}
    assert {torchconv.conv1d, torchconv.conv_transpose1d, torchconv.conv_transpose2d} <= called
