"""What torchconv's operators leave to ATen is right, and derivatives remember what that was."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.awkward import AWKWARD
from tests.cases import ids
from tests.cuda.dispatched import ATEN, Recorder, needs_library
from tests.reference import OPS, assert_accurate, random_operands
from torchconv import _padding
from torchconv._gpu import dispatch
from torchconv._operators import autograd


def test_derivatives_keep_the_flags():
    """The CPU ignores them, so it can show that every derivative passes them on."""
    geometry = (1, 1, 1, 1, 1, 1, 1, 1, 1, 0 | dispatch.TF32 | ATEN["grad_input"])
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    with Recorder() as recorder:
        y = autograd.conv2d(x, weight, None, geometry)
        (gx, gw) = torch.autograd.grad(y.square().sum(), (x, weight), create_graph=True)
        (gx.sum() + gw.sum()).backward()
        autograd.conv2d(x, weight, None, geometry).sum().backward()
        torch.vmap(lambda x: autograd.conv2d(x, weight, None, geometry))(x[None])
    assert {name for name, _ in recorder.calls} == {
        "torchconv::conv2d", "torchconv::conv2d_grad_input", "torchconv::conv2d_grad_weight",
        "torchconv::conv2d_backward",
    }  # fmt: skip
    assert {flags[9] for _, flags in recorder.calls} == {geometry[9]}
    expected = F.conv2d(x, weight, padding=1)
    torch.testing.assert_close(y, expected)
    channels_last = (*geometry[:9], geometry[9] | 1)
    result = autograd.conv2d(x, weight, None, channels_last)
    assert result.is_contiguous(memory_format=torch.channels_last)


LEFT_TO_ATEN = [
    case
    for index, case in enumerate(AWKWARD)
    if case.n and (index % 5 == 0 or "four_sides" in case.name or "same" in case.name)
]


@needs_library
@pytest.mark.parametrize("case", LEFT_TO_ATEN, ids=ids(LEFT_TO_ATEN))
def test_what_is_left_to_aten_is_right(case):
    for channels_last in (False, True):
        geometry = case.geometry(channels_last)
        for op in OPS:
            t = random_operands(case, torch.float32)
            a, b, size = {
                "forward": (t.input, t.weight, ()),
                "grad_input": (t.grad, t.weight, case.input_size),
                "grad_weight": (t.grad, t.input, case.weight_size),
            }[op]
            bias = t.bias if op == "forward" else None
            found = torch.ops.torchconv._through_aten(op, a, b, bias, size, geometry)
            assert_accurate(found, op, case)
            layout = torch.channels_last if channels_last else torch.contiguous_format
            assert found.is_contiguous(memory_format=layout)


PADDED = [
    dict(padding=(1, 1, 1, 1)),
    dict(padding=(2, 0, 1, 3), stride=(1, 2), dilation=(2, 1)),
    dict(padding=(0, 0, 0, 2), groups=2),
    dict(padding=(0, 0, 0, 0)),
    dict(padding=(4, 3, 2, 2), groups=4),
]


@needs_library
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("options", PADDED, ids=str)
def test_padding_modes_are_left_to_aten(mode, options):
    """Graphs that were made on the CPU hold them."""
    padding, groups = options["padding"], options.get("groups", 1)
    stride, dilation = options.get("stride", (1, 1)), options.get("dilation", (1, 1))
    input = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, 4 // groups, 3, 2, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(8, dtype=torch.float64)
    padded = _padding.pad(input, padding, mode)
    expected = F.conv2d(padded, weight, bias, stride, 0, dilation, groups)
    grad = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, (input, weight), grad)
    input, weight = input.detach(), weight.detach()
    for layout in (torch.contiguous_format, torch.channels_last):
        flags = _padding.flags(mode) + (layout is torch.channels_last)
        geometry = (*stride, *padding, *dilation, groups, flags)
        results = [
            torch.ops.torchconv._through_aten(op, a, b, added, size, geometry)
            for op, a, b, added, size in (
                ("forward", input, weight, bias, ()),
                ("grad_input", grad, weight, None, input.shape),
                ("grad_weight", grad, input, None, weight.shape),
            )
        ]
        torch.testing.assert_close(results, [expected.detach(), *gradients])
        assert all(result.is_contiguous(memory_format=layout) for result in results)


@pytest.mark.parametrize("channels_last", [0, 1])
def test_gradients_that_are_differentiated_ignore_the_flags(channels_last):
    """A geometry ends with more than the memory format, which is all that the CPU asks for."""
    input = torch.randn(2, 4, 5, 6, requires_grad=True)
    weight, grad = torch.randn(4, 4, 3, 3), torch.randn(2, 4, 5, 6)
    found = []
    for flags in (0, dispatch.TF32 + sum(ATEN.values())):
        geometry = (1, 1, 1, 1, 1, 1, 1, 1, 1, channels_last + flags)
        output = autograd.conv2d(input, weight, None, geometry)
        found.append(torch.autograd.grad(output, input, grad)[0])
    assert torch.equal(*found)
    assert found[0].stride() == found[1].stride()
