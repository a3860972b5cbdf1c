"""A page printed from the browser: answers and solutions at the end, the map whole, and the screen as it was before."""

import re

import pytest
from browsing import PAGES, ROOT
from pypdf import PdfReader

CHAPTERS = [page for page in PAGES if re.search(r"/\d\d-", page)]
# what can be scrolled can be focused, which changes with the width
HTML = """e => e.innerHTML.replaceAll(/ tabindex="[^"]*"/g, '')"""
GIVEN_AWAY = ("Not this one.", "Right.", "Solution to Exercise")


@pytest.mark.parametrize("page", CHAPTERS)
def test_answers_and_solutions_stand_at_the_end_of_a_chapter(open_page, page):
    tab = open_page(page)
    before = tab.locator("article").evaluate(HTML)
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    chapter, answers, solutions = re.split("\n(?:Answers|Solutions)\n", tab.locator("article").inner_text())
    questions, exercises = chapter.count("Predict."), chapter.count("The solution stands at the end of the chapter.")
    assert "Key points" in chapter
    assert questions == chapter.count("The answer stands at the end of the chapter.") == answers.count("Predict.") > 1
    assert answers.count("Right") >= questions
    assert solutions.count("Solution to Exercise") == exercises == len(re.findall(r"\nExercise \d+\.\d+ \(", chapter))
    for words in GIVEN_AWAY:
        assert words not in chapter
    for number in range(questions):
        options = tab.locator(".predict").nth(number).locator("p").all_inner_texts()
        answer = tab.locator(f"#question-{number + 1}-answer summary").all_inner_texts()
        assert [f"\u2022 {words}" for words in answer] == options[-1 - len(answer) : -1]
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("article").evaluate(HTML) == before


@pytest.fixture(scope="module")
def printed(keep_open, tmp_path_factory):
    """Print a page; the text of its sheets, without white space. In a sheet it may be in another order than on it."""

    def print_one(page):
        tab, path = keep_open(page), tmp_path_factory.mktemp("paper") / "page.pdf"
        before = tab.locator("article").evaluate(HTML)
        tab.pdf(path=path, format="A4")
        assert tab.locator("article").evaluate(HTML) == before
        return [re.sub(r"\s", "", sheet.extract_text()) for sheet in PdfReader(path).pages]

    return print_one


def test_it_is_so_on_paper(printed):
    sheets = printed(CHAPTERS[1])
    begin = next(number for number, sheet in enumerate(sheets) if "Answers" in sheet)
    assert begin > 5
    for words in GIVEN_AWAY:
        found = [number for number, sheet in enumerate(sheets) if words.replace(" ", "") in sheet]
        assert found
        assert min(found) >= begin


def test_the_map_of_the_chapters_is_on_one_sheet(printed):
    names = [path.stem for path in sorted((ROOT / "book").glob("[0-9][0-9]-*.ipynb"))]
    boxes = [sum(f"{int(name[:2])}." in sheet for name in names) for sheet in printed("book/intro.html")]
    assert max(boxes) == len(names)
