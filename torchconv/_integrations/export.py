"""How ``conv2d`` is spelled in operators that others know: ONNX, TorchScript and other graphs.

PyTorch keeps decompositions in one table. torch.onnx.export applies it to what ONNX has no
operator for; torch.compile and ``ExportedProgram.run_decompositions()`` do not unless asked, so
that compiled and exported programs go on running torchconv's kernels. TorchScript, which compiles
calls of ATen only, takes ``torchconv.conv2d`` for ``aten::conv2d``, as it takes ``F.conv2d``, and
its relatives likewise. Of a layer that was converted it compiles the code of the class.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import register_decomposition
from torch.jit import _recursive
from torch.jit._builtins import _register_builtin

from torchconv import _integers, functional
from torchconv._activations.names import activated, ending
from torchconv._convert.weak_method import WeakMethod
from torchconv._operators.each_in_groups import conv2d_within, grad_input_within
from torchconv._padding import mode_of, pad_in_operators, unpad

_register_builtin(functional.conv2d, "aten::conv2d")
_register_builtin(functional.conv1d, "aten::conv1d")
_register_builtin(functional.conv3d, "aten::conv3d")
_register_builtin(functional.conv_transpose1d, "aten::conv_transpose1d")
_register_builtin(functional.conv_transpose2d, "aten::conv_transpose2d")

_make_stub_from_method = _recursive.make_stub_from_method


def _stub_of_class(module: nn.Module, name: str) -> Any:
    own = vars(module).get(name)
    if isinstance(own, WeakMethod):
        return _recursive.make_stub(own.__wrapped__, name)
    return _make_stub_from_method(module, name)


_recursive.make_stub_from_method = _stub_of_class  # it asks the module for its code, in one place


@register_decomposition(torch.ops.torchconv.conv2d.default)
def _conv2d(input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Sequence[int]) -> Tensor:
    top, bottom, left, right = geometry[2:6]
    padding = [top, left]
    mode = mode_of(geometry)
    if mode != "zeros" or top != bottom or left != right:  # aten pads both sides alike
        input = pad_in_operators(input, geometry[2:6], mode)
        padding = [0, 0]
    stride, dilation, groups = geometry[:2], geometry[6:8], geometry[8]
    return torch.ops.aten.convolution.default(
        input, weight, bias, stride, padding, dilation, False, [0, 0], groups
    )


@register_decomposition(torch.ops.torchconv.conv2d_grad_input.default)
def _conv2d_grad_input(
    grad: Tensor, weight: Tensor, input_size: Sequence[int], geometry: Sequence[int]
) -> Tensor:
    """A transposed convolution onto the padded input, and of that what belongs to the input."""
    h, w = input_size[2:]
    top, bottom, left, right = geometry[2:6]
    stride, dilation, groups = geometry[:2], geometry[6:8], geometry[8]
    over = [
        size - (steps - 1) * step - gap * (kernel - 1) - 1
        for size, steps, step, gap, kernel in zip(
            (h + top + bottom, w + left + right),
            grad.shape[2:], stride, dilation, weight.shape[2:], strict=True,
        )
    ]  # fmt: skip
    padded = torch.ops.aten.convolution.default(
        grad, weight, None, stride, [0, 0], dilation, True, over, groups
    )
    return unpad(padded, input_size, geometry[2:6], mode_of(geometry))


register_decomposition(torch.ops.torchconv.conv2d_each.default)(conv2d_within(_conv2d))
register_decomposition(torch.ops.torchconv.conv2d_each_grad_input.default)(
    grad_input_within(_conv2d_grad_input)
)
register_decomposition(torch.ops.torchconv.conv2d_int32.default)(_integers.decomposed)
register_decomposition(torch.ops.torchconv.conv2d_activation.default)(ending(_conv2d))
register_decomposition(torch.ops.torchconv.activate.default)(activated)
