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
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin
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
SHOWN = {"bullet_list_open", "ordered_list_open", "table_open", "math_block", "math_block_label", "fence"}
MARKDOWN = MarkdownIt().use(colon_fence_plugin).use(dollarmath_plugin).use(myst_block_plugin)


def blocks(text: str) -> Iterator[tuple[Token, str]]:
    """The blocks of a markdown cell, with what each begins with; without labels. A question is one block."""
    lines, end = text.split("\n"), 0
    for token in MARKDOWN.parse(text):
        if token.level == 0 and token.map and token.map[0] >= end and token.type != "myst_target":
            start, end = token.map
            if lines[start] == '<div class="predict">':
                end = lines.index("</div>", start) + 1
            yield token, "\n".join(lines[start:end]).strip()


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


def boxed(directive: Token) -> tuple[str, str]:
    """A directive as (kind of slide, Markdown)."""
    name, _, title = directive.info.strip().removeprefix("{").partition("}")
    title, body = title.strip(), re.sub(r"^:\w+:.*\n?", "", directive.content, flags=re.M).strip()
    if name in ("prf:proof", "solution-start", "solution-end", "solution"):
        return ("notes" if name == "prf:proof" else "skip"), body
    word = {"exercise": "Exercise"}.get(name, name.removeprefix("prf:").capitalize())
    head = f"**{word}{': ' if title else ''}{title}**"
    return "subslide", f'{head}\n\n<div class="boxed">\n\n{body}\n\n</div>'


def pieces(source: str) -> Iterator[tuple[str, str]]:
    """A markdown cell as (kind, Markdown): what is shown, and what is only said."""
    said_something = True  # prose that continues after a cell is for the speaker
    for token, block in blocks(source):
        if block.startswith('<h5 class="lab">'):
            continue
        if token.type == "heading_open":
            said_something = False
            yield ("slide" if token.tag in ("h1", "h2") else "subslide"), block
        elif token.type == "colon_fence":
            yield boxed(token)
        elif token.type == "html_block":
            yield "subslide", block
        elif token.type in SHOWN:
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
