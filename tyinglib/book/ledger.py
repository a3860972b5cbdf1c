"""The book's statements, and what a chapter measured about them."""

from __future__ import annotations

import html
import textwrap
from typing import Any, Literal, get_args

STATEMENTS = {
    1: "Networks hold so many weights that storing and computing them is expensive.",
    2: "Hard-wired sharing expresses an invariance; convolution expresses shift-invariance.",
    3: "Other groups of weights may be tied while learning.",
    4: "Parameter tying: groups chosen by prior knowledge take one value, or are kept close.",
    5: "Two models, same classes, different inputs: a penalty on their difference helps.",
    6: "l1 and l2 penalties punish the deviation of weights from zero.",
    7: "Zeros from Lasso and group Lasso cut memory and the cost of applying the model.",
    8: "Among highly correlated features the Lasso picks one, or an arbitrary convex combination.",
    9: "The set that the Lasso picks changes dramatically with small changes of data or algorithm.",
    10: "In deep networks correlated features are almost unavoidable.",
    11: "GrOWL gives zeros and, at once, learns which parameters should share a value.",
    12: "In linear regression GrOWL finds correlated covariates and copes with them.",
    13: "GrOWL removes unimportant neurons and ties correlated ones.",
    14: "Two stages: learn the structure with GrOWL, then retrain inside it.",
    15: "Sharing means that one subset of the parameters is stored: a significant saving.",
    16: "Similar tasks should have identical parameters; equality is the usual choice over a penalty.",
    17: "The same cat detector finds the cat in column i or in column i + 1.",
    18: "Sharing in a convolutional network cuts parameters and so makes it computationally cheap.",
    19: "Sharing shortens training because there are fewer weight updates.",
    20: "Recurrent networks share over time; with other weights at each moment one is a feedforward network.",
}


Verdict = Literal["holds", "holds when", "does not hold"]
VERDICTS = get_args(Verdict)


class Ledger:
    """What a chapter measured about the book's statements: a table in the page, data for the ledger page.

    Parameters
    ----------
    chapter
        The chapter's number.

    Examples
    --------
    >>> ledger = Ledger(chapter=1)
    >>> ledger.add(15, "holds", "the file shrinks 4.0 x", 4.0 > 2)
    >>> ledger
    15 holds: Sharing means that one subset of the parameters is stored: a significant saving.
       the file shrinks 4.0 x

    Chapter: all.
    """

    MIME = "application/vnd.tyinglib.ledger+json"

    def __init__(self, chapter: int) -> None:
        self.chapter = chapter
        self.rows: list[dict[str, Any]] = []

    def add(self, statement: int, verdict: Verdict, measured: str, evidence: bool) -> None:
        """Enter a verdict, which the evidence must support.

        Parameters
        ----------
        statement
            A key of `STATEMENTS`.
        verdict
            One of `VERDICTS`.
        measured
            The number and what it is of, made from computed values.
        evidence
            The condition under which the verdict stands.

        Raises
        ------
        ValueError
            If the statement or the verdict is unknown.
        AssertionError
            If the evidence is false: the chapter claims what it did not measure.
        """
        if statement not in STATEMENTS or verdict not in VERDICTS:
            raise ValueError(
                f"statement must be 1..{len(STATEMENTS)} and verdict one of {VERDICTS}, "
                f"got {statement!r} and {verdict!r}"
            )
        if not evidence:
            raise AssertionError(f"statement {statement}: {measured!r} does not support {verdict!r}")
        self.rows.append({"statement": statement, "verdict": verdict, "measured": measured})

    def __repr__(self) -> str:
        lines = []
        for row in self.rows:
            head = f"{row['statement']:>2} {row['verdict']}: {STATEMENTS[row['statement']]}"
            lines += textwrap.wrap(head, 100, subsequent_indent="   ")
            lines += textwrap.wrap(row["measured"], 100, initial_indent="   ", subsequent_indent="   ")
        return "\n".join(lines)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        head = "<tr><th>#</th><th>Statement</th><th>Verdict</th><th>Measured here</th></tr>"
        body = "".join(
            f"<tr><td>{row['statement']}</td><td>{html.escape(STATEMENTS[row['statement']])}</td>"
            f"<td><b>{row['verdict']}</b></td><td>{html.escape(row['measured'])}</td></tr>"
            for row in self.rows
        )
        return {
            "text/plain": repr(self),
            "text/html": f'<table class="ledger"><thead>{head}</thead><tbody>{body}</tbody></table>',
            self.MIME: {"chapter": self.chapter, "rows": self.rows},
        }
