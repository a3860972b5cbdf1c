"""Figures of the chapter on two models, tied softly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tyinglib.book import plots

KINDS = ("independent", "identical", "chosen")  # in the order of their colours


def offices(a: Tensor, b_tilted: Tensor, b_shuffled: Tensor) -> Figure:
    """Some digits of office A, and others as office B sees them in two worlds.

    Parameters
    ----------
    a, b_tilted, b_shuffled
        (5, 64) each.

    Returns
    -------
    Figure
        With three rows of five axes.

    Examples
    --------
    >>> figure = offices(*torch.zeros(3, 5, 64))
    >>> [ax.get_ylabel() for ax in figure.axes[::5]]
    ['A', 'B, tilted', 'B, shuffled']

    Chapter: Two models, tied softly.
    """
    figure, axes = plt.subplots(3, 5, figsize=(5.6, 3.6))
    seen = {"A": a, "B, tilted": b_tilted, "B, shuffled": b_shuffled}
    for row, (name, pictures) in zip(axes, seen.items(), strict=True):
        for ax, picture in zip(row, pictures, strict=True):
            plots.image(picture, ax=ax)
        row[0].set_ylabel(name)
    plots.title(figure, "The same classes, other pictures")
    return figure


def distance_and_gain(strengths: Sequence[str], distance: Tensor, right: Tensor) -> Figure:
    """What the strength of the pull does: to the distance of the weights, and to the accuracy of both models.

    Parameters
    ----------
    strengths
        As they are written on the axis; no pull comes first.
    distance
        (runs, strengths).
    right
        (2, runs, strengths), in percent, of A and B.

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> figure = distance_and_gain(["0", "∞"], torch.rand(3, 2), torch.rand(2, 3, 2))
    >>> [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    ['office A', 'office B']

    Chapter: Two models, tied softly.
    """
    figure, axes = plt.subplots(2, 1, figsize=(5.6, 5.6), sharex=True)
    places = range(len(strengths))
    plots.band(places, distance, ax=axes[0], label="distance", series=3)
    axes[0].set(ylabel="distance of the weights", title="The models approach each other")
    gains = {f"office {name}": runs - runs[:, :1] for name, runs in zip("AB", right, strict=True)}
    plots.bands(places, gains, ax=axes[1])
    axes[1].set(ylabel="gain in accuracy, points", xlabel="strength λ")
    axes[1].set_title("A hill in the middle, lower than the spread")
    axes[1].legend(loc="upper left")
    _write_strengths(strengths, axes[1])
    return figure


def weights_for_a_three(figure: Figure, strength: str, weights: Tensor, right: Tensor, distance: Tensor) -> str:
    """A frame: what both models look for in a 3, and the difference.

    Parameters
    ----------
    figure
        An empty one.
    strength
        Of the pull, as it is written.
    weights
        (2, 64), of A and B.
    right
        (2,), in percent.
    distance
        A scalar: of all weights.

    Returns
    -------
    str
        What is in the picture, in words.

    Examples
    --------
    >>> weights_for_a_three(plt.figure(), "0", torch.zeros(2, 64), torch.zeros(2), torch.tensor(0.0))[:11]
    'Strength 0:'

    Chapter: Two models, tied softly.
    """
    a, b = weights
    axes = figure.subplots(1, 3)
    for ax, values, name in zip(axes, (a, b, a - b), ("A", "B", "A − B"), strict=True):  # noqa: RUF001
        plots.image(values, ax=ax, limit=1.5).set_title(name)
    for ax, text in zip(axes, (*(f"{s:.1f} % right" for s in right), f"distance {distance:.2f}"), strict=True):
        ax.set_xlabel(text)
    return (
        f"Strength {strength}: the weights of models A and B for a 3, and their "
        f"difference. A reads {right[0]:.1f} % of the test images, B {right[1]:.1f} %; "
        f"the distance of all weights is {distance:.2f}."
    )


def accuracies_by_labels(found: Mapping[int, Mapping[str, Tensor]], title: str) -> Figure:
    """Accuracies of three pairs of models against the labels per class.

    Parameters
    ----------
    found
        To each number of images, ten classes of them, the accuracies (runs,) of each of `KINDS`.
    title
        What to see.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = accuracies_by_labels({10: dict.fromkeys(KINDS, torch.rand(2))}, "One label a class")
    >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ['1']

    Chapter: Two models, tied softly.
    """
    figure, ax = plt.subplots()
    plots.learning_curves([size // 10 for size in found], _curves(found), ax=ax)
    ax.set(xlabel="labels per class", title=title)
    ax.legend(loc="lower right")
    return figure


def accuracies_by_angle(found: Mapping[int, Mapping[str, Tensor]]) -> Figure:
    """Accuracies of three pairs of models against the tilt of office B's pages.

    Parameters
    ----------
    found
        To each angle the accuracies (runs,) of each of `KINDS`.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = accuracies_by_angle({0: dict.fromkeys(KINDS, torch.rand(2)), 60: dict.fromkeys(KINDS, torch.rand(2))})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['independent', 'identical', 'chosen']

    Chapter: Two models, tied softly.
    """
    figure, ax = plt.subplots()
    plots.bands(list(found), _curves(found), ax=ax)
    ax.set(xlabel="tilt of office B's pages, degrees", ylabel="accuracy on test images, %")
    ax.set(title="Equality pays only while the tasks are alike", xticks=list(found))
    ax.legend(loc="lower left")
    return figure


def help_from_a_neighbour(found: Mapping[str, Tensor]) -> Figure:
    """Office B's accuracies under each way to use office A, the worst way at the bottom.

    Parameters
    ----------
    found
        To each way (runs,).

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = help_from_a_neighbour({"fine-tuned": torch.ones(2), "independent": torch.zeros(2)})
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['alone', 'fine-tuned']

    Chapter: Two models, tied softly.
    """
    figure, ax = plt.subplots()
    order = sorted(found, key=lambda kind: float(found[kind].mean()))
    colours = dict(zip(KINDS, plots.COLOURS, strict=False))
    for place, kind in enumerate(order):
        colour = colours.get(kind, plots.MUTED)
        runs = found[kind]
        ax.plot(runs, [place] * len(runs), linestyle="", marker="o", alpha=0.5, color=colour)
        ax.plot(runs.mean(), place, marker="|", markersize=22, mew=2.5, color=colour)
    names = {"independent": "alone", "identical": "pooled", "chosen": "pull"}
    ax.set_yticks(range(len(order)), [names.get(kind, kind) for kind in order])
    ax.set(xlabel="office B's accuracy on test images, %", ylim=(-0.6, len(order) - 0.4))
    ax.set_title("A rich neighbour is worth a great deal")
    return figure


def exactly_equal(strengths: Sequence[str], shares: Mapping[str, Tensor]) -> Figure:
    """How many pairs of weights are exactly equal, against the strength, for each norm.

    Parameters
    ----------
    strengths
        As they are written on the axis.
    shares
        To each norm (runs, strengths), in percent.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = exactly_equal(["0", "∞"], {"l2": torch.rand(3, 2), "l1": torch.rand(3, 2)})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['l2, squared', 'l1']

    Chapter: Two models, tied softly.
    """
    figure, ax = plt.subplots()
    named = {{"l2": "l2, squared"}.get(norm, norm): runs for norm, runs in shares.items()}
    plots.bands(range(len(strengths)), named, ax=ax)
    ax.set(xlabel="strength λ", ylabel="pairs exactly equal, %")
    ax.set_title("Soft turns hard by itself, but not with squares")
    _write_strengths(strengths, ax)
    ax.legend(loc=(0.48, 0.14))
    return figure


def _curves(found: Mapping[int, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {kind: torch.stack([one[kind] for one in found.values()], dim=1) for kind in KINDS}


def _write_strengths(strengths: Sequence[str], ax: Axes) -> None:
    ax.set_xticks(range(len(strengths)), strengths, rotation=45, fontsize=9)
