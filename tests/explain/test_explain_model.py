"""explain() and report() of models: what computes each convolution, who, and why not another."""

import os
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchconv
from tests.compare import outcome
from tests.relatives.calls import FEW, Call, each_call
from torchconv import _explain
from torchconv._explain.call import explain_call
from torchconv._operators import autograd


class Blur(nn.Module):
    def forward(self, x):
        return F.conv2d(x, torch.ones(8, 1, 3, 3), groups=8)


class Network(nn.Module):
    """Layers that convert knows and others, one called twice, one never, and functions."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2)
        self.body = nn.Sequential(nn.BatchNorm2d(8), nn.Dropout(), Blur())
        self.twice = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.line = nn.Conv1d(4, 4, 3, groups=2)
        self.deep = nn.ConvTranspose3d(1, 1, 1)
        self.never = nn.ConvTranspose1d(4, 4, 3)

    def forward(self, x, scale):
        x = self.twice(self.twice(self.body(self.first(x)))[..., :4, :4])
        x = self.deep(torchconv.conv2d(self.up(x), torch.ones(4, 4, 1, 1))[:, None])[:, 0]
        return self.line(x.flatten(2)) * scale


def assert_untouched(model, before):
    assert everything_of(model) == before


def everything_of(model):
    """What a model holds, hooks too."""
    return [
        {name: dict(value) if isinstance(value, dict) else value for name, value in held.items()}
        for held in map(vars, model.modules())
    ]


def example():
    return torch.randn(2, 3, 16, 16), 2.0


ROWS = [
    ("first", "Conv2d(3, 8, kernel 3x3, stride 2x2)", "conv2d", (2, 3, 16, 16), (2, 8, 7, 7)),
    ("body.2", "Blur", "conv2d", (2, 8, 7, 7), (2, 8, 5, 5)),
    ("twice", "Conv2d(8, 8, kernel 1x1)", "conv2d", (2, 8, 5, 5), (2, 8, 5, 5)),
    ("twice", "Conv2d(8, 8, kernel 1x1)", "conv2d", (2, 8, 4, 4), (2, 8, 4, 4)),
    (
        "up", "ConvTranspose2d(8, 4, kernel 2x2, stride 2x2)", "conv_transpose2d",
        (2, 8, 4, 4), (2, 4, 8, 8),
    ),
    ("", "Network", "conv2d", (2, 4, 8, 8), (2, 4, 8, 8)),
    ("line", "Conv1d(4, 4, kernel 3, 2 groups)", "conv1d", (2, 4, 64), (2, 4, 62)),
]  # fmt: skip


@pytest.mark.parametrize("converted", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_each_convolution_of_a_model_is_explained(converted, training):
    model = Network().train(training)
    if converted:
        torchconv.convert(model)
    given = example()
    before, state = everything_of(model), torch.get_rng_state()
    found = torchconv.explain(model, given)
    assert_untouched(model, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(found, list) and [row[:5] for row in found] == ROWS
    for row in found:
        assert row.converted == (row.name == "" or (converted and row.name != "body.2"))
    first, blur, *_ = found
    weight = model.first.weight
    assert first.text == torchconv.explain(torch.zeros(2, 3, 16, 16), weight, stride=2)
    assert f"\n{first.algorithm}: runs" in first.text and blur.algorithm == "depthwise"
    lines = str(found).splitlines()
    assert lines[0] == f"first: {ROWS[0][1]}, 2x3x16x16 -> 2x8x7x7"
    assert lines[1].startswith("  depthwise: ") and "grad_input" not in str(found)
    assert str(found[5]).startswith("Network, 2x4x8x8")


def test_settings_and_layers_decide():
    layer, image = torchconv.Conv2d(16, 16, 3), torch.zeros(1, 16, 20, 20)
    found = []
    for mode in (None, "off", "f2"):
        layer.winograd = mode
        found.append(torchconv.explain(torchconv.convert(layer), image)[0].algorithm)
    assert found[0] == "winograd_f4" and "winograd" not in found[1] and found[2] == "winograd_f2"
    with torchconv.backend("aten"):
        assert torchconv.explain(layer, image)[0].text == "aten: the backend is 'aten'"
    (fused,) = torchconv.explain(torchconv.ConvActivation2d(16, 16, 3), image)
    assert fused.algorithm == "winograd_f4" and fused.function == "conv2d"
    assert str(torchconv.explain(nn.ReLU(), image)) == "no convolutions"


@pytest.mark.filterwarnings("ignore")
def test_models_with_torchscript_and_compiled_parts():
    layer, image = nn.Conv2d(3, 3, 3), torch.zeros(1, 3, 9, 9)
    compiled = torch.compile(layer, backend="eager")
    compiled(image)
    model = nn.Sequential(torch.jit.script(nn.Conv2d(3, 3, 1)), compiled)
    assert [row.name for row in torchconv.explain(model, image)] == ["1._orig_mod"]
    assert [row.output_size for row in torchconv.report(model, image)] == [(1, 3, 7, 7)]


def test_wrong_arguments_of_a_model():
    with pytest.raises(TypeError, match="takes an example_input and no other argument"):
        torchconv.explain(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2), stride=2)
    model = Network()
    before = everything_of(model)
    with pytest.raises(RuntimeError, match="to have 3 channels"):
        torchconv.explain(model, (torch.zeros(2, 4, 16, 16), 1.0))
    assert_untouched(model, before)


def arguments(call: Call, **options):
    names = ["bias", "stride", "padding", "dilation", "groups"]
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    if "transpose" in call.name:
        names = ["bias", "stride", "padding", "output_padding", "groups", "dilation"]
        defaults["output_padding"] = 0
    input, weight, bias = call.tensors(torch.float32)
    given = {"input": input, "weight": weight, "bias": bias} | defaults | call.options | options
    return tuple(given[name] for name in ["input", "weight", *names])


# One whose gradient, which is a convolution, has another algorithm.
UPSAMPLING = Call("conv_transpose2d", (1, 64, 7, 7), (64, 64, 2, 2), {"stride": 2})
TRACE = """
import torch, torchconv
from tests.relatives.calls import CALLS
from tests.explain.test_explain_model import UPSAMPLING, arguments
from torchconv._explain.call import explain_call
for call in (*CALLS, UPSAMPLING):
    given = arguments(call)
    for line in explain_call(call.name, given).splitlines():
        if line.endswith(": runs"):
            print("told", line.split(": ")[-2], flush=True)
    output = getattr(torchconv, call.name)(*given)
    torch.autograd.grad(output, given[:2], torch.ones_like(output))
