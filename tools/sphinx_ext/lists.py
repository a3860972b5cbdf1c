"""Lists made from the chapters: exercises, key points, what a teacher needs, and how the book checks itself.

```{exercises}
```              all exercises and questions, by chapter, with links
```{key-points}
```              every chapter's key points
```{lessons}
4: A note for the teacher of chapter 4.
```              for each chapter: time, what it needs, what readers will be able to do, wrong guesses to expect
```{damages}
```              in which ways the book is broken on purpose, and which check notices
```{repeated}
```              for each chapter, what tests/slow repeats with other seeds
{counted}`cells` how many there are: see COUNTS
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stored
from anchors import refer, refer_to_page
from docutils import nodes
from generated import FromChapters, the_book
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from tyinglib.book.ledger import STATEMENTS

logger = logging.getLogger(__name__)


def code_cells(chapter: stored.Chapter) -> list[dict[str, Any]]:
    return [cell for cell in chapter.cells if cell["cell_type"] == "code" and stored.cell_text(cell).strip()]


COUNTS: dict[str, Callable[[list[stored.Chapter]], int]] = {
    "all statements": lambda chapters: len(STATEMENTS),
    "chapters": len,
    "cells": lambda chapters: sum(len(code_cells(c)) for c in chapters),
    "unchecked cells": lambda chapters: sum(
        "nbval-ignore-output" in cell["metadata"].get("tags", []) for c in chapters for cell in code_cells(c)
    ),
    "assertions": lambda chapters: sum(
        len(re.findall(r"^\s*assert ", stored.cell_text(cell), re.M)) for c in chapters for cell in code_cells(c)
    ),
    "questions": lambda chapters: sum(len(c.questions) for c in chapters),
    "wrong answers": lambda chapters: sum(not a.right for c in chapters for q in c.questions for a in q.answers),
    "exercises": lambda chapters: sum(len(c.exercises) for c in chapters),
    "verdicts": lambda chapters: sum(len(c.findings) for c in chapters),
    "statements": lambda chapters: len({f.statement for c in chapters for f in c.findings}),
}


class Counted(SphinxRole):
    """How many of something the chapters hold."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        if self.text not in COUNTS:
            logger.warning("counted: wanted one of %s, got %r", list(COUNTS), self.text, location=self.get_location())
            return [nodes.Text(self.text)], []
        count = COUNTS[self.text](list(stored.chapters_of(the_book(self.env)).values()))
        return [nodes.Text(f"{count:,}")], []


class ByChapter(FromChapters):
    """A heading for each chapter, and something below it."""

    def run(self) -> list[nodes.Node]:
        sections = []
        for chapter in stored.chapters_of(self.book).values():
            section = nodes.section(ids=[f"of-chapter-{chapter.number}"], names=[])
            title = nodes.title("", "", nodes.Text(f"{chapter.number}. "), *self.inline(chapter.title))
            section += title
            section += self.about(chapter)
            sections.append(section)
        return sections

    def about(self, chapter: stored.Chapter) -> list[nodes.Node]:
        raise NotImplementedError

    def page(self, chapter: stored.Chapter, text: str) -> nodes.Node:
        return refer_to_page(chapter.docname, nodes.Text(text))

    def items(self, lines: list[list[nodes.Node]]) -> nodes.bullet_list:
        return nodes.bullet_list(
            "", *(nodes.list_item("", nodes.paragraph("", "", *line)) for line in lines), bullet="-"
        )

    def labelled(self, label: str, *content: nodes.Node) -> nodes.paragraph:
        return nodes.paragraph("", "", nodes.strong("", f"{label} "), *content)


