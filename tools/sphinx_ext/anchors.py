"""Places in the chapters that other pages can link to, without a label in the chapter.

Every code cell, every row of a ledger and every question gets an id and a label:
chapter-4-cell-7b31a9c2, chapter-4-statement-16, chapter-4-question-2.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)


class link_to(nodes.General, nodes.Inline, nodes.Element):
    """A link to a label or a page. Unlike Sphinx's own, it keeps the markup of its words."""


def refer(label: str, *words: nodes.Node) -> link_to:
    """A link to a label; the build warns if there is no such label."""
    return link_to("", *words, label=label)


def refer_to_page(docname: str, *words: nodes.Node) -> link_to:
    """A link to a page, given by its name as Sphinx knows it."""
    return link_to("", *words, page=docname)


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    labels = app.env.get_domain("std").anonlabels  # type: ignore[attr-defined]
    for link in list(doctree.findall(link_to)):
        page, anchor = (link["page"], "") if "page" in link else labels.get(link["label"], ("", ""))
        if page not in app.env.found_docs:
            logger.warning("nothing is called %s", link.get("label", page), location=docname)
            link.replace_self(link.children)
            continue
        words = nodes.inline("", "", *link.children)
        link.replace_self(make_refnode(app.builder, docname, page, anchor, words))


def note_label(app: Sphinx, docname: str, label: str, anchor: str) -> None:
    domain = app.env.get_domain("std")
    domain.anonlabels[label] = docname, anchor  # type: ignore[attr-defined]
    domain.labels[label] = docname, anchor, label  # type: ignore[attr-defined]


def add_anchors(app: Sphinx, doctree: nodes.document) -> None:
    docname = app.env.docname
    path = Path(app.env.doc2path(docname))
    chapter = re.match(r"book/(\d\d)-", docname)
    if chapter is None or path.suffix != ".ipynb":
        return
    prefix = f"chapter-{int(chapter[1])}"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for container in doctree.findall(nodes.container):
        if container.get("nb_element") == "cell_code":
            anchor = f"cell-{cells[container['cell_index']]['id']}"
            container["ids"].append(anchor)
            note_label(app, docname, f"{prefix}-{anchor}", anchor)
    questions = 0
    for raw in list(doctree.findall(nodes.raw)):
        text = raw.astext()
        if text.startswith('<div class="predict">'):
            questions += 1
            anchor = f"question-{questions}"
            raw[:] = [nodes.Text(text.replace("<div ", f'<div id="{anchor}" ', 1))]
            note_label(app, docname, f"{prefix}-{anchor}", anchor)
        elif text.startswith('<table class="ledger">'):
            for number in re.findall(r"<tr><td>(\d+)</td>", text):
                anchor = f"statement-{number}"
                text = text.replace(f"<tr><td>{number}</td>", f'<tr id="{anchor}"><td>{number}</td>')
                note_label(app, docname, f"{prefix}-{anchor}", anchor)
            raw[:] = [nodes.Text(text)]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(link_to)
    app.connect("doctree-read", add_anchors)
    app.connect("doctree-resolved", resolve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