"""


def test_explain_names_what_runs_for_relatives():
    done = subprocess.run(
        [sys.executable, "-c", TRACE],
        env=os.environ | {"TORCHCONV_VERBOSE": "1"},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    told = [line.split()[1] for line in done.stdout.splitlines()]
    traced = re.findall(r"groups \d+: (\w+), ", done.stderr)
    assert told[-3] != told[-2]
    assert len(told) == 39 and [name for name in traced if name != "grad_bias"] == told


@each_call
def test_the_geometry_that_is_explained_is_the_one_that_is_computed(call, monkeypatch):
    explained, computed = [], []

    def explaining(input_size, weight_size, geometry, *_):
        explained.append((tuple(input_size), tuple(weight_size), geometry))
        return "forward: "

    def computing(function, sizes):
        def compute(*given):
            computed.append(sizes(*given))
            return function(*given)

        return compute

    monkeypatch.setattr(_explain, "of_operators", explaining)
    for name, sizes in {
        "conv2d": lambda x, w, _, geometry: (tuple(x.shape), tuple(w.shape), geometry),
        "conv2d_grad_input": lambda _, w, size, geometry: (tuple(size), tuple(w.shape), geometry),
    }.items():
        monkeypatch.setattr(autograd, name, computing(getattr(autograd, name), sizes))
    explain_call(call.name, arguments(call))
    call.ours(*call.tensors())
    assert len(explained) == 1 and explained == computed


@each_call
def test_why_relatives_are_left_to_pytorch(call):
    given = arguments(call)
    with torchconv.backend("aten"):
        assert explain_call(call.name, given) == "aten: the backend is 'aten'"
    integers = tuple(x.long() if isinstance(x, torch.Tensor) else x for x in given)
    assert explain_call(call.name, integers).startswith("aten: torchconv has no kernels for input")
    empty = (given[0], given[1][:0], *given[2:])
    assert explain_call(call.name, empty) == "aten: the weight has no elements"

    class Mine(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            return super().__torch_function__(function, types, arguments, options or {})

    mine = (given[0].as_subclass(Mine), *given[1:])
    assert explain_call(call.name, mine).startswith("aten: Mine has a __torch_function__")
    one = (given[0][0], *given[1:])
    assert explain_call(call.name, one) == explain_call(call.name, (given[0][:1], *given[1:]))


@pytest.mark.parametrize("call", FEW, ids=str)
@pytest.mark.parametrize(
    "change", [{"stride": 0}, {"groups": 3}, {"weight": torch.zeros(3)}, {"bias": torch.zeros(1)}],
    ids=str,
)  # fmt: skip
def test_errors_are_those_of_the_functions(call, change):
    given = arguments(call, **change)
    expected = outcome(getattr(torchconv, call.name), *given)
    assert outcome(explain_call, call.name, given) == expected
    assert issubclass(expected[0], Exception)


def test_the_report_tells_who_computes():
    model = Network()
    assert [row.name for row in torchconv.report(model)] == [
        "first", "body.0", "twice", "up", "line", "deep", "never",
    ]  # fmt: skip
    for row in torchconv.report(model):
        assert row.done == () and row.algorithm == "" and row.output_size is None
        if row.name == "deep":
            assert "no counterpart of ConvTranspose3d" in row.reason
        elif row.name != "body.0":
            assert row.reason == "torchconv.convert or torchconv.optimize was not called"
    before = everything_of(model)
    rows = {row.name: row for row in torchconv.report(model, example())}
    assert_untouched(model, before)
    assert rows["first"].algorithm == rows["body.2"].algorithm == "aten"
    assert rows["first"].output_size == (2, 8, 7, 7) and rows["twice"].output_size == (2, 8, 4, 4)
    assert "its code calls F.conv2d" in rows["body.2"].reason
    assert rows[""].done == ("torchconv",) and rows[""].algorithm not in ("", "aten")
    assert rows["never"].algorithm == ""


def test_the_report_of_a_converted_model():
    model = torchconv.convert(Network(), exclude="twice")
    with torchconv.patched():
        assert torchconv.report(model) == torchconv.report(model)
    explained = {row.name: row.algorithm for row in torchconv.explain(model, example())}
    found = torchconv.report(model, example())
    for row in found:
        if row.name in ("first", "up", "line", "never", ""):
            assert row.done == ("torchconv",) and row.reason == ""
            assert row.algorithm == explained.get(row.name, "")
        elif row.name == "twice":
            assert row.done == () and row.algorithm == "aten" and "not called" in row.reason
    lines = str(found).splitlines()
    assert lines[0].split()[:4] == ["name", "layer", "output", "algorithm"]
    assert any(line.split()[-2:] == [explained["up"], "torchconv"] for line in lines)
    with torchconv.backend("aten"):
        assert torchconv.report(model, example())[1].algorithm == "aten"


def test_the_report_of_registered_and_optimised_layers():
    class Centered(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight - self.weight.mean())

    image = torch.randn(1, 3, 9, 9)
    model = nn.Sequential(Centered(3, 8, 3), nn.Conv2d(8, 8, 3), nn.ConvTranspose2d(8, 8, 2)).eval()
    assert "Centered has a forward of its own" in torchconv.report(model, image)[0].reason
    torchconv.register(Centered)
    for changed in (torchconv.convert(model, inplace=False), torchconv.optimize(model)):
        rows = torchconv.report(changed, image)
        assert [row.done for row in rows] == [("torchconv",)] * 3
        assert [row.output_size for row in rows] == [(1, 8, 7, 7), (1, 8, 5, 5), (1, 8, 6, 6)]
        assert all(row.algorithm not in ("", "aten") for row in rows)
