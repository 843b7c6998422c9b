"""Weights that a layer keeps packed as the kernels read them, from one call to the next.

Kernels copy a weight into the order of their tiles before they multiply. For one image that may
take as long as the products. A layer may keep the copy as long as nobody can have changed the
weight since. Versions of tensors do not tell: who writes through ``weight.data``, NumPy or DLPack
leaves them as they are. So the layer notes when it hands its parameters out, and asks before each
call whether anybody else holds the weight or its memory. While somebody does, and once after
somebody might have, the weight is packed anew.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._C import _storage_Use_Count

_pack = torch.ops.torchconv._pack_weights.default
_transforms_active = torch._C._are_functorch_transforms_active
_modes = torch._C._len_torch_dispatch_stack
unwatched = dict.__getitem__  # does not note that it was asked for
Ints = Sequence[int]


class WatchedParameters(dict[str, Any]):
    """The parameters of a module, which note that somebody has asked for one of them."""

    handed_out = True

    def hand_out(self) -> None:
        """Compilers trace it: were there any state of all modules, they would compile again."""
        self.handed_out = True

    def __getitem__(self, key: Any) -> Any:
        self.hand_out()
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> Any:
        self.hand_out()
        return super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> Any:
        self.hand_out()
        return super().__delitem__(key)

    def __or__(self, other: Any) -> Any:
        self.hand_out()
        return super().__or__(other)

    def __ior__(self, other: Any) -> Any:
        self.hand_out()
        return super().__ior__(other)

    def copy(self) -> Any:
        self.hand_out()
        return super().copy()

    def get(self, key: Any, default: Any = None) -> Any:
        self.hand_out()
        return super().get(key, default)

    def items(self) -> Any:
        self.hand_out()
        return super().items()

    def pop(self, *arguments: Any) -> Any:
        self.hand_out()
        return super().pop(*arguments)

    def popitem(self) -> Any:
        self.hand_out()
        return super().popitem()

    def setdefault(self, key: Any, default: Any = None) -> Any:
        self.hand_out()
        return super().setdefault(key, default)

    def update(self, *arguments: Any, **values: Any) -> Any:
        self.hand_out()
        return super().update(*arguments, **values)

    def values(self) -> Any:
        self.hand_out()
        return super().values()


class Packed(NamedTuple):
    """What was made of a weight for calls like ``call``, which begins with the input's size."""

    call: tuple[Any, ...]
    result: tuple[Ints, Tensor | None]  # geometry, and the weight if the algorithm reads it packed


class _Kept(NamedTuple):
    """The same, with the weight as it was."""

    pointer: int
    version: int
    storage: Any
    storage_address: int
    packed: Packed


class KeptWeights:
    """The packed weight of one layer, for inputs of the size of the last one."""

    __slots__ = ("_packed", "references")

    def __init__(self) -> None:
        self._packed: _Kept | None = None
        # By a program of C++ to the weight: as many as Python counts, None without a program.
        self.references: int | None = None

    def __deepcopy__(self, memo: Any) -> "KeptWeights":
        return KeptWeights()

    def __reduce__(self) -> tuple[type["KeptWeights"], tuple[()]]:
        return KeptWeights, ()

    @property
    def bytes(self) -> int:
        """What it takes beside the weight itself."""
        weight = None if self._packed is None else self._packed.packed.result[1]
        return 0 if weight is None else weight.numel()

    def may_keep(self, parameters: Any) -> bool:
        """Whether nobody else can change the weight while this call lasts.

        Asked before anything else in the call of the layer refers to the weight. If somebody may
        have changed it since the last call, what was packed is forgotten.
        """
        weight = unwatched(parameters, "weight")
        in_program = self.references is not None
        if sys.getrefcount(weight) != _ONLY_HERE + (self.references or 0) or (
            in_program and parameters.handed_out  # which the program has to see first
        ):
            self._packed = None
            return False
        packed = self._packed
        if parameters.handed_out:
            self._packed, parameters.handed_out = None, False
        elif packed is not None and (
            weight._version != packed.version
            or weight.data_ptr() != packed.pointer
            or _storage_Use_Count(packed.storage_address) != _ONE_TENSOR
        ):
            self._packed = None
        return True

    def lasting(self, parameters: Any) -> Packed | None:
        """What the last call has packed, if nobody else can change weight or bias from now on.

        That holds until ``parameters`` are handed out. The bias has to be as safe as the weight.
        """
        if self.references is not None or parameters.handed_out or not has_own(parameters):
            return None
        bias = unwatched(parameters, "bias")
        if not self.may_keep(parameters):
            return None
        if bias is not None and (
            sys.getrefcount(bias) != _ONLY_HERE or not _has_memory_of_its_own(bias)
        ):
            return None
        return None if self._packed is None else self._packed.packed

    def known(self, call: tuple[Any, ...]) -> tuple[Ints, Tensor | None] | None:
        """Geometry and packed weight, if the last call was like this one."""
        if self._packed is None or self._packed.packed.call != call:
            return None
        return self._packed.packed.result

    def pack(self, weight: Tensor, call: tuple[Any, ...], geometry: Ints) -> Tensor | None:
        """``weight`` as the kernels read it, kept for calls like this one, or None."""
        self._packed = None  # which refers to the memory, too
        if _transforms_active() or _modes() or weight.is_inference() or not weight.is_cpu:
            return None
        if not _has_memory_of_its_own(weight):
            return None
        storage = weight.untyped_storage()
        with torch.no_grad():
            kernel = weight.detach()
            if kernel.dim() == 2:  # of a linear layer
                kernel = kernel[:, :, None, None]
            made = _pack(kernel, call[0], geometry)
        result = made if made.numel() else None
        self._packed = _Kept(
            weight.data_ptr(), weight._version, storage, storage._cdata,
            Packed(call, (geometry, result)),
        )  # fmt: skip
        return result


def has_own(parameters: dict[str, Any]) -> bool:
    """Whether a layer has weight and bias as parameters: others may compute them."""
    return "weight" in parameters and "bias" in parameters


def keep_packed(layer: nn.Module) -> None:
    """Lets a layer of class ``PackedLayer`` keep its packed weight."""
    vars(layer)["_parameters"] = WatchedParameters(layer._parameters)
    vars(layer)["_kept"] = KeptWeights()


def _has_memory_of_its_own(tensor: Tensor) -> bool:
    storage = tensor.untyped_storage()
    return (
        _storage_Use_Count(storage._cdata) == _ONE_TENSOR
        and sys.getrefcount(storage) == _ONE_VARIABLE
    )


def _references(parameters: dict[str, Any]) -> int:
    weight = unwatched(parameters, "weight")
    return sys.getrefcount(weight)


def _references_to_memory(tensor: Tensor) -> tuple[int, int]:
    storage = tensor.untyped_storage()
    return _storage_Use_Count(storage._cdata), sys.getrefcount(storage)


# Of a weight that its dict alone refers to, beside one variable of a function; of memory that
# belongs to one tensor, beside one variable.
_ONLY_HERE = _references({"weight": object()})
_ONE_TENSOR, _ONE_VARIABLE = _references_to_memory(torch.empty(1))
