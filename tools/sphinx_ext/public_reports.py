"""The public reports that tests/reports shows: a table for each of its files, and how many there are.

```{public-reports}
```                          a heading and a table for each file
{reported}`all`              how many reports; `repositories` from how many places
{reported}`mended`           how many have this word in the column of today, or begin with this one in that of tyinglib

The decorators are read, and no test is run: the tests see to it that a word is true.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from lists import load
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

logger = logging.getLogger(__name__)
COLUMNS = ("Report", "What people met", "Today", "tyinglib")
WIDTHS = (5, 9, 2, 4)


class Theme(NamedTuple):
    """A file: what it says of itself, and the reports in it."""

    title: str
    reports: list[Any]


def read_themes(folder: Path) -> list[Theme]:
    """What the decorators in a folder of tests say, the file with most of them first."""
    kind = load(folder / "reports.py").Report
    themes = []
    for path in sorted(folder.glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = [kind(**literals(call)) for call in decorators(tree)]
        if found:
            themes.append(Theme((ast.get_docstring(tree) or path.stem).rstrip("."), found))
    return sorted(themes, key=lambda theme: -len(theme.reports))


def decorators(tree: ast.Module) -> list[ast.Call]:
    """The calls of `report` above a file's tests."""
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    calls = (one for function in functions for one in function.decorator_list if isinstance(one, ast.Call))
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "report"]


def literals(call: ast.Call) -> dict[str, Any]:
    """Its arguments, by name."""
    named = dict(zip(("repository", "number", "symptom"), call.args, strict=True))
    named |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    return {name: ast.literal_eval(value) for name, value in named.items()}


def themes_of(directive: SphinxDirective | SphinxRole) -> list[Theme]:
    """The suite; the page is read again when a file of it changes."""
    folder = Path(directive.env.srcdir, "tests", "reports")
    for path in folder.glob("*.py"):
        directive.env.note_dependency(str(path))
    return read_themes(folder)


class PublicReports(SphinxDirective):
    """A table for each file of reports."""

    def run(self) -> list[nodes.Node]:
        sections = []
        for number, theme in enumerate(themes_of(self)):
            section = nodes.section(ids=[f"reports-{number}"], names=[])
            section += nodes.title("", "", nodes.Text(theme.title))
            section += self.table(theme.reports)
            sections.append(section)
        return sections

    def table(self, reports: list[Any]) -> nodes.table:
        table, group = nodes.table(classes=["reports"]), nodes.tgroup(cols=len(COLUMNS))
        group += [nodes.colspec(colwidth=width) for width in WIDTHS]
        head = nodes.row("", *(nodes.entry("", nodes.paragraph("", name)) for name in COLUMNS))
        group += [nodes.thead("", head), nodes.tbody("", *map(self.row, reports))]
        table += group
        return table

    def row(self, one: Any) -> nodes.row:
        name = f"{one.repository} #{one.number}"
        link = nodes.reference("", name, refuri=f"https://github.com/{one.repository}/issues/{one.number}")
        by = [piece for name in one.by for piece in (nodes.Text(", "), nodes.literal("", name))][1:]
        symptom, _ = self.state.inline_text(one.symptom, self.lineno)
        cells = [[link], symptom, [nodes.Text(one.today)], [nodes.Text(f"{one.here} "), *by]]
        return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


class Reported(SphinxRole):
    """How many reports."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        reports = [one for theme in themes_of(self) for one in theme.reports]
        counts = Counter(word for one in reports for word in (one.today, one.here))
        counts |= Counter({"all": len(reports), "repositories": len({one.repository for one in reports})})
        if self.text not in counts:
            logger.warning(
                "reported: wanted one of %s, got %r", sorted(counts), self.text, location=self.get_location()
            )
        return [nodes.Text(f"{counts[self.text]:,}")], []


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("public-reports", PublicReports)
    app.add_role("reported", Reported())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
