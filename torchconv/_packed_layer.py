"""What layers that keep their weight packed have in common."""

from typing import Any, cast

from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling

from torchconv._kept_weights import KeptWeights, has_own, unwatched


class PackedLayer(nn.Module):
    """A layer with a weight and a bias, which may keep the weight packed (_kept_weights.py)."""

    _kept = cast("KeptWeights | None", None)

    def __setattr__(self, name: str, value: Any) -> None:
        self._changes(name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._changes(name)
        super().__delattr__(name)

    def _changes(self, name: str) -> None:
        """What was packed, and what was made of this layer, is of a layer that was another one."""
        if self._kept is not None and name != "training":
            vars(self)["_parameters"].hand_out()
            if name == "_parameters":  # others, which may not tell when they are handed out
                vars(self)["_kept"] = None

    def _weights(self: Any) -> tuple[Tensor, Tensor | None, KeptWeights | None]:
        """Weight and bias, and what keeps the weight packed if this call may use it."""
        kept, parameters = self._kept, self._parameters
        if kept is None or is_dynamo_compiling() or not has_own(parameters):
            return self.weight, self.bias, None
        kept = kept if kept.may_keep(parameters) else None
        return unwatched(parameters, "weight"), unwatched(parameters, "bias"), kept
