"""Writes the table of README.md from the files in benchmarks/results.

python -m benchmarks.readme
"""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.machine import environment
from benchmarks.report import grouped_means, read_csv
from benchmarks.rows import Row
from torchconv._machine import cpu_name

START, END = "<!-- benchmark:start -->", "<!-- benchmark:end -->"
ROOT = Path(__file__).parent.parent
TELLING = 6


def update() -> None:
    """Replaces what stands between the two markers of README.md."""
    path = ROOT / "README.md"
    text = path.read_text()
    if START not in text or END not in text:
        raise SystemExit(f"README.md needs the lines {START} and {END}")
    before, rest = text.split(START, 1)
    after = rest.split(END, 1)[1]
    path.write_text(f"{before}{START}\n{render()}\n{END}{after}")
    print(f"wrote {path}")


def results_of(set_name: str) -> list[Row]:
    """What was measured on this machine, with this release of torch and this number of threads."""
    folder = ROOT / "benchmarks" / "results"
    paths = sorted(folder.glob(f"conv2d-{set_name}-*-{environment()}.csv"))
    return [row for path in paths for row in read_csv(path)]


def render() -> str:
    rows = results_of("main")
    if not rows:
        raise SystemExit(f"no results of {environment()}; run: python -m benchmarks --csv")
    single = [row for row in rows if row.dtype == "float32"]
    others = [row for row in rows if row.dtype != "float32"]
    held_out = [row for row in results_of("held_out") if row.dtype == "float32"]
    parts = [
        f"{cpu_name()}, {torch.ops.torchconv._isa()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__.split('+')[0]}."
        " How many times as fast as `nn.Conv2d`: geometric means over the layers of a network.",
        means_table(single, "float32", lambda row: row.network),
    ]
    if held_out:
        parts.append(means_table(held_out, "networks not tuned on", lambda row: row.network))
    if others:
        parts.append(means_table(others, "all layers", lambda row: row.dtype))
    parts.append(telling_table(rows + held_out))
    return "\n\n".join(parts)


def means_table(rows: list[Row], title: str, label) -> str:
    columns = [(what, layout) for what in ("forward", "train") for layout in ("nchw", "nhwc")]
    means = grouped_means(rows, lambda row: (label(row), row.what, row.layout))
    totals = grouped_means(rows, lambda row: ("**all**", row.what, row.layout))
    lines = [
        f"| {title} | " + " | ".join(f"{what} {layout.upper()}" for what, layout in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for name in [*dict.fromkeys(map(label, rows)), "**all**"]:
        cells = [(means | totals).get((name, *column)) for column in columns]
        lines.append(f"| {name} | " + " | ".join(f"{c:.2f}x" if c else "" for c in cells) + " |")
    return "\n".join(lines)


def telling_table(rows: list[Row]) -> str:
    """The best and the worst layers: one row each, at its best or worst."""
    ordered = sorted(rows, key=lambda row: row.speedup)
    worst = _one_per_layer(ordered)[:TELLING]
    best = [row for row in _one_per_layer(reversed(ordered)) if row not in worst][:TELLING]
    lines = [
        "| layer | what | dtype | layout | torchconv ms | nn.Conv2d ms | speed-up |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    for row in [*best, *reversed(worst)]:
        speedup = f"{row.speedup:.2f}" if row.speedup < 10 else f"{row.speedup:.0f}"
        lines.append(
            f"| {row.case} | {row.what} | {row.dtype} | {row.layout.upper()} | {row.ms:.3g} | "
            f"{row.torch_ms:.3g} | {speedup}x |"
        )
    return "\n".join(lines)


def _one_per_layer(rows) -> list[Row]:
    seen: dict[str, Row] = {}
    for row in rows:
        seen.setdefault(row.case, row)
    return list(seen.values())


if __name__ == "__main__":
    update()
