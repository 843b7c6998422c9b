"""A layer as a line of text, from which it can be measured again.

For example `n=8 c=64 h=56 w=57 k=64 r=1 s=7 padding=0,3 bias`. Stride, padding, dilation and groups
are left out where they are those of nn.Conv2d(c, k, (r, s)), and are one number where both
directions have the same. `first` says that the input needs no gradient, as in the first layer of a
network.
"""

from __future__ import annotations

from dataclasses import replace

from tests.cases import Conv2dCase, case

SIZES = ("n", "c", "h", "w", "k", "r", "s")
PAIRS = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}  # with what is left out


def as_text(layer: Conv2dCase) -> str:
    words = [f"{name}={getattr(layer, name)}" for name in SIZES]
    pairs = layer.stride, layer.torch_padding, layer.dilation
    for (name, usual), (rows, columns) in zip(PAIRS.items(), pairs, strict=True):
        if (rows, columns) != usual:
            words.append(f"{name}={rows}" if rows == columns else f"{name}={rows},{columns}")
    words += [f"groups={layer.groups}"] * (layer.groups > 1)
    words += ["bias"] * layer.bias + ["first"] * ("first" in layer.tags)
    return " ".join(words)


def from_text(text: str) -> Conv2dCase:
    """The layer, whose name is its text. Raises ValueError with what is wrong."""
    values: dict[str, str] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if bool(value) == (name in ("bias", "first")):
            raise ValueError(f"{word!r} in {text!r} is neither a number nor bias nor first")
        values[name] = value
    bias, first = (values.pop(name, None) is not None for name in ("bias", "first"))
    if missing := [name for name in SIZES if name not in values]:
        raise ValueError(f"{text!r} has no {', '.join(missing)}")
    n, c, h, w, k, r, s = (int(values.pop(name)) for name in SIZES)
    groups = int(values.pop("groups", "1"))
    pairs = {name: _pair(values.pop(name, None), usual) for name, usual in PAIRS.items()}
    if values:
        raise ValueError(f"{text!r} has unknown {', '.join(values)}")
    numbers = (n, c, h, w, k, r, s, groups, *pairs["stride"], *pairs["dilation"])
    if min(*numbers, 1 + min(pairs["padding"])) < 1 or c % groups or k % groups:
        raise ValueError(f"{text!r} is no layer")
    layer = case(
        "", n, c, (h, w), k, (r, s), **pairs, groups=groups, bias=bias,
        tags="first" if first else "",
    )  # fmt: skip
    if layer.p < 1 or layer.q < 1:
        raise ValueError(f"{text!r} has no output")
    return replace(layer, name=as_text(layer))


def _pair(text: str | None, usual: tuple[int, int]) -> tuple[int, int]:
    if text is None:
        return usual
    rows, _, columns = text.partition(",")
    return int(rows), int(columns or rows)
