"""``filters``: the weights of a layer as images."""

import math

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from torchconv.visualize import _mosaic, _theme
from torchconv.visualize._theme import Theme

MOST = 64  # filters of one channel or in colour
MOST_BY_CHANNEL = 32  # filters, and channels, where each filter has a row of them
TILE = 0.62  # inches, the longer side of a filter
LARGEST = (10.0, 8.0)  # inches, width and height of all filters together


def filters(layer: nn.Module | Tensor, *, theme: str = "light") -> Figure:
    r"""Draws the filters of a convolution.

    Filters over three channels are shown in colour, each scaled to its own range. All others are
    shown channel by channel on one scale, given by the colour bar: 0 has the colour of the page.
    At most the first 64 filters are shown (32 filters and 32 channels, if they have several), and
    the title says so.

    Args:
        layer: a module with a ``weight`` of shape ``(k, c, r, s)`` or ``(k, c, s)``, such as
            :class:`torchconv.Conv2d`, or such a tensor, of any floating dtype and device.
        theme: ``'light'`` or ``'dark'``.

    Raises:
        TypeError: the layer has no weight.
        ValueError: its weight is not 3- or 4-dimensional or is empty; an unknown ``theme``.

    Example:
        >>> import torch
        >>> figure = filters(torch.nn.Conv2d(1, 6, kernel_size=5))
        >>> figure.get_suptitle()
        '6 filters of 5 × 5'
    """
    colours = _theme.find(theme, "filters")
    weight = _weight(layer)
    k, c, r, s = weight.shape
    shown = weight[:MOST] if c in (1, 3) else weight[:MOST_BY_CHANNEL, :MOST_BY_CHANNEL]
    figure = _in_colour(shown, colours) if c == 3 else _by_channel(shown, colours)
    size = f"{r} × {s}" if c == 1 else f"{c} × {r} × {s}"
    title = f"{k} filter{'s' if k > 1 else ''} of {size}"
    parts = [f"filters 0 to {len(shown) - 1}"] if len(shown) < k else []
    if shown.shape[1] < c:
        parts.append(f"channels 0 to {shown.shape[1] - 1}")
    if parts:
        title += f"; here {', '.join(parts)}"
    figure.suptitle(title, color=colours.ink, fontsize=11)
    return figure


def _weight(layer: nn.Module | Tensor) -> Tensor:
    weight = layer if isinstance(layer, Tensor) else getattr(layer, "weight", None)
    if not isinstance(weight, Tensor):
        raise TypeError(f"filters(): {type(layer).__name__} has no weight to draw")
    if weight.dim() == 3:
        weight = weight[:, :, None]
    if weight.dim() != 4 or weight.numel() == 0:
        raise ValueError(
            "filters(): expected a weight of shape (k, c, r, s) or (k, c, s), "
            f"but got {list(weight.shape)}"
        )
    return weight.detach().cpu().double()


def _in_colour(weight: Tensor, theme: Theme) -> Figure:
    _, _, r, s = weight.shape
    low, high = weight.amin((1, 2, 3), True), weight.amax((1, 2, 3), True)
    scaled = (weight - low) / torch.where(high > low, high - low, 1.0)
    columns = _columns(len(weight))
    figure, axes = _tiled(theme, len(weight), columns, (r, s))
    mosaic = _mosaic.draw(axes, scaled.permute(0, 2, 3, 1).numpy(), columns, theme)
    _number_tiles(axes, mosaic, theme)
    return figure


def _by_channel(weight: Tensor, theme: Theme) -> Figure:
    k, c, r, s = weight.shape
    columns = _columns(k) if c == 1 else c
    figure, axes = _tiled(theme, k * c, columns, (r, s), beside=0.9, below=0.0 if c == 1 else 0.2)
    finite = weight[weight.isfinite()]
    limit = (float(finite.abs().max()) if len(finite) else 0.0) or 1.0
    scale = {"cmap": theme.diverging, "vmin": -limit, "vmax": limit}
    mosaic = _mosaic.draw(axes, weight.flatten(0, 1).numpy(), columns, theme, **scale)
    if c == 1:
        _number_tiles(axes, mosaic, theme)
    else:
        axes.set(xlabel="channel", ylabel="filter")
        for axis, middles in ((axes.xaxis, mosaic.x), (axes.yaxis, mosaic.y)):
            every = math.ceil(len(middles) / 16)
            axis.set_ticks(middles[::every], [str(i) for i in range(0, len(middles), every)])
        axes.tick_params(length=0, labelsize=8)
        _theme.dress(axes, theme)
    width, height = figure.get_size_inches()
    shrink = min(1.0, 2.5 / height)
    bar = figure.colorbar(
        mosaic.image, ax=axes, fraction=0.13 / width, pad=0.1 / width, shrink=shrink, aspect=14
    )
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_edgecolor(theme.line)
    _theme.dress(bar.ax, theme)
    return figure


def _columns(count: int) -> int:
    """As many as make a picture that is a little wider than high."""
    return count if count <= 6 else math.ceil(math.sqrt(1.6 * count))


def _tiled(
    theme: Theme,
    tiles: int,
    columns: int,
    size: tuple[int, int],
    beside: float = 0.0,
    below: float = 0.0,
) -> tuple[Figure, Axes]:
    """A figure with axes for tiles of r x s weights, and inches for what is beside and below."""
    rows = math.ceil(tiles / columns)
    high, wide = (side / max(size) for side in size)  # in tiles
    high, wide = rows * (high + _mosaic.GAP), columns * (wide + _mosaic.GAP)
    inches = min(TILE, LARGEST[0] / wide, LARGEST[1] / high)
    width = max(2.8, wide * inches + 0.5 + beside)
    figure = _theme.new_figure(theme, width, max(1.4, high * inches + 0.7 + below))
    axes = figure.add_subplot()
    _theme.dress(axes, theme)
    return figure, axes


def _number_tiles(axes: Axes, mosaic: _mosaic.Mosaic, theme: Theme) -> None:
    """Each tile is number (of its row) + (of its column); a single row needs no sum."""
    columns, rows = len(mosaic.x), len(mosaic.y)
    sign = "+" if rows > 1 else ""
    axes.set_xticks(mosaic.x, [f"{sign}{i}" for i in range(columns)])
    if rows > 1:
        axes.set_yticks(mosaic.y, [str(i * columns) for i in range(rows)])
    axes.tick_params(length=0, labelsize=8)
    _theme.dress(axes, theme)
