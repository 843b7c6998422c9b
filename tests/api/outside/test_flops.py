"""torch.utils.flop_counter counts a layer of torchconv as it counts nn.Conv2d."""

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import torchconv

LAYERS = {
    "plain": dict(kernel_size=3),
    "strided": dict(kernel_size=(3, 2), stride=(2, 1), padding=1, dilation=(1, 2)),
    "groups": dict(kernel_size=3, groups=2, padding="same"),
    "depthwise": dict(kernel_size=5, groups=4, bias=False),
}


def count(layer, options, input_grad):
    image = torch.randn(2, 4, 9, 8, requires_grad=input_grad)
    module = layer(4, 8, **options)
    with FlopCounterMode(display=False) as counter:
        output = module(image)
        forward = counter.get_total_flops()
        output.sum().backward()
    return forward, counter.get_total_flops()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("input_grad", [False, True])
def test_same_count_as_nn_conv2d(name, input_grad):
    forward, total = count(torchconv.Conv2d, LAYERS[name], input_grad)
    assert (forward, total) == count(torch.nn.Conv2d, LAYERS[name], input_grad)
    assert total > forward > 0


COUNT = """
importlib.util.find_spec("torch.utils.flop_counter")  # looking for it is not importing it
from torch.utils.flop_counter import FlopCounterMode
import torchconv
with FlopCounterMode(display=False) as counter:
    torchconv.Conv2d(1, 1, 1)(torch.zeros(1, 1, 2, 2))
print(counter.get_total_flops())
"""


def printed(code):
    done = subprocess.run(
        [sys.executable, "-c", "import importlib.util, sys, torch\n" + code + COUNT],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_an_import_of_torchconv_stays_cheap_and_the_counter_may_come_after_it():
    *imported, flops = printed("import torchconv\nprint(*sys.modules)")
    expensive = {"rich", "statistics", "torch._dynamo", FlopCounterMode.__module__}
    assert "torchconv" in imported and not expensive & set(imported)
    assert "torchconv._compare.layers" not in imported
    assert flops == "8"


def test_the_counter_may_be_imported_before():
    assert printed(f"import {FlopCounterMode.__module__}") == ["8"]
