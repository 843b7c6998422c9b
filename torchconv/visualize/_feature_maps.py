"""``feature_maps``: what the layers of a model make of one image."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure, SubFigure
from torch import Tensor, nn

from torchconv.visualize import _layers, _mosaic, _theme
from torchconv.visualize._layers import Named
from torchconv.visualize._theme import Theme

MOST_MAPS = 16
COLUMNS = 8
WIDTH = 8.0  # inches


def feature_maps(
    model: nn.Module,
    image: Tensor,
    layers: Sequence[str | nn.Module] | str | nn.Module | None = None,
    *,
    theme: str = "light",
) -> Figure:
    r"""Draws the image and the maps that layers of a model make of it.

    The model runs once, in evaluation mode and without gradients, and is left as it was. The maps
    of a layer share one scale, which its colour bar tells; of more than 16 maps the first 16 are
    shown.

    Args:
        model: any module that takes a batch ``(1, c, h, w)``.
        image: ``(c, h, w)`` or ``(1, c, h, w)``, of the model's dtype and device.
        layers: names as in ``model.named_modules()``, or the modules themselves; by default every
            :class:`torch.nn.Conv2d`.
        theme: ``'light'`` or ``'dark'``.

    Raises:
        AttributeError: the model has no layer of a name.
        ValueError: a layer is not part of the model; there is no layer to draw; ``image`` is not
            one image; an unknown ``theme``.
        RuntimeError: a layer does not run, or gives no maps ``(1, k, p, q)``; whatever the model
            raises.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
        >>> figure = feature_maps(model, torch.rand(1, 12, 12), layers=["0", "1"])
        >>> [part.get_suptitle() for part in figure.subfigs]
        ['image 1 × 12 × 12', '0 (Conv2d): 4 maps of 10 × 10', '1 (ReLU): 4 maps of 10 × 10']
    """
    colours = _theme.find(theme, "feature_maps")
    batch = _batch(image)
    chosen = _chosen(model, layers)
    results = []
    for layer, output in zip(chosen, _layers.outputs(model, batch, chosen), strict=True):
        if output is None or output.dim() != 4 or output.numel() == 0:
            got = "no tensor" if output is None else f"an output of size {list(output.shape)}"
            raise RuntimeError(
                f"feature_maps(): expected maps (1, k, p, q) from {_layers.title(layer)}, "
                f"but got {got}"
            )
        results.append(output[0].double().cpu().numpy())
    return _draw(batch[0], chosen, results, colours)


def _batch(image: Tensor) -> Tensor:
    if not isinstance(image, Tensor):
        raise TypeError(f"feature_maps(): image must be a Tensor, got {type(image).__name__}")
    batch = image[None] if image.dim() == 3 else image
    if batch.dim() != 4 or len(batch) != 1:
        raise ValueError(
            "feature_maps(): expected one image (c, h, w) or (1, c, h, w), "
            f"but got {list(image.shape)}"
        )
    return batch


def _chosen(model: nn.Module, layers: Sequence[str | nn.Module] | str | nn.Module | None):
    if isinstance(layers, (str, nn.Module)):
        layers = [layers]
    if layers is None:
        layers = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if not layers:
        raise ValueError(
            "feature_maps(): there is no layer to draw: layers is empty, or None for "
            "a model without nn.Conv2d"
        )
    return [_layers.find(model, layer, "feature_maps") for layer in layers]


def _draw(image: Tensor, layers: list[Named], maps: list[np.ndarray], theme: Theme) -> Figure:
    columns = min(COLUMNS, max(map(len, maps)))
    heights = [1.9]
    for some in maps:
        rows, aspect = math.ceil(min(len(some), MOST_MAPS) / columns), some.shape[1] / some.shape[2]
        heights.append(0.55 + rows * (WIDTH - 1) / max(columns, 3) * aspect)
    figure = _theme.new_figure(theme, WIDTH, sum(heights))
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _draw_image(parts[0], image, theme)
    for part, layer, some in zip(parts[1:], layers, maps, strict=True):
        _draw_maps(part, layer, some, columns, theme)
    return figure


def _draw_image(part: SubFigure, image: Tensor, theme: Theme) -> None:
    part.set_facecolor(theme.page)
    size = " × ".join(map(str, image.shape))
    part.suptitle(f"image {size}", color=theme.ink, fontsize=10)
    axes = part.add_subplot()
    axes.axis("off")
    pixels = image.detach().double().cpu()
    pixels = torch.nan_to_num(pixels)
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 1):  # normalised images, and those of 0..255
        pixels = (pixels - low) / torch.where(high > low, high - low, 1.0)
    if len(pixels) == 3:
        axes.imshow(pixels.permute(1, 2, 0).numpy(), interpolation="nearest")
    else:
        scale = {"cmap": "gray", "vmin": 0, "vmax": 1}
        axes.imshow(pixels[0].numpy(), interpolation="nearest", **scale)


def _draw_maps(part: SubFigure, layer: Named, maps: np.ndarray, columns: int, theme: Theme) -> None:
    k, p, q = maps.shape
    shown = maps[:MOST_MAPS]
    rest = f"; here the first {MOST_MAPS}" if k > MOST_MAPS else ""
    title = f"{_layers.title(layer)}: {k} map{'s' if k > 1 else ''} of {p} × {q}{rest}"
    part.set_facecolor(theme.page)
    part.suptitle(title, color=theme.ink, fontsize=10)
    finite = shown[np.isfinite(shown)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    if low >= 0:
        scale = {"cmap": theme.sequential, "vmin": 0, "vmax": high or 1.0}
    else:
        limit = max(-low, high)
        scale = {"cmap": theme.diverging, "vmin": -limit, "vmax": limit}
    axes = part.add_subplot()
    mosaic = _mosaic.draw(axes, shown, columns, theme, **scale)
    _theme.dress(axes, theme)
    bar = part.colorbar(mosaic.image, ax=axes, fraction=0.02, pad=0.01, aspect=12)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_edgecolor(theme.line)
    _theme.dress(bar.ax, theme)
