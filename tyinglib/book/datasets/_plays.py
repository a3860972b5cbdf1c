"""Ten tragedies by Shakespeare, to model as characters or as words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("data") / "plays"


class Texts(NamedTuple):
    """Three parts of a text: fit on `train`, choose on `validation`, report on `test`, once.

    Parameters
    ----------
    train, validation, test
        Each a string.

    Examples
    --------
    >>> isinstance(plays(), Texts)
    True

    Chapter: Sharing today.
    """

    train: str
    validation: str
    test: str


def plays() -> Texts:
    """Ten tragedies by Shakespeare: 1,104,961 characters to train on, 138,749 to choose on, 136,230 to test on.

    Of each play, in order, the speeches that begin in its first 80 % are in `train`, those of the next 10 % in
    `validation`, the others in `test`. `train` has all characters of the other two: 69.

    Returns
    -------
    Texts
        Three strings of ASCII characters; speeches are separated by blank lines.

    Examples
    --------
    >>> print(plays().train[58:146])
    [Francisco at his post. Enter to him Bernardo.]
    <BLANKLINE>
    Ber.
    Who's there?
    <BLANKLINE>
    Fran.
    Nay, answer me

    Source: Project Gutenberg's texts of 1998, as shipped in the package shakespeare 0.6 (2008). Public
    domain. Chapter: Sharing today.
    """
    return Texts(*((FOLDER / f"{part}.txt").read_text(encoding="ascii") for part in Texts._fields))


def words(text: str) -> list[str]:
    """The words of a text in lower case, its punctuation marks, and its line ends, in order.

    Parameters
    ----------
    text
        Such as a part of `plays`.

    Returns
    -------
    list[str]
        Apostrophes stay inside a word; each line end is a token of its own.

    Examples
    --------
    >>> words("Ber.\\nWho's there?")
    ['ber', '.', '\\n', "who's", 'there', '?']

    Chapter: Sharing today.
    """
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*|\n|[^\w\s]|_", text.lower())
