"""``padding_mode``: what ``nn.Conv2d`` computes from a padded copy, without one."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torchconv
from tests.compare import assert_all_near, assert_near, outcome, same_bits

MODES = ("reflect", "replicate", "circular")
SIDES = (2, 1, 0, 3)  # left, right, top, bottom
LAYERS = [
    dict(padding=1),
    dict(padding=(2, 1), stride=2, groups=2),
    dict(padding="same", dilation=2),
    dict(padding=1, groups=4),
]


def pair_of_layers(**options) -> tuple[torchconv.Conv2d, nn.Conv2d]:
    ours = torchconv.Conv2d(4, 4, 3, **options)
    theirs = nn.Conv2d(4, 4, 3, **options)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("options", LAYERS, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_same_outputs_and_gradients(options, mode):
    torch.manual_seed(0)
    for dtype, memory_format in (
        (torch.float32, torch.contiguous_format),
        (torch.float64, torch.channels_last),
        (torch.bfloat16, torch.contiguous_format),
    ):
        ours, theirs = pair_of_layers(padding_mode=mode, dtype=dtype, **options)
        input = torch.randn(2, 4, 9, 8, dtype=dtype).to(memory_format=memory_format)
        exact = copy.deepcopy(theirs).double()
        inputs = input.clone().requires_grad_(), input.double().requires_grad_()
        outputs = ours(inputs[0]), exact(inputs[1])
        grad = torch.randn_like(outputs[0])
        found, expected = (
            torch.autograd.grad(output, (input, *layer.parameters()), grad.to(output.dtype))
            for output, input, layer in zip(outputs, inputs, (ours, exact), strict=True)
        )
        assert_near(outputs[0], outputs[1].to(dtype))
        assert_all_near(found, [each.to(dtype) for each in expected])
        assert repr(ours) == repr(theirs)
        converted = torchconv.convert(theirs)
        assert same_bits(converted(input), outputs[0])
        assert same_bits(ours(input[0]), outputs[0][0])


@pytest.mark.parametrize("mode", MODES)
def test_derivatives_of_any_order(mode):
    torch.manual_seed(0)
    input = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 2, 2, dtype=torch.float64, requires_grad=True)

    def function(x: Tensor, w: Tensor) -> Tensor:
        return torchconv.conv2d(x, w, stride=(1, 2), padding=SIDES, padding_mode=mode)

    torch.autograd.gradcheck(
        function, (input, weight), check_forward_ad=True, check_batched_grad=True
    )
    torch.autograd.gradgradcheck(function, (input, weight))


@pytest.mark.parametrize("mode", MODES)
def test_transforms(mode):
    input, weight = torch.randn(3, 2, 2, 5, 6), torch.randn(3, 4, 2, 3, 3)

    def function(x: Tensor, w: Tensor) -> Tensor:
        return torchconv.conv2d(x, w, padding=1, padding_mode=mode)

    def exact(x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode=mode), w)

    expected = torch.stack([exact(x, w) for x, w in zip(input, weight, strict=True)])
    assert_near(torch.vmap(function)(input, weight), expected)
    tangents = torch.randn_like(input), torch.randn_like(weight)
    _, found = torch.func.jvp(torch.vmap(function), (input, weight), tangents)
    _, expected = torch.func.jvp(torch.vmap(exact), (input, weight), tangents)
    assert_near(found, expected)
    found = torch.func.grad(lambda x: function(x, weight[0]).square().sum())(input[0])
    assert_near(found, torch.func.grad(lambda x: exact(x, weight[0]).square().sum())(input[0]))


@pytest.mark.parametrize("mode", ("zeros", *MODES))
def test_saves_what_zero_padding_saves(mode):
    saved = []
    layer = torchconv.Conv2d(4, 8, 3, padding=1, padding_mode=mode)
    input = torch.randn(2, 4, 16, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(saved.append, lambda tensor: tensor):
        layer(input)
    assert sum(tensor.nbytes for tensor in saved) == input.nbytes + layer.weight.nbytes


@pytest.mark.parametrize("mode", MODES)
def test_awkward_sizes_and_errors(mode):
    for size in ((1, 1), (1, 3), (3, 3), (4, 2)):
        for padding in (0, 1, 2, 3):
            ours, theirs = pair_of_layers(padding=padding, padding_mode=mode)
            input = torch.randn(2, 4, *size)
            found, expected = outcome(ours, input), outcome(theirs, input)
            assert found[0] == expected[0], (size, padding, found, expected)
            if found[0] == "ok":
                assert_near(found[1], expected[1])


def test_no_such_mode():
    tensors = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 3, 3)
    for function in (torchconv.conv2d, torchconv.conv2d_activation, torchconv.explain):
        with pytest.raises(ValueError, match="padding_mode must be one of"):
            function(*tensors, padding=1, padding_mode="mirror")


@pytest.mark.parametrize("mode", MODES)
def test_in_other_programs(mode):
    layer = torchconv.Conv2d(4, 4, 3, padding=SIDES, padding_mode=mode)
    input = torch.randn(2, 4, 6, 7)
    expected = layer(input)
    exported = torch.export.export(layer, (input,))
    assert same_bits(exported.module()(input), expected)
    decomposed = exported.run_decompositions(torch._decomp.decomposition_table)
    assert "torchconv" not in str(decomposed.graph)
    assert_near(decomposed.module()(input), expected)
    assert_near(torch.jit.script(layer)(input), expected)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert same_bits(compiled(input), expected)
    with torchconv.backend("aten"):
        assert_near(layer(input), expected)
    told = torchconv.explain(input, layer.weight, padding=1, padding_mode=mode)
    assert "reference" not in told  # it is slow


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", MODES)
def test_onnx(mode):
    pytest.importorskip("onnxscript")
    layer = torchconv.Conv2d(4, 4, 3, padding=SIDES, padding_mode=mode)
    input = torch.randn(2, 4, 6, 7)
    program = torch.onnx.export(layer, (input,), dynamo=True, verbose=False)
    assert {node.domain for node in program.model_proto.graph.node} == {""}
    reference = pytest.importorskip("onnx.reference").ReferenceEvaluator(program.model_proto)
    (output,) = reference.run(None, {program.model_proto.graph.input[0].name: input.numpy()})
    assert_near(torch.from_numpy(output), layer(input).detach())


@pytest.mark.parametrize("mode", MODES)
def test_gradient_of_the_input_in_standard_operators(mode):
    input, weight = torch.randn(2, 2, 5, 6, requires_grad=True), torch.randn(3, 2, 3, 3)
    output = torchconv.conv2d(input, weight, padding=SIDES, padding_mode=mode)
    grad = torch.randn_like(output)
    (expected,) = torch.autograd.grad(output, input, grad)
    geometry = torchconv.functional.resolve(
        input, weight, None, 1, SIDES, 1, 1, torchconv._padding.flags(mode)
    )
    rule = torch._decomp.decomposition_table[torch.ops.torchconv.conv2d_grad_input.default]
    assert_near(rule(grad, weight, input.shape, geometry), expected)


@pytest.mark.parametrize("mode", MODES)
def test_relatives(mode):
    layer = torchconv.Conv1d(4, 6, 3, padding=(2, 1), padding_mode=mode)
    lines = torch.randn(2, 4, 9)
    expected = F.conv1d(F.pad(lines, (2, 1), mode=mode), layer.weight, layer.bias)
    assert_near(layer(lines), expected)
    activated = torchconv.ConvActivation2d(4, 6, 3, padding=2, padding_mode=mode, activation="silu")
    images = torch.randn(2, 4, 9, 7)
    expected = F.conv2d(F.pad(images, (2,) * 4, mode=mode), activated.weight, activated.bias)
    assert_near(activated(images), F.silu(expected))
    with torch.no_grad():
        assert_near(torchconv.optimize(activated.eval())(images), F.silu(expected))
