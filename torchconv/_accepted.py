"""Which CUDA kernels may run by themselves: those that a GPU has accepted.

``gpu_accepted.json`` beside this file holds an entry for every algorithm, operator, dtype and
memory format that passed its tests on a model of GPU, with the lowest ratio time(nn.Conv2d) /
time(torchconv) of any layer that was measured there. An entry speaks for the kernel it was
measured with: the hash over that kernel's source, comments aside, has to be the one compiled in.
tools/gpu_accept.sh writes the file.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "gpu_accepted.json"
LEAST_RATIO = 1.0


@dataclass(frozen=True)
class Entry:
    gpu: str  # torch.cuda.get_device_name()
    algorithm: str
    op: str  # forward, grad_input or grad_weight
    dtype: str  # with "float32" for TF32 off and "tf32" for on
    layout: str  # nchw or nhwc
    source: str  # hash over the source, see build_cuda.py
    ratio: float  # the lowest of any layer measured
    layers: int  # how many were
    torch: str
    date: str

    @property
    def key(self) -> tuple[str, ...]:
        return self.gpu, self.algorithm, self.op, self.dtype, self.layout


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
    for entry in entries:
        for field in fields(entry):
            kinds = (int, float) if field.type is float else field.type
            if not isinstance(getattr(entry, field.name), kinds):
                raise ValueError(f"{path}: {field.name} must be {field.type.__name__}: {entry}")
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
        self.gpus = frozenset(entry.gpu for entry in usable)

    def why_not(self, gpu: str, algorithm: str, op: str, dtype: str, layout: str) -> str | None:
        """Why a kernel may not run by itself, or None if it may."""
        entry = self._entries.get((gpu, algorithm, op, dtype, layout))
        if entry is None:
            return f"{algorithm} has not been accepted on {gpu} for {op} in {dtype}, {layout}"
        return self._refusal(entry)

    def _refusal(self, entry: Entry) -> str | None:
        source = self._sources.get(entry.algorithm)
        if not source or source != entry.source:
            return f"{entry.algorithm} has changed since it was accepted on {entry.date}"
        if not entry.ratio >= LEAST_RATIO:
            return f"{entry.algorithm} was measured at {entry.ratio:.2f} times nn.Conv2d's speed"
        return None


def load(listing: str, path: Path = FILE) -> Accepted:
    """``listing`` is what torch.ops.torchconv._algorithms_cuda() returns."""
    pairs: list[Any] = [line.partition(" ") for line in listing.splitlines()]
    return Accepted(read(path), {name: digest for name, _, digest in pairs})
