"""Solutions are closed until they are asked for: by a click anywhere on the title, by key, or by a link into them."""

import re

import pytest
from browsing import PAGES, SITE

CHAPTERS = [page for page in PAGES if re.search(r"/\d\d-", page)]
# where the window stood at every turn
STOPS = """() => {
    window.stops = [];
    addEventListener('scroll', () => window.stops.push(Math.round(scrollY)), true);
}"""


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_click_anywhere_on_the_title_opens_and_closes(open_page, page):
    tab = open_page(page)
    solutions = tab.locator("details.solution")
    assert solutions.count() >= 3
    for solution in solutions.all():
        title, inside = solution.locator("> summary"), solution.locator("> section")
        assert title.inner_text().startswith("Solution to")
        assert not inside.is_visible()
        title.scroll_into_view_if_needed()
        box = title.bounding_box()
        stood = tab.evaluate("scrollY")
        for number, part in enumerate((0.02, 0.2, 0.4, 0.98)):
            title.click(position={"x": part * box["width"], "y": box["height"] / 2})
            assert inside.is_visible() == (number % 2 == 0)
        assert tab.evaluate("scrollY") == stood
        title.press("Enter")
        assert inside.is_visible()
    assert tab.url.endswith(page), "a title leads away"


def test_no_box_needs_a_script_to_open():
    for page in PAGES:
        text = (SITE / page).read_text(encoding="utf-8")
        assert not re.findall(r'<\w+ class="[^"]*\bdropdown\b[^"]*\badmonition\b', text)
        assert "togglebutton" not in text


@pytest.mark.parametrize("inside", [True, False], ids=["into a solution", "to a section"])
def test_a_link_arrives_at_once(open_page, address, inside):
    page = CHAPTERS[-1]
    text = (SITE / page).read_text(encoding="utf-8")
    where = text.rpartition('<details class="solution')[2] if inside else text.rpartition("<section id=")[2]
    anchor = re.search(r'"(cell-\w+)"' if inside else r'"([\w-]+)"', where)[1]
    tab = open_page("book/intro.html")
    tab.add_init_script(f"({STOPS})()")
    tab.goto(f"{address}{page}#{anchor}")
    tab.wait_for_load_state("networkidle")
    target = tab.locator(f"[id='{anchor}']")
    assert target.is_visible()
    assert 0 <= target.bounding_box()["y"] <= 400
    stops = tab.evaluate("stops")
    assert stops[-1] > 3000, "so far down that smooth scrolling would show"
    assert min(stops) > stops[-1] - 1000, f"it scrolled by these places: {stops}"
