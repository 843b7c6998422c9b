"""Without the compiled library everything goes on working, computed by ATen and after one warning.

A process of its own stands for a machine without it: None in sys.modules makes Python raise
ModuleNotFoundError.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

import torchconv
from torchconv._operators import aten, load

ROOT = Path(__file__).parents[3]
WITHOUT = """
import sys
sys.modules["torchconv._C"] = None
import torch, torch.nn.functional as F, torchconv
"""


def run(code: str, *options: str, required: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "TORCHCONV_REQUIRE_NATIVE": required},
    )  # fmt: skip


def run_without_library(code: str) -> str:
    done = run(WITHOUT + code, "-W", "ignore")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_import_warns_once_and_tells_reason_and_remedy():
    x = "torch.ones(1, 1, 3, 3)"
    done = run(f"{WITHOUT}\nimport torchconv.functional\ntorchconv.conv2d({x}, {x})")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Warning") == 1
    for part in ("torchconv._C", "not in", "PyTorch's own convolution", "pip install"):
        assert part in done.stderr
    assert "<string>:4: UserWarning" in done.stderr  # the line that imports torchconv


def test_a_library_that_does_not_load_tells_why(tmp_path):
    """As one that was built for another machine or against another PyTorch."""
    broken = tmp_path / "_C.abi3.so"
    broken.write_bytes(b"no library")
    done = run(
        "import importlib.machinery, importlib.util, sys\n"
        "class Finder:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'torchconv._C':\n"
        f"            loader = importlib.machinery.ExtensionFileLoader(name, {str(broken)!r})\n"
        "            return importlib.util.spec_from_loader(name, loader)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "import torchconv\n"
        "print(torchconv.show_config())"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Warning") == 1 and str(broken) in done.stderr
    assert str(broken) in done.stdout


def test_it_can_be_required():
    done = run(WITHOUT, required="1")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ") and "torchconv._C" in last and "pip install" in last


def test_these_tests_never_run_without_it():
    assert os.environ["TORCHCONV_REQUIRE_NATIVE"] == "1" and load.problem is None


def test_a_missing_library_is_one_clear_sentence(monkeypatch):
    monkeypatch.setenv("TORCHCONV_REQUIRE_NATIVE", "1")
    with patch.dict(sys.modules, {"torchconv._C": None}), pytest.raises(ImportError) as caught:
        load.load_library()
    text = str(caught.value)
    assert "torchconv._C" in text and "pip install" in text and "\n" not in text
    assert load.problem is None


def test_everything_public_works():
    run_without_library("""
import copy, pickle
from torch import nn
layer = torchconv.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", groups=2)
plain = nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", groups=2)
plain.load_state_dict(layer.state_dict())
x = torch.randn(2, 4, 9, 9, requires_grad=True)
expected, = torch.autograd.grad(plain(x).square().sum(), x)
converted = torchconv.convert(nn.Sequential(copy.deepcopy(plain)))
for one in (layer, copy.deepcopy(layer), converted, torch.compile(layer, backend="eager")):
    assert torch.equal(one(x), plain(x))
    assert torch.equal(torch.autograd.grad(one(x).square().sum(), x)[0], expected)
assert torchconv.conv2d_output_size(9, 3, padding=1) == (9, 9)
torch.func.vmap(layer)(x[None])
assert torchconv.compare(converted, x, seconds=1e-4).rows[0].algorithm == "aten"
exported = torch.export.export(layer, (x,)).module()
assert torch.equal(exported(x), plain(x))

from torch.utils.flop_counter import FlopCounterMode
def flops(model):
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    return counter.get_total_flops()
assert flops(layer) == flops(plain) > 0

for name in ("Conv1d", "ConvTranspose1d", "ConvTranspose2d"):
    layer, plain = (getattr(package, name)(4, 6, 3, padding=1) for package in (torchconv, nn))
    plain.load_state_dict(layer.state_dict())
    image = x if "2d" in name else x[:, :, 0]
    assert torch.equal(layer(image), plain(image))
