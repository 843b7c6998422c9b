"""``receptive_field``: the part of the image that one element of a layer's output depends on."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from torchconv.visualize import _field, _layers, _theme
from torchconv.visualize._field import Fields
from torchconv.visualize._field_trace import Pair, ReceptiveField
from torchconv.visualize._numbers import MINUS
from torchconv.visualize._theme import Theme

MOST_ROWS = 14  # of the table
GRID_UP_TO = 72  # pixels that are drawn one by one


def receptive_field(
    model: nn.Module,
    layer: str | nn.Module,
    *,
    image_size: int | tuple[int, int] | None = None,
    theme: str = "light",
) -> Figure:
    r"""Draws how much of the image one element of a layer's output sees.

    The element in the middle is drawn with what it sees through each layer with a window before
    it; dashed is the window of its neighbour below and to the right, one stride away. Size, stride
    and offset of every layer are listed, as :func:`compute_receptive_field` gives them.

    Args:
        model: any module that takes a batch of images ``(n, c, h, w)``.
        layer: its name as in ``model.named_modules()``, or the module.
        image_size: height and width of the image, an int or a pair; by default a little more than
            the element sees.
        theme: ``'light'`` or ``'dark'``.

    Raises:
        AttributeError: the model has no layer of that name.
        RuntimeError: the layer does not run.
        ValueError: as :func:`compute_receptive_field`; an unknown ``theme``.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.MaxPool2d(2))
        >>> receptive_field(model, "1", image_size=28).get_suptitle()
        '1 (MaxPool2d): receptive field 6 × 6, stride 2, offset 0'
    """
    colours = _theme.find(theme, "receptive_field")
    found = _field.fields(model, layer, image_size, "receptive_field")
    if image_size is None:
        height, width = (size + 4 * stride for size, stride in zip(*found.field[:2], strict=True))
    else:
        height, width = _field.image_size_of(image_size, "receptive_field")
    figure = _theme.new_figure(colours, 9.2, 4.6)
    picture, table = figure.subplots(1, 2, width_ratios=(1, 1.05))
    _draw_windows(picture, found, (height, width), colours)
    _draw_table(table, found, colours)
    title = (
        f"{_layers.title(found.layer)}: receptive field {_size(found.field.size)}, "
        f"stride {_same(found.field.stride)}, offset {_same(found.field.offset)}"
    )
    figure.suptitle(title, color=colours.ink, fontsize=11)
    return figure


def _draw_windows(axes: Axes, found: Fields, image: Pair, theme: Theme) -> None:
    height, width = image
    edge = theme.line if max(image) <= GRID_UP_TO else "none"
    axes.add_patch(Rectangle((0, 0), width, height, facecolor=theme.input, edgecolor=theme.line))
    if edge != "none":
        axes.hlines(range(1, height), 0, width, color=edge, linewidth=0.4)
        axes.vlines(range(1, width), 0, height, color=edge, linewidth=0.4)
    middle = (height / 2, width / 2)
    corners = [(0, 0), (height, width)]
    for i, (_, field) in enumerate([(found.layer, found.field), *reversed(found.path)]):
        unit = _nearest(field, middle)
        (top, left), (rows, columns) = _corner(field, unit), field.size
        if i == 0:
            middle = (top + rows / 2, left + columns / 2)
            below = _corner(field, (unit[0] + 1, unit[1] + 1))
            corners += [(top, left), (below[0] + rows, below[1] + columns)]
            place = Rectangle((below[1], below[0]), columns, rows, facecolor="none", linestyle="--")
            place.set(edgecolor=theme.current_edge, linewidth=1.2)
            axes.add_patch(place)
        fill = theme.window if i == 0 else "none"
        place = Rectangle((left, top), columns, rows, facecolor=fill, alpha=0.55)
        axes.add_patch(place)
        outline = Rectangle((left, top), columns, rows, facecolor="none")
        outline.set_edgecolor(theme.current_edge if i == 0 else theme.window_edge)
        outline.set_linewidth(2.2 if i == 0 else 1.0)
        axes.add_patch(outline)
    low = [min(corner[i] for corner in corners) - 0.5 for i in range(2)]
    high = [max(corner[i] for corner in corners) + 0.5 for i in range(2)]
    axes.set(xlim=(low[1], high[1]), ylim=(high[0], low[0]), aspect="equal")
    axes.set(xlabel="column", ylabel="row")
    axes.set_title(f"in an image of {_size(image)}", fontsize=10)
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.locator_params(integer=True)
    _theme.dress(axes, theme)


def _draw_table(axes: Axes, found: Fields, theme: Theme) -> None:
    axes.axis("off")
    rows = [*found.path, (found.layer, found.field)]
    if len(rows) > MOST_ROWS:
        step = (len(rows) - 1) / (MOST_ROWS - 1)
        rows = [rows[round(i * step)] for i in range(MOST_ROWS)]
        axes.set_title(f"{MOST_ROWS} of {len(found.path) + 1} layers", fontsize=10)
        axes.title.set_color(theme.ink)
    cells = [
        [_short(layer.name), _size(field.size), _same(field.stride), _same(field.offset)]
        for layer, field in rows
    ]
    table = axes.table(
        cells,
        colLabels=["layer", "size", "stride", "offset"],
        colWidths=[0.4, 0.26, 0.17, 0.17],
        cellLoc="left",
        colLoc="left",
        loc="center",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.25)
    for (row, _), cell in table.get_celld().items():
        cell.set(facecolor=theme.page, edgecolor=theme.line, linewidth=0.6)
        cell.visible_edges = "B"
        last = row == len(rows)
        cell.get_text().set(
            color=theme.muted if row == 0 else theme.ink, fontweight="bold" if last else "normal"
        )


def _nearest(field: ReceptiveField, middle: tuple[float, float]) -> Pair:
    """The unit whose window has its middle nearest to that point; no unit has a negative index."""
    rows, columns = (
        max(0, round((middle[i] - field.size[i] / 2 - field.offset[i]) / field.stride[i]))
        for i in range(2)
    )
    return rows, columns


def _corner(field: ReceptiveField, unit: Pair) -> Pair:
    top, left = (field.offset[i] + unit[i] * field.stride[i] for i in range(2))
    return top, left


def _short(name: str) -> str:
    return name if len(name) <= 22 else "…" + name[-21:]


def _size(pair: Pair) -> str:
    return f"{pair[0]} × {pair[1]}"


def _same(pair: Pair) -> str:
    """One number where both are alike."""
    texts = [f"{number}".replace("-", MINUS) for number in pair]
    return texts[0] if texts[0] == texts[1] else ", ".join(texts)
