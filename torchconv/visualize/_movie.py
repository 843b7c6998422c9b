"""Writes frames as an animated GIF or WebP with Pillow, or as an MP4 with ffmpeg."""

import io
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, features

from torchconv.visualize._theme import Theme

HOLD = 3  # how many times as long as the others the last frame is shown
SHADES = 6  # from the colour of a letter to that of what is behind it, in a GIF
SUFFIXES = (".gif", ".webp", ".mp4")


def check(path: Path) -> None:
    """Raises an error, before anything is drawn, if no such file can be written."""
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"animate(): path must end in {', '.join(SUFFIXES)}, but got {str(path)!r}"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"animate(): there is no directory {str(path.parent)!r} for {path}")
    if path.suffix == ".webp" and not features.check("webp"):
        raise RuntimeError("animate(): this Pillow was built without WebP; write a .gif instead")
    if path.suffix == ".mp4":
        from matplotlib.animation import FFMpegWriter

        if not FFMpegWriter.isAvailable():
            raise RuntimeError(
                "animate(): writing .mp4 needs the program ffmpeg on the PATH (Debian: apt-get "
                "install ffmpeg); write a .gif or .webp instead"
            )


def write(
    frames: Iterator[Image.Image], count: int, path: Path, seconds: float, theme: Theme
) -> None:
    """Writes `count` frames of one size; the last one stays longer."""
    if path.suffix == ".mp4":
        _write_video(frames, path, seconds)
        return
    milliseconds = round(1000 * seconds)
    duration = [milliseconds] * (count - 1) + [HOLD * milliseconds]
    options = {"save_all": True, "duration": duration, "loop": 0}
    if path.suffix == ".gif":
        frames = _few_colours(frames, theme)
        options["optimize"] = True  # keeps of each frame what differs from the one before
    else:
        options["lossless"] = True
    first = next(frames)
    file = io.BytesIO()  # so that an error leaves no half of a file behind
    first.save(file, format=path.suffix[1:], append_images=frames, **options)
    path.write_bytes(file.getvalue())


def _few_colours(frames: Iterator[Image.Image], theme: Theme) -> Iterator[Image.Image]:
    """The frames in one palette: the flat colours, and the shades at the edges of letters."""
    plain = [theme.line, theme.window_edge, theme.kernel_edge, theme.current_edge]
    colours = [ImageColor.getrgb(colour) for colour in plain]
    fills = (theme.page, theme.input, theme.window, theme.kernel, theme.output, theme.current)
    pairs = [(theme.ink, fill) for fill in fills]
    pairs += [(theme.muted, fill) for fill in (theme.page, theme.padding)]
    for letter, fill in pairs:
        ends = [ImageColor.getrgb(colour) for colour in (letter, fill)]
        for i in range(SHADES):
            share = i / (SHADES - 1)
            colours.append(tuple(round(a + (b - a) * share) for a, b in zip(*ends, strict=True)))
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in dict.fromkeys(colours) for value in colour])
    for frame in frames:
        yield frame.quantize(palette=palette, dither=Image.Dither.NONE)


def _write_video(frames: Iterator[Image.Image], path: Path, seconds: float) -> None:
    from matplotlib.animation import FFMpegWriter
    from matplotlib.figure import Figure

    dpi = 100
    first = next(frames)
    figure = Figure(figsize=(first.width / dpi, first.height / dpi), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    shown = axes.imshow(first, interpolation="nearest")
    # matplotlib annotates whole frames per second; ffmpeg takes parts of one, too.
    rate: Any = 1 / seconds
    writer = FFMpegWriter(fps=rate, extra_args=["-pix_fmt", "yuv420p"])
    with writer.saving(figure, str(path), dpi):
        for frame in chain([first], frames):
            shown.set_data(np.asarray(frame))
            writer.grab_frame()
        for _ in range(HOLD - 1):
            writer.grab_frame()
