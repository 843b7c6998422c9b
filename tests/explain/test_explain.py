"""explain() tells what runs, and refuses what conv2d refuses."""

import os
import re
import subprocess
import sys

import pytest
import torch

import torchconv
from tests.api.test_backend import INPUT, WEIGHT, Logging, Plain, operators
from tests.api.test_functional import CALLS
from tests.compare import outcome


def test_explain_names_an_algorithm_for_each_operator():
    lines = torchconv.explain(INPUT, WEIGHT, padding="same", groups=1).splitlines()
    for op in ("forward", "grad_input", "grad_weight"):
        assert any(line.startswith(f"{op}: ") for line in lines)
    assert torchconv.explain(INPUT[0], WEIGHT) == torchconv.explain(INPUT[:1], WEIGHT)
    with pytest.raises(RuntimeError, match="stride"):
        torchconv.explain(INPUT, WEIGHT, stride=0)


@pytest.mark.parametrize("backend", ["auto", "aten"])
@pytest.mark.parametrize("name", CALLS)
def test_explain_refuses_what_conv2d_refuses(name, backend):
    """Errors of dtype, layout or device apart, which are ATen's and only there when it computes."""
    arguments = {"input": INPUT, "weight": WEIGHT, **CALLS[name]}
    with torchconv.backend(backend):
        ran, value = outcome(torchconv.conv2d, **arguments)
        explained, text = outcome(torchconv.explain, **arguments)
    if ran == "ok" or explained != "ok":
        assert explained == ran, f"conv2d: {value}; explain: {text}"
    else:
        assert text.startswith("aten: "), text


def test_explain_knows_classes_with_functions_of_their_own():
    image = INPUT.as_subclass(Logging)
    assert torchconv.explain(image, WEIGHT).startswith("aten: Logging")
    assert torchconv.explain(image[0], WEIGHT).startswith("aten: Logging")
    assert torchconv.explain(INPUT.as_subclass(Plain), WEIGHT) == torchconv.explain(INPUT, WEIGHT)
    with pytest.raises(RuntimeError, match="to have 4 channels, but got 3"):
        torchconv.explain(image[:, :3], WEIGHT)


def test_explain_knows_the_images_of_torchvision():
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")
    image = tv_tensors.Image(torch.ones(4, 6, 6))
    assert not any("torchconv" in name for name in operators(torchconv.conv2d, image, WEIGHT))
    assert torchconv.explain(image, WEIGHT).startswith("aten: Image")


def test_explain_follows_autocast():
    """float32 beside bfloat16 is an error, unless autocast makes them one."""
    weight = WEIGHT.bfloat16()
    with pytest.raises(RuntimeError, match="should be the same"):
        torchconv.explain(INPUT, weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert torchconv.explain(INPUT, weight) == torchconv.explain(INPUT.bfloat16(), weight)


TRACE = """
import torch, torchconv
torch.manual_seed(0)
layers = {
    "3x3": (torch.randn(2, 16, 14, 14), torch.randn(16, 16, 3, 3)),
    "first": (torch.randn(2, 3, 32, 32), torch.randn(16, 3, 3, 3)),
    "1x1": (torch.randn(2, 16, 14, 14), torch.randn(32, 16, 1, 1)),
    "whole image": (torch.randn(4, 16, 5, 5), torch.randn(24, 16, 5, 5)),
    "whole image, filters transposed": (
        torch.randn(4, 2, 5, 5), torch.randn(24, 2, 5, 5).transpose(2, 3)
    ),
    "whole image, filters sliced": (
        torch.randn(4, 2, 5, 5), torch.randn(24, 2, 5, 7)[..., 1:6]
    ),
}
for name, (input, weight) in layers.items():
    for line in torchconv.explain(input, weight).splitlines():
        if line.endswith(": runs"):
            print(name, line.split(": ")[-2], flush=True)
    input.requires_grad_(), weight.requires_grad_()
    output = torchconv.conv2d(input, weight)
    torch.autograd.grad(output, (input, weight), torch.ones_like(output))
"""


def test_explain_names_what_runs():
    """The trace of a call and of its backward pass has the algorithms that explain told."""
    done = subprocess.run(
        [sys.executable, "-c", TRACE],
        env=os.environ | {"TORCHCONV_VERBOSE": "1"},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    told = [line.rsplit(" ", 1)[1] for line in done.stdout.splitlines()]
    traced = re.findall(r"groups \d+: (\w+), ", done.stderr)
    assert len(told) == 18 and [name for name in traced if name != "grad_bias"] == told
