"""Slides: made by nbconvert from every chapter, without leftovers of the pages' markup and without another host."""

import re
import subprocess
import sys
from pathlib import Path

import make_slides
import nbformat
import pytest

ROOT = Path(__file__).parents[2]

CHAPTERS = sorted((ROOT / "book").glob("[0-9][0-9]-*.ipynb"))


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return nbformat.read(request.param, as_version=4)


def kind(cell):
    return cell.metadata.slideshow.slide_type


def test_every_section_starts_a_slide_and_solutions_are_left_out(chapter):
    slides = make_slides.to_slides(chapter)
    nbformat.validate(slides)
    shown = [cell for cell in slides.cells if kind(cell) != "skip"]
    heads = re.findall(r"^##? .+$", "\n\n".join(c.source for c in chapter.cells if c.cell_type == "markdown"), re.M)
    assert [c.source.partition("\n")[0] for c in shown if kind(c) == "slide"] == heads
    words = "\n\n".join(cell.source for cell in shown if cell.cell_type == "markdown")
    for leftover in (r"^:::", r"^:label:", r"\{[\w:]+\}`", r"\{solution", 'class="lab"'):
        assert not re.search(leftover, words, re.M), re.search(f".*{leftover}.*", words, re.M)[0]
    assert words.count('<div class="predict">') == sum(c.source.count('<div class="predict">') for c in chapter.cells)
    assert not any("check_answer(" in cell.source for cell in shown)
    code = [cell for cell in chapter.cells if cell.cell_type == "code"]
    assert sum(cell.cell_type == "code" for cell in shown) >= len(code) / 2
    assert any(kind(cell) == "notes" for cell in shown)


def test_a_piece_of_prose_is_shown_once_and_the_rest_is_said():
    found = list(
        make_slides.pieces("## Head\n\nFirst\nstays.\n\nSecond.\n\n- a\n- b\n\n$$x$$ (eq-x)\n\n### Sub\nThird.")
    )
    assert found == [
        ("slide", "## Head"),
        ("same", "First\nstays."),
        ("notes", "Second."),
        ("same", "- a\n- b"),
        ("same", "$$x$$ (eq-x)"),
        ("subslide", "### Sub"),  # with or without an empty line below it
        ("same", "Third."),
    ]


def test_roles_become_words():
    known = {"def-tie": "Tie"}
    text = "See {prf:ref}`def-tie`, {cite:t}`goodfellow2016`, {ref}`here <there>`, {py:func}`a.b.c`.\n$$x$$ (eq-x)"
    assert make_slides.plain_roles(text, known) == "See *Tie*, Goodfellow 2016, here, `c`.\n$$x$$"


def test_nbconvert_makes_slides_that_load_nothing_from_elsewhere(tmp_path):
    notebook = nbformat.read(CHAPTERS[0], as_version=4)
    slides = make_slides.to_slides(notebook)
    page = make_slides.export(slides, "slides")
    loads = re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="(?!data:)([^"]+)"', page)
    assert loads
    assert all(re.match(r"(reveal\.js|katex)/", url) for url in loads), loads
    assert "import " not in "".join(re.findall(r'<script type="module">(.*?)</script>', page, re.S))
    assert page.count("<section") > 20
    # and the plain command works on the tagged notebook
    nbformat.write(slides, tmp_path / "chapter.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "slides", str(tmp_path / "chapter.ipynb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "<section" in (tmp_path / "chapter.slides.html").read_text(encoding="utf-8")
