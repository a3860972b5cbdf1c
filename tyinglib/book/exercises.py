"""Answers that a chapter can check without showing the right one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor


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
