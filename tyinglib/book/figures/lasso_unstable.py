"""Figures of the chapter on the unstable Lasso."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from tyinglib.book import plots

DASH = "_"  # matplotlib's marker


def lean_and_fat(wavelengths: Tensor, spectra: Tensor, fat: NDArray[Any]) -> Figure:
    """The spectra of the eight leanest and the eight fattest meats.

    Parameters
    ----------
    wavelengths
        (channels,), in nanometres.
    spectra
        (meats, channels).
    fat
        (meats,).

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> import torch
    >>> figure = lean_and_fat(torch.arange(3), torch.zeros(20, 3), np.arange(20))
    >>> len(figure.axes[0].lines)
    16

    Chapter: The Lasso is unstable.
    """
    figure, ax = plt.subplots()
    order = fat.argsort()
    for rows, colour, style, name in (
        (order[:8], plots.BLUE, "-", "the 8 leanest meats"),
        (order[-8:], plots.VERMILION, "--", "the 8 fattest meats"),
    ):
        curves = ax.plot(wavelengths, spectra[rows].T, color=colour, linestyle=style, marker="", linewidth=1.2)
        curves[0].set_label(name)
    ax.set(xlabel="wavelength, nm", ylabel="absorbance", ylim=(1.9, 6.6))
    ax.set_title("Fat shows as a bump, and every column sees it")
    ax.legend(loc="upper left")
    return figure


def fifty_lists(wavelengths: Tensor, weights: NDArray[Any]) -> Figure:
    """Which channels each of fifty visits chose, and how often each channel was chosen.

    Parameters
    ----------
    wavelengths
        (channels,), in nanometres.
    weights
        (visits, channels), in the order in which the visits are drawn.

    Returns
    -------
    Figure
        With two pairs of axes.

    Examples
    --------
    >>> import torch
    >>> figure = fifty_lists(torch.arange(3), np.array([[0, 1, -1], [0, 1, 0]]))
    >>> [bar.get_height().item() for bar in figure.axes[1].patches]
    [0.0, 100.0, 50.0]

    Chapter: The Lasso is unstable.
    """
    figure, (top, low) = plt.subplots(2, figsize=(5.6, 5.4), sharex=True, height_ratios=[3, 2])
    for sign, colour, mark, name in (
        (-1, plots.BLUE, DASH, "negative weight"),
        (1, plots.VERMILION, "|", "positive weight"),
    ):
        run, channel = np.nonzero(np.sign(weights) == sign)
        top.scatter(wavelengths[channel], run + 1, marker=mark, s=22, color=colour, label=name)
    top.set(ylabel="visit, shortest list first", ylim=(-1, 60), yticks=range(0, 51, 10))
    top.set_title("Fifty visits, fifty lists")
    top.legend(ncols=2, loc="upper center")
    low.bar(wavelengths, 100 * (weights != 0).mean(0), width=1.6, color=plots.MUTED)
    low.set(xlabel="wavelength, nm", ylabel="lists that have it, %", ylim=(0, 100))
    return figure


def fifty_predictions(measured: NDArray[Any], predicted: NDArray[Any]) -> Figure:
    """The fat that fifty visits predict against the fat that was measured.

    Parameters
    ----------
    measured
        (meats,), in percent.
    predicted
        (meats, visits), in percent.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = fifty_predictions(np.array([10, 20]), np.array([[9, 11, 10], [19, 20, 21]]))
    >>> figure.axes[0].lines[1].get_ydata().tolist()
    [10.0, 20.0]

    Chapter: The Lasso is unstable.
    """
    figure, ax = plt.subplots(figsize=(5.6, 4))
    low, high = np.quantile(predicted, [0.1, 0.9], axis=1)
    ax.plot([0, 60], [0, 60], color=plots.MUTED, marker="", linestyle=":")
    ax.vlines(measured, low, high, color=plots.BLUE, linewidth=2.5, alpha=0.8)
    ax.plot(measured, np.median(predicted, axis=1), linestyle="", color=plots.BLUE, marker="o")
    ax.set(xlabel="fat by the chemist, %", ylabel="fat by the Lasso, %")
    ax.set_title("Fifty lists say nearly the same of each meat")
    return figure


def stabilities(phis: Mapping[str, NDArray[Any]], correlations: Sequence[float], strengths: NDArray[Any]) -> Figure:
    """Phi for each method, correlation and strength.

    Parameters
    ----------
    phis
        To each of three methods (correlations, strengths).
    correlations
        Within a family of columns.
    strengths
        (strengths,).

    Returns
    -------
    Figure
        With three pairs of axes.

    Examples
    --------
    >>> grids = {name: np.array([[0.25]]) for name in ("Lasso", "elastic net", "ridge, largest")}
    >>> figure = stabilities(grids, [0.9], np.array([0.1]))
    >>> figure.axes[0].texts[0].get_text(), figure.axes[0].get_xticklabels()[0].get_text()
    ('0.25', '0.1')

    Chapter: The Lasso is unstable.
    """
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 4.2), sharey=True)
    for ax, (name, grid) in zip(axes, phis.items(), strict=True):
        plots.matrix(grid, ax=ax, marks=True).set_title(name)
        for mark, value in zip(ax.texts, grid.flat, strict=True):
            mark.set(text=f"{value:.2f}", color="white" if value > 0.8 else plots.INK)
        ax.set_xticks(range(len(strengths)), [f"{lam:g}" for lam in strengths])
        ax.set_xlabel("λ")
    axes[0].set_yticks(range(len(correlations)), [f"{rho:g}" for rho in correlations])
    axes[0].set_ylabel("correlation within a family")
    plots.title(figure, "Phi over 50 fresh data sets")
    return figure


def stability_by_strength(shares: NDArray[Any], curves: Mapping[str, NDArray[Any]]) -> Figure:
    """Phi with its interval against the strength, on several data sets.

    Parameters
    ----------
    shares
        (points,), of the strength that gives zeros only.
    curves
        To each data set (3, points): Phi and the ends of its interval.

    Returns
    -------
    Figure
        With one pair of axes.

    Examples
    --------
    >>> figure = stability_by_strength(np.array([0.5, 0.1]), {"meats": np.array([[0.5, 0.4]] * 3)})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['meats']

    Chapter: The Lasso is unstable.
    """
    figure, ax = plt.subplots()
    plots.bands(shares, curves, ax=ax)
    plots.log_ticks(ax, "x", [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005])
    ax.invert_xaxis()
    ax.set(xlabel="λ, as a share of the one that gives zeros only")
    ax.set(ylabel="Phi, 50 bootstraps", ylim=(0, 1))
    ax.set_title("Phi depends on λ, on both data sets")
    ax.legend()
    return figure
