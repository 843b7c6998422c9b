"""Links the names of source files in the pages, such as ``csrc/cpu/plan.h``, to their text.

The site then has a page for each file that is named, so that it can be read where there is no
repository, and shows the file as it was when the site was built.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge

ROOT = Path(__file__).parent.parent
FOLDERS = ("benchmarks", "csrc", "examples", "gallery", "tests", "tools", "torchconv")
LEXERS = {".py": "python", ".cpp": "cpp", ".h": "cpp", ".cu": "cuda", ".cuh": "cuda"}


@cache
def _files() -> list[str]:
    paths = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    names = (path.relative_to(ROOT) for path in paths if path.suffix in LEXERS)
    made = {"_build", "pages"}  # by this very site
    return sorted(name.as_posix() for name in names if not made & set(name.parts))


def named(text: str) -> str | None:
    """The one source file that a page means, relative to the repository; None if there is none.

    The beginning of a path may be missing where the rest is enough, and ``::test_name`` may follow.
    """
    text = text.partition("::")[0]
    found = [name for name in _files() if name == text or name.endswith(f"/{text}")]
    return found[0] if len(found) == 1 else None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", _remember)
    app.connect("env-purge-doc", lambda app, env, page: _sources(env).pop(page, None))
    app.connect("doctree-resolved", _link)
    app.connect("html-collect-pages", _source_pages)
    return {"version": "1", "parallel_read_safe": False}


def _sources(env) -> dict[str, set[str]]:
    """Page to the source files that it names."""
    if not hasattr(env, "torchconv_sources"):
        env.torchconv_sources = {}
    return env.torchconv_sources


def _literals(doctree: nodes.document) -> list[tuple[nodes.literal, str]]:
    literals = [(node, named(node.astext())) for node in doctree.findall(nodes.literal)]
    return [(node, name) for node, name in literals if name]


def _remember(app: Sphinx, doctree: nodes.document) -> None:
    names = {name for _, name in _literals(doctree)}
    _sources(app.env)[app.env.docname] = names


def _link(app: Sphinx, doctree: nodes.document, page: str) -> None:
    if app.builder.format != "html":
        return
    for node, name in _literals(doctree):
        if not isinstance(node.parent, nodes.reference):
            to = app.builder.get_relative_uri(page, f"sources/{name}")
            node.replace_self(nodes.reference("", "", node.deepcopy(), internal=True, refuri=to))


def _source_pages(app: Sphinx):
    """(page, context, template) of each, for Sphinx to write."""
    bridge = PygmentsBridge("html")
    for name in sorted(set().union(*_sources(app.env).values())):
        text = (ROOT / name).read_text()
        code = bridge.highlight_block(text, LEXERS[Path(name).suffix], linenos="inline")
        yield f"sources/{name}", {"title": name, "body": f"<h1>{name}</h1>{code}"}, "page.html"
