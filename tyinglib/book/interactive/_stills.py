"""The still pictures of `interactive.plane` and `interactive.solid`: what is seen before, and without, the script."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from tyinglib.book.interactive._balls import Solid, pierced, view
from tyinglib.book.plots import BLUE, GREEN, INK, MUTED, VERMILION

Array = NDArray[np.float64]
LIGHT = np.array([-0.3, 0.6, 0.74])  # right, up, towards the reader
CORNERS = ("no weight is zero", "one weight is zero", "two weights are zero")
SHORT = ("no zero", "one zero", "two zeros")
CORNER_STYLES = ((GREEN, "^"), (VERMILION, "s"), (INK, "o"))


def plane(outline: Array, point: Array, image: Array, *, limit: float, figure: Figure) -> Axes:
    """A point, its image, an arrow from one to the other, and the outline of the ball."""
    ax = figure.subplots()
    ax.fill(*outline.T, facecolor=MUTED, alpha=0.15)
    ax.plot(*np.vstack([outline, outline[:1]]).T, color=MUTED, marker="", linestyle="-", linewidth=1.5)
    for line in (ax.axhline, ax.axvline):
        line(0, color=INK, linewidth=1, linestyle="-", marker="")
    for axis, zero in enumerate(image == 0):
        if zero:
            (ax.axvline, ax.axhline)[axis](0, color=GREEN, linewidth=3, linestyle="-", marker="")
    arrow = {"arrowstyle": "->", "color": MUTED, "linewidth": 1.5, "shrinkA": 6, "shrinkB": 6}
    ax.annotate("", (image[0], image[1]), (point[0], point[1]), arrowprops=arrow)
    ax.plot(*point, color=BLUE, marker="o", linestyle="", markersize=9, label="point")
    ax.plot(*image, color=VERMILION, marker="s", linestyle="", markersize=9, label="its image")
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    whole = range(-int(limit), int(limit) + 1)
    ax.set(xticks=whole, yticks=whole)
    ax.set(xlabel="first weight", ylabel="second weight")
    ax.legend(loc="lower left")
    return ax


def zeros(body: Solid) -> list[int]:
    """How many coordinates of each corner are zero."""
    return [int(count) for count in (np.abs(body.vertices) < 1e-9).sum(1)]


def solid(body: Solid, turn: float, tilt: float, *, figure: Figure) -> Axes:
    """The faces that the reader sees, shaded; corners marked by how many weights are zero there."""
    ax = figure.subplots()
    turned = view(turn, tilt)
    corners, normals = body.vertices @ turned.T, body.normals @ turned.T
    reach = 1.25 * np.abs(body.vertices).max()
    halo = withStroke(linewidth=3, foreground="white")
    for axis, start in enumerate(pierced(body)):
        end = reach * turned[:, axis]
        begin = start * turned[:, axis]
        style: dict[str, Any] = {"color": MUTED, "marker": "", "linestyle": "-", "linewidth": 1.2}
        ax.plot([begin[0], end[0]], [begin[1], end[1]], zorder=5 if end[2] > 0 else 1, clip_on=False, **style)
        ax.text(
            1.1 * end[0],
            1.1 * end[1],
            f"w{'₁₂₃'[axis]}",
            ha="center",
            va="center",
            zorder=8 if end[2] > 0 else 1,
            path_effects=[halo],
        )
    white, blue = np.ones(3), np.array([int(BLUE[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    seen = set()
    for face, normal in zip(body.faces, normals, strict=True):
        if normal[2] > 1e-9:
            shade = 0.25 + 0.5 * (1 - max(0.0, float(normal @ LIGHT)))
            ax.fill(
                *corners[face, :2].T, facecolor=white + shade * (blue - white), edgecolor=BLUE, linestyle="-", zorder=2
            )
            seen |= set(face)
    for count in sorted(set(zeros(body)) - {3}):
        at = [corner for corner in sorted(seen) if zeros(body)[corner] == count]
        mark: dict[str, Any] = {
            "color": CORNER_STYLES[count][0],
            "marker": CORNER_STYLES[count][1],
            "linestyle": "",
            "markeredgecolor": "white",
        }
        ax.plot(*corners[at, :2].T, markersize=8, zorder=7, label=SHORT[count], **mark)
    ax.set(xlim=(-1.2 * reach, 1.2 * reach), ylim=(-1.2 * reach, 1.2 * reach), aspect="equal")
    ax.set_axis_off()
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    return ax
