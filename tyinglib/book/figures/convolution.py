"""Figures of the chapter on convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from tyinglib.book import plots


def convolution_as_a_matrix(labels: Tensor) -> Figure:
    """The weights of a convolution with four values, written out for every output and pixel.

    Parameters
    ----------
    labels
        (outputs, pixels): which of the values; -1 for none.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = convolution_as_a_matrix(torch.tensor([[0, 1, -1], [-1, 0, 1]]))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['a', 'b', 'a', 'b']

    Chapter: Convolution.
    """
    figure, ax = plt.subplots(figsize=(5.6, 3.6))
    plots.matrix((labels >= 0) * (0.1 + 0.12 * labels), ax=ax)
    for row, column in (labels >= 0).nonzero().tolist():
        ax.text(column, row, "abcd"[labels[row, column]], ha="center", va="center")
    ax.set(xlabel="pixel", ylabel="output", title="144 weights, four values")
    return figure


def moved_garments(accuracies: Mapping[str, Tensor]) -> Figure:
    """Accuracies on test garments against how far they were moved.

    Parameters
    ----------
    accuracies
        To each kind of net (runs, 4): moved by 0 to 3 columns.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = moved_garments({"dense": torch.rand(2, 4), "pooled": torch.rand(2, 4)})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['dense', 'pooled']

    Chapter: Convolution.
    """
    figure, ax = plt.subplots()
    plots.bands(range(4), accuracies, ax=ax)
    ax.set(xlabel="garments moved by, columns", ylabel="accuracy on test images, %")
    ax.set_title("Three nets lose moved garments; the pooled one only between its steps")
    ax.set(xticks=range(4), ylim=(0, 100))
    ax.legend(ncols=2, loc="upper right")
    return figure


def garments(sizes: Sequence[int], accuracies: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Accuracies on test garments against the number of training images, in two worlds.

    Parameters
    ----------
    sizes
        (points,).
    accuracies
        To each of two worlds, for each kind of net, (runs, points).

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> figure = garments([100, 400], {world: {"local": torch.rand(2, 2)} for world in ("in the middle", "anywhere")})
    >>> [ax.get_xlabel() for ax in figure.axes]
    ['', 'training images']

    Chapter: Convolution.
    """
    figure, axes = plt.subplots(2, 1, figsize=(5.6, 6), sharex=True, sharey=True)
    for ax, (world, runs) in zip(axes, accuracies.items(), strict=True):
        plots.learning_curves(sizes, runs, ax=ax).set_title(f"Garments {world}")
    axes[0].legend(loc="lower right")
    axes[1].set_xlabel("training images")
    return figure


def signals(curves: Mapping[str, Mapping[str, Tensor]], mark: float) -> Figure:
    """Accuracies on validation signals while nets are trained, in two orders of the signals' numbers.

    Parameters
    ----------
    curves
        To each of two orders, for each kind of net, (runs, points): after 25 steps, after 50, and so on. Every other
        point is drawn.
    mark
        The accuracy that is to be reached.

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> figure = signals({order: {"local": torch.rand(2, 16)} for order in ("in order", "shuffled")}, 55)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['local', '55 % right']

    Chapter: Convolution.
    """
    figure, axes = plt.subplots(2, 1, figsize=(5.6, 6), sharex=True, sharey=True)
    for ax, (order, kinds) in zip(axes, curves.items(), strict=True):
        every_other = {kind: runs[:, 1::2] for kind, runs in kinds.items()}
        steps = 50 * torch.arange(1, 1 + len(next(iter(every_other.values())).T))
        plots.bands(steps, every_other, ax=ax)
        ax.axhline(mark, label=f"{mark} % right", color=plots.MUTED, linewidth=1, marker="", linestyle=":")
        ax.set(title=f"Signals {order}", ylabel="accuracy on validation, %")
    axes[0].legend(loc="lower right")
    axes[1].set_xlabel("steps")
    return figure
