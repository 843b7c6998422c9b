"""Which CUDA kernels may run by themselves: those that a GPU has accepted.

``torchconv/gpu_accepted.json`` holds an entry for every kernel, kernel size, stride,
dilation, operator, dtype and memory format that was tried on GPUs of one compute capability, with
the lowest ratio time(nn.Conv2d) / time(torchconv) of the layers that were measured there. An entry
speaks for the kernel it was measured with: the hash over that kernel's source, comments aside, has
to be the one compiled in. ``python -m tools.accept`` writes the file.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, get_type_hints

FILE = Path(__file__).parents[1] / "gpu_accepted.json"
LEAST_RATIO = 1.0
LEAST_LAYERS = 2  # one alone may be where a kernel happens to be good


class Key(NamedTuple):
    """What is accepted, or refused, on its own."""

    capability: str  # of the GPU, such as 9.0
    kernel: str  # an algorithm, or one of its kernels: depthwise.planes
    size: str  # rows x columns, such as 7x7
    stride: str
    dilation: str
    op: str  # forward, grad_input or grad_weight
    dtype: str  # with "float32" for TF32 off and "tf32" for on
    layout: str  # nchw or nhwc

    @property
    def algorithm(self) -> str:
        return self.kernel.partition(".")[0]

    def __str__(self) -> str:
        dilation = "" if self.dilation == "1x1" else f", dilation {self.dilation}"
        return (
            f"{self.kernel} for {self.op} of {self.size}, stride {self.stride}{dilation}, in "
            f"{self.dtype}, {self.layout}"
        )


@dataclass(frozen=True)
class Entry:
    capability: str
    kernel: str
    size: str
    stride: str
    dilation: str
    op: str
    dtype: str
    layout: str
    source: str  # hash over the source, see build_cuda.py
    ratio: float  # the lowest of any layer measured, inside a CUDA graph
    eager_ratio: float  # the lowest as Python issues the calls; decides nothing
    layers: int  # how many were measured
    problem: str  # why it may not run whatever its speed; empty if nothing is known
    gpu: str  # torch.cuda.get_device_name()
    torch: str
    date: str

    @property
    def key(self) -> Key:
        return Key(*(getattr(self, name) for name in Key._fields))


def read(path: Path = FILE) -> list[Entry]:
    """The entries of a file; none if there is no such file.

    Raises:
        ValueError: the file is not what :func:`write` writes.
    """
    if not path.exists():
        return []
    try:
        entries = [Entry(**entry) for entry in json.loads(path.read_text())["accepted"]]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a list of accepted kernels: {error}") from None
    kinds = get_type_hints(Entry)
    for entry in entries:
        for name, kind in kinds.items():
            if not isinstance(getattr(entry, name), (int, float) if kind is float else kind):
                raise ValueError(f"{path}: {name} must be {kind.__name__}: {entry}")
    return entries


def write(entries: list[Entry], path: Path = FILE) -> None:
    """One entry per line, sorted, so that a change is a change of few lines."""
    lines = [json.dumps(asdict(entry)) for entry in sorted(entries, key=lambda entry: entry.key)]
    path.write_text('{"accepted": [' + ",".join("\n  " + line for line in lines) + "\n]}\n")


class Accepted:
    """The answer to "may this kernel run here?" for one library and one file of entries."""

    def __init__(self, entries: list[Entry], sources: dict[str, str]) -> None:
        """``sources`` has the hash compiled in for every algorithm."""
        self._entries = {entry.key: entry for entry in entries}
        self._sources = sources
        usable = [entry for entry in entries if self._refusal(entry) is None]
        self.capabilities = frozenset(entry.capability for entry in usable)
        self._sizes = frozenset(
            (entry.capability, entry.size, entry.key.algorithm.startswith("depthwise"))
            for entry in usable
        )

    def may_serve(self, capability: str, rows: int, columns: int, channels: int) -> bool:
        """Whether some kernel may run for kernels of this size and this many channels per group,
        whatever the rest of the layer: a quick answer for the many layers without any."""
        size = f"{rows}x{columns}"
        return (capability, size, False) in self._sizes or (
            channels == 1 and (capability, size, True) in self._sizes
        )

    def why_not(self, key: Key) -> str | None:
        """Why a kernel may not run by itself, or None if it may."""
        entry = self._entries.get(key)
        if entry is None:
            return f"{key} has not been accepted on compute capability {key.capability}"
        return self._refusal(entry)

    def _refusal(self, entry: Entry) -> str | None:
        source = self._sources.get(entry.key.algorithm)
        if not source or source != entry.source:
            return f"{entry.kernel} has changed since it was accepted on {entry.date}"
        if entry.problem:
            return f"{entry.kernel} was not accepted on {entry.gpu}: {entry.problem}"
        if not entry.ratio >= LEAST_RATIO:
            return (
                f"{entry.kernel} was measured at {entry.ratio:.2f} times nn.Conv2d's speed on "
                f"{entry.gpu}"
            )
        if entry.layers < LEAST_LAYERS:
            return f"{entry.kernel} was measured on a single layer, on {entry.gpu}"
        return None


def sources(listing: str) -> dict[str, str]:
    """The hash of every algorithm; ``listing`` is what torch.ops.torchconv._algorithms_cuda()
    returns."""
    pairs = (line.partition(" ") for line in listing.splitlines())
    return {name: digest for name, _, digest in pairs}


def load(listing: str, path: Path = FILE) -> Accepted:
    """What a file says of the library that gives this listing."""
    return Accepted(read(path), sources(listing))
