"""A comparison as a table: drawn by rich where that is installed, else in columns of plain text."""

import io
import shutil
from typing import Any

from torchconv._compare.comparison import Comparison, LayerComparison

SHAPE = "input -> output, kernel"  # folded in a narrow terminal
TITLES = (
    "layer", SHAPE, "calls", "algorithm", "MACs", "bytes", "ms",
    "torch ms", "speed-up", "difference",
)  # fmt: skip
WORDS = {"layer", SHAPE, "algorithm"}  # aligned left, numbers right
ROOT = "(the model)"  # the name of a model that is a layer itself
WIDE = 1000  # characters, where the width of the terminal is not known


def text(comparison: Comparison) -> str:
    try:
        from rich.console import Console
    except ImportError:
        return "\n".join([*_plain(comparison), *_notes(comparison)])
    file = io.StringIO()
    width = shutil.get_terminal_size((WIDE, 0)).columns
    Console(file=file, width=width, color_system=None).print(comparison)
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip().splitlines())


def rich_group(comparison: Comparison) -> Any:
    from rich import box
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, 1), show_footer=True
    )
    for title, total in zip(TITLES, _totals(comparison), strict=True):
        align = "left" if title in WORDS else "right"
        table.add_column(title, total, justify=align, no_wrap=title != SHAPE)
    for row in comparison.rows:
        table.add_row(*map(escape, _cells(row)), style="" if row.speedup >= 1 else "yellow")
    return Group(*[table] * bool(comparison.rows), *map(escape, _notes(comparison)))


def _plain(comparison: Comparison) -> list[str]:
    if not comparison.rows:
        return []
    lines = [TITLES, *map(_cells, comparison.rows), _totals(comparison)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if title in WORDS else cell.rjust(width)
            for title, cell, width in zip(TITLES, cells, widths, strict=True)
        ).rstrip()
        for cells in lines
    ]


def _cells(row: LayerComparison) -> tuple[str, ...]:
    return (
        row.name or ROOT, row.shape, str(row.calls), row.algorithm, _short(row.macs),
        _short(row.bytes), f"{row.ms:.4g}", f"{row.torch_ms:.4g}", f"{row.speedup:.2f}x",
        f"{row.difference:.1e}",
    )  # fmt: skip


def _totals(comparison: Comparison) -> tuple[str, ...]:
    return (
        "all", "", str(comparison.calls), "", _short(comparison.macs), _short(comparison.bytes),
        f"{comparison.ms:.4g}", f"{comparison.torch_ms:.4g}", f"{comparison.speedup:.2f}x",
        f"{max((row.difference for row in comparison.rows), default=0.0):.1e}",
    )  # fmt: skip


def _short(number: float) -> str:
    """Three digits, such as ``118 M``."""
    for unit in ("", "k", "M"):
        if number < 999.5:
            return f"{number:.3g} {unit}".rstrip()
        number /= 1000
    return f"{number:.3g} G" if number < 999.5 else f"{number:.0f} G"


def _notes(comparison: Comparison) -> list[str]:
    lines = []
    if not comparison.rows:
        lines.append("no convolution was measured")
    lines.append(
        f"whole model: {comparison.model_ms:.4g} ms, of which convolutions "
        f"{comparison.convolution_share:.0%}; threads: {comparison.threads}"
    )
    lines += [f"left out {name or ROOT}: {reason}" for name, reason in comparison.left_out.items()]
    return lines
