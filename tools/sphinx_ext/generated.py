"""What directives and roles that are filled from the chapters share.

A page that uses one of them is read again when any chapter changed, came or went.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import stored
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective


def the_book(env: BuildEnvironment) -> list[stored.Part]:
    """All chapters; remembers that the page at hand was made from them."""
    if not hasattr(env, "made_from_chapters"):
        env.made_from_chapters = {}  # type: ignore[attr-defined]
    root = Path(env.srcdir)
    try:
        book = stored.read_book(root)
    except ValueError as error:
        raise ExtensionError(str(error)) from error
    env.made_from_chapters[env.docname] = stamp(root)  # type: ignore[attr-defined]
    return book


def stamp(root: Path) -> list[tuple[str, int]]:
    return [(path.stem, path.stat().st_mtime_ns) for _, paths in stored.chapter_paths(root) for path in paths]


def outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    now = stamp(Path(env.srcdir))
    pages = getattr(env, "made_from_chapters", {})
    return [page for page, then in pages.items() if then != now and page in env.found_docs]


class FromChapters(SphinxDirective):
    """A directive that writes something about the chapters."""

    @property
    def book(self) -> list[stored.Part]:
        return the_book(self.env)

    def inline(self, text: str) -> list[nodes.Node]:
        """Text with MyST's inline markup."""
        found, messages = self.state.inline_text(text, self.lineno)
        return [*found, *messages]

    def blocks(self, text: str) -> list[nodes.Node]:
        """Text with MyST's block markup."""
        holder = nodes.container()
        self.state.nested_parse(text.splitlines(), self.lineno, holder)  # type: ignore[arg-type]
        return holder.children


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("env-get-outdated", outdated)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
