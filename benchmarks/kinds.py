"""The classes of layers that rows are averaged over."""

from __future__ import annotations

from tests.cases import Conv2dCase


def kind_of(case: Conv2dCase) -> str:
    """The class of a layer, by what decides its speed."""
    if case.groups > 1:
        if case.groups == case.c:
            return "depthwise" if case.r * case.s <= 9 else "depthwise large"
        return "grouped"
    if case.c <= 4:
        return "few channels"
    if case.r * case.s == 1:
        return "1x1"
    if case.dilation != (1, 1):
        return "dilated"
    if case.stride != (1, 1):
        return "strided"
    return "3x3" if (case.r, case.s) == (3, 3) else "other kernel"
