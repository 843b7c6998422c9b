"""The colours of all pictures, on a light and on a dark page."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.typing import ColorType as Colour


@dataclass(frozen=True)
class Theme:
    """Colours as ``#rrggbb``: blue for the input, orange for the kernel, green for the output."""

    page: str
    ink: str
    muted: str
    line: str
    input: str
    window: str
    window_edge: str
    padding: str
    kernel: str
    kernel_edge: str
    output: str
    current: str
    current_edge: str
    series: tuple[str, ...]
    negative: str
    positive: str
    low: str
    high: str

    @property
    def diverging(self) -> Colormap:
        """From negative through the colour of the page, which is 0, to positive."""
        colours = [self.negative, self.page, self.positive]
        return LinearSegmentedColormap.from_list("torchconv_diverging", colours)

    @property
    def sequential(self) -> Colormap:
        """From 0 to the largest value."""
        return LinearSegmentedColormap.from_list("torchconv_sequential", [self.low, self.high])


THEMES = {
    "light": Theme(
        page="#ffffff",
        ink="#1f2328",
        muted="#656d76",
        line="#b6bcc4",
        input="#dcebfd",
        window="#8ec1fb",
        window_edge="#1456b8",
        padding="#f0f1f3",
        kernel="#fde3bd",
        kernel_edge="#a8540a",
        output="#d3f0da",
        current="#7ddc95",
        current_edge="#14713a",
        series=("#1f5fa8", "#d9660f", "#2f8f4e", "#8a4fb0"),
        negative="#1c56a6",
        positive="#b3261e",
        low="#f3f6fa",
        high="#1c4f99",
    ),
    "dark": Theme(
        page="#0d1117",
        ink="#e6edf3",
        muted="#98a2ad",
        line="#48515c",
        input="#14304f",
        window="#2163b5",
        window_edge="#8cc4ff",
        padding="#1b2129",
        kernel="#56370f",
        kernel_edge="#f2ab55",
        output="#12402a",
        current="#217a41",
        current_edge="#86ea9d",
        series=("#6cb0f5", "#f29a4a", "#63c681", "#c193e6"),
        negative="#58a6ff",
        positive="#ff7b62",
        low="#161d27",
        high="#9fd0ff",
    ),
}


def find(name: str, function: str) -> Theme:
    """The theme of that name; ValueError if there is none."""
    try:
        return THEMES[name]
    except (KeyError, TypeError):
        raise ValueError(
            f"{function}(): theme must be one of {', '.join(map(repr, THEMES))}, but got {name!r}"
        ) from None


def contrast(one: Colour, other: Colour) -> float:
    """The contrast of two colours, from 1 to 21, as WCAG 2 defines it."""
    levels = []
    for colour in (one, other):
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
        )
        levels.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(levels) + 0.05) / (min(levels) + 0.05)


def clearest(inks: Sequence[str], behind: Colour) -> str:
    """The one of several colours that can be read best on another one."""
    return max(inks, key=lambda ink: contrast(ink, behind))


def new_figure(theme: Theme, width: float, height: float) -> Figure:
    """An empty figure of that many inches, on the page's colour."""
    return Figure(figsize=(width, height), layout="constrained", facecolor=theme.page)


def dress(axes: Axes, theme: Theme) -> None:
    """Gives axes the colours of the theme; those of their texts and ticks, too."""
    axes.set_facecolor(theme.page)
    axes.tick_params(which="both", colors=theme.ink)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_color(theme.ink)
    for spine in axes.spines.values():
        spine.set_color(theme.line)
    legend = axes.get_legend()
    if legend:
        legend.get_frame().set(facecolor=theme.page, edgecolor=theme.line)
        for text in legend.get_texts():
            text.set_color(theme.ink)
