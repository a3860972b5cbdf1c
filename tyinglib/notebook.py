"""What a chapter starts with, trains with, and ends with: set-up, one training loop, checks, the ledger.

Nothing here is about tying; a model outside the book needs none of it.
"""

from __future__ import annotations

import hashlib
import html
import math
import random
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from tyinglib import plots
from tyinglib.datasets import Split

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
VERDICTS = ("holds", "holds when", "does not hold")


def setup(seed: int = 0, *, dtype: torch.dtype = torch.float64) -> None:
    """Make a chapter's outputs the same everywhere: seeds, one thread, float64; and the book's figure style.

    Parameters
    ----------
    seed
        For Python's, numpy's and torch's global generators.
    dtype
        Torch's default dtype from here on. float64 keeps rounding of another CPU out of printed digits.

    Examples
    --------
    >>> before = torch.get_default_dtype()
    >>> setup(0)
    >>> torch.zeros(1).dtype
    torch.float64
    >>> torch.set_default_dtype(before)

    Chapter: all.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the global generator, for libraries that draw from it)
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    plots.use_style()


def train(
    model: nn.Module,
    data: Split,
    *,
    steps: int = 200,
    lr: float = 0.02,
    weight_decay: float = 0.0,
    penalty: Callable[[], Tensor] | None = None,
) -> list[float]:
    """Minimise the cross-entropy on all of `data` with Adam, in place.

    Parameters
    ----------
    model
        Maps inputs (n, d) to logits (n, classes).
    data
        The training set; every step uses all of it.
    steps, lr, weight_decay
        Of `torch.optim.Adam`.
    penalty
        Called at each step; what it returns (a scalar) is added to the loss.

    Returns
    -------
    list[float]
        The cross-entropy before each step, without the penalty.

    Examples
    --------
    >>> data = Split(torch.eye(3), torch.arange(3))
    >>> losses = train(nn.Linear(3, 3), data, steps=50, lr=0.1)
    >>> losses[-1] < 0.5 * losses[0]
    True

    Chapter: One idea; Tying from prior knowledge.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(data.x), data.y)
        losses.append(loss.item())
        if penalty is not None:
            loss = loss + penalty()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return losses


def accuracy(model: nn.Module, data: Split) -> float:
    """The share of samples whose largest logit is the right class, in percent.

    Parameters
    ----------
    model
        Maps inputs (n, d) to logits (n, classes).
    data
        Where to measure.

    Returns
    -------
    float
        0..100.

    Examples
    --------
    >>> accuracy(nn.Identity(), Split(torch.eye(4), torch.tensor([0, 1, 2, 0])))
    75.0

    Chapter: all.
    """
    with torch.no_grad():
        right = model(data.x).argmax(1) == data.y
    return 100 * float(right.double().mean())


