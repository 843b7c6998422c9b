"""The figures of README.md, as Markdown: each function gives one table or paragraph, or nothing
where nothing was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable

from benchmarks import report
from benchmarks.inference.rows import InferenceRow, by_model_and_batch, of_best_peer
from benchmarks.inference.subjects import PEERS
from benchmarks.models import ModelRow
from benchmarks.report import grouped_means, mean_error, name_of
from benchmarks.rows import Row
from benchmarks.subjects import FORMAT_NAMES
from benchmarks.timing import geometric_mean
from tests.layer_names import network_name

BEST_AND_WORST = 6  # layers of either kind
NOTICEABLE = 0.95
LAYOUTS = {"nchw": "", "nhwc": ", `channels_last`"}
RESULTS = {
    "forward": "output",
    "grad_input": "input's gradient",
    "grad_weight": "weight's gradient",
}


def headline(
    main: list[Row],
    held_out: list[Row],
    avx2: list[Row],
    models: list[ModelRow],
    optimized: list[InferenceRow],
    conditions: str,
) -> str:
    """The few numbers of the first screen, all of float32."""
    lines = [
        f"Speed beside `nn.Conv2d`, a number above 1 being faster ({conditions}):",
        "",
        f"- {_layers(main)} of well-known networks and image filters: {_overall(main)}.",
    ]
    if held_out:
        lines.append(
            f"- {_layers(held_out)} of networks it was not tuned on: {_overall(held_out)}."
        )
    if avx2:
        lines.append(f"- torchconv and PyTorch both limited to AVX2: {_overall(avx2)}.")
    means = grouped_means(_forward(main), lambda row: (row.network,))
    (low,), (high,) = min(means, key=means.get), max(means, key=means.get)
    lines.append(
        f"- By network, forward: from {times(means[low,])} ({network_name(low)}) "
        f"to {times(means[high,])} ({network_name(high)})."
    )
    trained = [row for row in models if (row.what, row.layout) == ("train", "nchw")]
    if trained:
        steps = ", ".join(f"{network_name(row.model)} {times(row.speedup)}" for row in trained)
        lines.append(f"- A training step of a whole model: {steps}.")
    found = {
        model: of_best_peer(rows, "optimized")
        for (model, batch), rows in by_model_and_batch(optimized).items()
        if batch == 1
    }
    single = [(name, row.optimized) for name, row in found.items() if row]
    if single:
        times_of = ", ".join(f"{network_name(name)} {times(ratio)}" for name, ratio in single)
        lines.append(
            "- One image through a whole model, `torchconv.optimize` beside the fastest of "
            f"PyTorch, ONNX Runtime and OpenVINO: {times_of}."
        )
    return "\n".join(lines)


def times(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.0f}x"


def _layers(rows: list[Row]) -> str:
    count = len({row.case for row in rows})
    return f"{count} layer{'s' if count > 1 else ''}"


def _forward(rows: list[Row]) -> list[Row]:
    return [row for row in rows if (row.what, row.layout) == ("forward", "nchw")]


def _overall(rows: list[Row]) -> str:
    means = grouped_means(rows, lambda row: (row.what, row.layout))

    def both(layout: str) -> str:
        pairs = (("forward", "forward"), ("train", "in training"))
        found = ((means.get((what, layout)), name) for what, name in pairs)
        return ", ".join(f"{times(mean)} {name}" for mean, name in found if mean)

    return f"{both('nchw')}; in `channels_last` (NHWC) {both('nhwc')}"


def means(rows: list[Row], title: str) -> str:
    """Speed-up and error of each network, one line each."""
    if not rows:
        return ""
    columns = [(what, layout) for what in ("forward", "train") for layout in LAYOUTS]
    lines = [
        f"| {title} | "
        + " | ".join(f"{what}{LAYOUTS[layout]}" for what, layout in columns)
        + " | "
        + " | ".join(f"error of the {name}" for name in RESULTS.values())
        + " |",
        "|---|" + "---:|" * (len(columns) + len(RESULTS)),
    ]
    networks = dict.fromkeys(row.network for row in rows)
    for label, selected in [
        *((network_name(name), [row for row in rows if row.network == name]) for name in networks),
        ("**all**", rows),
    ]:
        found = grouped_means(selected, lambda row: (row.what, row.layout))
        cells = [times(found[column]) if column in found else "" for column in columns]
        cells += [_errors(row.errors(op) for row in selected) for op in RESULTS]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _errors(pairs: Iterable[tuple[float, float]]) -> str:
    """Geometric means of ours and of nn.Conv2d's."""
    ours, theirs = (mean_error(errors) for errors in zip(*pairs, strict=True))
    return f"{ours:.1e} ({theirs:.1e})" if math.isfinite(ours) else ""


