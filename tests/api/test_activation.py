"""``conv2d_activation`` and ``ConvActivation2d`` beside the same in separate steps."""

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

import torchconv
from tests.compare import FLOATS, assert_all_near, assert_near, same_bits
from torchconv import ConvActivation2d, conv2d_activation

STEPS = {
    None: lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
}
FROM_RESULT = (None, "relu", "relu6", "sigmoid", "leaky_relu")


SIZES = ((2, 4, 7, 6), (8, 2, 3, 3), (8,), (2, 8, 7, 6))
SMALL = ((1, 4, 4, 3), (4, 2, 3, 3), (4,), (1, 4, 4, 3))  # for differences in every element


def tensors(dtype=torch.float64, gradients=True, sizes=SIZES):
    return [torch.randn(size, dtype=dtype, requires_grad=gradients) for size in sizes]


def fused(x, weight, bias, residual=None, *, activation, slope=0.2):
    return conv2d_activation(
        x, weight, bias, padding=1, groups=2, activation=activation, slope=slope, residual=residual
    )


def in_steps(x, weight, bias, residual=None, *, activation):
    sums = F.conv2d(x, weight, bias, padding=1, groups=2)
    return STEPS[activation](sums if residual is None else sums + residual)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("activation", STEPS)
@pytest.mark.parametrize("with_residual", [False, True])
def test_same_results_and_gradients(activation, dtype, with_residual):
    operands = tensors(dtype)[: 4 if with_residual else 3]
    results = []
    for function in (fused, in_steps):
        result = function(*operands, activation=activation)
        torch.manual_seed(1)
        grads = torch.autograd.grad(result, operands, torch.randn_like(result))
        results.append((result, *grads))
    tolerance = {torch.bfloat16: 0.1, torch.float16: 0.01}.get(dtype)
    assert_all_near(*results, tolerance)


@pytest.mark.parametrize("activation", STEPS)
def test_derivatives_of_every_order(activation):
    operands = tensors(sizes=SMALL)
    # Away from the kinks, where no difference quotient is a derivative.
    with torch.no_grad():
        operands[3].copy_(operands[3].sign() * (operands[3].abs() + 0.1) * 30)
    assert gradcheck(lambda *all: fused(*all, activation=activation), operands)
    assert gradgradcheck(lambda *all: fused(*all, activation=activation), operands)


@pytest.mark.parametrize("activation", STEPS)
def test_gradients_alone_and_of_some(activation):
    for wanted in range(4):
        results = []
        for function in (fused, in_steps):
            torch.manual_seed(2)
            operands = tensors(gradients=False)
            operands[wanted].requires_grad_()
            result = function(*operands, activation=activation)
            results.append(torch.autograd.grad(result.sum(), operands[wanted]))
        assert_all_near(*results)


@pytest.mark.parametrize("activation", FROM_RESULT)
def test_nothing_more_is_saved(activation):
    """In training: input, weight and result, which the next layer saves as its input, too."""
    saved = []
    operands = tensors()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        result = fused(*operands, activation=activation)
    storages = {t.untyped_storage().data_ptr() for t in saved}
    mine = {t.untyped_storage().data_ptr() for t in (operands[0], operands[1], result)}
    assert storages <= mine


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("activation", STEPS)
def test_same_bits_with_and_without_gradients_and_backends(activation, dtype):
    operands = tensors(dtype)
    for count in (3, 4):
        recorded = fused(*operands[:count], activation=activation)
        with torch.no_grad():
            assert same_bits(fused(*operands[:count], activation=activation), recorded)
        with torch.inference_mode():
            assert same_bits(fused(*operands[:count], activation=activation), recorded)
    # Sums of ATen's are other sums; what becomes of equal ones is the same.
    one = torch.ones(8, 4, 1, 1, dtype=dtype)
    x = torch.zeros(2, 4, 5, 5, dtype=dtype)
    x[:, 0] = torch.randn(2, 5, 5, dtype=dtype)
    residual = torch.randn(2, 8, 5, 5, dtype=dtype)
    expected = conv2d_activation(x, one, activation=activation, residual=residual)
    with torchconv.backend("aten"):
        found = conv2d_activation(x, one, activation=activation, residual=residual)
        single = conv2d_activation(x[0], one, activation=activation, residual=residual[0])
    assert same_bits(found, expected)
    assert same_bits(single, expected[0])


@pytest.mark.parametrize("activation", STEPS)
def test_transforms(activation):
    x, weight, bias, residual = tensors(gradients=False)

    def sum_of(weight):
        return fused(x, weight, bias, residual, activation=activation).sum()

    def expected_sum_of(weight):
        return in_steps(x, weight, bias, residual, activation=activation).sum()

    for transform in (torch.func.grad, torch.func.jacrev, torch.func.jacfwd):
        assert_near(transform(sum_of)(weight), transform(expected_sum_of)(weight), 1e-9)
    per_sample = torch.vmap(lambda x, r: fused(x, weight, bias, r, activation=activation))
    assert_near(per_sample(x, residual), in_steps(x, weight, bias, residual, activation=activation))


