"""Numbers of long runs, as benchmarks/results keeps them: no page types them again.

{recorded}`faults: killed / broken`     a number of faults.json, found by its keys
```{matrix}
```                                     what tools/test_matrix.py found: a setting a row
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

logger = logging.getLogger(__name__)
COLUMNS = ("Setting", "Same outputs", "Tests of the library", "Note")
WIDTHS = (6, 3, 3, 6)
LIBRARY = "library"  # of the jobs in matrix.json the one that is no notebook


def results(env: BuildEnvironment, name: str) -> Any:
    path = Path(env.srcdir, "benchmarks", "results", f"{name}.json")
    env.note_dependency(str(path))
    return json.loads(path.read_text(encoding="utf-8"))


class Recorded(SphinxRole):
    """A number of a stored run."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        name, _, keys = self.text.partition(":")
        try:
            found = results(self.env, name.strip())
            for key in keys.split("/"):
                found = found[key.strip()]
        except (OSError, KeyError, TypeError) as error:
            logger.warning("recorded: %r is not stored: %r", self.text, error, location=self.get_location())
            return [nodes.Text(self.text)], []
        return [nodes.Text(f"{found:,}" if isinstance(found, int) else str(found))], []


class Matrix(SphinxDirective):
    """The same outputs elsewhere?"""

    def run(self) -> list[nodes.Node]:
        try:
            found = results(self.env, "matrix")["results"]
        except (OSError, KeyError) as error:
            logger.warning("matrix: no results are stored: %r", error, location=self.get_location())
            return []
        rows = [matrix_row(setting, runs) for setting, runs in found.items()]
        table, group = nodes.table(classes=["matrix"]), nodes.tgroup(cols=len(COLUMNS))
        group += [nodes.colspec(colwidth=width) for width in WIDTHS]
        group += [nodes.thead("", table_row(COLUMNS)), nodes.tbody("", *map(table_row, rows))]
        table += group
        return [table]


def matrix_row(setting: str, runs: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """A setting, its pages with the same outputs, what became of the library's tests, and what else there is to say."""
    pages = {name: run for name, run in runs.items() if name != LIBRARY}
    ran = {name: run for name, run in pages.items() if run["verdict"] != "not run"}
    same = sum(run["verdict"] == "same" for run in ran.values())
    notes = [f"{name}: {run.get('failed', 0)} cells differ" for name, run in ran.items() if run["verdict"] == "differs"]
    notes += sorted({str(run["with"]) for run in runs.values() if "with" in run})
    notes += sorted({str(run["told"]) for run in runs.values() if run["verdict"] == "not run"})
    tests = runs.get(LIBRARY, {})
    tested = f"{tests.get('passed', 0):,} tests passed, {tests.get('failed', 0)} failed" if "seconds" in tests else ""
    return setting, f"{same} of {len(pages)} notebooks", tested, "; ".join(notes)


def table_row(cells: tuple[str, ...]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_role("recorded", Recorded())
    app.add_directive("matrix", Matrix)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
