"""The chapters of the gallery and their pages, in the order in which they are read."""

from __future__ import annotations

from pathlib import Path

CHAPTERS = {
    "what": [
        "plot_pattern",
        "plot_flip",
        "plot_sliding",
        "plot_output_size",
        "plot_numbers",
        "plot_edges",
        "plot_photograph",
        "plot_learned_filter",
        "plot_channels",
        "plot_parameters",
        "plot_translation",
    ],
    "layers": [
        "plot_choosing",
        "plot_complexity",
        "plot_activations",
        "plot_pooling",
        "plot_feature_maps",
        "plot_networks",
        "plot_channels_last",
        "plot_exercises",
    ],
    "inside": [
        "plot_reference",
        "plot_packing",
        "plot_vectors",
        "plot_threads",
        "plot_same_bits",
        "plot_gpu",
    ],
}


def order(filename: str) -> tuple[int, str]:
    """The key by which Sphinx-Gallery sorts the pages of a chapter."""
    name = Path(filename).stem
    for pages in CHAPTERS.values():
        if name in pages:
            return pages.index(name), name
    raise ValueError(f"{filename} is in no chapter of {__file__}")
