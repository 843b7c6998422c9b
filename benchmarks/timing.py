"""What is made of times that were measured in turn; `torchconv._timing` measures pairs of them."""

from __future__ import annotations

import math


def geometric_mean(values) -> float:
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan
