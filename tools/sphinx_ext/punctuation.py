"""A line does not begin with the comma after a formula: what touches a formula stays on its line.

A browser may break a line on either side of a formula, since its parts are boxes. Short formulas are therefore kept in
one span with what touches them; a long one may break, inside as well, or it would not fit on a phone.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

LONGEST = 40  # characters of TeX; the whole then fits on 360 pixels (a test)
BEFORE = re.compile(r"\S{1,9}\Z")
AFTER = re.compile(r"\A\S{1,9}")


class KeepTogether(SphinxPostTransform):
    """Put a short formula and the pieces of text that touch it into one span."""

    default_priority = 900
    formats = ("html",)

    def run(self, **_: Any) -> None:
        for formula in list(self.document.findall(nodes.math)):
            if len(formula.astext()) <= LONGEST:
                self.keep(formula)

    def keep(self, formula: nodes.math) -> None:
        parent = formula.parent
        before = self.cut(parent, parent.index(formula) - 1, BEFORE)
        after = self.cut(parent, parent.index(formula) + 1, AFTER)
        if before or after:
            span = nodes.inline(classes=["together"])
            parent.replace(formula, span)
            span += [*before, formula, *after]

    def cut(self, parent: nodes.Element, place: int, pattern: re.Pattern[str]) -> list[nodes.Text]:
        """Take what touches the formula from the text beside it."""
        beside = parent[place] if 0 <= place < len(parent) else None
        if not isinstance(beside, nodes.Text) or not (touching := pattern.search(beside)):
            return []
        rest = pattern.sub("", beside)
        parent[place : place + 1] = [nodes.Text(rest)]
        return [nodes.Text(touching[0])]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_post_transform(KeepTogether)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
