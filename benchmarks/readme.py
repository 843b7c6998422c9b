"""Writes the figures of README.md from the files in benchmarks/results.

python -m benchmarks.readme
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import tables
from benchmarks.inference.rows import InferenceRow
from benchmarks.machine import environment
from benchmarks.models import ModelRow
from benchmarks.report import read_csv
from benchmarks.rows import Row
from torchconv._machine import cpu_name

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Results:
    """What was measured on this machine, with this release of torch and this number of threads."""

    main: list[Row]
    held_out: list[Row]
    models: list[ModelRow]
    apart: list[ModelRow]  # the same, each side in a process of its own
    inference: list[InferenceRow]
    avx2: list[Row]  # of the layers of `main`, where more than AVX2 is in use

    @classmethod
    def read(cls, folder: Path) -> Results:
        here, avx2 = environment(), environment("avx2")

        def rows_of(name: str, kind: type, environment: str = here) -> list:
            return [
                row
                for path in sorted(folder.glob(f"{name}-{environment}.csv"))
                for row in read_csv(path, kind)
            ]

        return cls(
            rows_of("conv2d-main-*", Row),
            rows_of("conv2d-held_out-*", Row),
            rows_of("models-*", ModelRow),
            rows_of("apart-*", ModelRow),
            rows_of("inference-*", InferenceRow),
            rows_of("conv2d-main-*-float32-*", Row, avx2) if avx2 != here else [],
        )

    def of(self, dtype: str) -> tuple[list[Row], list[Row]]:
        main, held_out = (
            [row for row in rows if row.dtype == dtype] for rows in (self.main, self.held_out)
        )
        return main, held_out


def update(folder: Path = RESULTS, path: Path = ROOT / "README.md") -> None:
    """Replaces what stands between the markers of README.md."""
    text = path.read_text()
    for name, figures in render(Results.read(folder)).items():
        text = replace_between(text, name, figures)
    path.write_text(text)
    print(f"wrote {path}")


def replace_between(text: str, name: str, new: str) -> str:
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    if start not in text or end not in text:
        raise SystemExit(f"README.md needs the lines {start} and {end}")
    before, rest = text.split(start, 1)
    return f"{before}{start}\n{new}\n{end}{rest.split(end, 1)[1]}"


def render(results: Results) -> dict[str, str]:
    """Marker -> the text that belongs there."""
    if not results.main:
        raise SystemExit(f"no results of {environment()}; run: python -m benchmarks --readme")
    single, held_out = results.of("float32")
    halves, held_out_halves = results.of("bfloat16")
    parts = [
        f"{machine(single)}. Geometric means over the layers of a network. "
        "Error: rms of the difference from `float64` over rms of the `float64` result, "
        "torchconv's (and `nn.Conv2d`'s).",
        tables.means(single, "`float32`"),
        tables.means(held_out, "`float32`, networks it was not tuned on"),
        tables.means(halves, "`bfloat16`"),
        tables.means(held_out_halves, "`bfloat16`, networks it was not tuned on"),
        tables.whole_models(results.models, "whole model, `float32`"),
        tables.whole_models(results.apart, "the same, each side in a process of its own"),
        tables.slower_rows(single + held_out),
        tables.best_and_worst(single + held_out),
        tables.inexact(single + held_out),
    ]
    optimized = [row for row in results.inference if row.dtype == "float32"]
    figures = {
        "headline": tables.headline(
            single, held_out, results.avx2, results.models, optimized, conditions(single)
        ),
        "benchmark": "\n\n".join(part for part in parts if part),
    }
    if results.inference:  # measured on its own, with python -m benchmarks.inference --csv
        figures["inference"] = inference(results.inference)
    return figures


def inference(rows: list[InferenceRow]) -> str:
    rows = sorted(rows, key=lambda row: row.dtype != "float32")  # which comes first
    versions = dict.fromkeys(row.about.partition(",")[0] for row in rows)
    dtypes = dict.fromkeys(row.dtype for row in rows)
    parts = [f"{conditions(rows)}; {', '.join(versions)}."]
    parts += [tables.inference([row for row in rows if row.dtype == dtype]) for dtype in dtypes]
    return "\n\n".join(part for part in parts if part)


def conditions(rows: list[Row] | list[InferenceRow]) -> str:
    dtypes = ", ".join(dict.fromkeys(f"`{row.dtype}`" for row in rows))
    names = {"avx2": "AVX2", "avx512": "AVX-512", "avx512_bf16": "AVX-512 with BF16"}
    isa = names.get(torch.ops.torchconv._isa(), "plain C++")
    return (
        f"{cpu_name()}, {isa}, {torch.get_num_threads()} threads, "
        f"PyTorch {torch.__version__.split('+')[0]}, {dtypes}"
    )


def machine(rows: list[Row]) -> str:
    """With the FMA peak that the shares of the peak were taken of."""
    peak = statistics.median(100 * row.gflops / row.percent_of_peak for row in rows)
    return f"{conditions(rows)}, FMA peak {peak:.0f} GFLOP/s"


if __name__ == "__main__":
    update()
