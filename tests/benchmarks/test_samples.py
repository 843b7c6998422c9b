"""The benchmark of gradients of single samples prints a row of ratios for each layer."""

import re

from benchmarks.samples import KINDS, line, measured
from tests.cases import case


def test_a_row():
    turns = measured(case("layer", 3, 4, 6, 5, 3), channels_last=True, budget=0)
    row = line("layer", turns)
    ratios = re.findall(r"([\d.]+) \(([\d.]+)\.\.([\d.]+)\)", row)
    assert row.startswith("layer ") and len(ratios) == len(KINDS)
    assert all(float(low) <= float(middle) <= float(high) for middle, low, high in ratios)
