"""torch.export and ONNX: exported programs compute the same, and ONNX sees plain convolutions."""

import io

import pytest
import torch

import torchconv
from tests.compare import assert_near, same_bits
from tests.graphs.test_compile import Net

pytestmark = pytest.mark.usefixtures("fresh_compiler")


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict):
    net, image = Net(torchconv.Conv2d).eval(), torch.randn(2, 3, 9, 8)
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(net, (image,), dynamic_shapes=({0: batch},), strict=strict)
    names = [str(node.target) for node in exported.graph.nodes]
    assert names.count("torchconv.conv2d.default") == 2
    more = torch.randn(5, 3, 9, 8)
    assert same_bits(exported.module()(more), net(more))
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    buffer.seek(0)
    assert same_bits(torch.export.load(buffer).module()(more), net(more))


def test_onnx_export_has_plain_convolutions():
    pytest.importorskip("onnxscript")
    net, image = Net(torchconv.Conv2d).eval(), torch.randn(2, 3, 9, 8)
    program = torch.onnx.export(net, (image,), dynamo=True, verbose=False)
    nodes = [(node.domain, node.op_type) for node in program.model.graph]
    assert nodes.count(("", "Conv")) == 2
    reference = pytest.importorskip("onnx.reference").ReferenceEvaluator(program.model_proto)
    (output,) = reference.run(None, {program.model.graph.inputs[0].name: image.numpy()})
    assert_near(torch.from_numpy(output), net(image).detach())


def test_onnx_export_of_an_exported_program_has_plain_convolutions():
    pytest.importorskip("onnxscript")
    net, image = Net(torchconv.Conv2d).eval(), torch.randn(2, 3, 9, 8)
    net.second.kernel_size, net.second.weight = (2, 3), torch.nn.Parameter(torch.randn(4, 2, 2, 3))
    exported = torch.export.export(net, (image,))
    program = torch.onnx.export(exported, (), dynamo=True, verbose=False)
    nodes = [(node.domain, node.op_type) for node in program.model.graph]
    assert nodes.count(("", "Conv")) == 2 and all(domain == "" for domain, _ in nodes)
    reference = pytest.importorskip("onnx.reference").ReferenceEvaluator(program.model_proto)
    (output,) = reference.run(None, {program.model.graph.inputs[0].name: image.numpy()})
    assert_near(torch.from_numpy(output), net(image).detach())
    # Decomposed only where somebody asks for it.
    kept = exported.run_decompositions()
    assert [str(n.target) for n in kept.graph.nodes].count("torchconv.conv2d.default") == 2


class Relatives(torch.nn.Module):
    """A transposed 2-d layer and, on its rows, a 1-d and a transposed 1-d layer."""

    def __init__(self):
        super().__init__()
        self.grow = torchconv.ConvTranspose2d(3, 4, 4, 2, 1, output_padding=1, groups=1)
        self.along = torchconv.Conv1d(4, 4, 3, padding="same", groups=2)
        self.longer = torchconv.ConvTranspose1d(4, 2, 3, stride=2)

    def forward(self, image):
        return self.longer(self.along(self.grow(image).flatten(2)))


@pytest.mark.parametrize("exported_before", [False, True])
def test_onnx_export_of_relatives(exported_before):
    pytest.importorskip("onnxscript")
    net, image = Relatives().eval(), torch.randn(2, 3, 5, 4)
    if exported_before:
        program = torch.onnx.export(torch.export.export(net, (image,)), (), verbose=False)
    else:
        program = torch.onnx.export(net, (image,), dynamo=True, verbose=False)
    nodes = [(node.domain, node.op_type) for node in program.model.graph]
    assert nodes.count(("", "ConvTranspose")) == 2 and nodes.count(("", "Conv")) == 1
    assert all(domain == "" for domain, _ in nodes)
    reference = pytest.importorskip("onnx.reference").ReferenceEvaluator(program.model_proto)
    (output,) = reference.run(None, {program.model.graph.inputs[0].name: image.numpy()})
    assert_near(torch.from_numpy(output), net(image).detach())
