"""torch.fx and TorchScript see the nodes and the code that they see with ``nn.Conv2d``."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

import torchconv
from tests.api.outside.test_other_tools import images
from tests.compare import assert_all_near, assert_near

pytestmark = pytest.mark.filterwarnings("ignore")


class Residual(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 4, 3, padding=1), nn.ReLU())
        self.branch = conv(4, 4, 3, padding="same", padding_mode="circular", bias=False)
        self.branch_conv2d = conv(4, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.branch_conv2d(x + self.branch(self.branch(x)))


@pytest.mark.parametrize("converted", [False, True])
def test_nodes_have_the_names_of_nn_conv2d(converted):
    extraction = pytest.importorskip("torchvision.models.feature_extraction")
    model, reference = Residual(torchconv.Conv2d), Residual(nn.Conv2d)
    if converted:
        torchconv.convert(model)
    names = extraction.get_graph_node_names(reference)
    assert extraction.get_graph_node_names(model) == names
    assert "branch_1" in names[0]
    reference.load_state_dict(model.state_dict())
    actual, expected = (
        extraction.create_feature_extractor(m, ["stem.0", "branch_1", "add"])(images())
        for m in (model, reference)
    )
    assert list(actual) == list(expected)
    assert_all_near(actual.values(), expected.values())


def test_hooks_of_a_node_run_once():
    for layer in (torchconv.Conv2d(3, 4, 3), torchconv.convert(nn.Conv2d(3, 4, 3))):
        layer.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
        layer.register_forward_hook(lambda module, inputs, output: 2 * output)
        model = nn.Sequential(layer)
        assert torch.equal(torch.fx.symbolic_trace(model)(images()), model(images()))


def test_fx_looks_into_subclasses_as_into_those_of_nn_conv2d():
    for base in (torchconv.Conv2d, nn.Conv2d):
        kind = type("Derived", (base,), {"__module__": __name__})
        graph = torch.fx.symbolic_trace(nn.Sequential(kind(3, 4, 3))).graph
        assert not any(node.op == "call_module" for node in graph.nodes)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.bias = nn.Parameter(torch.randn(4))

    def forward(self, x):
        x = torchconv.conv2d(x, self.weight, self.bias, stride=(2, 1), padding=1)
        return torchconv.functional.conv2d(x, self.weight[:, :1], padding="same", groups=4)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(torchconv.Conv2d(3, 4, 3)),
        torchconv.convert(nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"))),
        Residual(torchconv.Conv2d),
        torchconv.convert(Residual(nn.Conv2d)),
        Functional(),
    ],
    ids=["layer", "converted layer", "model", "converted model", "function"],
)
def test_torchscript_compiles_models_and_graphs_of_fx(model):
    graph = torch.fx.symbolic_trace(model)
    for other in (graph, copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        assert torch.equal(other(images()), model(images()))
    for scripted in (torch.jit.script(graph), torch.jit.script(model)):
        assert "torchconv::" not in str(scripted.inlined_graph)
        buffer = io.BytesIO()
        torch.jit.save(scripted, buffer)
        buffer.seek(0)
        assert_near(torch.jit.load(buffer)(images()), model(images()))
