"""Measures one model on one batch, in all ways of running it."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks import own_cores
from benchmarks.inference.subjects import OURS, PEERS, SUBJECTS, Call, LeftOut
from benchmarks.turns import Turns, in_turns

# A larger difference from float64, over the largest element of the output, is an error.
# PyTorch's own results in bfloat16 differ by 0.16 after the 53 convolutions of ResNet-50.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.3}


@dataclass(frozen=True)
class InferenceRow:
    """What the CSV holds, in this order: the median of all calls, their quartiles and tails in
    milliseconds; how many times as long as each way of torchconv's it takes, which are medians of
    the ratios within rounds, with the quartiles of `optimized`; NaN where that was not measured."""

    model: str
    batch: int
    dtype: str
    subject: str
    ms: float
    low_ms: float
    high_ms: float
    p90_ms: float
    p99_ms: float
    torchconv: float
    optimized: float
    optimized_low: float
    optimized_high: float
    optimized_compile: float
    difference: float
    rounds: int
    about: str


@dataclass(frozen=True)
class Built:
    """The subjects that run, the differences of their outputs, and of others why they do not."""

    calls: dict[str, Call]
    differences: dict[str, float]
    left_out: dict[str, str]
    wrong: dict[str, str]

    @classmethod
    def build(
        cls, model: nn.Module, images: Tensor, dtype: torch.dtype, wanted: Iterable[str]
    ) -> Built:
        built = cls({}, {}, {}, {})
        expected = expected_output(model, images)
        torch._dynamo.reset()  # a model of this class may have been compiled before
        for name in wanted:
            try:
                call = SUBJECTS[name].build(model, images, dtype)
                output = call()
            except LeftOut as reason:
                built.left_out[name] = str(reason)
                continue
            except Exception as error:  # a runtime may fail in any way; the others are measured
                built.left_out[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                continue
            built.differences[name] = difference(output, expected)
            if built.differences[name] <= TOLERANCE[dtype]:
                built.calls[name] = call
            else:
                built.wrong[name] = f"the output differs by {built.differences[name]:.1e}"
        return built


def expected_output(model: nn.Module, images: Tensor) -> Tensor:
    """By PyTorch in float64."""
    with torch.inference_mode():
        return copy.deepcopy(model).double()(images.double())


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest, over the largest element; infinite where the shape is another."""
    if found.shape != expected.shape:
        return math.inf
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


def measure(
    model: str, batch: int, dtype: torch.dtype, built: Built, budget: float
) -> list[InferenceRow]:
    turns = Turns({})
    if built.calls:
        turns = own_cores.measured(lambda: in_turns(built.calls, budget))
    return [
        InferenceRow(
            model, batch, str(dtype).removeprefix("torch."), name,
            **_times(turns, name),
            **_ratios(turns, name),
            difference=built.differences[name],
            rounds=len(turns.seconds[name]),
            about=SUBJECTS[name].about,
        )
        for name in built.calls
    ]  # fmt: skip


def _times(turns: Turns, name: str) -> dict[str, float]:
    low, median, high = _quantiles(turns.calls(name), 4)
    hundredths = _quantiles(turns.calls(name), 100)
    names = ("low_ms", "ms", "high_ms", "p90_ms", "p99_ms")
    times = (low, median, high, hundredths[89], hundredths[98])
    return {name: 1e3 * seconds for name, seconds in zip(names, times, strict=True)}


def _ratios(turns: Turns, name: str) -> dict[str, float]:
    ratios = dict.fromkeys((*OURS, "optimized_low", "optimized_high"), math.nan)
    for ours in OURS:
        if ours in turns.seconds:
            low, ratios[ours], high = _quantiles(turns.ratios(name, ours), 4)
            if ours == "optimized":
                ratios |= {"optimized_low": low, "optimized_high": high}
    return ratios


def _quantiles(values: list[float], parts: int) -> list[float]:
    return statistics.quantiles(values, n=parts, method="inclusive")


def of_best_peer(rows: Iterable[InferenceRow], ours: str) -> InferenceRow | None:
    """Of the rows of one model and batch, that of the peer beside which ours gains least."""
    peers = [row for row in rows if row.subject in PEERS and math.isfinite(getattr(row, ours))]
    return min(peers, key=lambda row: getattr(row, ours), default=None)


def by_model_and_batch(rows: Iterable[InferenceRow]) -> dict[tuple[str, int], list[InferenceRow]]:
    groups: dict[tuple[str, int], list[InferenceRow]] = {}
    for row in rows:
        groups.setdefault((row.model, row.batch), []).append(row)
    return groups
