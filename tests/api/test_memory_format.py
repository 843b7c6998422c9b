"""Outputs and gradients have the memory formats that ``F.conv2d`` gives them."""

import itertools

import pytest
import torch
import torch.nn.functional as F

import torchconv
from tests.compare import FLOATS, assert_all_near, assert_near, same_layout

SHAPES = [  # n, c, k, groups, h, w, r, s
    (2, 4, 6, 1, 5, 5, 3, 3),
    (1, 4, 6, 1, 5, 5, 3, 3),
    (2, 1, 6, 1, 5, 5, 3, 3),
    (2, 4, 1, 1, 5, 5, 3, 3),
    (2, 4, 6, 1, 1, 1, 1, 1),
    (2, 4, 6, 1, 5, 5, 1, 1),
    (2, 4, 4, 4, 5, 5, 3, 3),
    (2, 4, 8, 2, 5, 5, 3, 3),
    (1, 1, 1, 1, 5, 5, 3, 3),
    (1, 4, 6, 1, 1, 1, 1, 1),
    (2, 4, 6, 1, 5, 1, 3, 1),
    (2, 6, 4, 2, 1, 6, 1, 2),
    (0, 4, 6, 1, 5, 5, 3, 3),
    (2, 1, 6, 1, 1, 1, 1, 1),  # a weight [k, 1, 1, 1] and an image [n, 1, 1, 1]: either layout
    (2, 1, 1, 1, 1, 1, 1, 1),
    (2, 1, 6, 1, 5, 5, 1, 1),
    (2, 4, 4, 4, 5, 5, 1, 1),
    (2, 1, 6, 1, 1, 1, 3, 3),
]


def laid_out(tensor, layout):
    if layout == "channels_last":
        return tensor.contiguous(memory_format=torch.channels_last)
    if layout == "transposed":
        return tensor.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    if layout == "every other channel":
        return torch.stack((tensor, tensor), -1).movedim(1, -1).flatten(-2).movedim(-1, 1)[:, ::2]
    if layout == "expanded":
        return tensor[:1].expand(tensor.shape[0], -1, -1, -1)
    if layout == "expanded channels":
        return tensor[:, :1].expand(-1, tensor.shape[1], -1, -1)
    return tensor


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_memory_formats_are_those_of_f_conv2d(shape, dtype):
    n, c, k, groups, h, w, r, s = shape
    layouts = (
        "contiguous",
        "channels_last",
        "transposed",
        "every other channel",
        "expanded",
        "expanded channels",
    )
    for layout, weight_layout in itertools.product(layouts, layouts[:2]):
        input = laid_out(torch.randn(n, c, h, w).to(dtype), layout).requires_grad_()
        weight = torch.randn(k, c // groups, r, s).to(dtype)
        weight = laid_out(weight, weight_layout).requires_grad_()
        options = dict(padding=(r // 2, s // 2), groups=groups)
        actual = torchconv.conv2d(input, weight, **options)
        expected = F.conv2d(input, weight, **options)
        assert actual.stride() == expected.stride(), (layout, weight_layout)
        assert_near(actual, expected)
        grad = torch.randn_like(expected)
        gradients = torch.autograd.grad(actual, (input, weight), grad)
        expected_gradients = torch.autograd.grad(expected, (input, weight), grad)
        assert_all_near(gradients, expected_gradients)
        for one, other in zip(gradients, expected_gradients, strict=True):
            assert same_layout(one, other) or n == 0, (layout, weight_layout)
