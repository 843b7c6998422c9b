"""What ``compare`` returns: a row for each layer, and their sums."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

TOTALS = ("calls", "macs", "bytes", "ms", "torch_ms", "speedup")


@dataclass(frozen=True)
class LayerComparison:
    """A layer, on inputs of one shape, computed by torchconv and by PyTorch.

    ``ms`` and ``torch_ms`` are medians of one call, ``speedup`` is the median of the paired ratios:
    above 1 torchconv is faster. ``difference`` is the largest difference of the results over the
    largest element. ``bytes`` are those of input, weight and output.
    """

    name: str
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    ending: str  # "transposed", or what it does to the result, "residual, relu"; mostly ""
    dtype: str
    memory_format: str
    algorithm: str
    calls: int  # in one run of the model
    macs: int
    bytes: int
    ms: float
    torch_ms: float
    speedup: float
    difference: float

    @property
    def shape(self) -> str:
        """Such as ``"1x64x56x56 -> 1x128x28x28, 3x3, stride 2"``."""
        parts = [
            f"{_by(self.input_size)} -> {_by(self.output_size)}",
            _by(self.kernel_size),
        ]
        for name, sizes in (("stride", self.stride), ("dilation", self.dilation)):
            if set(sizes) != {1}:
                parts.append(f"{name} {_by(sizes) if len(set(sizes)) > 1 else sizes[0]}")
        if self.groups > 1:
            parts.append(f"{self.groups} groups")
        return ", ".join(parts + [self.ending] * bool(self.ending))


@dataclass(frozen=True)
class Comparison:
    """The layers of a model, the one that takes most of torchconv's time first.

    ``model_ms`` is the median time of the model as it is; ``convolution_share`` is the part of it
    that is spent in the layers. ``left_out`` says of each other convolution why it has no row.
    """

    rows: list[LayerComparison]
    left_out: dict[str, str]
    model_ms: float
    convolution_share: float
    threads: int

    @property
    def calls(self) -> int:
        """Of all layers together, as are ``macs``, ``bytes``, ``ms`` and ``torch_ms``."""
        return sum(row.calls for row in self.rows)

    @property
    def macs(self) -> int:
        return self._sum(lambda row: row.macs)

    @property
    def bytes(self) -> int:
        return self._sum(lambda row: row.bytes)

    @property
    def ms(self) -> float:
        return self._sum(lambda row: row.ms)

    @property
    def torch_ms(self) -> float:
        return self._sum(lambda row: row.torch_ms)

    @property
    def speedup(self) -> float:
        """Of all layers together; NaN without a layer."""
        return self.torch_ms / self.ms if self.ms else float("nan")

    def _sum(self, value: Callable[[LayerComparison], Any]) -> Any:
        return sum(row.calls * value(row) for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """All of it as dicts, lists, numbers and strings, with the sums and ``shape``."""
        data = asdict(self)
        data["rows"] = [{**asdict(row), "shape": row.shape} for row in self.rows]
        return data | {name: getattr(self, name) for name in TOTALS}

    def __str__(self) -> str:
        from torchconv._compare import table

        return table.text(self)

    def __rich__(self) -> Any:
        from torchconv._compare import table

        return table.rich_group(self)


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
