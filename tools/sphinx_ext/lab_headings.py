"""Headings that only JupyterLab needs: under a collapsed one a solution stays closed, also when all cells are run.

A notebook has `<h5 class="lab">Solution</h5>` before each solution, and the next exercise's number before that. On the
page the solution is a drop-down, and exercises are numbered: there these headings are taken away.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

HEADING = re.compile(r'\s*<h5 class="lab">[^<]*</h5>\s*\Z')


class RemoveLabHeadings(SphinxTransform):
    """Before sections are numbered and linked."""

    default_priority = 10

    def apply(self, **_: Any) -> None:
        for tag in list(self.document.findall(nodes.raw)):
            if HEADING.match(tag.astext()):
                tag.parent.remove(tag)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(RemoveLabHeadings)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
