"""Interactive figures in the pages: style and script are loaded once a page, and only on pages that have a figure.

In a notebook every such output carries its own copy; in a page the copies go, so that a change of the script reaches
the pages without running a chapter again.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

FIGURES = Path(__file__).resolve().parents[2] / "tyinglib/book/interactive"
COPY = re.compile(r'<(style|script) class="interactive-code">.*?</\1>\n?', re.S)


def figures(doctree: nodes.document) -> list[nodes.raw]:
    return [raw for raw in doctree.findall(nodes.raw) if 'class="tyinglib-interactive"' in raw.astext()]


def drop_copies(app: Sphinx, doctree: nodes.document) -> None:
    for raw in figures(doctree):
        raw[:] = [nodes.Text(COPY.sub("", raw.astext()))]


def load_once(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    if doctree is not None and figures(doctree):
        app.add_css_file("interactive.css")
        app.add_js_file("interactive.js", loading_method="defer")


def add_files(app: Sphinx, config: Any) -> None:
    config.html_static_path += [str(FIGURES / "interactive.css"), str(FIGURES / "interactive.js")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", add_files)
    app.connect("doctree-read", drop_copies)
    app.connect("html-page-context", load_once)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
