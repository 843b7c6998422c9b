"""Shows lines of the source code as it is in this repository."""

from __future__ import annotations

import re

from gallery.inside.levels import ROOT


def excerpt(path: str, first: str, last: str) -> str:
    """The lines of a file from the first that matches `first` to the next that matches `last`.

    Raises:
        ValueError: there are no such lines any more.
    """
    lines = (ROOT / path).read_text().splitlines()
    begin = next((i for i, line in enumerate(lines) if re.search(first, line)), None)
    if begin is not None:
        for end in range(begin, len(lines)):
            if re.search(last, lines[end]):
                return "\n".join(lines[begin : end + 1])
    raise ValueError(f"{path} has no lines from {first!r} to {last!r}")


def constant(path: str, name: str) -> int:
    """The value of `name = <integer>` or `name = <integer> << <integer>` in a file.

    Raises:
        ValueError: it is not there.
    """
    found = re.search(rf"\b{name} = (\d+)(?: << (\d+))?", (ROOT / path).read_text())
    if not found:
        raise ValueError(f"{path} has no constant {name}")
    return int(found[1]) << int(found[2] or 0)
