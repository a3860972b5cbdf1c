"""A chapter as slides: sections become stacks of slides, prose becomes speaker notes.

    python tools/make_slides.py [NAME ...]      NAME: part of a file name; none: all chapters

Writes _build/slides/NAME.ipynb, a notebook with slide tags (which RISE and similar tools read), and from it, by
nbconvert, NAME.slides.html. reveal.js and KaTeX lie beside it, so that the slides need no network.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from traitlets.config import Config

from tools.npm_files import BOOK, copy_files, installed

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "_build" / "slides"
REVEAL = (
    "dist/re*.css",
    "dist/reveal.js",
    "dist/theme/white.css",
    "dist/theme/fonts/source-sans-pro/*",
    "plugin/notes/notes.js",
    "plugin/notes/speaker-view.html",
    "LICENSE",
)
KATEX = ("katex.min.*s", "contrib/auto-render.min.js", "fonts/*.woff2")
KINDS = {"slide": "slide", "subslide": "subslide", "same": "-", "notes": "notes", "skip": "skip"}
# A block of markdown: a fence, a question, a formula, or lines without an empty one between.
BLOCK = re.compile(
    r"""^(:{3,})\{.*?^\1[ ]*$ | ^<div[ ]class="predict">.*?^</div> | ^```.*?^``` | ^\$\$.*?\$\$[^\n]*$
    | ^(?=\S)(?:(?!\n\n).)+""",
    re.S | re.M | re.X,
)


def blocks(text: str) -> Iterator[str]:
    """The blocks of a markdown cell."""
    without_labels = re.sub(r"^\([\w-]+\)=\n", "", text, flags=re.M)
    yield from (match[0].strip() for match in BLOCK.finditer(without_labels))


def titles(notebook: NotebookNode) -> dict[str, str]:
    """What labels stand for: the titles of definitions, theorems and exercises."""
    text = "\n".join(cell.source for cell in notebook.cells)
    return {label: title for title, label in re.findall(r"^:+\{[\w:]+\} *(.*)\n:label: (\S+)", text, re.M)}


def plain_roles(text: str, known: dict[str, str]) -> str:
    """MyST's roles as words that any Markdown shows."""

    def words(match: re.Match[str]) -> str:
        role, target = match[1], match[2]
        if named := re.fullmatch(r"(.+?) *<.*>", target):
            return named[1]
        if role.startswith("cite"):
            keys = [re.fullmatch(r"([a-z-]+)(\d{4})\w*", key.strip()) for key in target.split(",")]
            return "; ".join(f"{key[1].title()} {key[2]}" for key in keys if key) or target
        if role == "eq":
            return "the equation"
        if role.startswith("py"):
            return f"`{target.split('.')[-1]}`"
        return f"*{known.get(target) or target}*"

    text = re.sub(r"\{([\w:]+)\}`([^`]+)`", words, text)
    return re.sub(r"(\$\$) *\([\w-]+\)$", r"\1", text, flags=re.M)


def boxed(block: str) -> tuple[str, str]:
    """A directive as (kind of slide, Markdown)."""
    name, title, body = re.fullmatch(r":{3,}\{([\w:-]+)\} *(.*?)\n(.*?)\n?:{3,}", block, re.S).groups()  # type: ignore[union-attr]
    body = re.sub(r"^:\w+:.*\n?", "", body, flags=re.M).strip()
    if name in ("prf:proof", "solution-start", "solution-end", "solution"):
        return ("notes" if name == "prf:proof" else "skip"), body
    word = {"exercise": "Exercise"}.get(name, name.removeprefix("prf:").capitalize())
    head = f"**{word}{': ' if title else ''}{title}**"
    return "subslide", f'{head}\n\n<div class="boxed">\n\n{body}\n\n</div>'


def pieces(source: str) -> Iterator[tuple[str, str]]:
    """A markdown cell as (kind, Markdown): what is shown, and what is only said."""
    said_something = True  # prose that continues after a cell is for the speaker
    for block in blocks(source):
        if block.startswith('<h5 class="lab">'):
            continue
        if block.startswith("#"):
            level = len(block) - len(block.lstrip("#"))
            said_something = False
            yield ("slide" if level <= 2 else "subslide"), block
        elif block.startswith(":::"):
            yield boxed(block)
        elif block.startswith("<div"):
            yield "subslide", block
        elif re.match(r"- |\d+\. |\||\$\$|```", block):
            yield "same", block
        elif block.startswith("*Needs:"):
            yield "notes", block
        else:
            yield ("notes" if said_something else "same"), block
            said_something = True


def to_slides(notebook: NotebookNode) -> NotebookNode:
    """A copy of a chapter with slide tags; solutions and their checks are left out."""
    known, cells, solving = titles(notebook), [], False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for number, (kind, text) in enumerate(pieces(cell.source)):
                if "{solution-" in cell.source and kind == "skip":
                    continue
                new = nbformat.v4.new_markdown_cell(plain_roles(text, known), id=f"{cell.id}-{number}")
                new.metadata["slideshow"] = {"slide_type": KINDS["skip" if solving and kind != "slide" else kind]}
                cells.append(new)
            marks = re.findall(r"\{solution-(start|end)\}", cell.source)
            solving = marks[-1] == "start" if marks else solving
            continue
        new = copy.deepcopy(cell)
        hidden = solving or "check_answer(" in cell.source or "chapter.setup(" in cell.source
        new.metadata["slideshow"] = {"slide_type": "skip" if hidden else "subslide"}
        cells.append(new)
    slides = copy.deepcopy(notebook)
    slides.cells = cells
    return slides


def export(notebook: NotebookNode, title: str) -> str:
    """Slides as HTML, which looks for reveal.js and katex/ beside it."""
    config = Config()
    config.SlidesExporter.reveal_url_prefix = "reveal.js"
    config.SlidesExporter.reveal_theme = "white"
    config.SlidesExporter.template_name = "slides_template"
    config.SlidesExporter.extra_template_basedirs = [str(ROOT / "tools")]
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_input_tags = {"hide-input", "remove-input"}
    html, _ = SlidesExporter(config=config).from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return str(html)


def main(names: list[str]) -> int:
    chapters = sorted((ROOT / "book").glob("[0-9][0-9]-*.ipynb"))
    paths = [path for path in chapters if not names or any(name in path.stem for name in names)]
    if not paths:
        print(f"no chapter is called {' or '.join(names)}; there are {', '.join(path.stem for path in chapters)}")
        return 2
    TARGET.mkdir(parents=True, exist_ok=True)
    npm = installed(BOOK)
    copy_files(npm / "reveal.js", REVEAL, TARGET / "reveal.js")
    copy_files(npm / "katex/dist", KATEX, TARGET / "katex")
    copy_files(npm / "katex", ["LICENSE"], TARGET / "katex")
    for path in paths:
        slides = to_slides(nbformat.read(path, as_version=4))
        nbformat.write(slides, TARGET / path.name)
        page = TARGET / f"{path.stem}.slides.html"
        page.write_text(export(slides, path.stem), encoding="utf-8")
        print(f"==> {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
