"""What the chapters say about themselves: read from the notebooks, so that no other page has to repeat it.

Nothing here knows Sphinx; the directives, the slides and the tests read through this file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LEDGER = "application/vnd.tyinglib.ledger+json"  # tyinglib.book.ledger.Ledger.MIME, without importing torch


@dataclass(frozen=True)
class Finding:
    """A row of a chapter's ledger."""

    chapter: int
    statement: int
    verdict: str
    measured: str


@dataclass(frozen=True)
class Answer:
    """An answer that a reader may choose, and what the page says to it."""

    text: str
    right: bool
    feedback: str


@dataclass(frozen=True)
class Question:
    """What a reader is asked before a decisive cell."""

    number: int
    asks: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Exercise:
    """An exercise with its label, which links lead to."""

    label: str
    title: str


@dataclass(frozen=True)
class Chapter:
    """What a chapter says of itself."""

    number: int
    docname: str  # as Sphinx names the page: book/01-one-idea
    title: str
    question: str
    goals: tuple[str, ...]
    needs: str
    reading: str
    running: str
    key_points: str
    questions: tuple[Question, ...]
    exercises: tuple[Exercise, ...]
    findings: tuple[Finding, ...]
    cells: tuple[dict[str, Any], ...]

    @property
    def required(self) -> list[int]:
        """Numbers of the chapters that must be read before; what merely helps is left out."""
        must = re.split(r"[.;,][^.;,]*\bhelp", self.needs)[0].partition("Helpful")[0]
        spans = re.findall(r"[Cc]hapters? ((?:\d+(?:, | and | to )?)+)", must)
        found: set[int] = set()
        for span in spans:
            numbers = [int(number) for number in re.findall(r"\d+", span)]
            found |= set(range(numbers[0], numbers[-1] + 1)) if " to " in span else set(numbers)
        return sorted(found - {self.number})


@dataclass(frozen=True)
class Part:
    """A part of the book, as the table of contents lists it."""

    caption: str
    chapters: tuple[Chapter, ...]


def one(pattern: str, text: str, what: str, where: Path) -> tuple[str, ...]:
    """The groups of the only match."""
    found = list(re.finditer(pattern, text, re.S | re.M))
    if len(found) != 1:
        raise ValueError(f"{where.name}: {what} must be there once, found {len(found)}; looked for {pattern}")
    return found[0].groups()


def cell_text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def printed_texts(cell: dict[str, Any]) -> list[str]:
    """What a code cell printed, as text."""
    texts = []
    for output in cell.get("outputs", []):
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        texts.append("".join(text))
    return texts


def read_questions(text: str) -> tuple[Question, ...]:
    questions = []
    for number, block in enumerate(re.findall(r'<div class="predict">(.*?)</div>', text, re.S), 1):
        asks = block.partition("<details>")[0].strip().removeprefix("**Predict.**").strip()
        answers = re.findall(r"<details><summary>(.+?)</summary>\s*(.+?)\s*</details>", block, re.S)
        questions.append(
            Question(number, asks, tuple(Answer(a, said.startswith("**Right"), said) for a, said in answers))
        )
    return tuple(questions)


def read_findings(cells: list[dict[str, Any]], path: Path) -> tuple[Finding, ...]:
    ledgers = [
        output["data"][LEDGER]
        for cell in cells
        for output in cell.get("outputs", [])
        if LEDGER in output.get("data", {})
    ]
    if len(ledgers) != 1:
        raise ValueError(f"{path.name}: one cell must show the chapter's ledger, found {len(ledgers)}; run the chapter")
    ledger = ledgers[0]
    if ledger["chapter"] != int(path.stem[:2]):
        raise ValueError(f"{path.name}: its ledger says chapter {ledger['chapter']}")
    return tuple(Finding(ledger["chapter"], r["statement"], r["verdict"], r["measured"]) for r in ledger["rows"])


def read_chapter(path: Path) -> Chapter:
    """Read a chapter's notebook; a ValueError names what is not as expected."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join(cell_text(cell) for cell in cells if cell["cell_type"] == "markdown")
    top = cell_text(cells[0])
    title, question = one(r"\A# (.+?)\n\n\*\*(.+?)\*\*$", top, "a title and its question in bold", path)
    (goals,) = one(r"After this chapter you can\n\n(.+?)\n\n\*Needs", top, "'After this chapter you can'", path)
    needs, reading, running = one(
        r"\*Needs: (.+?)\. Reading takes (.+?),(?: and)? running (.+?)\.\*", top, "the line 'Needs'", path
    )
    points = one(r"^## Key points\n\n((?:- .+\n?(?:\n(?=- ))?)+)", text, "the list of key points", path)[0]
    exercises = re.findall(r"^:::\{exercise\} (.+)\n:label: (\S+)", text, re.M)
    return Chapter(
        number=int(path.stem[:2]),
        docname=f"{path.parent.name}/{path.stem}",
        title=title,
        question=question,
        goals=tuple(re.sub(r"[;.]$", "", goal) for goal in re.findall(r"^- (.+)$", goals, re.M)),
        needs=needs,
        reading=reading,
        running=running,
        key_points=points.strip(),
        questions=read_questions(text),
        exercises=tuple(Exercise(label, name) for name, label in exercises),
        findings=read_findings(cells, path),
        cells=tuple(cells),
    )


def chapter_paths(root: Path) -> list[tuple[str, list[Path]]]:
    """Every part that holds chapters: its caption and their notebooks, in the order of _toc.yml."""
    parts = []
    for part in yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))["parts"]:
        names = [entry["file"] for entry in part["chapters"]]
        paths = [root / f"{name}.ipynb" for name in names if re.match(r"book/\d\d-", name)]
        if paths:
            parts.append((part["caption"], paths))
    return parts


_read: dict[Path, tuple[int, Chapter]] = {}


def read_book(root: Path) -> list[Part]:
    """All chapters by part; a notebook is read again only if it changed."""
    book = []
    for caption, paths in chapter_paths(root):
        chapters = []
        for path in paths:
            changed = path.stat().st_mtime_ns
            if path not in _read or _read[path][0] != changed:
                _read[path] = changed, read_chapter(path)
            chapters.append(_read[path][1])
        book.append(Part(caption, tuple(chapters)))
    return book


def chapters_of(book: list[Part]) -> dict[int, Chapter]:
    return {chapter.number: chapter for part in book for chapter in part.chapters}


def findings_of(book: list[Part], statement: int) -> list[Finding]:
    """What the chapters found about a statement, in their order."""
    return [f for chapter in chapters_of(book).values() for f in chapter.findings if f.statement == statement]


def verdict_of(findings: list[Finding]) -> str:
    """The verdict of all chapters together: where they differ, it depends."""
    verdicts = {finding.verdict for finding in findings}
    if not verdicts:
        return "not measured yet"
    return verdicts.pop() if len(verdicts) == 1 else "holds when"
