"""Figures of the chapter on sharing today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from tyinglib.book import plots


def parts_of_a_model(sizes: Mapping[str, int]) -> Figure:
    """How many weights are in the parts of a small language model.

    Parameters
    ----------
    sizes
        To each part its number of weights.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = parts_of_a_model({"table for reading": 128_000, "attention": 33_024})
    >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ['0', '50,000', '100,000']

    Chapter: Sharing today.
    """
    figure, ax = plt.subplots(figsize=(5.6, 2.4))
    plots.bars(sizes, ax=ax)
    ax.set(xlabel="weights", title="Most weights of a small model are in its tables")
    ax.set_xticks(range(0, 150_000, 50_000), ["0", "50,000", "100,000"])
    return figure


def early_and_late(steps: Sequence[int], runs: Mapping[str, Tensor]) -> Figure:
    """Perplexity against the training steps, with tied and with untied tables.

    Parameters
    ----------
    steps
        (points,).
    runs
        To each kind (3, points), a row a run.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> import torch
    >>> figure = early_and_late([25, 50], {"tied": torch.tensor([[70.0, 50.0]])})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['tied, 3 runs']

    Chapter: Sharing today.
    """
    figure, ax = plt.subplots()
    plots.bands(steps, {f"{name}, 3 runs": values for name, values in runs.items()}, ax=ax)
    ax.set(xlabel="training steps", ylabel="perplexity on unseen text")
    ax.set_title("Tied: worse early, better late")
    plots.log_ticks(ax, "x", steps)
    plots.log_ticks(ax, "y", [40, 50, 60, 70])
    ax.legend()
    return figure


def little_and_much_text(
    steps: Mapping[str, Sequence[int]], runs: Mapping[str, Mapping[str, NDArray[Any]]], words: Mapping[str, int]
) -> Figure:
    """Perplexity against the training steps, on little text and on all of it.

    Parameters
    ----------
    steps
        To ``"little"`` and ``"all"`` (points,).
    runs
        To each of these, for each kind of tables, (runs, points).
    words
        To each of these how many words are in the text.

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> steps = {"little": [100, 1000], "all": [100, 1000]}
    >>> runs = {size: {"untied": np.array([[90.0, 60.0]]), "tied": np.array([[95.0, 55.0]])} for size in steps}
    >>> figure = little_and_much_text(steps, runs, {"little": 20_000, "all": 200_000})
    >>> [line.get_label() for line in figure.axes[1].lines]
    ['untied', 'tied']

    Chapter: Sharing today.
    """
    figure, axes = plt.subplots(2, 1, figsize=(5.6, 6.6))
    titles = {
        "little": f"{words['little']:,} words: the tied model wins late",
        "all": f"{words['all']:,} words: the untied one stays ahead",
    }
    for ax, (size, title) in zip(axes, titles.items(), strict=True):
        plots.bands(steps[size], runs[size], ax=ax)
        ax.set(title=title, ylabel="perplexity, unseen text")
        plots.log_ticks(ax, "x", [step for step in steps[size] if step not in (300, 500)])
        plots.log_ticks(ax, "y", [40, 60, 80, 100, 150])
        ax.legend()
    axes[1].set_xlabel("training steps")
    return figure


def shared_layers(perplexities: Mapping[str, NDArray[Any]]) -> Figure:
    """Perplexity on the test text for each way to share four layers, and for a model of one layer.

    Parameters
    ----------
    perplexities
        To each way (runs,); the model of one layer comes last.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = shared_layers({"all": np.array([60.0]), "one layer": np.array([58.0])})
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['all', 'one layer']

    Chapter: Sharing today.
    """
    figure, ax = plt.subplots(figsize=(5.6, 3))
    plots.places(perplexities, ax=ax, series=[3] * (len(perplexities) - 1) + [4])
    ax.set(xlabel="perplexity on the test text", ylabel="shared in four layers")
    ax.set_title("Four shared layers are worse than the one they store")
    return figure


def conversions(perplexities: Mapping[tuple[int, str], NDArray[Any]], before: float) -> Figure:
    """Perplexity after a model with four key heads was converted to two heads, and to one, in several ways.

    Parameters
    ----------
    perplexities
        To each number of heads and way (3, 2), a row a run: at once, and after more training.
    before
        The conversion.

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> ways = ("mean", "first", "random", "aligned")
    >>> figure = conversions({(heads, way): np.ones((3, 2)) for heads in (2, 1) for way in ways}, 0.5)
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['mean', 'first', 'random', 'aligned']

    Chapter: Sharing today.
    """
    figure, axes = plt.subplots(2, 1, figsize=(5.6, 5.4), sharex=True)
    ways = list(dict.fromkeys(way for _, way in perplexities))
    for ax, heads in zip(axes, (2, 1), strict=True):
        for column, when in enumerate(("at once", "after more training")):
            points = np.array([perplexities[heads, way][:, column] for way in ways])
            places = np.repeat(np.arange(len(ways)), points.shape[1]) + 0.2 * column - 0.1
            ax.plot(points.ravel(), places, alpha=0.7, label=when, **plots.look(3 + column, linestyle=""))
        ax.axvline(before, color=plots.INK, linestyle=":", linewidth=1)
        ax.set_yticks(range(len(ways)), ways)
        ax.set(ylim=(len(ways) - 0.4, -0.6), title=f"From four key heads to {heads}")
    axes[0].legend()
    axes[1].set_xlabel("perplexity on unseen text (dotted: before the conversion)")
    return figure


def turned_filter(labels: Tensor) -> Figure:
    """The labels of a filter in its four turns.

    Parameters
    ----------
    labels
        (4, 1, side, side).

    Returns
    -------
    Figure
        With four axes.

    Examples
    --------
    >>> import torch
    >>> figure = turned_filter(torch.stack([torch.arange(4).view(1, 2, 2).rot90(t, (1, 2)) for t in range(4)]))
    >>> [text.get_text() for text in figure.axes[1].texts]
    ['1', '3', '0', '2']

    Chapter: Sharing today.
    """
    figure, axes = plt.subplots(1, 4, figsize=(5.6, 1.9))
    for turn, ax in enumerate(axes):
        plots.groups(labels[turn].flatten(), ax=ax).set_title(f"{90 * turn}°")
    return figure


def turned_digits(accuracies: Mapping[str, Tensor]) -> Figure:
    """Accuracies on test images against how far these were turned.

    Parameters
    ----------
    accuracies
        To ``"plain"``, ``"tied"`` and ``"plain, turned images"`` (runs, 4), a column a quarter turn.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> import torch
    >>> figure = turned_digits(dict.fromkeys(("plain", "plain, turned images", "tied"), torch.rand(2, 4)))
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['plain', 'tied', 'plain, turned images', 'guessing']

    Chapter: Sharing today.
    """
    figure, ax = plt.subplots()
    degrees = [0, 90, 180, 270]
    plots.bands(degrees, {name: accuracies[name] for name in ("plain", "tied", "plain, turned images")}, ax=ax)
    ax.axhline(10, label="guessing", color=plots.MUTED, linestyle=":", linewidth=1, marker="")
    ax.set(xticks=degrees, ylim=(0, 130), yticks=range(0, 101, 20))
    ax.set(xlabel="test images turned by, degrees", ylabel="accuracy, percent")
    ax.set_title("Tied: level, without having seen a turn")
    ax.legend(loc="upper center", ncols=2)
    return figure
