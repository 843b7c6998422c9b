"""``animate``: a convolution, one position of its window after the other."""

import math
import os
from pathlib import Path
from typing import Any

from torchconv.visualize import _movie, _theme
from torchconv.visualize._painter import Painter
from torchconv.visualize._sliding import slide

MOST_STEPS = 400


def animate(
    input: Any,
    kernel: Any,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    padding_mode: str = "zeros",
    transposed: bool = False,
    path: str | os.PathLike[str],
    theme: str = "light",
    seconds_per_step: float = 0.6,
) -> Path:
    r"""Draws how a convolution slides its window over the input, and writes it to a file.

    Each frame is one position: the input with its padding, the elements under the window (with
    gaps between them where it is dilated), the kernel, their products, the sum of these written
    out, and the output as far as it is known. The numbers are computed in float64 by
    :func:`torchconv.conv2d`; as everywhere in PyTorch, the kernel is not flipped.

    Args:
        input: numbers of shape ``(w,)``, ``(h, w)`` or ``(c, h, w)``: a tensor, an array or nested
            lists, of any real dtype.
        kernel: ``(s,)`` for an input ``(w,)``; otherwise ``(r, s)``, ``(c, r, s)`` or
            ``(k, c, r, s)`` for ``k`` output channels.
        stride: step of the window, an int or a pair ``(height, width)``.
        padding: elements added on each side, an int or a pair, or ``'valid'`` or ``'same'``.
        dilation: distance between the elements under the window, an int or a pair.
        padding_mode: what is added: ``'zeros'``, ``'reflect'``, ``'replicate'`` or ``'circular'``.
        transposed: draw the transposed convolution, as
            :func:`torch.nn.functional.conv_transpose2d` with this kernel as weight: of ``k``
            input channels it makes ``c``. It is shown as the convolution that it equals, with
            zeros between the values of the input and the kernel flipped.
        path: file to write, ``.gif``, ``.webp`` or, where ffmpeg is installed, ``.mp4``.
        theme: ``'light'`` or ``'dark'``.
        seconds_per_step: how long a position is shown; the last one three times as long.

    Returns:
        The path of the file.

    Raises:
        RuntimeError: sizes or values do not fit together, as in :func:`torchconv.conv2d`; or
            nothing can write this kind of file here.
        ValueError: more than 400 positions, or more than fits into 1200 x 900 pixels with numbers
            that can be read; an unknown ``padding_mode``, ``theme`` or kind of file.
        TypeError: an argument has a wrong type.

    Example:
        >>> import os, tempfile
        >>> image = [[0, 0, 9, 9]] * 4
        >>> edges = [[-1, 1], [-1, 1]]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = animate(image, edges, path=os.path.join(folder, "edges.gif"))
        ...     path.name, path.stat().st_size > 1000
        ('edges.gif', True)
    """
    target = Path(path)
    colours = _theme.find(theme, "animate")
    if not (seconds_per_step > 0 and math.isfinite(seconds_per_step)):
        raise ValueError(f"animate(): seconds_per_step must be positive, got {seconds_per_step}")
    _movie.check(target)
    sliding = slide(input, kernel, stride, padding, dilation, padding_mode, transposed)
    if len(sliding) > MOST_STEPS:
        size = " x ".join(map(str, sliding.output.shape))
        raise ValueError(
            f"animate(): an output of {size} takes {len(sliding)} steps, and at most {MOST_STEPS} "
            "can be drawn; show a smaller part, or use a larger stride"
        )
    painter = Painter(sliding, colours)
    _movie.write(painter.frames(), len(sliding), target, seconds_per_step, colours)
    return target
