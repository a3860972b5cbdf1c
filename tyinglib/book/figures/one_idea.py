"""Figures of the chapter on the one idea."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from tyinglib.book import plots


def free_and_tied(digit: Tensor, groups: Tensor, free: Tensor, tied: Tensor) -> Figure:
    """A digit, the pixels whose weights must agree, and the weights for a 3, free and tied.

    Parameters
    ----------
    digit
        (64,).
    groups
        (64,), the group of each pixel.
    free, tied
        (10, 64) each.

    Returns
    -------
    Figure
        With a square of four axes.

    Examples
    --------
    >>> figure = free_and_tied(torch.zeros(64), torch.arange(64), *torch.zeros(2, 10, 64))
    >>> len(figure.axes[1].texts)
    64

    Chapter: One idea.
    """
    figure, axes = plt.subplots(2, 2, figsize=(5.6, 5.8))
    plots.image(digit, ax=axes[0, 0]).set_title("A digit")
    plots.groups(groups, ax=axes[0, 1]).set_title("Pixels that must agree")
    for ax, weight, name in zip(axes[1], (free, tied), ("Free", "Tied"), strict=True):
        plots.image(weight[3].detach(), ax=ax, limit=2)
        ax.set(title=f"{name} weights for a “3”", xlabel="blue: against a 3, orange: for")
    return figure


def equation(theta: Tensor, matrix: Tensor, phi: Tensor) -> Figure:
    """Theta = S phi, in numbers.

    Parameters
    ----------
    theta
        (n,).
    matrix
        S, (n, k).
    phi
        (k,).

    Returns
    -------
    Figure
        With three axes.

    Examples
    --------
    >>> figure = equation(torch.tensor([5, 5, 7]), torch.tensor([[1, 0], [1, 0], [0, 1]]), torch.tensor([5, 7]))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['5', '5', '7']

    Chapter: One idea.
    """
    figure, axes = plt.subplots(1, 3, figsize=(5.6, 3.6), width_ratios=[1, 3, 1])
    parts = (theta[:, None], matrix, phi[:, None])
    for ax, values, title in zip(axes, parts, ("θ  =", "S", "φ"), strict=True):
        plots.matrix(values, ax=ax, marks=True).set_title(title)
    axes[2].set_ylim(len(theta) - 0.5, -0.5)  # the same scale as S
    axes[0].set(ylabel="weight", xticks=[])
    axes[1].set_xlabel("value")
    axes[2].set(ylabel="value", xticks=[])
    return figure


def gradients_end_to_end(pixels: Sequence[int], gradients: Tensor) -> Figure:
    """The gradients of four weights, which make up that of their shared value.

    Parameters
    ----------
    pixels
        Whose weights they are.
    gradients
        (pixels,).

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = gradients_end_to_end([1, 2], torch.tensor([0.5, -1.0]))
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['pixel 1', 'pixel 2', 'shared']

    Chapter: One idea.
    """
    figure, ax = plt.subplots(figsize=(5.6, 2.8))
    names = [f"pixel {pixel}" for pixel in pixels]
    plots.stacked_sum(gradients.tolist(), ax=ax, names=names, total="shared")
    ax.set(xlabel="gradient of the loss", title="Four gradients end to end make the shared one")
    return figure


def loss_by_rate(rates: Sequence[float], losses: Mapping[str, Tensor]) -> Figure:
    """The training loss after the last of 100 steps against the learning rate.

    Parameters
    ----------
    rates
        (rates,).
    losses
        To each kind of layer (rates, 100).

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = loss_by_rate([0.5, 1.0], {"free": torch.ones(2, 100), "tied": torch.ones(2, 100)})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['free', 'tied']

    Chapter: One idea.
    """
    figure, ax = plt.subplots()
    plots.bands(rates, {name: curves[None, :, -1] for name, curves in losses.items()}, ax=ax)
    ax.set(xlabel="learning rate", ylabel="training loss after 100 steps")
    ax.set_title("The tied layer's loss climbs at large rates")
    plots.log_ticks(ax, "x", rates)
    plots.log_ticks(ax, "y", [0.1, 0.2, 0.5, 1])
    ax.legend()
    return figure


def straight_across(before: Tensor, after: Tensor, pixels: Sequence[int]) -> Figure:
    """Pairs of weights, and the nearest pairs that agree.

    Parameters
    ----------
    before, after
        (pairs, 2) each.
    pixels
        The two whose weights they are.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = straight_across(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 2.0]]), [27, 28])
    >>> figure.axes[0].get_xlabel()
    'weight of pixel 27'

    Chapter: One idea.
    """
    figure, ax = plt.subplots(figsize=(4.6, 4.6))
    line: dict[str, Any] = {"color": plots.MUTED, "marker": "", "linewidth": 1}
    ax.axline((0, 0), slope=1, linestyle="-", label="weights that agree", **line)
    for start, end in zip(before, after, strict=True):
        ax.plot(*torch.stack([start, end]).T, linestyle=":", **line)
    ax.plot(*before.T, label="trained, one a digit", **plots.look(0, linestyle=""))
    ax.plot(*after.T, label="nearest that agree", **plots.look(1, linestyle=""))
    ax.set(xlabel=f"weight of pixel {pixels[0]}", ylabel=f"weight of pixel {pixels[1]}")
    ax.set(aspect="equal", title="The nearest agreement is straight across")
    ax.legend(loc="lower right", fontsize="small")
    return figure


def nearest_that_agree(figure: Figure, labels: Sequence[int], weights: Tensor, matrix: Tensor, means: Tensor) -> str:
    """A frame: S for some labels, the group means, and how far the nearest weights that agree are.

    Parameters
    ----------
    figure
        An empty one.
    labels
        (n,), from 0 to 2.
    weights
        (n,).
    matrix
        S, (n, k).
    means
        (k,), of the weights in each group.

    Returns
    -------
    str
        What is in the picture, in words.

    Examples
    --------
    >>> nearest_that_agree(plt.figure(), [0, 0], torch.tensor([5.0, 7.0]), torch.ones(2, 1), torch.tensor([6.0]))
    'S for the labels [0, 0]. Group means 6.0. The nearest that agree: 1.41 away.'

    Chapter: One idea.
    """
    nearest = matrix @ means
    ax = plots.matrix(matrix, ax=figure.subplots(), marks=True)
    written = [f"{mean:.1f}" for mean in means]
    moves = [f"{old:.0f} → {new:.1f}" for old, new in zip(weights, nearest, strict=True)]
    ax.set_xticks(range(len(written)), written)
    ax.set_yticks(range(len(moves)), moves)
    ax.set(xlabel="group means φ*", ylabel="θ → Sφ*", xlim=(-0.5, 2.5))
    title = f"The nearest that agree: {(weights - nearest).norm():.2f} away"
    figure.suptitle(title, x=0.01, ha="left", size="medium", weight="bold")
    return f"S for the labels {labels}. Group means {', '.join(written)}. {title}."


def bits_by_values(values: Sequence[int], bits: Sequence[float], n: int) -> Figure:
    """What is stored for each weight against the number of free values.

    Parameters
    ----------
    values
        How many there are.
    bits
        A weight, one for each of them.
    n
        The number of weights.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = bits_by_values([2, 4, 8], [1.0, 2.0, 3.0], 1000)
    >>> figure.axes[0].get_xlabel()
    'free values for 1,000 weights'

    Chapter: One idea.
    """
    figure, ax = plt.subplots()
    plots.band(values, [bits], ax=ax, label="single weights tied", series=1)
    ax.axhline(32, color=plots.BLUE, linestyle="--", marker="", label="free: 32 bits")
    plots.log_ticks(ax, "x", values[::2])
    ax.set(xlabel=f"free values for {n:,} weights", ylabel="bits stored for each weight")
    ax.set(title="Labels eat the saving", ylim=(0, 36))
    ax.legend()
    return figure


def accuracy_by_groups(accuracies: Mapping[str, Tensor]) -> Figure:
    """Accuracies on test images of networks whose weights are tied in different groups.

    Parameters
    ----------
    accuracies
        To each kind of groups (runs,).

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = accuracy_by_groups({"free": torch.ones(2), "blocks": torch.ones(2)})
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['free', 'blocks']

    Chapter: One idea.
    """
    figure, ax = plt.subplots(figsize=(5.6, 2.6))
    plots.places(accuracies, ax=ax)
    ax.set(xlabel="accuracy on test images, percent")
    ax.set_title("Accuracy depends on S, not only on its size")
    return figure