def interval(values: Tensor) -> tuple[float, float]:
    r"""The mean of some runs, and half the width of its 95 % interval.

    The half width is :math:`t_{0.975, n - 1}\, s / \sqrt n`, with the sample's standard deviation s and Student's t.

    Parameters
    ----------
    values
        Shape (n,), n >= 2: one number a run. Runs must be independent of each other. To compare two methods that ran on
        the same seeds, give the differences.

    Returns
    -------
    tuple
        Mean and half width, in the unit of `values`.

    Raises
    ------
    ValueError
        If `values` does not have the shape (n,) with n >= 2.

    References
    ----------
    Student (1908), The probable error of a mean. Biometrika 6(1), 1-25.

    Examples
    --------
    >>> mean, half = interval(torch.tensor([1.0, 2.0, 3.0]))
    >>> print(f"{mean:.1f} ± {half:.1f}")
    2.0 ± 2.5

    Chapter: Tying from prior knowledge; Two models, tied softly; Convolution.
    """
    if values.dim() != 1 or len(values) < 2:
        raise ValueError(f"values must have the shape (n,) with n >= 2, one number a run; got {tuple(values.shape)}")
    n = len(values)
    return float(values.mean()), float(stdtrit(n - 1, 0.975)) * float(values.std()) / math.sqrt(n)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text: the first column stands at the left, the others at the right.

    Parameters
    ----------
    head
        The columns' names.
    rows
        Each of as many entries as `head`.

    Returns
    -------
    str
        A line for the head and each row.

    Raises
    ------
    ValueError
        If a row has more or fewer entries than `head`.

    Examples
    --------
    >>> print(table(("ties", "% right"), [("none", "98.5"), ("32 groups", "97.9")]))
    ties       % right
    none          98.5
    32 groups     97.9

    Chapter: GrOWL in a network.
    """
    lines = [tuple(head), *map(tuple, rows)]
    for line in lines:
        if len(line) != len(head):
            raise ValueError(f"each row must have {len(head)} entries, as the head {tuple(head)} has; got {line}")
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        "  ".join([line[0].ljust(first), *(text.rjust(width) for text, width in zip(line[1:], others, strict=True))])
        for line in lines
    )


def check_answer(exercise: str, answer: Any, digest: str, *, digit_sum: int | None = None) -> None:
    """Tell a reader whether an answer is right, without showing the right one.

    Parameters
    ----------
    exercise
        Its name, part of the digest.
    answer
        None while there is none. Numbers are compared to three significant digits, text without case.
    digest
        What `answer_digest(exercise, right_answer)` gives.
    digit_sum
        For readers without a computer: what the digits of the right answer add up to.

    Raises
    ------
    ValueError
        If the answer is right, and its digits do not add up to `digit_sum`.

    Examples
    --------
    >>> check_answer("demo", None, answer_digest("demo", 42), digit_sum=6)
    demo: no answer yet. Check on paper: the digits of the answer add up to 6.
    >>> check_answer("demo", 41, answer_digest("demo", 42), digit_sum=6)
    demo: 41 is not it. Try again, or open the solution.
    >>> check_answer("demo", 42, answer_digest("demo", 42), digit_sum=6)
    demo: right.

    Chapter: all.
    """
    if answer is None:
        paper = ""
        if digit_sum is not None:
            paper = f" Check on paper: the digits of the answer add up to {digit_sum}."
        print(f"{exercise}: no answer yet.{paper}")
        return
    right = answer_digest(exercise, answer) == digest
    if right and digit_sum is not None and sum(int(d) for d in _plain(answer) if d.isdigit()) != digit_sum:
        raise ValueError(f"{exercise}: the digits of the right answer do not add up to {digit_sum}")
    verdict = "right." if right else f"{_plain(answer)} is not it. Try again, or open the solution."
    print(f"{exercise}: {verdict}")


def answer_digest(exercise: str, answer: Any) -> str:
    """Ten hexadecimal digits that stand for a right answer.

    Parameters
    ----------
    exercise
        The name that `check_answer` is given.
    answer
        A number, a text, or a (nested) sequence, array or tensor of them.

    Returns
    -------
    str
        The beginning of a SHA-256.

    Examples
    --------
    >>> answer_digest("demo", 0.3333) == answer_digest("demo", 1 / 3)
    True

    Chapter: all.
    """
    return hashlib.sha256(f"{exercise}: {_plain(answer)}".encode()).hexdigest()[:10]


def _plain(answer: Any) -> str:
    if isinstance(answer, (Tensor, np.ndarray)):
        answer = answer.tolist()
    if isinstance(answer, str):
        return answer.strip().lower()
    if isinstance(answer, Sequence):
        return "[" + ", ".join(map(_plain, answer)) + "]"
    if isinstance(answer, int) or float(answer).is_integer():
        return str(int(answer))  # 4 and 4.0 are one answer
    return f"{float(answer):.3g}"


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

    def add(self, statement: int, verdict: str, measured: str, evidence: bool) -> None:
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
