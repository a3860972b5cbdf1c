"""Figures of one style: every function takes data and, by keyword, the axes to draw on, and returns the axes.

Figures are drawn on white with dark ink. On the dark page a CSS filter turns lightness over and keeps the
hue, so every colour here must be readable on white and, turned over, on the dark page (a test checks).
Series differ by marker and line as well, for print and for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike, NDArray

INK = "#1f2328"
MUTED = "#5c6670"
BLUE, VERMILION, GREEN, PURPLE, OCHRE = COLOURS = ("#0072b2", "#c4500a", "#00805e", "#a24a86", "#7d6608")
MARKERS = ("o", "s", "^", "D", "v")
LINES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)))

STYLE: dict[Any, Any] = {
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=COLOURS, marker=MARKERS, linestyle=LINES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.figsize": (5.6, 3.4),
    "font.size": 11,
    "grid.alpha": 0.25,
    "grid.color": MUTED,
    "image.cmap": "Greys",
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}


def use_style() -> None:
    """Switch matplotlib to the book's style, and Jupyter to sharp PNG figures.

    Examples
    --------
    >>> use_style()
    >>> mpl.rcParams["figure.figsize"]
    [5.6, 3.4]

    Chapter: all.
    """
    mpl.rcParams.update(STYLE)
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:  # outside Jupyter
        return
    if plt.get_backend().lower().endswith("inline"):
        set_matplotlib_formats("retina")  # type: ignore[no-untyped-call]


def matrix(values: ArrayLike, *, ax: Axes, marks: bool = False) -> Axes:
    """A matrix as a picture: zero is blank, one is full ink.

    Parameters
    ----------
    values
        (rows, columns), 0..1.
    ax
        Where to draw.
    marks
        Write each entry into its cell; for small matrices.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> matrix([[1, 0], [0, 1]], ax=plt.figure().subplots()).get_aspect()
    1.0

    Chapter: One idea.
    """
    values = np.asarray(values, dtype=float)
    ax.imshow(values, cmap=ListedColormap(np.linspace([1, 1, 1], mpl.colors.to_rgb(BLUE), 65)), vmin=0, vmax=1)
    ax.set(xticks=range(values.shape[1]), yticks=range(values.shape[0]))
    ax.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
    ax.grid(False)
    ax.grid(which="minor", color=MUTED, linewidth=0.4, alpha=0.4)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    if marks:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value > 0.5 else MUTED
            ax.text(column, row, f"{value:g}", ha="center", va="center", color=colour)
    return ax


def image(values: ArrayLike, *, ax: Axes, limit: float | None = None) -> Axes:
    """A square picture from a flat vector: ink in greys, or signed values in blue (-) and vermilion (+).

    Parameters
    ----------
    values
        (side * side,).
    ax
        Where to draw.
    limit
        Draw signed values, with full colour at +-limit. None: ink, 0..1.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> len(image(np.zeros(64), ax=plt.figure().subplots()).images)
    1

    Chapter: One idea.
    """
    values = np.asarray(values, dtype=float)
    side = round(len(values) ** 0.5)
    if limit is None:
        ax.imshow(values.reshape(side, side), cmap="Greys", vmin=0, vmax=1)
    else:
        ends = [mpl.colors.to_rgb(c) for c in (BLUE, "white", VERMILION)]
        cmap = mpl.colors.LinearSegmentedColormap.from_list("signed", ends)
        ax.imshow(values.reshape(side, side), cmap=cmap, vmin=-limit, vmax=limit)
    return _bare(ax)


def groups(labels: ArrayLike, *, ax: Axes) -> Axes:
    """A square of pixels, each with its label, one shade for each group.

    Parameters
    ----------
    labels
        (side * side,) integers.
    ax
        Where to draw.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> [t.get_text() for t in groups([0, 0, 1, 1], ax=plt.figure().subplots()).texts]
    ['0', '0', '1', '1']

    Chapter: One idea; Tying from prior knowledge.
    """
    labels = np.asarray(labels)
    side = round(len(labels) ** 0.5)
    # four pale shades of ink in turn, so that neighbours differ; the written label says which group it is
    shade = np.array([0.06, 0.22, 0.38, 0.14])[(labels + labels // 4) % 4]
    ax.imshow(shade.reshape(side, side), cmap="Greys", vmin=0, vmax=1)
    for pixel, label in enumerate(labels):
        ax.text(pixel % side, pixel // side, str(label), ha="center", va="center", fontsize="small", color=INK)
    return _bare(ax)


def look(series: int, **changes: Any) -> dict[str, Any]:
    """How a series is drawn: colour, marker and line, as matplotlib's functions take them.

    Parameters
    ----------
    series
        0..4; in a chapter one number stands for one thing.
    **changes
        Other keywords of matplotlib, or other values.

    Returns
    -------
    dict
        Keywords.

    Examples
    --------
    >>> look(1, marker="")
    {'color': '#c4500a', 'marker': '', 'linestyle': '--'}

    Chapter: all.
    """
    return {"color": COLOURS[series], "marker": MARKERS[series], "linestyle": LINES[series]} | changes


def band(x: ArrayLike, runs: ArrayLike, *, ax: Axes, label: str, series: int = 0) -> Axes:
    """A line through the mean of several runs, in a band from the smallest to the largest.

    Parameters
    ----------
    x
        (points,).
    runs
        (runs, points).
    ax
        Where to draw.
    label
        Written in the legend.
    series
        0..4: which colour, marker and line; in a chapter one number stands for one thing.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> axes = band([1, 2], [[1, 2], [3, 4]], ax=plt.figure().subplots(), label="runs")
    >>> axes.lines[0].get_ydata().tolist()
    [2.0, 3.0]

    Chapter: One idea; Tying from prior knowledge.
    """
    x, runs = np.asarray(x), np.asarray(runs)
    ax.plot(x, runs.mean(0), label=label, markersize=5, **look(series))
    ax.fill_between(x, runs.min(0), runs.max(0), color=COLOURS[series], alpha=0.18, linewidth=0)
    return ax


def stacked_sum(parts: Sequence[float], *, ax: Axes, names: Sequence[str], total: str) -> Axes:
    """Numbers that add up, each bar starting where the one before ended, and their sum.

    Parameters
    ----------
    parts
        The terms.
    ax
        Where to draw.
    names
        One for each term.
    total
        The name of the sum.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> axes = stacked_sum([1.0, -3.0], ax=plt.figure().subplots(), names=["a", "b"], total="a + b")
    >>> float(axes.patches[-1].get_width())
    -2.0

    Chapter: One idea.
    """
    ends = np.cumsum(parts)
    rows = range(len(parts))
    ax.barh(rows, parts, left=ends - parts, color=BLUE, height=0.6)
    ax.barh(len(parts), ends[-1], color=VERMILION, height=0.6, hatch="//", edgecolor="white")
    for row, end in enumerate(ends):
        ax.plot([end, end], [row - 0.3, row + 1.3], color=MUTED, linewidth=1, marker="", linestyle=":")
    ax.axvline(0, color=INK, linewidth=1)
    ax.set_yticks([*rows, len(parts)], [*names, total])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return ax


def bands(x: ArrayLike, runs: Mapping[str, ArrayLike], *, ax: Axes, series: Sequence[int] = range(5)) -> Axes:
    """A `band` for each name, in the series' colours.

    Parameters
    ----------
    x
        (points,).
    runs
        To each name (runs, points).
    ax
        Where to draw.
    series
        The number of each name's series.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> axes = bands([1, 2], {"a": [[1, 2]], "b": [[3, 4]]}, ax=plt.figure().subplots())
    >>> [line.get_label() for line in axes.lines]
    ['a', 'b']

    Chapter: all.
    """
    for number, (name, values) in zip(series, runs.items(), strict=False):
        band(x, values, ax=ax, label=name, series=number)
    return ax


def learning_curves(
    sizes: Sequence[float],
    runs: Mapping[str, ArrayLike],
    *,
    ax: Axes,
    series: Sequence[int] = range(5),
    ylabel: str = "accuracy on test images, %",
) -> Axes:
    """Accuracies against the number of examples, on a logarithmic axis: a `band` for each name.

    Parameters
    ----------
    sizes
        (points,), how much was trained on.
    runs
        To each name (runs, points).
    ax
        Where to draw.
    series
        The number of each name's series.
    ylabel
        What was measured.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> axes = learning_curves([20, 50], {"tied": [[80, 90]]}, ax=plt.figure().subplots())
    >>> [text.get_text() for text in axes.get_xticklabels()]
    ['20', '50']

    Chapter: Tying from prior knowledge; Two models, tied softly; Convolution; Recurrence.
    """
    bands(sizes, runs, ax=ax, series=series).set_ylabel(ylabel)
    return log_ticks(ax, "x", sizes)


def places(values: Mapping[str, ArrayLike], *, ax: Axes, series: Sequence[int] = range(5)) -> Axes:
    """A row of dots for each name, a dot for each run; the first name is on top.

    Parameters
    ----------
    values
        To each name (runs,).
    ax
        Where to draw.
    series
        The number of each name's series: colour and marker.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> axes = places({"a": [1, 2], "b": [3, 4]}, ax=plt.figure().subplots())
    >>> [text.get_text() for text in axes.get_yticklabels()]
    ['a', 'b']

    Chapter: One idea; Sharing today.
    """
    for place, (number, runs) in enumerate(zip(series, values.values(), strict=False)):
        ax.plot(np.asarray(runs), [place] * len(np.asarray(runs)), alpha=0.7, **look(number, linestyle=""))
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.4, -0.6)
    return ax


def bars(values: Mapping[str, float], *, ax: Axes, color: Any = BLUE) -> Axes:
    """A lying bar for each name; the first is on top.

    Parameters
    ----------
    values
        To each name its length.
    ax
        Where to draw.
    color
        One colour, or one for each bar.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> axes = bars({"a": 1.0, "b": 3.0}, ax=plt.figure().subplots())
    >>> [float(bar.get_width()) for bar in axes.patches]
    [1.0, 3.0]

    Chapter: Two models, one set of weights; Sharing today.
    """
    ax.barh(list(values), list(values.values()), color=color, height=0.6)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return ax


def title(figure: Figure, text: str) -> None:
    """A title of the whole figure, where the titles of single axes stand: at the left, and bold.

    Parameters
    ----------
    figure
        With more axes than one.
    text
        What to see in it.

    Examples
    --------
    >>> figure = plt.figure()
    >>> title(figure, "Two of a kind")
    >>> figure.get_suptitle()
    'Two of a kind'

    Chapter: all.
    """
    figure.suptitle(text, x=0.02, ha="left", weight="bold")


def outer_labels(axes: NDArray[Any], x: str, y: str) -> None:
    """The labels of a grid of axes that measure the same: below the lowest, beside the leftmost.

    Parameters
    ----------
    axes
        (rows, columns), as `plt.subplots` makes it.
    x, y
        The labels.

    Examples
    --------
    >>> axes = plt.figure().subplots(2, 2)
    >>> outer_labels(axes, "weight 1", "weight 2")
    >>> axes[0, 0].get_xlabel(), axes[0, 0].get_ylabel()
    ('', 'weight 2')

    Chapter: Norm penalties.
    """
    for ax in axes[-1]:
        ax.set_xlabel(x)
    for ax in axes[:, 0]:
        ax.set_ylabel(y)


def log_ticks(ax: Axes, axis: Literal["x", "y"], values: Sequence[float]) -> Axes:
    """A logarithmic axis that is labelled at the values that were measured, and nowhere else.

    Parameters
    ----------
    ax
        The axes.
    axis
        ``"x"`` or ``"y"``.
    values
        Where to put a tick and its number.

    Returns
    -------
    Axes
        The axes.

    Examples
    --------
    >>> axes = log_ticks(plt.figure().subplots(), "x", [20, 50])
    >>> [t.get_text() for t in axes.get_xticklabels()]
    ['20', '50']

    Chapter: One idea; Tying from prior knowledge.
    """
    ax.set(**{f"{axis}scale": "log"})
    chosen = ax.xaxis if axis == "x" else ax.yaxis
    chosen.set_ticks(list(values), [f"{value:g}" for value in values])
    chosen.set_minor_locator(NullLocator())
    return ax


def _bare(ax: Axes) -> Axes:
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(True)
    return ax
