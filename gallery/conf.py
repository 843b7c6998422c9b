"""How the gallery is built: `make gallery`, or `sphinx-build -W gallery gallery/_build/html`.

Sphinx-Gallery runs every script `<chapter>/plot_*.py`, puts what it prints and draws between its
texts, and offers it as a notebook. A page whose assertion fails stops the build.
"""

import logging
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])  # for the processes that pages start

from chapters import CHAPTERS  # noqa: E402

import torchconv  # noqa: E402

logging.getLogger("matplotlib.animation").setLevel(logging.WARNING)

project = "torchconv"
author = "the torchconv developers"
release = torchconv.__version__
extensions = ["mathml", "sphinx_gallery.gen_gallery"]
html_math_renderer = "mathml"
exclude_patterns = ["_build", *(f"{chapter}/*" for chapter in CHAPTERS)]
html_theme = "furo"
html_title = "torchconv: convolution by running it"
html_static_path = ["static"]
html_css_files = ["gallery.css"]
html_copy_source = False
html_show_copyright = False

sphinx_gallery_conf = {
    "examples_dirs": list(CHAPTERS),
    "gallery_dirs": [f"pages/{chapter}" for chapter in CHAPTERS],
    "within_subsection_order": "chapters.order",
    "image_scrapers": ("scraper", "matplotlib"),
    "abort_on_example_error": True,
    "capture_repr": (),  # what is printed, not what a line returns
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "ignore_pattern": r"^(?!plot_)",  # what the pages import
    "min_reported_time": 1,
}


def setup(app):
    """The interactive page keeps its folder, of which `html_extra_path` would copy the contents."""
    app.connect("build-finished", _copy_interactive_page)


def _copy_interactive_page(app, exception):
    if not exception:
        shutil.copytree(HERE / "interactive", app.outdir / "interactive", dirs_exist_ok=True)