assert torch.equal(torchconv.true_convolution(x, torch.ones(1, 1)), x)
""")


def test_a_pickled_model_loads(tmp_path):
    layer = torchconv.Conv2d(3, 5, 3, stride=2)
    x = torch.randn(1, 3, 8, 8)
    torch.save((layer, x, layer(x)), tmp_path / "model.pt")
    run_without_library(f"""
layer, x, y = torch.load({str(tmp_path / "model.pt")!r}, weights_only=False)
torch.testing.assert_close(layer(x), y)
""")


def test_users_are_told():
    """And who asks for torchconv's kernels by name does not get others in silence."""
    printed = run_without_library("""
print(torchconv.show_config())
x = torch.ones(1, 1, 4, 4)
print("EXPLAIN", torchconv.explain(x, x))
for choose in (torchconv.set_backend, lambda name: torchconv.backend(name).__enter__()):
    choose("aten"), choose("auto")
    try:
        choose("native")
    except RuntimeError as error:
        print(error)
assert torchconv.get_backend() == "auto"
""")
    assert "CPU kernels: none, torchconv's compiled library torchconv._C does not load" in printed
    assert "CUDA kernels: none" in printed
    assert "EXPLAIN aten: torchconv's compiled library torchconv._C does not load" in printed
    assert printed.count("pip install") == 2


class Training(torch.nn.Module):
    """Everything a graph may hold: the operator, its gradients, all of them in one."""

    def forward(self, x, weight, bias, grad):
        ops, geometry = torch.ops.torchconv, [2, 1, 1, 2, 0, 3, 1, 2, 2, 0]
        return (
            ops.conv2d(x, weight, bias, geometry),
            ops.conv2d_grad_input(grad, weight, x.shape, geometry),
            ops.conv2d_grad_weight(grad, x, weight.shape, geometry),
            *ops.conv2d_backward(grad, x, weight, weight.shape, geometry, True),
            *ops.conv2d_backward(grad, x, None, weight.shape, geometry[:-1] + [1], False),
            ops.conv2d_each(x[None], weight[None], bias[None], geometry),
            ops.conv2d_each_grad_input(grad[None], weight[None], x.shape, geometry),
            ops.conv2d_each_grad_weight(grad[None], x[None], weight.shape, geometry),
            ops._grad_weight_squares(grad[None], x[None], weight.shape, geometry).sqrt().float(),
        )


def test_a_graph_that_was_exported_with_the_library_runs_without(tmp_path):
    x, weight, bias = torch.randn(2, 4, 8, 9), torch.randn(6, 2, 3, 3), torch.randn(6)
    grad = torch.randn(2, 6, 5, 8)
    operands = x, weight, bias, grad
    with torch.no_grad():
        expected = Training()(*operands)
        torch.export.save(torch.export.export(Training(), operands), tmp_path / "graph.pt2")
    torch.save((operands, expected), tmp_path / "tensors.pt")
    run_without_library(f"""
program = torch.export.load({str(tmp_path / "graph.pt2")!r})
operands, expected = torch.load({str(tmp_path / "tensors.pt")!r})
assert "torchconv.conv2d_backward" in str(program.graph)
for got, wanted in zip(program.module()(*operands), expected, strict=True):
    torch.testing.assert_close(got, wanted)
    assert got.stride() == wanted.stride()
""")


def test_integers_are_exact():
    run_without_library("""
x = torch.full((1, 8, 3, 3), 255, dtype=torch.uint8)
weight = torch.full((2, 8, 3, 3), -128, dtype=torch.int8)
bias = torch.tensor([0, 5], dtype=torch.int32)
for result in (
    torchconv.conv2d(x, weight, bias, out_dtype=torch.int32),
    torch.ops.torchconv.conv2d_int32(x, weight, bias, [1, 1, 0, 0, 0, 0, 1, 1, 1, 0]),
):
    assert result.dtype is torch.int32
    assert result.flatten().tolist() == [-72 * 255 * 128, 5 - 72 * 255 * 128]
""")


@pytest.mark.parametrize("schema", aten.OPERATORS)
def test_the_operators_are_those_of_the_library(schema):
    name = schema.partition("(")[0]
    assert str(getattr(torch.ops.torchconv, name).default._schema) == f"torchconv::{schema}"
