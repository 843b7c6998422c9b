"""What ``explain`` tells of the convolutions of a model."""

from typing import Any, NamedTuple

from torch import nn

from torchconv._convert.plan import computes_with_torchconv
from torchconv._description import by, describe
from torchconv._explain import forward_algorithm, forward_part
from torchconv._explain.call import explain_call
from torchconv._explain.observed import Call, observe


class LayerExplanation(NamedTuple):
    """A convolution that a module computes, on inputs of one size.

    Attributes:
        name: of the module, as in ``model.named_modules()``.
        layer: what it is.
        function: ``"conv2d"``, ``"conv1d"``, ``"conv3d"``, ``"conv_transpose1d"`` or
            ``"conv_transpose2d"``.
        input_size: the shape of the input.
        output_size: the shape of the result.
        converted: whether torchconv computes it in this model.
        algorithm: which computes it; ``"aten"`` where torchconv leaves it to PyTorch.
        text: of the convolution and its gradients, why each algorithm before does not apply.
    """

    name: str
    layer: str
    function: str
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    converted: bool
    algorithm: str
    text: str

    def __str__(self) -> str:
        """The convolution without its gradients."""
        title = f"{self.name}: {self.layer}" if self.name else self.layer
        lines = forward_part(self.text).splitlines()
        sizes = f"{by(self.input_size)} -> {by(self.output_size)}"
        return "\n  ".join([f"{title}, {sizes}", *lines])


class Explanation(list[LayerExplanation]):
    """One row for each convolution, in the order of the first calls."""

    def __str__(self) -> str:
        return "\n".join(map(str, self)) if self else "no convolutions"


def explain_model(model: nn.Module, example_input: Any) -> Explanation:
    names = {module: name for name, module in model.named_modules()}
    rows: dict[LayerExplanation, None] = {}

    def see(call: Call) -> None:
        text = explain_call(call.function, call.arguments, call.winograd, call.padding_mode)
        row = LayerExplanation(
            name=names[call.module],
            layer=describe(call.module),
            function=call.function,
            input_size=tuple(call.arguments[0].shape),
            output_size=tuple(call.output.shape),
            converted=call.is_ours or computes_with_torchconv(call.module),
            algorithm=forward_algorithm(text),
            text=text,
        )
        rows[row] = None

    observe(model, example_input, see)
    return Explanation(rows)
