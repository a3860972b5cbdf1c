"""The landing page's pictures: the idea with six ties, and the map of the chapters, which can be clicked.

```{idea}
```
```{chapter-map}
```
"""

from __future__ import annotations

import html
from typing import Any

import pictures
import stored
from docutils import nodes
from generated import FromChapters
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


class drawing(nodes.General, nodes.Element):
    """HTML that is written when the address of the page is known."""


class IdeaDirective(FromChapters):
    """theta = S phi, and six ties that differ only in S."""

    def run(self) -> list[nodes.Node]:
        return [drawing(kind="idea", parts=self.book)]


class MapDirective(FromChapters):
    """The chapters and their questions."""

    def run(self) -> list[nodes.Node]:
        return [drawing(kind="map", parts=self.book)]


def visit(translator: HTML5Translator, node: drawing) -> None:
    here = translator.builder.current_docname  # type: ignore[attr-defined]
    chapters = stored.chapters_of(node["parts"])
    links = {n: translator.builder.get_relative_uri(here, chapter.docname) for n, chapter in chapters.items()}
    if node["kind"] == "idea":
        translator.body.append(idea_figure(links))
    else:
        wide = pictures.chapter_map(node["parts"], links, columns=len(node["parts"]), width=740)
        tall = pictures.chapter_map(node["parts"], links, columns=1, width=326)
        translator.body.append(f'<div class="map-wide">{wide}</div><div class="map-tall">{tall}</div>')
    raise nodes.SkipNode


def idea_figure(links: dict[int, str]) -> str:
    figures = []
    for name, chapter, picture in pictures.ties():
        caption = html.escape(name)
        if chapter in links:
            caption = f'<a href="{links[chapter]}">{caption}</a>'
        figures.append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>")
    words = (
        "The weights in use are a selection from the free values. Each weight has one wire, a value may have many; "
        "the wires are the matrix <i>S</i>. These six differ only in their wires:"
    )
    return (
        f'<figure class="idea">{pictures.idea()}<figcaption>{words}</figcaption></figure>'
        f'<div class="ties">{"".join(figures)}</div>'
    )


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(drawing, html=(visit, None))
    app.add_directive("idea", IdeaDirective)
    app.add_directive("chapter-map", MapDirective)
    app.add_css_file("pages.css")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
