"""The built pages: in the HTML, and in a real browser, light, dark and phone-wide."""

import re

import pytest
from browsing import PAGES, SITE

SCREENS = [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)]


def test_there_are_pages():
    assert "book/01-one-idea.html" in PAGES


@pytest.mark.parametrize("page", PAGES)
def test_html_names_no_other_host_to_load_from(page):
    text = (SITE / page).read_text()
    loads = re.findall(r'<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]+)"', text)
    assert [url for url in loads if "canonical" not in url] == []
    assert "#cc0000" not in text, "KaTeX could not read a formula"
    assert not re.findall(r'<img(?![^>]*\balt="[^"]{3,}")[^>]*>', text), "an image without alt text"


@pytest.mark.parametrize(("mode", "width"), SCREENS)
@pytest.mark.parametrize("page", PAGES)
def test_pages_open_cleanly_and_fit(open_page, page, mode, width):
    tab = open_page(page, mode, width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    assert tab.evaluate("document.documentElement.dataset.theme") == mode
    cut = """() => [...document.querySelectorAll('article img, article table, article .math')].filter(e => {
        const box = e.getBoundingClientRect();
        if (!box.width || box.right <= document.documentElement.clientWidth + 1) return false;
        for (let p = e; p; p = p.parentElement)
            if (['auto', 'scroll'].includes(getComputedStyle(p).overflowX)) return false;
        return true;
    }).map(e => e.outerHTML.slice(0, 100))"""
    assert tab.evaluate(cut) == [], "something sticks out and cannot be scrolled to"


@pytest.mark.parametrize("page", [page for page in PAGES if re.search(r"/\d\d-", page)])
def test_chapters_have_mathematics_copy_buttons_and_questions(open_page, page):
    tab = open_page(page)
    assert tab.locator("article .katex").count() > 10
    assert tab.locator("button.copybtn").count() >= tab.locator("div.cell_input").count() > 0
    first = tab.locator(".predict details").first
    feedback = first.locator("p").first
    assert not feedback.is_visible()
    first.locator("summary").focus()
    tab.keyboard.press("Enter")
    assert feedback.is_visible()


def test_figures_are_turned_over_in_the_dark_and_keep_their_shape(open_page):
    tab = open_page("book/01-one-idea.html", "dark", 360)
    figure = tab.locator(".cell_output img").first
    assert "invert" in figure.evaluate("e => getComputedStyle(e).filter")
    shape = figure.evaluate("e => [e.width / e.height, e.naturalWidth / e.naturalHeight]")
    assert shape[0] == pytest.approx(shape[1], rel=0.02)


def test_search_finds_selection_matrix(open_page):
    tab = open_page("search.html?q=selection+matrix")
    tab.wait_for_selector("#search-results li", timeout=10_000)
    assert "book/" in tab.locator("#search-results a").first.get_attribute("href")


@pytest.mark.parametrize("page", PAGES)
def test_links_inside_the_book_lead_somewhere(page):
    text = (SITE / page).read_text()
    for link in re.findall(r'href="([^"]+)"', text):
        if re.match(r"[a-z]+:", link) or link == "#":
            continue
        target, _, anchor = link.partition("#")
        path = (SITE / page).parent / target.split("?")[0] if target else SITE / page
        assert path.exists(), f"{page} links to {link}"
        if anchor and path.suffix == ".html":
            assert f'id="{anchor}"' in path.read_text(), f"{page} links to {link}, which has no such place"
