"""The book's twenty statements with what the chapters measured, and roles that quote them.

    ```{ledger}
    ```                                  every statement, its verdict, what each chapter measured, links to the cells
    ```{verdicts}
    ```                                  a table: which statements hold, hold when ..., don't hold
    {verdict}`15`                        the verdict of all chapters together, with a link to the statement
    {measured}`15`                       what was measured, in the chapter's words, with a link to the cell
    {measured}`15 in chapter 4`          the same, of one chapter
    {finding}`15`                        the verdict, then what was measured
    {printed}`1: ratio ([0-9.]+), `      a piece of what a cell of chapter 1 printed, with a link to the cell

So no other page holds a number of its own, and none can disagree with a chapter.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import stored
from anchors import note_label, refer, refer_to_page
from docutils import nodes
from generated import FromChapters, the_book
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from tyinglib.book.ledger import STATEMENTS, VERDICTS, Ledger

logger = logging.getLogger(__name__)
assert stored.LEDGER == Ledger.MIME
VERDICT_CLASS = {"holds": "holds", "holds when": "depends", "does not hold": "fails"}
SHOWN = {"holds when": "holds when …", "not measured yet": "not measured yet"}


def badge(verdict: str) -> nodes.inline:
    kind = VERDICT_CLASS.get(verdict, "unknown")
    return nodes.inline("", SHOWN.get(verdict, verdict), classes=["verdict", kind])


def cell_link(finding: stored.Finding, text: str) -> nodes.Node:
    return refer(f"chapter-{finding.chapter}-statement-{finding.statement}", nodes.Text(text))


def verdict_link(statement: int, findings: list[stored.Finding]) -> nodes.Node:
    return refer(f"statement-{statement}", badge(stored.verdict_of(findings)))


class LedgerDirective(FromChapters):
    """Every statement with its verdict and what the chapters measured."""

    def run(self) -> list[nodes.Node]:
        book, page = self.book, self.env.docname
        self.env.note_dependency(inspect.getfile(Ledger))
        chapters = stored.chapters_of(book)
        statements = []
        for number, text in STATEMENTS.items():
            label = f"statement-{number}"
            findings = stored.findings_of(book, number)
            note_label(self.env.app, page, label, label)
            block = nodes.container(classes=["statement"], ids=[label])
            head = nodes.paragraph(classes=["statement-text"])
            head += [nodes.strong("", f"{number}. "), nodes.Text(text), nodes.Text(" ")]
            head += badge(stored.verdict_of(findings))
            block += head
            for finding in findings:
                line = nodes.paragraph()
                line += refer_to_page(chapters[finding.chapter].docname, nodes.Text(f"Chapter {finding.chapter}"))
                if len({f.verdict for f in findings}) > 1:
                    line += [nodes.Text(", "), badge(finding.verdict)]
                line += [nodes.Text(": "), nodes.Text(finding.measured), nodes.Text(" ")]
                line += cell_link(finding, "See the cell.")
                block += line
            statements.append(block)
        return statements


class VerdictsDirective(FromChapters):
    """A table of verdicts and the numbers of the statements that got them."""

    def run(self) -> list[nodes.Node]:
        sorted_by: dict[str, list[int]] = {verdict: [] for verdict in (*VERDICTS, "not measured yet")}
        for number in STATEMENTS:
            sorted_by[stored.verdict_of(stored.findings_of(self.book, number))].append(number)
        rows = nodes.definition_list(classes=["verdicts"])
        for verdict, numbers in sorted_by.items():
            if verdict == "not measured yet" and not numbers:
                continue
            links = nodes.paragraph()
            for number in numbers:
                links += [nodes.Text(" ")] if len(links) else []
                links += refer(f"statement-{number}", nodes.Text(str(number)))
            if not numbers:
                links += nodes.Text("none")
            term = nodes.term("", "", badge(verdict), nodes.Text(f" ({len(numbers)})"))
            rows += nodes.definition_list_item("", term, nodes.definition("", links))
        return [rows]


class VerdictRole(SphinxRole):
    """The verdict of all chapters together."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        number = int(self.text)
        if number not in STATEMENTS:
            return self.complain(f"there is no statement {number}")
        return [verdict_link(number, stored.findings_of(the_book(self.env), number))], []

    def complain(self, text: str) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        logger.warning("%s: %s", self.name, text, location=self.get_location())
        return [nodes.Text(self.text)], []


class MeasuredRole(VerdictRole):
    """What was measured about a statement, in the chapter's words."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        match = re.fullmatch(r"(\d+)(?: in chapter (\d+))?", self.text)
        if match is None or int(match[1]) not in STATEMENTS:
            return self.complain(f"wanted '15' or '15 in chapter 4', got {self.text!r}")
        number, only = int(match[1]), int(match[2] or 0)
        book = the_book(self.env)
        findings = [f for f in stored.findings_of(book, number) if only in (0, f.chapter)]
        if not findings and only in stored.chapters_of(book):
            return self.complain(f"chapter {only} measured nothing about statement {number}")
        found: list[nodes.Node] = []
        if self.name == "finding" or not findings:
            found += [verdict_link(number, findings), nodes.Text(" ")]
        for finding in findings:
            found += [nodes.Text(f"“{finding.measured}” ("), cell_link(finding, f"chapter {finding.chapter}")]
            found.append(nodes.Text(") " if finding is not findings[-1] else ")"))
        return found, []


class PrintedRole(VerdictRole):
    """A piece of what a cell printed: the group of a pattern that is found once in a chapter's outputs."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        number, _, pattern = self.text.partition(": ")
        chapter = stored.chapters_of(the_book(self.env)).get(int(number))
        if chapter is None:
            return self.complain(f"there is no chapter {number}")
        found = [
            (match[1], cell["id"])
            for cell in chapter.cells
            if cell["cell_type"] == "code"
            for text in stored.printed_texts(cell)
            for match in re.finditer(pattern, text)
        ]
        if len(found) != 1:
            return self.complain(f"chapter {number} prints {pattern!r} {len(found)} times, not once")
        value, cell = found[0]
        return [refer(f"chapter-{chapter.number}-cell-{cell}", nodes.Text(value))], []


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("ledger", LedgerDirective)
    app.add_directive("verdicts", VerdictsDirective)
    app.add_role("verdict", VerdictRole())
    app.add_role("measured", MeasuredRole())
    app.add_role("finding", MeasuredRole())
    app.add_role("printed", PrintedRole())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
