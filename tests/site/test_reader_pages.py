"""The pages that are made from the chapters: nothing is missing, nothing disagrees, and the map can be used."""

import html
import json
import re

import pytest
from browsing import ROOT, SITE

LEDGER = "application/vnd.tyinglib.ledger+json"
CHAPTERS = sorted(path.stem for path in (ROOT / "book").glob("[0-9][0-9]-*.ipynb"))


def words(text):
    """The text of a page, in one line, with plain quotes."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).replace("\u2019", "'").split())


def rows(chapter):
    cells = json.loads((ROOT / "book" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return next(entry[LEDGER]["rows"] for entry in data if LEDGER in entry)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_ledger_page_says_what_the_chapter_says(chapter):
    page = (SITE / "book" / "what-holds.html").read_text(encoding="utf-8")
    for row in rows(chapter):
        block = page.partition(f'id="statement-{row["statement"]}"')[2].partition('class="statement ')[0]
        assert row["measured"] in words(block)
        assert f'href="{chapter}.html#statement-{row["statement"]}"' in block
        assert f'<tr id="statement-{row["statement"]}">' in (SITE / "book" / f"{chapter}.html").read_text(
            encoding="utf-8"
        )


@pytest.mark.parametrize("page", ["exercises", "takeaways", "instructors", "intro"])
def test_every_chapter_is_on_the_pages_that_list_chapters(page):
    text = (
        (SITE / "book" / f"{page}.html").read_text(encoding="utf-8").partition("<article")[2].partition("</article>")[0]
    )
    for chapter in CHAPTERS:
        assert f'href="{chapter}.html' in text


@pytest.mark.parametrize(("mode", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_the_map_can_be_read_and_followed(open_page, mode, width):
    tab = open_page("book/intro.html", mode, width)
    shown = tab.locator("svg.map:visible")
    assert shown.count() == 1
    links = shown.locator("a")
    assert links.count() == len(CHAPTERS)
    sizes = tab.locator("svg.drawn:visible text").evaluate_all(
        "all => all.map(t => parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getScreenCTM().a)"
    )
    assert min(sizes) >= 11, "words in pictures are too small"
    inside = """svg => [...svg.querySelectorAll('a')].every(a => {
        const box = a.querySelector('rect').getBoundingClientRect();
        return [...a.querySelectorAll('text')].every(t => t.getBoundingClientRect().right <= box.right + 1);
    })"""
    assert shown.evaluate(inside), "words stick out of their box"
    links.first.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"**/{CHAPTERS[0]}.html")
