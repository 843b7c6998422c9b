"""Puts the pictures of torchconv.visualize into pages: figures and files that a variable holds.

Sphinx-Gallery sees the figures of pyplot by itself; those of torchconv.visualize belong to nobody
but the script, and an animation is a file. This scraper comes before that of pyplot, which closes
its figures.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

ANIMATIONS = {".gif", ".webp"}


class _Scraper:
    """What a page has shown already is not shown again."""

    def __init__(self) -> None:
        self._page = ""
        self._seen: list[Any] = []

    def __repr__(self) -> str:  # written into the configuration that Sphinx compares
        return "scraper of torchconv.visualize"

    def __call__(self, block, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
        if block_vars["src_file"] != self._page:
            self._page, self._seen = block_vars["src_file"], []
        self._seen += map(plt.figure, plt.get_fignums())
        pictures = []
        for value in block_vars["example_globals"].values():
            if _is_picture(value) and not any(value is seen for seen in self._seen):
                self._seen.append(value)
                pictures.append(_copy(value, Path(next(block_vars["image_path_iterator"]))))
        return figure_rst(pictures, gallery_conf["src_dir"])


def _is_picture(value: Any) -> bool:
    if isinstance(value, Path):
        return value.suffix in ANIMATIONS and value.exists()
    return isinstance(value, Figure)


def _copy(picture: Figure | Path, to: Path) -> str:
    """Under the name that the page will link; the path that was written."""
    if isinstance(picture, Figure):
        picture.savefig(to, dpi=100, facecolor=picture.get_facecolor())
    else:
        to = to.with_suffix(picture.suffix)
        shutil.copyfile(picture, to)
    return str(to)


_SCRAPER = _Scraper()  # Sphinx-Gallery asks for it again at every block of a page


def _get_sg_image_scraper() -> _Scraper:
    return _SCRAPER
