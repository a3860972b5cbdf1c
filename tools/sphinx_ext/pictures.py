"""Pictures of the landing page, drawn as SVG: the idea, six ties, and the map of the chapters.

Drawn at the size at which they are shown, so that words stay readable on a phone; colours come from CSS variables
(book/_static/pages.css) and follow the light and the dark page. Values differ in shape, not in colour alone.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterable, Sequence

from stored import Chapter, Part

LABELS = (0, 1, 0, 2, 1, 0)  # chapter 1's first tie
PHI = (5, 7, 9)


def svg(width: float, height: float, title: str, description: str, body: Iterable[str]) -> str:
    """A picture with its name and what is in it, for those who don't see it."""
    name, words = html.escape(title), html.escape(description)
    return (
        f'<svg class="drawn" viewBox="0 0 {width:g} {height:g}" style="max-width:{width * 1.5:g}px" role="img" '
        f'aria-label="{name}. {words}"><title>{name}</title><desc>{words}</desc>{"".join(body)}</svg>'
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{html.escape(words)}</text>'


def mark(value: int, x: float, y: float, size: float = 12) -> str:
    """A value's mark: circle, square, triangle or diamond, in its colour."""
    kind = f'class="value v{value}"'
    if value == 0:
        return f'<circle {kind} cx="{x:g}" cy="{y:g}" r="{size:g}"/>'
    if value == 1:
        return f'<rect {kind} x="{x - size:g}" y="{y - size:g}" width="{2 * size:g}" height="{2 * size:g}"/>'
    corners = {
        2: ((0, -1.3), (1.3, 0.95), (-1.3, 0.95)),
        3: ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
    }[value]
    points = " ".join(f"{x + size * a:g},{y + size * b:g}" for a, b in corners)
    return f'<polygon {kind} points="{points}"/>'


def idea() -> str:
    """theta = S phi as wires from values to the weights that use them."""
    values = [(52, 92 + 56 * j) for j in range(len(PHI))]
    weights = [(288, 58 + 36 * i) for i in range(len(LABELS))]
    body = []
    for (x1, y1), label in zip(weights, LABELS, strict=True):
        x0, y0 = values[label]
        body.append(f'<path class="wire w{label}" d="M{x0 + 16},{y0} C170,{y0} 170,{y1} {x1 - 16},{y1}"/>')
    for j, (x, y) in enumerate(values):
        body += [mark(j, x, y, 14), text(x, y + 5, str(PHI[j]), "inside", "middle")]
    for (x, y), label in zip(weights, LABELS, strict=True):
        body += [mark(label, x, y, 12), text(x, y + 5, str(PHI[label]), "inside", "middle")]
    body += [
        text(52, 22, "free values φ", "name", "middle"),
        text(170, 22, "S", "name", "middle"),
        text(288, 22, "weights θ", "name", "middle"),
        text(170, 282, "→ forward: values are handed out", "note", "middle"),
        text(170, 304, "← backward: gradients add up", "note", "middle"),
    ]
    return svg(
        340,
        312,
        "A tie is a linear map",
        "Three free values, 5, 7 and 9, stand on the left. Wires lead from them to six weights in use on the right: "
        "5, 7, 5, 9, 7, 5. Each weight has one wire; a value may have several. The wires are the matrix S.",
        body,
    )


def grid(values: Sequence[Sequence[int | None]], x: float, y: float, step: float) -> list[str]:
    """Rows of marks; None is an empty place."""
    parts = []
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            place = x + j * step, y + i * step
            if value is None:
                parts.append(f'<circle class="empty" cx="{place[0]:g}" cy="{place[1]:g}" r="1.5"/>')
            else:
                parts.append(mark(value, *place, step * 0.33))
    return parts


def box(value: int, x: float, y: float, width: float, height: float) -> str:
    """A layer, with the mark of the value that it holds."""
    return f'<rect class="layer l{value}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4"/>' + mark(
        value, x + width / 2, y + height / 2, 6
    )


def arrow(x0: float, y0: float, x1: float, y1: float) -> str:
    """A short arrow, across or upwards."""
    head = f"M{x1 - 4:g},{y1 - 3:g} L{x1:g},{y1:g} L{x1 - 4:g},{y1 + 3:g}"
    if x0 == x1:
        head = f"M{x1 - 3:g},{y1 + 4:g} L{x1:g},{y1:g} L{x1 + 3:g},{y1 + 4:g}"
    return f'<path class="line" d="M{x0:g},{y0:g} L{x1:g},{y1:g} {head}"/>'


def ties() -> list[tuple[str, int, str]]:
    """Six ties that differ only in S: a name, the chapter that is about it, the picture."""
    blocks = [[2 * (i // 2) + j // 2 for j in range(4)] for i in range(4)]
    slides = [[j - i if 0 <= j - i < 3 else None for j in range(6)] for i in range(4)]
    models = []
    for x, head, name in ((22, 1, "A"), (88, 2, "B")):
        models += [box(0, x, 70, 40, 22), arrow(x + 20, 68, x + 20, 56), box(head, x, 32, 40, 22)]
        models += [text(x + 20, 22, name, "note", "middle")]
    found = []
    for i, value in enumerate((0, 0, 0, 1, 1, 2, 2, 2)):
        tall = (62, 40, 20)[value]
        x, y = 19 + 16 * i, 92 - tall
        found += [f'<rect class="value v{value}" x="{x - 5}" y="{y}" width="10" height="{tall}"/>']
    found.append('<path class="line" d="M8,93 L142,93"/>')
    steps = []
    for i in range(4):
        steps += [box(0, 8 + 36 * i, 40, 24, 26)]
        steps += [arrow(8 + 36 * i + 26, 53, 8 + 36 * i + 34, 53)] if i < 3 else []
        steps += [arrow(20 + 36 * i, 86, 20 + 36 * i, 70)]
    words = [box(0, 30, 72, 90, 20), arrow(75, 70, 75, 61), box(1, 45, 39, 60, 20), arrow(75, 37, 75, 28)]
    words += [box(0, 30, 6, 90, 20)]
    size = (150, 100)
    return [
        (
            "Neighbouring pixels",
            1,
            svg(*size, "Neighbouring pixels", "A square of 4 by 4 weights; each block of four holds one value.",
                grid(blocks, 36, 14, 25)),
        ),
        (
            "Two models, one encoder",
            4,
            svg(*size, "Two models", "Models A and B: the lower layers hold the same value, the upper ones differ.",
                models),
        ),
        (
            "Groups that a penalty finds",
            7,
            svg(*size, "Groups that a penalty finds", "Eight bars, of only three lengths.", found),
        ),
        (
            "A filter that slides",
            9,
            svg(*size, "A filter that slides",
                "A matrix of four rows: the same three values in each, one place further to the right.",
                grid(slides, 20, 17, 22)),
        ),
        (
            "A network over time",
            10,
            svg(*size, "A network over time", "Four steps in a row, each with the same value, each with an input.",
                steps),
        ),
        (
            "Words in, words out",
            11,
            svg(*size, "Words in, words out",
                "Three layers from bottom to top: the first and the last hold the same value.", words),
        ),
    ]  # fmt: skip


def plain(words: str) -> str:
    """Without marks of mathematics and emphasis."""
    return re.sub(r"[$*`\\]", "", words)


def chapter_box(
    chapter: Chapter, link: str, x: float, y: float, width: float, shown: Iterable[int] = (1,)
) -> tuple[str, float]:
    """A linked box with number, title, question and the needs that no line shows; and its height."""
    title = textwrap.wrap(f"{chapter.number}. {plain(chapter.title)}", int((width - 16) / 8.6))
    question = textwrap.wrap(plain(chapter.question), int((width - 16) / 7.2))
    lines = [(line, "title") for line in title] + [(line, "question") for line in question]
    others = sorted(set(chapter.required) - set(shown))
    if others:
        lines.append(("also needs " + " and ".join(map(str, others)), "needs"))
    height = 16 + 18 * len(lines)
    words = "".join(text(x + 10, y + 21 + 18 * i, line, kind) for i, (line, kind) in enumerate(lines))
    frame = f'<rect class="chapter" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"/>'
    return f'<a href="{html.escape(link)}">{frame}{words}</a>', height


def column(part: Part, links: dict[int, str], x: float, y: float, width: float, top: float) -> tuple[list[str], float]:
    """A part: its caption and its chapters, on a rail that comes from chapter 1; and where it ends."""
    rail, body, gap = x + 8, [], 16
    lines = textwrap.wrap(part.caption, int(width / 7.5))
    for i, line in enumerate(lines):
        body.append(text(x + 20, y + 15 + 18 * i, line, "part"))
    y += 18 * len(lines) + 10
    end = y
    above = None
    for chapter in part.chapters:
        if chapter.number == 1:
            continue
        drawn, height = chapter_box(chapter, links[chapter.number], x + 20, y, width - 20, (1, above or 1))
        body.append(drawn)
        if above in chapter.required:
            body.append(f'<path class="line" d="M{x + 50:g},{y - gap:g} v{gap - 2} m-4,-5 l4,5 l4,-5"/>')
        if above not in chapter.required or 1 in chapter.required:
            body.append(arrow(rail, y + 20, x + 19, y + 20))
            end = y + 20
        above, y = chapter.number, y + height + gap
    body.insert(0, f'<path class="line" d="M{rail:g},{top:g} L{rail:g},{end:g}"/>')
    return body, y - gap


def chapter_map(parts: Sequence[Part], links: dict[int, str], *, columns: int, width: float) -> str:
    """The chapters as boxes that lead to them.

    What hangs on the rail needs chapter 1; an arrow from box to box says that the upper one comes first.
    """
    first = parts[0].chapters[0]
    drawn, height = chapter_box(first, links[first.number], 1, 1, width - 2)
    body, top = [drawn], 1 + height
    gap, y = 14, top + 22
    if columns == 1:
        for part in parts:
            part_body, end = column(part, links, 0, y, width - 1, top)
            body += part_body
            y = end + 20
        end = y - 20
    else:
        wide = (width - gap * (columns - 1)) / columns
        ends = []
        for i, part in enumerate(parts):
            part_body, end = column(part, links, i * (wide + gap), y + 2, wide, top)
            body += part_body
            ends.append(end)
        end = max(ends)
    title = "The chapters and what they need"
    return (
        f'<svg class="drawn map" viewBox="0 0 {width:g} {end + 4:g}" style="max-width:{width:g}px" role="group" '
        f'aria-label="{title}"><title>{title}</title>{"".join(body)}</svg>'
    )
