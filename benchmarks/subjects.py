"""The two sides of a comparison: the same layer as torchconv.Conv2d and as nn.Conv2d."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

import torchconv
from tests.cases import Conv2dCase
from torchconv import _winograd

MEMORY_FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
FORMAT_NAMES = {"nchw": "contiguous", "nhwc": "channels_last"}
WHATS = ("forward", "train", "train_dx", "grad_input", "grad_weight")
OPERATORS = ("forward", "grad_input", "grad_weight")
FEW_CHANNELS = 4  # are compared with float64, more where these are few elements
ENOUGH_ELEMENTS = 1024  # for an rms that is steady to some percent


@dataclass(frozen=True)
class Subject:
    """One layer on both sides, with shared data.

    `forward` runs without autograd. `train` is the forward pass with the gradients a training step
    needs; the first layer of a network needs none of its input, unless `train_dx` asks for it.
    `grad_input` and `grad_weight` are one operator alone, for tuning."""

    case: Conv2dCase
    layout: str
    dtype: torch.dtype
    input: torch.Tensor  # [n, c, h, w]
    grad: torch.Tensor  # [n, k, p, q]
    ours: nn.Conv2d
    theirs: nn.Conv2d
    _errors: dict[str, tuple[float, float]] = field(default_factory=dict)  # measured once

    @classmethod
    def build(cls, case: Conv2dCase, layout: str, dtype: torch.dtype) -> Subject:
        generator = torch.Generator().manual_seed(0)
        memory_format = MEMORY_FORMATS[layout]

        def random(size):
            values = torch.randn(size, generator=generator).to(dtype)
            return values.contiguous(memory_format=memory_format)

        def layer(kind: type[nn.Conv2d]) -> nn.Conv2d:
            return kind(
                case.c, case.k, (case.r, case.s), case.stride, case.torch_padding,
                case.dilation, case.groups, case.bias, dtype=dtype,
            ).to(memory_format=memory_format)  # fmt: skip

        ours, theirs = layer(torchconv.Conv2d), layer(nn.Conv2d)
        ours.load_state_dict(theirs.state_dict())
        x, grad = random(case.input_size), random(case.output_size)
        return cls(case, layout, dtype, x, grad, ours, theirs)

    def call(self, module: nn.Conv2d, what: str) -> Callable[[], object]:
        """One step without arguments, ready to be timed."""
        if what == "forward":
            return lambda: self._infer(module)
        if what in OPERATORS:
            return self._one_gradient(module, what)
        x, wanted = self._differentiable(module, what)
        return lambda: torch.autograd.grad(module(x), wanted, self.grad)

    def operators(self, what: str) -> list[str]:
        """The operators a step runs, of forward, grad_input, grad_weight."""
        if what in OPERATORS:
            return [what]
        return [op for op in OPERATORS if op != "grad_input" or self._needs_input_grad(what)]

    def flops(self, what: str) -> int:
        return self.case.flops * len(self.operators(what))

    def algorithms(self, what: str) -> str:
        """What torchconv runs for each of the operators."""
        names = (algorithm(op, self.case, self.dtype, self.layout) for op in self.operators(what))
        return " ".join(names)

    def errors(self, what: str) -> dict[str, tuple[float, float]]:
        """By operator of a step, ours and nn.Conv2d's: rms of the difference from float64 over rms
        of the float64 result, on a few channels."""
        for op in self.operators(what):
            if op in self._errors:
                continue
            with torch.no_grad():
                exact = self._exact(op)
                ours, theirs = (
                    _relative_error(self._result(module, op), exact)
                    for module in (self.ours, self.theirs)
                )
            self._errors[op] = ours, theirs
        return {op: self._errors[op] for op in self.operators(what)}

    def _infer(self, module: nn.Conv2d) -> torch.Tensor:
        with torch.inference_mode():
            return module(self.input)

    def _needs_input_grad(self, what: str) -> bool:
        return what == "train_dx" or "first" not in self.case.tags

    def _differentiable(self, module: nn.Conv2d, what: str):
        x = self.input.detach().requires_grad_(self._needs_input_grad(what))
        return x, ([x] if x.requires_grad else []) + list(module.parameters())

    def _one_gradient(self, module: nn.Conv2d, op: str) -> Callable[[], torch.Tensor]:
        case, weight = self.case, module.weight.detach()
        if module is self.theirs:
            mask = [op == "grad_input", op == "grad_weight", False]
            return lambda: torch.ops.aten.convolution_backward(
                self.grad, self.input, weight, None, case.stride, case.torch_padding,
                case.dilation, False, (0, 0), case.groups, mask,
            )[mask.index(True)]  # fmt: skip
        geometry = geometry_of(case, self.layout)
        operators = torch.ops.torchconv
        if op == "grad_input":
            return lambda: operators.conv2d_grad_input.default(
                self.grad, weight, case.input_size, geometry
            )
        return lambda: operators.conv2d_grad_weight.default(
            self.grad, self.input, case.weight_size, geometry
        )

    def _result(self, module: nn.Conv2d, op: str) -> torch.Tensor:
        """Of the first image, or of all of them for the weight."""
        if op == "forward":
            return self._infer(module)[:1]
        result = self._one_gradient(module, op)()
        return result[:1] if op == "grad_input" else result

    def _few(self, elements: int) -> tuple[int, int, int]:
        """(groups, input channels, output channels) of a part that is cheap in float64, where a
        channel has so many elements."""
        case, few = self.case, max(FEW_CHANNELS, ENOUGH_ELEMENTS // elements)
        if case.groups == 1:
            return 1, case.c, min(case.k, few)
        groups = min(case.groups, max(1, few * case.groups // case.k))
        return groups, groups * case.c // case.groups, groups * case.k // case.groups

    def _exact(self, op: str) -> torch.Tensor:
        """The first channels of the result in float64."""
        case, module = self.case, self.theirs  # with the weights of ours
        size = {
            "forward": case.output_size, "grad_input": case.input_size,
            "grad_weight": case.weight_size,
        }[op]  # fmt: skip
        groups, c, k = self._few(math.prod(size[1 if op == "grad_weight" else 2 :]))
        geometry = (case.stride, case.torch_padding, case.dilation, groups)
        if op == "forward":
            bias = None if module.bias is None else module.bias[:k].double()
            x, weight = self.input[:1, :c].double(), module.weight[:k].double()
            return nn.functional.conv2d(x, weight, bias, *geometry)
        if op == "grad_weight":
            x, grad = self.input[:, :c].double(), self.grad[:, :k].double()
            return nn.grad.conv2d_weight(x, module.weight[:k].shape, grad, *geometry)
        if case.groups == 1:
            c, k = min(c, k), case.k
        weight, grad = module.weight[:k, :c].double(), self.grad[:1, :k].double()
        return nn.grad.conv2d_input((1, c, case.h, case.w), weight, grad, *geometry)


def _relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """`exact` holds the first channels of `found`."""
    for axis, size in enumerate(exact.shape):
        found = found.narrow(axis, 0, size)
    return ((found.double() - exact).norm() / exact.norm()).item()


def geometry_of(case: Conv2dCase, layout: str) -> tuple[int, ...]:
    """With the flag of the mode of Winograd's that is set, as torchconv.conv2d has it."""
    *geometry, flags = case.geometry(layout == "nhwc")
    return (*geometry, flags | _winograd.CHOSEN.get())


def algorithm(op: str, case: Conv2dCase, dtype: torch.dtype, layout: str) -> str:
    """Name of the algorithm that torchconv picks for one operator."""
    name = str(dtype).removeprefix("torch.")
    text = torch.ops.torchconv._explain(
        op, case.input_size, case.weight_size, geometry_of(case, layout), name
    )
    return text.splitlines()[-1].split(":")[0]
