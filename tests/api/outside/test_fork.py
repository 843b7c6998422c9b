"""Layers in a forked child, with everything PyTorch does beside the convolution itself.

The threads of the parent's pool do not exist in the child; whoever hands them work waits for ever.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback

import pytest
import torch

import torchconv
from tests.reference import threads

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

SIZE = (8, 32, 56, 56)  # enough for PyTorch to share it out among threads
MODES = ("zeros", "reflect", "replicate", "circular")


def layer(**options):
    torch.manual_seed(5)
    return torchconv.Conv2d(32, 32, 3, padding=1, **options)


def gradients(net, image, create_graph=False, cotangent=None):
    wanted = [image, *net.parameters()]
    output = net(image)
    output = output.sum() if cotangent is None else output
    first = torch.autograd.grad(output, wanted, cotangent, create_graph=create_graph)
    if create_graph:
        return first + torch.autograd.grad(first[0].pow(2).sum(), net.weight)
    return first


def image():
    generator = torch.Generator().manual_seed(6)
    return torch.randn(SIZE, generator=generator).requires_grad_()


def training(**options):
    return gradients(layer(**options), image())


def second_order():
    return gradients(layer(), image(), create_graph=True)


def other_memory_format():
    last = image().detach().to(memory_format=torch.channels_last).requires_grad_()
    return gradients(layer(), last, cotangent=torch.ones(SIZE) * image().detach())


def frozen_weight():
    net, input = layer(), image()
    net.weight.requires_grad_(False)
    return torch.autograd.grad(net(input).sum(), [input, net.bias])


def no_images():
    net = layer()
    net(torch.zeros(0, *SIZE[1:])).sum().backward()
    return [parameter.grad for parameter in net.parameters()]


CALLS = {
    **{mode: lambda mode=mode: training(padding_mode=mode) for mode in MODES},
    "second order": second_order,
    "other memory format": other_memory_format,
    "frozen weight": frozen_weight,
    "no images": no_images,
}


def bits(tensors):
    return b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in tensors)


def in_a_child(function, seconds=60) -> str:
    """What became of a forked child in which ``function()`` should be true, in that time."""
    child = os.fork()
    if child == 0:
        ok = False
        try:
            ok = function()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(0 if ok else 1)  # the child must not go on with what its parent does
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return "same bits" if os.waitstatus_to_exitcode(status) == 0 else "failed"
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"


def in_one_child(name) -> str:
    expected = bits(CALLS[name]())  # and the pool of this thread is there
    return in_a_child(lambda: bits(CALLS[name]()) == expected)


def in_a_child_of_a_child() -> str:
    expected = bits(training())

    def run():
        grandchild = in_a_child(lambda: bits(training()) == expected, seconds=20)
        return grandchild == "same bits" and bits(training()) == expected

    return in_a_child(run)


@pytest.fixture(scope="module")
def outcomes():
    """Of a fresh process: PyTorch refuses gradients in a child if something before the fork has
    started threads of autograd, as compiling may."""
    command = [sys.executable, "-m", __name__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    print(done.stderr, file=sys.stderr)  # shown if a test fails
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CALLS)
def test_a_training_step_in_a_forked_child(name, outcomes):
    assert outcomes[name] == "same bits"


def test_a_child_of_a_child(outcomes):
    assert outcomes["a child of a child"] == "same bits"


if __name__ == "__main__":
    with threads(2):
        found = {name: in_one_child(name) for name in CALLS}
        found["a child of a child"] = in_a_child_of_a_child()
    print(json.dumps(found))
