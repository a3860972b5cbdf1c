"""Figures of the chapter on tying from prior knowledge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from tyinglib.book import plots


def mirrored_digits(images: Sequence[Tensor], mirror: Tensor) -> Figure:
    """Four digits, below each the same from behind; beside them the pixels that a mirror swaps.

    Parameters
    ----------
    images
        Four of shape (64,).
    mirror
        (64,), the group of each pixel.

    Returns
    -------
    Figure
        With nine axes.

    Examples
    --------
    >>> import torch
    >>> figure = mirrored_digits([torch.zeros(64)] * 4, torch.arange(64))
    >>> len(figure.axes), sum(len(ax.texts) for ax in figure.axes)
    (9, 64)

    Chapter: Tying from prior knowledge.
    """
    figure, axes = plt.subplot_mosaic("abcdSSSS\nefghSSSS", figsize=(6.4, 3.2))
    for above, below, picture in zip("abcd", "efgh", images, strict=True):
        plots.image(picture, ax=axes[above])
        plots.image(picture.view(8, 8).flip(1).flatten(), ax=axes[below])
    plots.groups(mirror, ax=axes["S"]).set_title("Pixels that should agree")
    axes["a"].set_title("from the front")
    axes["e"].set_title("from behind")
    return figure


def race(sizes: Sequence[int], runs: Mapping[str, Tensor], *, title: str, series: Sequence[int]) -> Figure:
    """Accuracies against the number of training images, for several ties.

    Parameters
    ----------
    sizes
        (points,).
    runs
        To each tie (runs, points).
    title
        What to see.
    series
        The number of each tie's series.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> import torch
    >>> figure = race([20, 50], {"free": torch.rand(2, 2)}, title="Ties help", series=[0])
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['free']

    Chapter: Tying from prior knowledge.
    """
    figure, ax = plt.subplots()
    plots.learning_curves(sizes, runs, ax=ax, series=series)
    ax.set(xlabel="training images", title=title)
    ax.legend(loc="lower right")
    return figure


def pulls(strengths: Sequence[float], runs: Mapping[str, Tensor]) -> Figure:
    """Accuracies on validation images against the strength of the pull, from free to tied.

    Parameters
    ----------
    strengths
        (points,): 0 first, infinity last.
    runs
        To each world (runs, points).

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> import torch
    >>> figure = pulls([0, 0.1, float("inf")], {"half": torch.rand(2, 3)})
    >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ['free', '0.1', 'tied']

    Chapter: Tying from prior knowledge.
    """
    figure, ax = plt.subplots()
    ticks = range(len(strengths))
    plots.bands(ticks, runs, ax=ax)
    ax.set_xticks(ticks, ["free", *map(str, strengths[1:-1]), "tied"])
    ax.set(xlabel="strength of the pull, λ", ylabel="accuracy on validation images, %")
    ax.set_title("How much agreement is right depends on the world")
    ax.legend(loc="lower right")
    return figure


def before_and_after(plain: Tensor, soft: Tensor) -> Figure:
    """Histograms of the weights before and after training under a mixture of Gaussians.

    Parameters
    ----------
    plain
        As trained; any shape.
    soft
        As trained on; any shape.

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> import torch
    >>> figure = before_and_after(torch.rand(3), torch.rand(3))
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['weights', 'weights']

    Chapter: Tying from prior knowledge.
    """
    figure, axes = plt.subplots(2, 1, figsize=(5.6, 4.2), sharex=True)
    titles = ("Trained as usual", "Trained on with a mixture of 4 Gaussians")
    for ax, weight, title in zip(axes, (plain, soft), titles, strict=True):
        ax.hist(weight.detach().flatten(), bins=120, color=plots.BLUE)
        ax.set(title=title, ylabel="weights")
    axes[1].set_xlabel("value of the weight")
    return figure
