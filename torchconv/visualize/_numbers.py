"""How the numbers of one panel are written: alike, short, and exact where they can be."""

import math
from collections.abc import Iterable

MINUS = "\N{MINUS SIGN}"


class Numbers:
    """Writes numbers with as few decimals as `values` need, and at most two if they reach 1.

    Whole numbers have no decimals; numbers below 1 have three digits, from 100 on there are fewer
    decimals. Very large and very small ones are written as ``1.2e7``. An exact zero is ``0``, so
    that it differs from what only rounds to it. `is_exact` tells whether nothing is rounded.

    >>> write = Numbers([0.5, 12.125, 0])
    >>> write(0.5), write(12.125), write(0), write.is_exact
    ('0.50', '12.12', '0', False)
    """

    def __init__(self, values: Iterable[float]):
        finite = [float(value) for value in values if math.isfinite(value)]
        largest = max(map(abs, finite), default=0.0)
        self.is_exact = all(value == round(value) for value in finite) and largest < 1e6
        self.decimals: int | None = 0
        if self.is_exact:
            return
        magnitude = math.floor(math.log10(largest))
        if not -3 <= magnitude < 5:
            self.decimals = None
            return
        most = max(0, 3 - magnitude if magnitude > 0 else 2 - magnitude)
        for self.decimals in range(most + 1):
            unit = 10.0**self.decimals
            self.is_exact = all(abs(v * unit - round(v * unit)) < 1e-9 * unit for v in finite)
            if self.is_exact:
                return

    def __call__(self, value: float) -> str:
        if math.isnan(value):
            return "nan"
        sign = MINUS if value < 0 else ""
        if math.isinf(value):
            return sign + "\N{INFINITY}"
        if value == 0:
            return "0"
        if self.decimals is None:
            mantissa, exponent = f"{abs(value):.1e}".split("e")
            exponent = f"{int(exponent)}".replace("-", MINUS)
            return f"{sign}{mantissa}e{exponent}"
        text = f"{abs(value):.{self.decimals}f}"
        return text if float(text) == 0 else sign + text

    def factor(self, value: float) -> str:
        """As above, in brackets if it has a sign: for use within a product or a sum."""
        text = self(value)
        return f"({text})" if text.startswith(MINUS) else text
