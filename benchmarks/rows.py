"""One measured row."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import TypeVar

import torch

from benchmarks import own_cores
from benchmarks.kinds import kind_of
from benchmarks.machine import fma_peak
from benchmarks.subjects import OPERATORS, Subject
from tests.cases import Conv2dCase
from tests.layer_names import layer_name
from torchconv._timing import measure_pairs

AnyRow = TypeVar("AnyRow")


@dataclass(frozen=True)
class Row:
    """What the CSV holds, in this order. `speedup` is the median of the paired ratios nn.Conv2d /
    torchconv and `low`, `high` their quartiles; the milliseconds are lower quartiles. An
    error is the rms of the difference from float64 over the rms of the float64 result, NaN if it
    was not measured."""

    case: str
    kind: str
    what: str
    dtype: str
    layout: str
    batch: int
    speedup: float
    low: float
    high: float
    ms: float
    torch_ms: float
    gflops: float
    torch_gflops: float
    percent_of_peak: float
    error_forward: float
    error_grad_input: float
    error_grad_weight: float
    torch_error_forward: float
    torch_error_grad_input: float
    torch_error_grad_weight: float
    pairs: int
    algorithms: str

    @property
    def network(self) -> str:
        return self.case.split("/")[0]

    def errors(self, op: str) -> tuple[float, float]:
        """Ours and nn.Conv2d's, of forward, grad_input or grad_weight."""
        return getattr(self, f"error_{op}"), getattr(self, f"torch_error_{op}")


def measure_row(
    subject: Subject, what: str, budget: float, min_pairs: int, with_errors: bool
) -> Row:
    case, dtype = subject.case, subject.dtype
    ours, theirs = subject.call(subject.ours, what), subject.call(subject.theirs, what)
    pairs = own_cores.measured(lambda: measure_pairs(ours, theirs, budget, min_pairs))
    peak = fma_peak(dtype)
    measured = subject.errors(what) if with_errors else {}
    errors = {}
    for op in OPERATORS:
        errors[f"error_{op}"], errors[f"torch_error_{op}"] = measured.get(op, (math.nan, math.nan))
    work = subject.flops(what) / 1e9
    return Row(
        case=case.name,
        kind=kind_of(case),
        what=what,
        dtype=str(dtype).removeprefix("torch."),
        layout=subject.layout,
        batch=case.n,
        speedup=pairs.speedup,
        low=pairs.quartiles[0],
        high=pairs.quartiles[1],
        ms=pairs.our_seconds * 1e3,
        torch_ms=pairs.their_seconds * 1e3,
        gflops=work / pairs.our_seconds,
        torch_gflops=work / pairs.their_seconds,
        percent_of_peak=100 * work / pairs.our_seconds / peak,
        **errors,
        pairs=len(pairs.ours),
        algorithms=subject.algorithms(what),
    )


def never_returns(case: Conv2dCase, layout: str, dtype: str) -> bool:
    """Whether nn.Conv2d is still generating code for such a layer after minutes, as PyTorch 2.14.1
    is on a CPU with AVX512_BF16: few channels, each with a wide kernel of its own (3 channels,
    23x23 and 1x23)."""
    few = 1 < case.groups == case.c < 16
    return dtype == "bfloat16" and layout == "nhwc" and few and case.s > 16


def measure_layer(
    case: Conv2dCase,
    dtype: str,
    layouts: Iterable[str],
    whats: Collection[str],
    budget: float,
    min_pairs: int,
    with_errors: bool,
) -> Iterator[Row]:
    """One row after the other, as they are measured."""
    for layout in layouts:
        if never_returns(case, layout, dtype):
            print(f"{layer_name(case)}, {dtype}, {layout}: left out, nn.Conv2d does not return")
            continue
        subject = Subject.build(case, layout, getattr(torch, dtype))
        for what in whats:
            if what == "train_dx" and "first" not in case.tags:
                continue  # train has the gradient of the input already
            yield measure_row(subject, what, budget, min_pairs, with_errors)


def as_strings(row: object) -> dict[str, str]:
    """For the CSV: four significant digits of every measured number."""
    return {
        name: f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in asdict(row).items()
    }


def from_strings(kind: type[AnyRow], values: dict[str, str]) -> AnyRow:
    """A number that an older file does not have is NaN."""
    types = {"int": int, "float": float, "str": str}
    return kind(
        **{field.name: types[field.type](values.get(field.name, "nan")) for field in fields(kind)}
    )
