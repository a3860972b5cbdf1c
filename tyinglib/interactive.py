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

from matplotlib.figure import Figure
from PIL import Image

DPI = 200  # twice the size that is shown, for sharp letters
MIN_ALT = 40


class Interactive:
    """An interactive figure as the output of a cell; made by `frames`.

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
        code = {name: Path(__file__).with_suffix(f".{name}").read_text(encoding="utf-8") for name in ("css", "js")}
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
    pictures = []
    for chosen in itertools.product(*values.values()):
        figure = Figure(figsize=figsize, dpi=DPI)
        alt = draw(figure, *chosen)
        if not isinstance(alt, str) or len(alt) < MIN_ALT:
            raise ValueError(
                f"draw must return the alternative text of its frame, {MIN_ALT} characters or more; "
                f"for {chosen} it returned {alt!r}. Say what is in the picture, with its numbers"
            )
        pictures.append({"alt": alt, "src": _png(figure)})
    place = 0
    for control, index in zip(controls, first, strict=True):
        place = place * len(control["values"]) + index
    still = pictures[place].pop("src")  # the script takes it from the picture
    size = (round(100 * figsize[0]), round(100 * figsize[1]))
    data = {"controls": controls, "start": first, "frames": pictures}
    return Interactive("frames", still, size, pictures[place]["alt"], data)


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


def _png(figure: Figure) -> str:
    """The figure as a PNG of few colours, which is a third of the size, in a `data:` address."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    picture = Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(small.getvalue()).decode()
