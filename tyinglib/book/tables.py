"""Tables of plain text, set by tabulate: the same on every machine, in a page, in a terminal and when read aloud."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

from tabulate import tabulate
from torch import Tensor

WIDEST = 100  # characters; a page shows 84 of them without scrolling, a phone about half of that


def table(
    rows: Iterable[Iterable[Any]] | Mapping[str, Iterable[Any]],
    head: Iterable[Any] = (),
    *,
    title: str = "",
    digits: int = 1,
) -> None:
    """Print a table: the first column stands at the left, the others at the right.

    Parameters
    ----------
    rows
        Each of as many entries as `head`; or to each name, which comes first, the other entries. Texts stand as they
        are, whole numbers get commas, other numbers `digits`. A pair is a mean with half the width of its interval, as
        `chapter.interval` gives it.
    head
        The columns' names. Empty: no line for them.
    title
        A line above the table; it says what the numbers are.
    digits
        After the decimal point.

    Raises
    ------
    ValueError
        If a row has more or fewer entries than `head` (or than the first row), or if the table is wider than `WIDEST`.

    References
    ----------
    The package tabulate, https://github.com/astanin/python-tabulate.

    Examples
    --------
    >>> table([("none", 98.5, 7850), ("by blocks", 92.25, 170)], ("ties", "% right", "values"))
    ties       % right  values
    none          98.5   7,850
    by blocks     92.2     170
    >>> table({"mirror": [(13.72, 0.81)]}, title="points ahead")
    points ahead
    mirror  +13.7 ± 0.8

    Chapter: all.
    """
    if isinstance(rows, Mapping):
        rows = [(name, *entries) for name, entries in rows.items()]
    lines = [names] if (names := [str(name) for name in head]) else []
    lines += [[_text(entry, digits) for entry in row] for row in rows]
    columns = len(lines[0])
    for line in lines:
        if len(line) != columns:
            raise ValueError(f"each row must have {columns} entries, as the first line {lines[0]} has; got {line}")
    # the head goes in as a row: beside headers of its own, tabulate leaves more space than a phone has
    aligned = ["left", *["right"] * (columns - 1)]
    text = tabulate(lines, tablefmt="plain", colalign=aligned, disable_numparse=True)
    printed = [title] * bool(title) + [line.rstrip() for line in text.splitlines()]
    widest = max(map(len, printed))
    if widest > WIDEST:
        raise ValueError(f"a table may be {WIDEST} characters wide, this one is {widest}: print it as two")
    print("\n".join(printed))


def _text(entry: Any, digits: int) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, tuple):
        mean, half = entry
        return f"{mean:+.{digits}f} ± {half:.{digits}f}"
    if isinstance(entry, Tensor):
        entry = entry.item()
    return f"{entry:,}" if isinstance(entry, Integral) else f"{round(float(entry), digits) + 0.0:,.{digits}f}"
