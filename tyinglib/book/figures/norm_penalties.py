"""Figures of the chapter on norm penalties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tyinglib.book import plots
from tyinglib.penalties import Penalty


def nonzero_weights(weights: Mapping[str, Tensor]) -> Figure:
    """Where the weights of four first layers are not zero.

    Parameters
    ----------
    weights
        To each of four penalties (neurons, pixels).

    Returns
    -------
    Figure
        With a square of four axes.

    Examples
    --------
    >>> figure = nonzero_weights({name: torch.zeros(32, 64) for name in "abcd"})
    >>> [ax.get_xlabel() for ax in figure.axes]
    ['', '', 'pixel', 'pixel']

    Chapter: Norm penalties.
    """
    figure, axes = plt.subplots(2, 2, figsize=(6.4, 4.2))
    for ax, (name, weight) in zip(axes.flat, weights.items(), strict=True):
        ax.imshow(np.asarray(weight.detach() != 0), cmap="Greys", vmin=0, vmax=1)
        ax.set(title=name, xticks=[0, 63], yticks=[0, 31])
        ax.grid(False)
        ax.spines[:].set_visible(True)
    plots.outer_labels(axes, "pixel", "hidden neuron")
    plots.title(figure, "Where weights are not zero")
    return figure


def proximal_maps(wanted: Tensor, settled: Mapping[str, Tensor]) -> Figure:
    """Where a weight settles against where the data want it.

    Parameters
    ----------
    wanted
        (points,).
    settled
        To each penalty (points,).

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = proximal_maps(torch.arange(3), {"l1": torch.tensor([0, 0, 1])})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['no penalty', 'l1']

    Chapter: Norm penalties.
    """
    figure, ax = plt.subplots()
    ax.axline((0, 0), slope=1, color=plots.MUTED, linestyle=":", marker="", label="no penalty")
    for series, (name, values) in enumerate(settled.items()):
        ax.plot(wanted, values, label=name, linewidth=2, **plots.look(series, marker=""))
    ax.set(xlabel="v, where the data want the weight", ylabel="where it settles")
    ax.set_title("l1 takes an amount and has a flat; the square takes a share")
    ax.legend()
    return figure


def shrinking_lengths(strengths: Tensor, lengths: Mapping[str, ArrayLike]) -> Figure:
    """The length of a vector's image against the strength: under a norm it ends at zero, under a square it does not.

    Parameters
    ----------
    strengths
        (points,).
    lengths
        To each of three penalties (points,).

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = shrinking_lengths(torch.arange(2), {"l1": [5, 3], "squared l2": [5, 2], "l2 norm": [5, 4]})
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [5, 3]

    Chapter: Norm penalties.
    """
    figure, ax = plt.subplots(figsize=(5.6, 3.0))
    for series, (name, values) in zip((0, 1, 3), lengths.items(), strict=True):
        ax.plot(strengths, np.asarray(values), label=name, linewidth=2, **plots.look(series, marker=""))
    ax.set(xlabel="strength t", ylabel="length of prox of (3, 4)")
    ax.set_title("The norm ends at zero; its square never does")
    ax.legend()
    return figure


def balls(
    penalties: Mapping[str, tuple[Penalty, tuple[int, ...]]], points: Tensor, images: Mapping[str, Tensor]
) -> Figure:
    """The unit balls of four penalties in the plane, and where points around them are moved.

    Parameters
    ----------
    penalties
        To each of four names a penalty, and the shape in which it takes two weights.
    points
        (points, 2).
    images
        To each name (points, 2): where the proximal map moves them. An image with a weight at zero is a square.

    Returns
    -------
    Figure
        With a square of four axes.

    Examples
    --------
    >>> from tyinglib import L1
    >>> figure = balls({n: (L1(1.0), (2,)) for n in "abcd"}, torch.ones(1, 2), {n: torch.zeros(1, 2) for n in "abcd"})
    >>> [line.get_marker() for line in figure.axes[0].lines][1:]
    ['s']

    Chapter: Norm penalties.
    """
    side = np.linspace(-2.2, 2.2, 45)
    figure, axes = plt.subplots(2, 2, figsize=(6.4, 6.4))
    for ax, (name, (penalty, shape)) in zip(axes.flat, penalties.items(), strict=True):
        pairs = [[torch.tensor([a, b]).view(shape) for a in side] for b in side]
        values = [[float(penalty.value(pair)) for pair in row] for row in pairs]
        ax.contour(side, side, values, levels=[1], colors=plots.INK, linewidths=2)
        for point, image in zip(points, images[name], strict=True):
            zero = bool((image.abs() < 1e-12).any())
            style = {"color": plots.VERMILION if zero else plots.BLUE, "linestyle": "-"}
            ax.plot(*torch.stack([point, image]).T, linewidth=0.8, marker="", **style)
            ax.plot(*image, marker="s" if zero else "o", markersize=5, **style)
        ax.set(title=name, aspect="equal", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
    plots.outer_labels(axes, "weight 1", "weight 2")
    plots.title(figure, "Corners of the ball make zeros (orange squares)")
    return figure


def paths(strengths: NDArray[Any], weights: Mapping[str, NDArray[Any]], features: Sequence[str]) -> Figure:
    """The weights of three methods against the strength; three features stand out.

    Parameters
    ----------
    strengths
        (points,).
    weights
        To each of three methods (points, features).
    features
        Their names, s1, s3 and bmi among them.

    Returns
    -------
    Figure
        With three pairs of axes, one above the other.

    Examples
    --------
    >>> names = ("Lasso", "ridge", "elastic net")
    >>> figure = paths(np.array([0.1, 1.0]), dict.fromkeys(names, np.zeros((2, 3))), ["bmi", "s1", "s3"])
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['s1', 's3', 'bmi']

    Chapter: Norm penalties.
    """
    figure, axes = plt.subplots(3, 1, figsize=(6.0, 7.6), sharex=True)
    for ax, (name, w) in zip(axes, weights.items(), strict=True):
        ax.plot(strengths, w, color=plots.MUTED, linestyle="-", marker="", linewidth=0.8)
        for series, feature in enumerate(("s1", "s3", "bmi")):
            ax.plot(
                strengths, w[:, features.index(feature)], label=feature, linewidth=2, **plots.look(series, marker="")
            )
        ax.axhline(0, color=plots.INK, linewidth=0.8, marker="", linestyle="-")
        ax.set(title=name, xscale="log", ylabel="weight")
    axes[2].set_xlabel("strength λ")
    axes[0].legend(ncols=3, fontsize="small")
    plots.title(figure, "Lasso weights arrive at zero; ridge weights only approach it")
    return figure


def survivors(left: Tensor, scores: Mapping[str, Tensor], everything: float) -> Figure:
    """Accuracies on validation images against the number of pixels left, for several ways to choose them.

    Parameters
    ----------
    left
        (points,).
    scores
        To each way (runs, points).
    everything
        The accuracy with all pixels.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = survivors(torch.tensor([30, 10]), {"by lot": torch.tensor([[80, 70]])}, 90)
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['by lot', 'all pixels']

    Chapter: Norm penalties.
    """
    figure, ax = plt.subplots()
    plots.bands(left, scores, ax=ax)
    ax.axhline(everything, color=plots.INK, linestyle=":", marker="", label="all pixels")
    ax.set(xlabel="pixels left of 64 (mean of 5 runs)", ylabel="accuracy on validation, %")
    ax.set_title("The survivors are good; so is a sort by variance")
    ax.invert_xaxis()
    ax.legend(fontsize="small", loc="lower left")
    return figure


def time_and_bytes(
    left: NDArray[Any], times: Mapping[str, Sequence[tuple[float, float, float]]], sizes: Mapping[str, NDArray[Any]]
) -> Figure:
    """What zeros cost and save, as shares of the full layer's time and bytes.

    Parameters
    ----------
    left
        (points,), the share of weights or of neurons.
    times
        To each way, for each point, the median and the quartiles.
    sizes
        To each way (points,).

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> figure = time_and_bytes(np.array([1, 0.5]), {"sparse": [(2, 1, 3), (1, 1, 1)]}, {"sparse": np.array([2, 1])})
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['time, 128 inputs / full layer', 'bytes / full layer']

    Chapter: Norm penalties.
    """
    figure, axes = plt.subplots(2, 1, figsize=(6.0, 6.4), sharex=True)
    for series, (name, measured) in enumerate(times.items()):
        medians, low, high = zip(*measured, strict=True)
        plots.band(left, [medians], ax=axes[0], label=name, series=series)
        axes[0].fill_between(left, low, high, color=plots.COLOURS[series], alpha=0.2)
        plots.band(left, [sizes[name]], ax=axes[1], label=name, series=series)
    for ax, what in zip(axes, ("time, 128 inputs", "bytes"), strict=True):
        ax.axhline(1, color=plots.INK, linewidth=0.8, marker="", linestyle="-")
        plots.log_ticks(ax, "y", [0.01, 0.1, 1, 5])
        ax.set_ylabel(f"{what} / full layer")
    plots.log_ticks(axes[1], "x", [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01])
    axes[1].set_xlabel("share of weights, or of neurons, that is left")
    axes[0].set_title("Scattered zeros cost time until most weights are gone")
    axes[0].invert_xaxis()
    axes[0].legend(fontsize="small")
    return figure


def where_it_ends(asked: Tensor, ends: Mapping[str, Tensor]) -> Figure:
    """Where one weight ends against the strength that was asked for, in several ways to minimise.

    Parameters
    ----------
    asked
        (points,).
    ends
        The right answer, (points,), then to each way (points,).

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = where_it_ends(torch.arange(2), {"right answer": torch.ones(2), "ProxSGD": torch.ones(2)})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['right answer', 'ProxSGD']

    Chapter: Norm penalties.
    """
    figure, ax = plt.subplots()
    (right, answer), *others = ends.items()
    ax.plot(asked, answer, color=plots.INK, linestyle=":", marker="", label=right, zorder=3)
    for series, (way, values) in enumerate(others):
        ax.plot(asked, values, label=way, **plots.look(series))
    ax.set(xlabel="λ that was asked for", ylabel="where the weight ends")
    ax.set(title="Momentum weakens the penalty; Adam makes it a switch", ylim=(-0.2, 5.2))
    ax.legend(fontsize="small", loc="upper right", ncols=2)
    return figure
