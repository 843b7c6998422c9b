"""Devices that torchconv has no kernels for: graphs that hold its operators run there, by ATen."""

import pytest
import torch
import torch.nn.functional as F

from tests.compare import assert_all_near
from torchconv import _padding
from torchconv._operators import aten

DEVICES = ("CUDA", "MPS", "XPU", "PrivateUse1")
MPS = torch._C.DispatchKeySet(torch._C.DispatchKey.MPS)


@pytest.mark.parametrize("schema", aten.OPERATORS)
def test_every_operator_has_a_kernel(schema):
    name = f"torchconv::{schema.partition('(')[0]}"
    for device in DEVICES:
        assert torch._C._dispatch_has_computed_kernel_for_dispatch_key(name, device)


@pytest.mark.parametrize("mode", _padding.MODES)
def test_results_are_those_of_a_padded_input(mode):
    """What the dispatcher calls for another device, on tensors of the CPU."""
    input = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(8, dtype=torch.float64)
    sides = (1, 2, 0, 3)
    expected = F.conv2d(_padding.pad(input, sides, mode), weight, bias, (1, 2), groups=2)
    grad = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, (input, weight), grad)
    input, weight = input.detach(), weight.detach()
    for last in (False, True):
        geometry = (1, 2, *sides, 1, 1, 2, _padding.flags(mode) + last)
        ops = torch.ops.torchconv
        found = [
            ops.conv2d.default.redispatch(MPS, input, weight, bias, geometry),
            *ops.conv2d_backward.default.redispatch(
                MPS, grad, input, weight, weight.shape, geometry, True
            ),
        ]
        assert_all_near(found, [expected.detach(), *gradients, grad.sum((0, 2, 3))])
        layout = torch.channels_last if last else torch.contiguous_format
        assert all(result.is_contiguous(memory_format=layout) for result in found[:3])
