"""The sums of an animation, written out: every product where there is room, else sums of them."""

from collections.abc import Callable

from torch import Tensor

from torchconv.visualize._numbers import Numbers
from torchconv.visualize._sliding import Sliding, Step

Lines = list[str]
Terms = Callable[[Step], list[str]]


def write_sums(
    sliding: Sliding,
    numbers: dict[str, Numbers],
    fits: Callable[[str], bool],
    most_lines: int,
) -> list[Lines]:
    """For each step the lines of ``output[0, 2] = 1×3 + 2×(−1) + ... = 19``.

    All steps are written alike, in the first way in which each `fits` into `most_lines`: with every
    product, with the sum of each row of products, or with that of each channel; else with the
    total alone. ``≈`` says that a number in the sum is rounded.
    """
    steps = list(sliding.steps())
    for note, terms, is_exact in (
        _products(numbers),
        _partial_sums(", row by row,", steps, lambda products: products.sum(-1)),
        _partial_sums(", channel by channel,", steps, lambda products: products.sum((-1, -2))),
    ):
        equals = "=" if is_exact and numbers["output"].is_exact else "≈"
        written = []
        for step in steps:
            total = f"{equals} {numbers['output'](step.total)}"
            written.append(_wrap(f"{_place(sliding, step)}{note} =", terms(step), total, fits))
            if len(written[-1]) > most_lines:
                break
        else:
            return written
    return [[f"{_place(sliding, step)} = {numbers['output'](step.total)}"] for step in steps]


def _products(numbers: dict[str, Numbers]) -> tuple[str, Terms, bool]:
    value, weight = numbers["input"], numbers["kernel"]

    def terms(step: Step) -> list[str]:
        pairs = zip(step.values.flatten().tolist(), step.weights.flatten().tolist(), strict=True)
        return [f"{value.factor(a)}×{weight.factor(b)}" for a, b in pairs]

    return "", terms, value.is_exact and weight.is_exact


def _partial_sums(
    note: str, steps: list[Step], add: Callable[[Tensor], Tensor]
) -> tuple[str, Terms, bool]:
    sums = Numbers(value for step in steps for value in add(step.products).flatten().tolist())

    def terms(step: Step) -> list[str]:
        return [sums.factor(value) for value in add(step.products).flatten().tolist()]

    return note, terms, sums.is_exact


def _wrap(start: str, terms: list[str], total: str, fits: Callable[[str], bool]) -> Lines:
    lines = [start]
    for word in [terms[0], *(f"+ {term}" for term in terms[1:]), total]:
        if fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(f"    {word}")
    return lines


def _place(sliding: Sliding, step: Step) -> str:
    """The element of the output, as Python would index it."""
    indices = [step.filter] if sliding.output.shape[0] > 1 else []
    indices += [step.row, step.column][-sliding.dims :]
    return f"output[{', '.join(map(str, indices))}]"
