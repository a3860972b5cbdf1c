"""Solutions that open by a click anywhere on their title, by key, and by a link that leads into them.

A solution with `:class: dropdown` becomes a `<details>`: no script. Its title was a link to the exercise, which stands
just above; a click on it jumped there. On paper, paper.js moves solutions and answers to the end of the chapter.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator
from sphinx_exercise.nodes import depart_solution_node, solution_node, visit_solution_node


class summary(nodes.General, nodes.TextElement):
    """The title of a `<details>`."""


def plain_titles(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for solution in doctree.findall(solution_node):
        if "dropdown" in solution["classes"]:
            solution["classes"].remove("dropdown")  # it stands for a script that makes other boxes open
            title = solution[0]
            for link in list(title.findall(nodes.reference)):
                link.replace_self(link.children)
            title.replace_self(summary("", "", *title.children))


def visit(translator: HTML5Translator, node: solution_node) -> None:
    if isinstance(node[0], summary):
        translator.body.append(translator.starttag(node, "details", CLASS="admonition"))
    else:
        visit_solution_node(translator, node)


def depart(translator: HTML5Translator, node: solution_node) -> None:
    if isinstance(node[0], summary):
        translator.body.append("</details>\n")
    else:
        depart_solution_node(translator, node)


def visit_summary(translator: HTML5Translator, node: summary) -> None:
    translator.body.append(translator.starttag(node, "summary", "", CLASS="admonition-title"))


def depart_summary(translator: HTML5Translator, node: summary) -> None:
    translator.body.append("</summary>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinx_exercise")
    app.add_node(solution_node, override=True, html=(visit, depart))
    app.add_node(summary, html=(visit_summary, depart_summary))
    app.connect("doctree-resolved", plain_titles)
    app.add_js_file("paper.js", loading_method="defer")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