def whole_models(rows: list[ModelRow], title: str) -> str:
    if not rows:
        return ""
    columns = [(what, layout) for what in ("train", "inference") for layout in LAYOUTS]
    found = {(row.model, row.what, row.layout): row.speedup for row in rows}
    names = {"train": "training step", "inference": "inference"}
    lines = [
        f"| {title} | images | "
        + " | ".join(f"{names[what]}{LAYOUTS[layout]}" for what, layout in columns)
        + " |",
        "|---|---:|" + "---:|" * len(columns),
    ]
    for model, batch in dict.fromkeys((row.model, row.batch) for row in rows):
        ratios = (found.get((model, *column)) for column in columns)
        cells = (times(ratio) if ratio else "" for ratio in ratios)
        lines.append(f"| {network_name(model)} | {batch} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def inference(rows: list[InferenceRow]) -> str:
    """How many times as long as torchconv's optimized models the peers take, of one dtype."""
    groups = {
        key: {row.subject: row for row in group}
        for key, group in by_model_and_batch(rows).items()
        if any(row.subject == "optimized" for row in group)
    }
    if not groups:
        return ""
    peers = [name for name in PEERS if any(name in group for group in groups.values())]
    titles = [*(PEERS[name].name for name in peers), "the fastest of these"]
    lines = [
        f"| `{rows[0].dtype}` | images | torchconv ms | " + " | ".join(titles) + " |",
        "|---|---:|---:|" + "---:|" * len(titles),
    ]
    for batch in dict.fromkeys(batch for _, batch in groups):
        columns: dict[str, list[float]] = {title: [] for title in titles}
        for (model, _), group in ((key, it) for key, it in groups.items() if key[1] == batch):
            best = of_best_peer(group.values(), "optimized")
            found = [*(group.get(name) for name in peers), best]
            for title, row in zip(titles, found, strict=True):
                columns[title] += [row.optimized] if row else []
            cells = (times(row.optimized) if row else "" for row in found)
            label = f"{network_name(model)} | {batch} | {group['optimized'].ms:.3g}"
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
        cells = (times(geometric_mean(ratios)) if ratios else "" for ratios in columns.values())
        lines.append(f"| **all** | {batch} | | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def slower_rows(rows: list[Row]) -> str:
    """What the rows below 1.0 are."""
    count = f"{len(rows)} rows (a layer, forward or training, a memory format)"
    slower = [row for row in rows if row.speedup < 1]
    if not slower:
        return f"torchconv is slower in none of the {count}."
    noticeably = [row for row in slower if row.speedup < NOTICEABLE]
    groups = [(row.what, row.layout) for row in slower]
    what, layout = max(dict.fromkeys(groups), key=groups.count)
    return (
        f"torchconv is slower in {len(slower)} of the {count}, "
        f"in {len(noticeably)} of them by more than 5 %. "
        f"{groups.count((what, layout))} of the {len(slower)} are of one kind: {what} in "
        f"`{FORMAT_NAMES[layout]}`. The fastest and the slowest layers:"
    )


def best_and_worst(rows: list[Row]) -> str:
    """One row for each layer, at its best or worst."""
    ordered = sorted(rows, key=lambda row: row.speedup)
    worst = _one_per_layer(ordered)[:BEST_AND_WORST]
    best = [row for row in _one_per_layer(reversed(ordered)) if row not in worst][:BEST_AND_WORST]
    lines = [
        "| layer | | memory format | torchconv ms | `nn.Conv2d` ms | speed-up |",
        "|---|---|---|---:|---:|---:|",
    ]
    for row in [*best, *reversed(worst)]:
        lines.append(
            f"| {name_of(row)} | {row.what} | {FORMAT_NAMES[row.layout]} | {row.ms:.3g} | "
            f"{row.torch_ms:.3g} | {times(row.speedup)} |"
        )
    return "\n".join(lines)


def inexact(rows: list[Row]) -> str:
    """Which results have a larger error than nn.Conv2d's, and the worst of them."""
    found, measured = report.inexact(rows)
    if not measured:
        return ""
    count = f"{measured} results (output or a gradient of a layer, a memory format)"
    if not found:
        return f"None of the {count} has more than {report.ALLOWED} times the error of `nn.Conv2d`."
    lines = [
        f"Of the {count}, {len(found)} have more than {report.ALLOWED} times the error of "
        "`nn.Conv2d`. The worst:",
        "",
        "| layer | | memory format | error | of `nn.Conv2d` | ratio |",
        "|---|---|---|---:|---:|---:|",
    ]
    for it in found[:BEST_AND_WORST]:
        lines.append(
            f"| {name_of(it.row)} | {RESULTS[it.op]} | {FORMAT_NAMES[it.row.layout]} | "
            f"{it.error:.1e} | {it.torch_error:.1e} | {times(it.ratio)} |"
        )
    return "\n".join(lines)


def _one_per_layer(rows: Iterable[Row]) -> list[Row]:
    seen: dict[str, Row] = {}
    for row in rows:
        seen.setdefault(row.case, row)
    return list(seen.values())
