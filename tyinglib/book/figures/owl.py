"""Figures of the chapter on OWL and GrOWL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tyinglib.book import plots


def lasso_and_owl(wavelengths: NDArray[Any], weights: Mapping[str, NDArray[Any]]) -> Figure:
    """The weights that the Lasso and OWL give the channels, those at zero left out.

    Parameters
    ----------
    wavelengths
        (channels,), in nanometres.
    weights
        Of the Lasso, then of OWL: (channels,).

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> figure = lasso_and_owl(np.arange(3), {"Lasso": np.array([0, 1, 0]), "OWL": np.array([0, 1, -1])})
    >>> [ax.lines[0].get_ydata().tolist() for ax in figure.axes]
    [[1], [1, -1]]

    Chapter: OWL and GrOWL.
    """
    figure, axes = plt.subplots(2, 1, figsize=(5.6, 4.4), sharex=True)
    for series, (ax, weight) in enumerate(zip(axes, weights.values(), strict=True)):
        alive = weight != 0
        ax.vlines(wavelengths, 0, weight, color=plots.COLOURS[series])
        ax.plot(wavelengths[alive], weight[alive], **plots.look(series, linestyle="", markersize=4))
        ax.axhline(0, color=plots.INK, linewidth=1)
        ax.set(ylabel="weight")
    axes[0].set_title("The Lasso keeps a few channels")
    axes[1].set_title("OWL keeps more, in blocks of one size")
    axes[1].set_xlabel("wavelength, nm")
    return figure


def step_of_the_prox(figure: Figure, step: str, before: NDArray[Any], after: NDArray[Any]) -> str:
    """A frame: sizes after a step of OWL's proximal map, and before it.

    Parameters
    ----------
    figure
        An empty one.
    step
        Its number and name.
    before, after
        (8,) each.

    Returns
    -------
    str
        What is in the picture, in words.

    Examples
    --------
    >>> step_of_the_prox(plt.figure(), "4 clip", np.arange(8.0) - 1, np.arange(8.0))[:60]
    'Eight bars after step 4 clip. Their heights are 0.00, 1.00, '

    Chapter: OWL and GrOWL.
    """
    ax = figure.subplots()
    places = range(1, len(after) + 1)
    ax.bar(places, before, color="white", edgecolor=plots.MUTED, linestyle="--")
    ax.bar(places, after, color=plots.BLUE, width=0.6)
    ax.axhline(0, color=plots.INK, linewidth=1)
    ax.set(ylim=(-0.5, 5.4), xlabel="place in the order", ylabel="size")
    ax.set_title(f"Step {step}; dashed: the step before")
    said = ", ".join(f"{value:.2f}" for value in after + 0.0)
    return f"Eight bars after step {step}. Their heights are {said}."


def stability_against_error(
    errors: Mapping[str, NDArray[Any]], phis: Mapping[str, Sequence[tuple[float, float, float]]]
) -> Figure:
    """Phi of the chosen set, with its interval, against the cross-validated error.

    Parameters
    ----------
    errors
        To each method (strengths,).
    phis
        To each of four methods, of those above, for each strength Phi and the ends of its interval: of the Lasso, an
        elastic net, and OWL with prices that fall to a half and to zero.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> names = ["Lasso", "elastic net", "OWL to 1/2", "OWL to 0"]
    >>> errors = {name: np.array([3.0, 2.5]) for name in names}
    >>> figure = stability_against_error(errors, {name: [(0.5, 0.4, 0.6), (0.4, 0.3, 0.5)] for name in names})
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['Lasso', 'elastic net', 'OWL to 1/2', 'OWL to 0']

    Chapter: OWL and GrOWL.
    """
    figure, ax = plt.subplots(figsize=(5.6, 4))
    for series, (name, found) in zip((0, 2, 1, 3), phis.items(), strict=True):
        middle, _, upper = np.transpose(found)
        ax.errorbar(errors[name], middle, upper - middle, label=name, **plots.look(series))
    ax.axhline(0, color=plots.INK, linewidth=1)
    ax.set(xlabel="cross-validated error, percent fat", ylabel="Φ of the chosen set")
    ax.set(title="More stable than the Lasso; depends on the slope", ylim=(-0.45, 1))
    ax.legend(loc="lower right", fontsize="small")
    return figure


def how_often_chosen(
    wavelengths: NDArray[Any], chosen: Mapping[str, NDArray[Any]], phis: Mapping[str, tuple[float, float, float]]
) -> Figure:
    """In how many of the bootstraps each channel was chosen.

    Parameters
    ----------
    wavelengths
        (channels,), in nanometres.
    chosen
        Of the Lasso, of OWL, and of the Lasso with its neighbours: (bootstraps, channels), true or false.
    phis
        To each method Phi and the ends of its interval.

    Returns
    -------
    Figure
        With three pairs of axes.

    Examples
    --------
    >>> chosen = {name: np.array([[True, False]]) for name in ("Lasso", "OWL to 1/2", "Lasso, widened")}
    >>> figure = how_often_chosen(np.arange(2), chosen, dict.fromkeys(chosen, (0.5, 0.4, 0.6)))
    >>> [bar.get_height().item() for bar in figure.axes[0].patches]
    [100.0, 0.0]

    Chapter: OWL and GrOWL.
    """
    figure, axes = plt.subplots(3, 1, figsize=(5.6, 5.4), sharex=True, sharey=True)
    for series, ax, (name, sets) in zip((0, 1, 4), axes, chosen.items(), strict=True):
        ax.bar(wavelengths, 100 * sets.mean(0), width=2, color=plots.COLOURS[series])
        ax.set(title=f"{name}: Φ = {phis[name][0]:.2f}", ylim=(0, 105))
    axes[1].set_ylabel("chosen in percent of the bootstraps")
    axes[2].set_xlabel("wavelength, nm")
    return figure


def lengths_and_directions(wavelengths: NDArray[Any], rows: NDArray[Any], responses: Sequence[str]) -> Figure:
    """The rows that GrOWL keeps: few lengths, and several directions.

    Parameters
    ----------
    wavelengths
        (channels,), in nanometres.
    rows
        (channels, responses), none of them zero.
    responses
        Their names.

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> figure = lengths_and_directions(np.arange(2), np.array([[3.0, 4.0], [5.0, 0.0]]), ["water", "fat"])
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [5.0, 5.0]

    Chapter: OWL and GrOWL.
    """
    figure, axes = plt.subplots(2, 1, figsize=(5.6, 4.8), sharex=True)
    lengths = np.linalg.norm(rows, axis=1)
    axes[0].plot(wavelengths, lengths, color=plots.INK, linestyle="", markersize=4)
    axes[0].set(title="A few lengths ...", ylabel="length of row", yscale="log")
    for series, name in enumerate(responses):
        look = plots.look(series, linestyle="", markersize=4)
        axes[1].plot(wavelengths, rows[:, series] / lengths, label=name, **look)
    axes[1].axhline(0, color=plots.INK, linewidth=1)
    axes[1].set(title="... and several directions", xlabel="wavelength, nm")
    axes[1].set(ylabel="weight / length")
    axes[1].legend(fontsize="small", loc="lower center", ncols=3)
    axes[1].set_ylim(-1.5, 1.1)
    return figure
