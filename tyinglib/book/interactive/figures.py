"""Figures that answer, with no server behind them: pages, JupyterLab and print show the same output of one cell.

Everything is computed and drawn here, by matplotlib; the page only shows what was computed. Where no script runs, the
figure is a still picture. Its text form is the alternative text of what it shows at the start.
"""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from tyinglib.book.interactive import _balls, _stills
from tyinglib.book.plots import BLUE, GREEN, INK, MUTED, VERMILION
from tyinglib.penalties.protocol import Penalty

DPI = 200  # twice the size that is shown, for sharp letters
FRAME_DPI = 150  # there are many
MIN_ALT = 40
POINTS = 41  # along each axis of `plane`
COLOURS = {"ink": INK, "muted": MUTED, "blue": BLUE, "vermilion": VERMILION, "green": GREEN}


class Interactive:
    """An interactive figure as the output of a cell; made by `frames`, `plane` or `solid`.

    Parameters
    ----------
    kind
        Which part of the script runs it.
    still
        The picture that is seen without a script, as a `data:` address.
    size
        Its width and height in the page, in pixels.
    alt
        What is in the picture, in words.
    data
        For the script, as JSON.

    Examples
    --------
    >>> Interactive("frames", "data:image/png;base64,", (560, 340), "A line that rises.", {})
    A line that rises.

    Chapter: all.
    """

    def __init__(self, kind: str, still: str, size: tuple[int, int], alt: str, data: Mapping[str, Any]) -> None:
        self.kind, self.still, self.size, self.alt, self.data = kind, still, size, alt, data

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        code = {name: _code(name) for name in ("css", "js")}
        data = json.dumps(self.data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        width, height = self.size
        # The book's pages load style and script once and drop these copies (tools/sphinx_ext/interactive_figures.py).
        text = f"""<figure class="tyinglib-interactive" data-kind="{self.kind}">
<img src="{self.still}" width="{width}" height="{height}" decoding="sync" alt="{html.escape(self.alt)}">
<script type="application/json">{data}</script>
<style class="interactive-code">{code["css"]}</style>
<script class="interactive-code">{code["js"]}</script>
</figure>"""
        return {"text/plain": repr(self), "text/html": text}


def frames(
    draw: Callable[..., str],
    values: Mapping[str, Sequence[float | str]],
    *,
    start: Sequence[float | str] | None = None,
    figsize: tuple[float, float] = (5.6, 3.4),
) -> Interactive:
    """A picture for every value, one on show, chosen with a slider (numbers) or radio buttons (texts).

    Fix the limits of the axes, so that only what changes moves.

    Parameters
    ----------
    draw
        Called as ``draw(figure, value)`` with an empty matplotlib figure, or with one value for each control. It draws,
        and returns the frame's alternative text: what is in the picture, in words, with its numbers.
    values
        A label for each control, and its values: one control, or several for a grid of frames.
    start
        The value of each control that is shown first. None: the first of each.
    figsize
        Width and height in inches; an inch is 100 pixels of the page.

    Returns
    -------
    Interactive
        To be shown as the last line of a cell.

    Raises
    ------
    ValueError
        If there is no control, or one with fewer than two values or with two that read alike; if `start` is not among
        the values; or if `draw` returns no text that says what is in the picture.

    Examples
    --------
    >>> def draw(figure, slope):
    ...     figure.subplots().axline((0, 0), slope=slope)
    ...     return f"A straight line through the origin with slope {slope}."
    >>> frames(draw, {"slope": [1, 2]}, start=[2])
    A straight line through the origin with slope 2.

    Chapter: all.
    """
    controls = [_control(label, choices) for label, choices in values.items()]
    if not controls:
        raise ValueError("values must name at least one control, as {label: [value, value]}; got none")
    first = [0] * len(controls) if start is None else _places(start, values)
    choices, pictures = [list(choice) for choice in values.values()], []
    for places in itertools.product(*(range(len(choice)) for choice in choices)):
        chosen = tuple(choice[place] for choice, place in zip(choices, places, strict=True))
        figure = Figure(figsize=figsize, dpi=FRAME_DPI)
        alt = draw(figure, *chosen)
        if not isinstance(alt, str) or len(alt) < MIN_ALT:
            raise ValueError(
                f"draw must return the alternative text of its frame, {MIN_ALT} characters or more; "
                f"for {chosen} it returned {alt!r}. Say what is in the picture, with its numbers"
            )
        if list(places) == first:  # the script takes it from the still picture
            still, words = _picture(figure), alt
            pictures.append({"alt": alt})
        else:
            pictures.append({"alt": alt, "src": _picture(figure, "webp")})
    size = (round(100 * figsize[0]), round(100 * figsize[1]))
    data = {"controls": controls, "start": first, "frames": pictures}
    return Interactive("frames", still, size, words, data)


def plane(
    penalties: Mapping[str, Penalty], *, start: tuple[float, float] = (1.2, 0.4), limit: float = 2.0
) -> Interactive:
    """A point in the plane and its image under a proximal map; the point is dragged, or set with sliders.

    Everything is computed beforehand on 41 x 41 points. The page says where the image is, and which of its weights are
    exactly zero or have become equal in size. With each penalty comes the outline of its ball, {x: g(x) <= g((1, 0))}.

    Parameters
    ----------
    penalties
        A name and a penalty for each choice. Its `prox` is called with step size 1 and a weight of shape (2, 1): two
        entries, or, for a penalty on slices along dim=1, one group of two.
    start
        The point that is shown first; the nearest point of the grid is taken.
    limit
        The plane reaches from -limit to limit.

    Returns
    -------
    Interactive
        To be shown as the last line of a cell.

    Raises
    ------
    ValueError
        If there is no penalty, if `start` is not in the plane, if a penalty does not fit two weights, or if its ball
        has no boundary.

    Examples
    --------
    >>> from tyinglib import L1
    >>> plane({"l1": L1(0.5)}, start=(1.2, 0.4))
    Two weights as a point in the plane. l1 moves (1.2, 0.4) to (0.7, 0). The second weight is exactly zero.

    Chapter: Norm penalties; OWL and GrOWL.
    """
    names = _names(penalties, "penalties")
    if not limit > max(abs(start[0]), abs(start[1])):
        raise ValueError(f"limit must be larger than the coordinates of start; got {limit} and {start}")
    places = _balls.grid(limit, POINTS)
    images = [_balls.images(penalty, places) for penalty in penalties.values()]
    outlines = [_balls.outline(penalty, name) for name, penalty in penalties.items()]
    column, row = (int(np.abs(places - value).argmin()) for value in start)
    point, image = np.array([places[column], places[row]]), images[0][row, column]
    figure = Figure(figsize=(4.6, 4.6), dpi=DPI)
    _stills.plane(outlines[0], point, image, limit=limit, figure=figure).set_title(f"Where {names[0]} moves a point")
    equal = [np.abs(image[..., 0]) == np.abs(image[..., 1]) for image in images]
    was_equal = np.abs(places) == np.abs(places)[:, None]
    numbers = {
        "outlines": [np.round(outline, 4).tolist() for outline in outlines],
        "images": [_thousandths(image).reshape(-1, 2).tolist() for image in images],
        "ties": ["".join("01"[int(tie)] for tie in (now & ~was_equal).flatten()) for now in equal],
    }
    data = {"names": names, "places": [_text(place) for place in places], "limit": limit, "start": [column, row]}
    data |= {"colours": COLOURS, "numbers": numbers}
    tied = numbers["ties"][0][row * POINTS + column] == "1"
    alt = "Two weights as a point in the plane. " + _moved(names[0], point, image, tied)
    return Interactive("plane", _picture(figure), (460, 460), alt, data)


def solid(solids: Mapping[str, Penalty | ArrayLike], *, turn: float = 15, tilt: float = 25) -> Interactive:
    """A convex body to turn, by dragging or with sliders: the ball of a penalty on three weights, or any polytope.

    Its corners are marked by how many of the three weights are zero there.

    Parameters
    ----------
    solids
        A name for each choice, and a penalty whose ball has its corners where weights are zero or equal in size (l1,
        OWL), or the corners of a body, (n, 3). Of a penalty the ball {x: g(x) <= g((1, 0, 0))} is shown.
    turn, tilt
        How the body is seen first, in degrees: turned about its third axis, then tilted towards the reader.

    Returns
    -------
    Interactive
        To be shown as the last line of a cell.

    Raises
    ------
    ValueError
        If there is no solid, if corners are not finite or enclose no volume, if a penalty does not fit three weights,
        or if its ball is no such polytope.

    Examples
    --------
    >>> from tyinglib import L1
    >>> solid({"l1": L1(1.0)})
    l1: a body with 6 corners and 8 faces. Two weights are zero at 6 corners. Turned by 15°, tilted by 25°.

    Chapter: OWL and GrOWL.
    """
    names = _names(solids, "solids")
    bodies = [_balls.solid(shape, name) for name, shape in solids.items()]
    turn, tilt = float(turn), max(-90.0, min(90.0, float(tilt)))
    figure = Figure(figsize=(4.6, 4.6), dpi=DPI)
    _stills.solid(bodies[0], turn, tilt, figure=figure).set_title(names[0])
    numbers = [
        [
            np.round(body.vertices, 5).tolist(),
            body.faces,
            np.round(body.normals, 5).tolist(),
            _stills.zeros(body),
            np.round(_balls.pierced(body), 5).tolist(),
        ]
        for body in bodies
    ]
    words = [_described(name, body) for name, body in zip(names, bodies, strict=True)]
    data = {"names": names, "words": words, "turn": turn, "tilt": tilt, "colours": COLOURS, "numbers": numbers}
    alt = f"{words[0]} Turned by {_text(round(turn))}°, tilted by {_text(round(tilt))}°."
    return Interactive("solid", _picture(figure), (460, 460), alt, data)


def _names(choices: Mapping[str, Any], what: str) -> list[str]:
    if not choices:
        raise ValueError(f"{what} must name at least one choice, as {{name: ...}}; got none")
    return list(choices)


def _thousandths(image: Any) -> Any:
    """Whole thousandths; what is not exactly zero does not become zero."""
    whole = np.round(1000 * image).astype(int)
    return np.where((whole == 0) & (image != 0), np.sign(image).astype(int), whole)


def _moved(name: str, point: Any, image: Any, tied: bool) -> str:
    """What `plane` says; the script says the same."""
    pairs = [f"({_text(x)}, {_text(y)})" for x, y in (point, _thousandths(image) / 1000)]
    ends = {(True, True): " Both weights are exactly zero.", (True, False): " The first weight is exactly zero."}
    ends |= {(False, True): " The second weight is exactly zero."}
    end = ends.get((bool(image[0] == 0), bool(image[1] == 0)), " The two have become equal in size." * tied)
    return f"{name} moves {pairs[0]} to {pairs[1]}.{end}"


def _described(name: str, body: _balls.Solid) -> str:
    counts = [(zeros, _stills.zeros(body).count(zeros)) for zeros in (2, 1, 0)]
    parts = [f"{_stills.CORNERS[zeros]} at {count} corners" for zeros, count in counts if count]
    told = "; ".join(parts)
    return f"{name}: a body with {len(body.vertices)} corners and {len(body.faces)} faces. {told[0].upper()}{told[1:]}."


def _control(label: str, choices: Sequence[float | str]) -> dict[str, Any]:
    texts = [_text(choice) for choice in choices]
    if len(texts) < 2 or len(set(texts)) < len(texts):
        raise ValueError(f"the control {label!r} needs two or more values that read differently; got {texts}")
    return {"label": label, "values": texts, "slider": not any(isinstance(choice, str) for choice in choices)}


def _places(start: Sequence[float | str], values: Mapping[str, Sequence[float | str]]) -> list[int]:
    if len(start) != len(values):
        raise ValueError(f"start must hold one value for each control, {list(values)}; got {start}")
    places = []
    for value, (label, choices) in zip(start, values.items(), strict=True):
        if value not in choices:
            raise ValueError(f"start must be among the values of {label!r}, {list(choices)}; got {value!r}")
        places.append(list(choices).index(value))
    return places


def _text(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{float(value):g}".replace("inf", "∞").replace("-", "\N{MINUS SIGN}")


def _code(name: str) -> str:
    """Style or script, in one line: a change of it is one line of a notebook's diff."""
    lines = Path(__file__).with_name(f"interactive.{name}").read_text(encoding="utf-8").splitlines()
    return " ".join(line.strip() for line in lines if line)


def _picture(figure: Figure, kind: str = "png") -> str:
    """The figure in a `data:` address; in 64 colours, a third of the size. WebP is smaller still."""
    canvas, small = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    drawn = Image.fromarray(pixels).quantize(64, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    if kind == "webp":
        drawn.convert("RGB").save(small, format="webp", lossless=True)
    else:
        drawn.save(small, format="png", optimize=True)
    return f"data:image/{kind};base64," + base64.b64encode(small.getvalue()).decode()
