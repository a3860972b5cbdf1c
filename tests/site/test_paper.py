"""A page printed from the browser: answers and solutions at the end, the map whole, and the screen as it was before."""

import re

import pytest
from browsing import ROOT
from pypdf import PdfReader

CHAPTER = "book/05-norm-penalties.html"


@pytest.fixture(scope="module")
def printed(keep_open, tmp_path_factory):
    """Open a page, print it; the text of its sheets, without white space, and whether the page was left as it was."""

    def print_one(page):
        tab, path = keep_open(page), tmp_path_factory.mktemp("paper") / "page.pdf"
        before = tab.locator("article").first.inner_html()
        tab.pdf(path=path, format="A4")
        assert tab.locator("article").first.inner_html() == before
        return [re.sub(r"\s", "", sheet.extract_text()) for sheet in PdfReader(path).pages]

    return print_one


def test_answers_and_solutions_stand_at_the_end_of_a_chapter(printed):
    text = "".join(printed(CHAPTER))
    chapter, _, end = text.rpartition("Answers")
    answers, _, solutions = end.partition("SolutionsSolutionto")
    assert "Keypoints" in chapter
    questions = chapter.count("Predict.")
    assert questions > 1
    assert chapter.count("Theanswerstandsattheendofthechapter.") == questions
    assert answers.count("Predict.") == questions
    assert answers.count("Right") >= questions
    for word in ("Notthisone.", "Right.", "Solutionto"):
        assert word not in chapter
        assert word in end + "Solutionto" * bool(solutions)
    assert solutions.count("Solutionto") == chapter.count("Thesolutionstandsattheendofthechapter.") - 1


def test_the_map_of_the_chapters_is_on_one_sheet(printed):
    sheets = printed("book/intro.html")
    names = [path.stem for path in sorted((ROOT / "book").glob("[0-9][0-9]-*.ipynb"))]
    boxes = [sum(f"{int(name[:2])}." in sheet for name in names) for sheet in sheets]
    assert max(boxes) == len(names)
