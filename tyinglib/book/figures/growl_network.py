"""Figures of the chapter on GrOWL in a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from tyinglib.book import plots

LOOKS = (  # colour, marker, line, and whether the marker is filled: of six ways to tie
    ("C0", "o", "", True),
    ("C0", "o", "", False),
    ("C1", "s", "-", True),
    ("C1", "s", "--", False),
    ("C3", "D", "", True),
    ("C2", "^", ":", True),
)
Runs = Sequence[Mapping[str, Any]]  # of one network with several seeds: what was measured of each


def row_lengths(histories: Mapping[str, Tensor]) -> Figure:
    """The lengths of rows against the epoch, under three penalties; every sixth row is drawn.

    Parameters
    ----------
    histories
        To each penalty (epochs, rows).

    Returns
    -------
    Figure
        With three pairs of axes.

    Examples
    --------
    >>> import torch
    >>> figure = row_lengths({name: torch.rand(3, 12) for name in ("no penalty", "group lasso", "GrOWL")})
    >>> [len(ax.lines) for ax in figure.axes]
    [2, 2, 2]

    Chapter: GrOWL in a network.
    """
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 3.2), sharey=True)
    for ax, (name, history) in zip(axes, histories.items(), strict=True):
        ax.plot(history[:, ::6], linewidth=0.5, alpha=0.6, color=plots.BLUE, linestyle="-", marker="")
        ax.set(title=name, xlabel="epoch")
    axes[0].set_ylabel("length of a pixel's row")
    plots.title(figure, "GrOWL gathers lengths; group lasso spreads them")
    return figure


def largest_groups(labels: Tensor, largest: Tensor, alike: Tensor) -> Figure:
    """Where the pixels of the six largest groups are, and how alike their rows.

    Parameters
    ----------
    labels
        (784,), the group of each pixel; -1 if it was dropped.
    largest
        (6,), the labels of these groups.
    alike
        (rows, rows), 0..1.

    Returns
    -------
    Figure
        With two pairs of axes, and those of the scale.

    Examples
    --------
    >>> import torch
    >>> figure = largest_groups(torch.arange(784) % 8 - 1, torch.arange(6), torch.eye(3))
    >>> figure.axes[0].images[0].get_array()[0, 0].tolist()
    [1.0, 1.0, 1.0]

    Chapter: GrOWL in a network.
    """
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.6))
    shown = np.ones((784, 3))
    shown[np.asarray(labels >= 0)] = 0.82
    for colour, group in zip((*plots.COLOURS, plots.INK), largest, strict=True):
        shown[np.asarray(labels == group)] = to_rgb(colour)
    axes[0].imshow(shown.reshape(28, 28, 3))
    axes[0].set(title="The six largest groups", xlabel="column of pixels", ylabel="row")
    drawn = axes[1].imshow(np.asarray(alike), cmap="Greys", vmin=0, vmax=1)
    axes[1].set(title="Their rows, sorted by group", xlabel="row", ylabel="row")
    figure.colorbar(drawn, ax=axes[1], shrink=0.7, label="similarity")
    for ax in axes:
        ax.grid(False)
    return figure


def accuracy_against_compression(
    affinity: Mapping[str, Runs], frontier: Mapping[str, Mapping[int, Runs]], paper: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """Accuracy on test images, with its deviation over the seeds, against the compression of the first layer.

    Parameters
    ----------
    affinity
        Networks tied by affinity propagation, with a penalty or without one (protocol "-").
    frontier
        To each of four other ways to tie, for each number of groups its runs.
    paper
        What was published: compression and accuracy of each method.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> runs = [{"protocol": "-", "compression": 4.0, "accuracy": accuracy} for accuracy in (98.0, 98.5)]
    >>> bare, penalised = runs, [run | {"protocol": "exact"} for run in runs]
    >>> ways = {way: {32: runs} for way in ("k-means", "distilled", "same start", "learned")}
    >>> published = {"GrOWL": {"compression": 16, "accuracy": 98.1}}
    >>> figure = accuracy_against_compression({"none": bare, "GrOWL": penalised}, ways, published)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()][:3]
    ['in the paper', 'penalty, affinity', 'no penalty, affinity']

    Chapter: GrOWL in a network.
    """
    figure, ax = plt.subplots(figsize=(6.4, 4.8))
    series: dict[str, list[Runs]] = {"penalty, affinity": [], "no penalty, affinity": []}
    for runs in affinity.values():
        bare = "no " * (runs[0]["protocol"] == "-")
        series[f"{bare}penalty, affinity"].append(runs)
    series |= {way: list(found.values()) for way, found in frontier.items()}
    for (name, several), (colour, marker, line, filled) in zip(series.items(), LOOKS, strict=True):
        x = [np.mean([run["compression"] for run in runs]) for runs in several]
        accuracies = [[run["accuracy"] for run in runs] for runs in several]
        y, sd = (np.round([f(values) for values in accuracies], 2) for f in (np.mean, _deviation))  # as printed
        inside = colour if filled else "white"
        style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line, "markerfacecolor": inside}
        ax.errorbar(x, y, sd, capsize=3, label=name, **style)
    points = [(row["compression"], row["accuracy"]) for row in paper.values()]
    ax.plot(*np.transpose(points), "x", color=plots.INK, label="in the paper")
    plots.log_ticks(ax, "x", [1, 2, 4, 8, 16, 32, 64])
    ax.set(xlabel="compression of layer 1", ylabel="accuracy on test images, %")
    ax.set_title("Few groups: it matters how they are found")
    ax.legend(fontsize="small", loc="lower left")
    return figure


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1))