class Exercises(ByChapter):
    """All exercises, and how many questions are asked on the way."""

    def about(self, chapter: stored.Chapter) -> list[nodes.Node]:
        exercises = [[refer(e.label, *self.inline(e.title))] for e in chapter.exercises]
        questions: list[nodes.Node] = [nodes.Text("Before you run: ")]
        for question in chapter.questions:
            questions += [nodes.Text(", ")] if question.number > 1 else []
            label = f"chapter-{chapter.number}-question-{question.number}"
            questions.append(refer(label, nodes.Text(f"question {question.number}")))
        return [self.items(exercises), nodes.paragraph("", "", *questions, nodes.Text("."))]


class KeyPoints(ByChapter):
    """What each chapter ends with."""

    def about(self, chapter: stored.Chapter) -> list[nodes.Node]:
        return [nodes.paragraph("", "", self.page(chapter, chapter.question)), *self.blocks(chapter.key_points)]


class Lessons(ByChapter):
    """What a teacher wants to know of each chapter; the body holds notes, one a line: `4: ...`."""

    has_content = True

    def about(self, chapter: stored.Chapter) -> list[nodes.Node]:
        notes = dict(re.findall(r"^(\d+): (.+)$", "\n".join(self.content), re.M))
        needs = self.inline(f"{chapter.needs}.")
        found: list[nodes.Node] = [
            nodes.paragraph("", "", self.page(chapter, chapter.question)),
            self.labelled(
                "Time:",
                nodes.Text(
                    f"Reading takes {chapter.reading}, running {chapter.running}. "
                    f"{len(chapter.questions)} questions to vote on, {len(chapter.exercises)} exercises."
                ),
            ),
            self.labelled("Needs:", *needs),
            self.labelled("Afterwards they can:"),
            self.items([self.inline(goal) for goal in chapter.goals]),
        ]
        if note := notes.get(str(chapter.number)):
            found.append(self.labelled("In class:", *self.inline(note)))
        found.append(self.labelled("Guesses to expect, and to take seriously:"))
        wrong = []
        for question in chapter.questions:
            label = f"chapter-{chapter.number}-question-{question.number}"
            link = refer(label, nodes.Text(f"Question {question.number}"))
            guesses = "; ".join(f"“{a.text.rstrip('.')}”" for a in question.answers if not a.right)
            wrong.append([link, nodes.Text(": "), *self.inline(guesses)])
        return [*found, self.items(wrong)]


class Damages(FromChapters):
    """The ways in which tools/test_the_tests.py breaks the book."""

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir, "tools", "test_the_tests.py")
        self.env.note_dependency(str(path))
        lines = []
        for what, _, check, _, _ in load(path).DAMAGES:
            text = nodes.paragraph("", f"{what[0].upper()}{what[1:]}: noticed by {check}.")
            lines.append(nodes.list_item("", text))
        return [nodes.bullet_list("", *lines, bullet="-")]


class Repeated(FromChapters):
    """What the slow tests require of other seeds: their names are sentences."""

    def run(self) -> list[nodes.Node]:
        lines = []
        for number, chapter in sorted(stored.chapters_of(self.book).items()):
            path = Path(self.env.srcdir, "tests", "slow", f"test_headlines_{number:02}.py")
            if path.exists():
                self.env.note_dependency(str(path))
            said = "; ".join(sentences(path)) if path.exists() else "nothing"
            link = refer_to_page(chapter.docname, nodes.Text(f"Chapter {number}"))
            lines.append(nodes.list_item("", nodes.paragraph("", "", link, nodes.Text(f": {said}."))))
        return [nodes.bullet_list("", *lines, bullet="-")]


def sentences(path: Path) -> list[str]:
    """The names of a file's tests, as words."""
    tests = (node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef))
    return [test.name[5:].replace("_", " ") for test in tests if test.name.startswith("test_")]


def load(path: Path) -> Any:
    """A Python file as a module, without leaving compiled files about."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module, write = importlib.util.module_from_spec(spec), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = write
    return module


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("exercises", Exercises)
    app.add_directive("key-points", KeyPoints)
    app.add_directive("lessons", Lessons)
    app.add_directive("damages", Damages)
    app.add_directive("repeated", Repeated)
    app.add_role("counted", Counted())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