@pytest.mark.parametrize("activation", STEPS)
def test_autocast(activation):
    x, weight, bias, residual = tensors(torch.float32, gradients=False)
    with torch.autocast("cpu", torch.bfloat16):
        for r in (None, residual.bfloat16(), residual):
            found = fused(x, weight, bias, r, activation=activation)
            expected = in_steps(x, weight, bias, r, activation=activation)
            assert found.dtype is expected.dtype
            assert_near(found, expected, 2e-2)


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_compiled_exported_and_traced(activation):
    layer = ConvActivation2d(4, 8, 3, padding=1, activation=activation)
    x, residual = torch.randn(2, 4, 7, 6), torch.randn(2, 8, 7, 6)
    expected = layer(x, residual)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert same_bits(compiled(x, residual), expected)
    grads = []
    for function in (compiled, layer):
        layer.zero_grad()
        function(x, residual).sum().backward()
        grads.append([p.grad.clone() for p in layer.parameters()])
    assert_all_near(*grads)
    with torch.no_grad():
        program = torch.export.export(layer, (x, residual))
        assert "torchconv.conv2d_activation" in str(program.graph)
        assert same_bits(program.module()(x, residual), expected)
        decomposed = program.run_decompositions(torch.export.default_decompositions())
        assert same_bits(decomposed.module()(x, residual), expected)
        traced = torch.jit.trace(layer, (x, residual))
    assert_near(traced(x, residual), expected)
    assert "torchconv::" not in str(traced.inlined_graph)
    graph = torch.fx.symbolic_trace(nn.Sequential(layer))
    assert [node.op for node in graph.graph.nodes] == ["placeholder", "call_module", "output"]


def test_operators_pass_their_own_check():
    x, weight, bias, residual = tensors(torch.float32)
    geometry = (1, 1, 1, 1, 1, 1, 1, 1, 2, 0)
    for arguments in (
        (x, weight, bias, residual, geometry, 1, 0.0),
        (x, weight, None, None, geometry, 3, 0.0),
    ):
        torch.library.opcheck(torch.ops.torchconv.conv2d_activation.default, arguments)
    torch.library.opcheck(torch.ops.torchconv.activate.default, (residual, residual, 1, 0.0))


def test_layer():
    layer = ConvActivation2d(4, 8, 3, 1, 1, activation="leaky_relu", slope=0.2, bias=False)
    assert repr(layer) == (
        "ConvActivation2d(4, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False, "
        "activation='leaky_relu', slope=0.2)"
    )
    x = torch.randn(2, 4, 5, 5)
    expected = F.leaky_relu(F.conv2d(x, layer.weight, padding=1), 0.2)
    assert_near(layer(x), expected)
    plain = nn.Conv2d(4, 8, 3, 1, 1, bias=False)
    plain.load_state_dict(layer.state_dict())
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    copies = [
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(file, weights_only=False),
    ]
    assert all(same_bits(other(x), layer(x)) for other in copies)
    assert torchconv.convert(layer) is layer
    assert type(layer) is ConvActivation2d
    assert torchconv.is_converted(layer)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode):
    layer = ConvActivation2d(4, 8, 3, padding=1, padding_mode=mode)
    plain = nn.Conv2d(4, 8, 3, padding=1, padding_mode=mode)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 5, 6)
    assert_near(layer(x), plain(x).relu())


def test_refused():
    x, weight, bias, residual = tensors(torch.float32, gradients=False)
    for activation in ("tanh", "none", "RELU", 1):
        with pytest.raises(ValueError, match=f"activation must be one of .* got {activation!r}"):
            fused(x, weight, bias, activation=activation)
        with pytest.raises(ValueError, match="activation must be one of"):
            ConvActivation2d(1, 1, 1, activation=activation)
    for backend in ("auto", "aten"):
        with torchconv.backend(backend):
            for other in (residual[:1], residual[:, :1], residual[0], residual.double()):
                with pytest.raises(RuntimeError, match="residual must have the shape and dtype"):
                    fused(x, weight, bias, other, activation="relu")
            with pytest.raises(TypeError, match="residual must be a Tensor, but got float"):
                fused(x, weight, bias, 1.0, activation="relu")
            with pytest.raises(RuntimeError, match="Input type"):
                fused(x.double(), weight, bias, activation="relu")


def test_flops_are_those_of_the_convolution():
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    x, weight, bias, _ = tensors(torch.float32, gradients=False)
    for function in (fused, in_steps):
        with FlopCounterMode(display=False) as counter:
            function(x, weight, bias, activation="relu")
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
