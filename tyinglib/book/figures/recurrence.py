"""Figures of the chapter on recurrence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from tyinglib.book import plots

KINDS = ("untied", "tied", "tied, wide")  # in the order of their colours


def moments(matrix: Tensor) -> Figure:
    """S of a recurrent layer of three weights, unrolled over four moments.

    Parameters
    ----------
    matrix
        (12, 3).

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> import torch
    >>> figure = moments(torch.eye(3).repeat(4, 1))
    >>> figure.axes[0].get_yticklabels()[0].get_text()
    'moment 1'

    Chapter: Recurrence.
    """
    figure, ax = plt.subplots(figsize=(3.6, 4.2))
    plots.matrix(matrix, ax=ax)
    ax.set(xlabel="free weight φ", ylabel="weight in use θ")
    ax.set_xticks(range(3), ["w₁", "w₂", "u"])
    ax.set_yticks([1, 4, 7, 10], [f"moment {t}" for t in range(1, 5)])
    ax.set_title("S: one block for each moment")
    return figure


def streams(
    sizes: Sequence[int], right: Mapping[str, Tensor], lengths: Sequence[int], longer: Tensor, *, learned: int
) -> Figure:
    """Streams right against how many were trained on, and, tied, against their length.

    Parameters
    ----------
    sizes
        (points,).
    right
        To ``"tied"`` and ``"untied"`` (runs, points), in percent.
    lengths
        (lengths,).
    longer
        (runs, lengths), in percent.
    learned
        The length that was trained on.

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> import torch
    >>> figure = streams([20, 50], {"tied": torch.rand(2, 2)}, [10, 20], torch.rand(2, 2), learned=10)
    >>> figure.axes[1].texts[0].get_text()
    'untied: this length only'

    Chapter: Recurrence.
    """
    figure, (above, below) = _two(height=5.6)
    _draw(sizes, right, ax=above)
    above.set(xlabel="streams trained on", title="The tie needs fewer streams")
    above.legend()
    _draw(lengths, {"tied": longer}, ax=below)
    colour = plots.COLOURS[KINDS.index("untied")]
    below.axvline(learned, linestyle=":", marker="", color=colour)
    below.text(learned * 1.04, 60, "untied: this length only", color=colour)
    below.set(xlabel="length of the stream", ylim=(50, 102), title="And it reads lengths that it never saw")
    return figure


def signals(sizes: Sequence[int], right: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Signals right against how many were trained on, in order and shuffled.

    Parameters
    ----------
    sizes
        (points,).
    right
        To ``"in order"`` and ``"shuffled"``, for each kind of net, (runs, points), in percent.

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> import torch
    >>> figure = signals([100, 300], {order: {"tied": torch.rand(2, 2)} for order in ("in order", "shuffled")})
    >>> figure.axes[1].get_xlabel()
    'signals trained on'

    Chapter: Recurrence.
    """
    figure, axes = _two(height=5.6, sharey=True)
    titles = {
        "in order": "In order: a shape may come at any moment",
        "shuffled": "Shuffled: the same numbers, no moment like another",
    }
    for ax, (order, title) in zip(axes, titles.items(), strict=True):
        _draw(sizes, right[order], ax=ax)
        ax.set(title=title, xlabel="signals trained on")
        ax.legend(loc="upper left")
    return figure


def rows_of_digits(sizes: Sequence[int], by_rows: Mapping[str, Tensor], on_a_drum: Mapping[str, Tensor]) -> Figure:
    """Digits right against how many were trained on: read row by row, and from a drum.

    Parameters
    ----------
    sizes
        (points,).
    by_rows, on_a_drum
        To each kind of net (runs, points), in percent.

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> import torch
    >>> right = {"untied": torch.rand(2, 2), "tied": torch.rand(2, 2)}
    >>> figure = rows_of_digits([50, 100], right, right)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['untied', 'tied']

    Chapter: Recurrence.
    """
    figure, axes = _two(height=5.8)
    titles = "Row by row: each row has its own meaning", "On a drum: any row may come first"
    for ax, title, right in zip(axes, titles, (by_rows, on_a_drum), strict=True):
        _draw(sizes, right, ax=ax)
        ax.set(title=title, xlabel="labelled digits trained on")
        ax.legend(loc="lower right")
    return figure


def _two(height: float, *, sharey: bool = False) -> tuple[Figure, tuple[Axes, Axes]]:
    """Two pairs of axes, one above the other, with room between them."""
    layout = ConstrainedLayoutEngine(hspace=0.08)
    figure, axes = plt.subplots(2, 1, figsize=(5.6, height), sharey=sharey, layout=layout)
    return figure, (axes[0], axes[1])


def _draw(sizes: Sequence[int], right: Mapping[str, Tensor], *, ax: Axes) -> None:
    series = [KINDS.index(kind) for kind in right]
    plots.learning_curves(sizes, right, ax=ax, series=series, ylabel="right, %")
