"""Pictures of a training run: loss and accuracy curves, and what the first layer has learned."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib import ticker
from matplotlib.figure import Figure
from torch import Tensor

from examples.checkpoint import atomic_file

COLOURS = ("#1f5fa8", "#e8853a")


def draw_curves(records: list[dict[str, Any]], names: dict[str, str], path: Path) -> None:
    """Loss of every step (faint) and averages of every epoch; `names` labels the convolutions.

    The first convolution is drawn as a wide line, so that a second one that follows it exactly
    leaves both to be seen.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    convs = list(dict.fromkeys(record["conv"] for record in records))
    for i, conv in enumerate(convs):
        steps, epochs = (
            [r for r in records if r["conv"] == conv and r["kind"] == kind]
            for kind in ("step", "epoch")
        )
        wide = len(convs) == 2 and i == 0
        look = {"color": COLOURS[i], "linewidth": 5 if wide else 1.8, "alpha": 0.45 if wide else 1}
        per_epoch = epochs[0]["step"]
        when = [r["step"] / per_epoch for r in steps]
        axes[0].plot(when, [r["loss"] for r in steps], color=COLOURS[i], linewidth=0.5, alpha=0.3)
        for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
            for part, style in (("train", ".--"), ("test", ".-")):
                values = [r[f"{part}_{quantity}"] for r in epochs]
                label = f"{names[conv]}, {part}"
                axis.plot([r["epoch"] for r in epochs], values, style, label=label, **look)
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        axis.set(title=quantity, xlabel="epoch", xlim=(0, None))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter(ticker.NullFormatter())
    axes[1].set_ylim(None, 1.01)
    axes[1].yaxis.set_major_formatter(ticker.PercentFormatter(1))
    axes[1].legend()
    _write(figure, path)


def draw_filters(layers: dict[str, Tensor], path: Path) -> None:
    """The filters of one layer per network, each [k, c, r, s].

    Filters over three channels are shown in colour, scaled one by one; others channel by channel,
    white for 0, red for positive and blue for negative weights.
    """
    tiles = {name: _tiles(weight.float().cpu()) for name, weight in layers.items()}
    columns = min(16, max(map(len, tiles.values())))
    rows = {name: -(-len(tile) // columns) for name, tile in tiles.items()}
    height = 0.75 * sum(rows.values()) + 0.45 * len(rows)
    figure = plt.figure(figsize=(max(0.75 * columns, 3.5), height), layout="constrained")
    parts = figure.subfigures(len(tiles), 1, squeeze=False, height_ratios=list(rows.values()))
    for part, (name, images) in zip(parts[:, 0], tiles.items(), strict=True):
        part.suptitle(f"first layer of the network with {name}", fontsize=10)
        axes = part.subplots(rows[name], columns, squeeze=False).ravel()
        for axis in axes:
            axis.axis("off")
        for axis, image in zip(axes, images, strict=False):
            limit = float(image.abs().max()) or 1.0
            axis.imshow(image.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
    _write(figure, path)


def _tiles(weight: Tensor) -> list[Tensor]:
    """[k, c, r, s] -> images [r, s, 3] in 0..1 for c = 3, else k * c images [r, s]."""
    if weight.shape[1] != 3:
        return list(weight.flatten(0, 1))
    low, high = weight.amin((1, 2, 3), True), weight.amax((1, 2, 3), True)
    return list(((weight - low) / (high - low).clamp_min(1e-12)).permute(0, 2, 3, 1))


def _write(figure: Figure, path: Path) -> None:
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
