"""Numbers of long runs, as benchmarks/results keeps them: no page types them again.

{recorded}`faults: killed / broken`     a number of faults.json, found by its keys
```{matrix}
```                                     what tools/test_matrix.py found: a setting a row, how many notebooks came out
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
COLUMNS = ("Setting", "Notebooks run", "Same outputs", "Note")


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
        rows = [
            matrix_row(setting, list(runs.values())) for setting, runs in results(self.env, "matrix")["results"].items()
        ]
        table, group, body = nodes.table(classes=["matrix"]), nodes.tgroup(cols=len(COLUMNS)), nodes.tbody()
        group += [nodes.colspec(colwidth=width) for width in (5, 2, 2, 8)]
        head = nodes.thead("", table_row(COLUMNS))
        body += [table_row(row) for row in rows]
        group += [head, body]
        table += group
        return [table]


def matrix_row(setting: str, runs: list[dict[str, Any]]) -> tuple[str, ...]:
    ran = [run for run in runs if run["verdict"] != "not run"]
    same = sum(run["verdict"] == "same" for run in ran)
    reasons = sorted({str(run["told"]) for run in runs if run["verdict"] == "not run"})
    differ = [f"{name} differs" for name, run in ((run["name"], run) for run in ran) if run["verdict"] == "differs"]
    return setting, str(len(ran)), str(same), "; ".join([*differ, *reasons])


def table_row(cells: tuple[str, ...]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_role("recorded", Recorded())
    app.add_directive("matrix", Matrix)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
