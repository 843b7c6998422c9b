"""Small calls of conv1d, conv_transpose1d and conv_transpose2d, which their tests share."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import torchconv


@dataclass(frozen=True)
class Call:
    """A function of torchconv, by name, with sizes of its tensors and its other arguments."""

    name: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} {self.options}"

    @property
    def k(self) -> int:
        """Output channels."""
        if "transpose" in self.name:
            return self.weight[1] * self.options.get("groups", 1)
        return self.weight[0]

    def tensors(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
        """Random input, weight and bias that need gradients."""
        made = torch.randn(self.input), torch.randn(self.weight), torch.randn(self.k)
        input, weight, bias = (tensor.to(dtype).requires_grad_() for tensor in made)
        return input, weight, bias

    def ours(self, *tensors: Tensor) -> Tensor:
        return getattr(torchconv, self.name)(*tensors, **self.options)

    def theirs(self, *tensors: Tensor) -> Tensor:
        return getattr(F, self.name)(*tensors, **self.options)


T1, T2 = "conv_transpose1d", "conv_transpose2d"
CALLS = (
    Call("conv1d", (2, 4, 9), (6, 4, 3)),
    Call("conv1d", (2, 4, 9), (6, 4, 2), dict(stride=2, padding=1)),
    Call("conv1d", (2, 4, 9), (6, 2, 3), dict(dilation=[2], padding=(1,), groups=2)),
    Call("conv1d", (2, 4, 9), (4, 1, 4), dict(padding="same", groups=4)),
    Call(T1, (2, 4, 5), (4, 6, 3)),
    Call(T1, (2, 4, 5), (4, 3, 4), dict(stride=2, padding=1, output_padding=1, groups=2)),
    Call(T1, (2, 4, 5), (4, 6, 2), dict(dilation=3, output_padding=2, padding=1)),
    Call(T2, (2, 4, 3, 5), (4, 6, 3, 2)),
    Call(T2, (2, 4, 3, 4), (4, 3, 4, 3), dict(stride=2, padding=1, output_padding=1, groups=2)),
    Call(T2, (2, 4, 4, 3), (4, 1, 3, 3), dict(stride=(3, 1), padding=(0, 1), groups=4)),
    Call(T2, (2, 4, 3, 3), (4, 6, 2, 3), dict(dilation=(1, 3), output_padding=(0, 2))),
    Call(T2, (2, 4, 3, 3), (4, 6, 2, 2), dict(stride=2)),
)
each_call = pytest.mark.parametrize("call", CALLS, ids=str)
# One of each function.
FEW = tuple(call for call in CALLS if call.options.get("groups") == 2)
each_of_few = pytest.mark.parametrize("call", FEW, ids=str)
