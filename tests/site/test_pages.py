"""The built pages: in the HTML, and in a real browser, light, dark and phone-wide."""

import gzip
import re

import pytest
from axe import violations
from browsing import OTHERS, PAGES, ROOT, SITE
from playwright.sync_api import expect

SCREENS = [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)]
RULES = {("light", 1280): "all", ("dark", 1280): "colours", ("light", 360): "all but colours"}  # no rule twice
ALL = [*PAGES, *OTHERS]
CHAPTERS = [page for page in PAGES if re.search(r"/\d\d-", page)]
MAX_WEIGHT = 1_000_000  # bytes that a server sends which packs text, interactive data left out
SHOWN = {"book/intro.html", "book/01-one-idea.html", "book/07-owl.html", "book/library.html", "search.html", "404.html"}
SCREENSHOTS = ROOT / "_build" / "screenshots"  # to be looked at


def test_there_are_pages():
    assert "book/01-one-idea.html" in PAGES
    assert len(OTHERS) == 2


@pytest.mark.parametrize("page", ALL)
def test_html_names_no_other_host_to_load_from(page):
    text = (SITE / page).read_text(encoding="utf-8")
    loads = re.findall(r'<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]+)"', text)
    assert [url for url in loads if "canonical" not in url] == []
    assert "unpkg.com" not in text
    assert "#cc0000" not in text, "KaTeX could not read a formula"
    assert 'class="lab"' not in text, "a heading that only JupyterLab needs"
    assert not re.findall(r'<img(?![^>]*\balt="[^"]{3,}")[^>]*>', text), "an image without alt text"


@pytest.mark.parametrize("page", ALL)
def test_no_script_holds_up_the_first_paint(page):
    if page != "search.html":
        loaded = re.findall(r"<script\b[^>]*\bsrc=[^>]*>", (SITE / page).read_text(encoding="utf-8"))
        assert [tag for tag in loaded if "defer" not in tag] == []


FORMULAS = """() => [...document.querySelectorAll('article div.math')].filter(e => {
    const box = e.querySelector('.katex-display')?.getBoundingClientRect();
    if (!box?.width) return false;
    const text = e.querySelector('.katex-html').getBoundingClientRect();
    const number = e.querySelector('.eqno')?.getBoundingClientRect();
    return text.left < box.left - 1 || (number && number.left < box.right - 1);
}).map(e => e.id)"""


# formulas whose punctuation begins a line: the character after one stands left of where the formula ends
TORN = """() => [...document.querySelectorAll('article span.math')].filter(e => {
    const after = e.nextSibling, boxes = e.querySelectorAll('.base');
    if (after?.nodeType !== Node.TEXT_NODE || !/^[^\\s]/.test(after.data) || !boxes.length) return false;
    const first = document.createRange();
    first.setStart(after, 0);
    first.setEnd(after, 1);
    const left = first.getBoundingClientRect().left;
    return left && left < boxes[boxes.length - 1].getBoundingClientRect().left;
}).map(e => e.querySelector('annotation').textContent)"""


@pytest.mark.parametrize(("mode", "width"), SCREENS)
@pytest.mark.parametrize("page", ALL)
def test_pages_open_cleanly_fit_and_are_accessible(open_page, page, mode, width):
    tab = open_page(page, mode, width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    if page != "404.html":
        assert tab.evaluate("document.documentElement.dataset.theme") == mode
    cut = """() => [...document.querySelectorAll('article img, article table, article .math')].filter(e => {
        const box = e.getBoundingClientRect();
        if (!box.width || box.right <= document.documentElement.clientWidth + 1) return false;
        for (let p = e; p; p = p.parentElement)
            if (['auto', 'scroll'].includes(getComputedStyle(p).overflowX)) return false;
        return true;
    }).map(e => e.outerHTML.slice(0, 100))"""
    assert tab.evaluate(cut) == [], "something sticks out and cannot be scrolled to"
    assert tab.evaluate(FORMULAS) == [], "a formula begins outside its box, or lies under its number"
    assert [tex for tex in tab.evaluate(TORN) if len(tex) <= 40] == [], "a line begins with what follows a formula"
    if page in SHOWN:
        SCREENSHOTS.mkdir(exist_ok=True)
        tab.screenshot(path=SCREENSHOTS / f"{page.split('/')[-1].removesuffix('.html')}-{mode}-{width}.png")
    if (mode, width) == ("light", 1280):
        assert weight(tab, page) < MAX_WEIGHT
    if rules := RULES.get((mode, width)):
        assert violations(tab, rules) == []


def weight(tab, page):
    """The bytes of a page and of all it loads."""
    loaded = tab.evaluate("performance.getEntriesByType('resource').map(e => new URL(e.name).pathname.slice(1))")
    text = re.sub(
        r'<figure class="tyinglib-interactive".*?</figure>', "", (SITE / page).read_text(encoding="utf-8"), flags=re.S
    )
    total = len(gzip.compress(text.encode()))
    for name in set(loaded):
        if (SITE / name).is_file():
            content = (SITE / name).read_bytes()
            packs = name.endswith((".css", ".js", ".svg"))
            total += len(gzip.compress(content)) if packs else len(content)
    return total


@pytest.mark.parametrize("page", CHAPTERS)
def test_chapters_have_mathematics_copy_buttons_and_questions(open_page, page):
    tab = open_page(page)
    assert tab.locator("article .katex").count() > 10
    assert tab.locator("button.copybtn").count() >= tab.locator("div.cell_input").count() > 0
    answers = tab.locator(".predict details")
    assert answers.count() >= 4
    for answer in answers.all():
        feedback = answer.locator("p").first
        assert not feedback.is_visible()
        answer.locator("summary").focus()
        tab.keyboard.press("Enter")
        assert feedback.is_visible()


def test_figures_are_turned_over_in_the_dark_and_keep_their_shape(open_page):
    tab = open_page("book/01-one-idea.html", "dark", 360)
    figure = tab.locator(".cell_output img").first
    assert "invert" in figure.evaluate("e => getComputedStyle(e).filter")
    shape = figure.evaluate("e => [e.width / e.height, e.naturalWidth / e.naturalHeight]")
    assert shape[0] == pytest.approx(shape[1], rel=0.02)


def test_a_photograph_stays_a_photograph_in_the_dark(open_page):
    picture = open_page("book/09-convolution.html", "dark").locator(".tag_photo .cell_output img").first
    assert picture.evaluate("e => getComputedStyle(e).filter") == "none"


def test_search_finds_the_terms_of_the_glossary(open_page):
    terms = re.findall(r'<dt id="term-[^"]*">([^<]+)<', (SITE / "book/glossary.html").read_text(encoding="utf-8"))
    assert len(terms) > 10
    tab = open_page("search.html?q=tie")
    finished = tab.locator("#search-results .search-summary", has_text="Search finished")  # all are listed, of one term
    expect(finished).to_be_visible()
    ask = "q => { document.getElementById('search-results').replaceChildren(); Search.performSearch(q); }"
    tab.evaluate("DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false")  # it would fetch every page that is found
    for term in terms:
        tab.evaluate(ask, term)
        expect(finished).to_be_visible()
        links = tab.locator("#search-results li a").evaluate_all("links => links.map(a => a.getAttribute('href'))")
        assert links, term
        assert "book/" in links[0], term


def test_the_site_is_found_by_keyboard(open_page):
    """The first stop leads past the navigation, the search dialog takes words, on a phone the contents open."""
    tab = open_page("book/glossary.html")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent").strip() == "Skip to main content"
    tab.keyboard.press("Control+k")
    expect(tab.locator("dialog input[type=search]")).to_be_focused()
    tab.keyboard.type("codebook")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#search-results li")
    assert tab.url.endswith("search.html?q=codebook")
    phone = open_page("book/glossary.html", "light", 360)
    link = phone.get_by_role("link", name="The library").first
    assert not link.is_visible()
    phone.locator(".primary-toggle").press("Enter")
    expect(link).to_be_visible()
    slid_in = "link => link.getBoundingClientRect().left >= 0"
    phone.wait_for_function(slid_in, arg=link.element_handle())


def test_print_shows_the_text_and_opens_what_is_closed(open_page):
    tab = open_page("book/01-one-idea.html", "dark")
    tab.emulate_media(media="print")
    for hidden in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".bd-header-article", ".prev-next-footer"):
        assert not tab.locator(hidden).first.is_visible(), hidden
    assert tab.locator("h1:visible").count() == 1
    assert tab.locator("article").evaluate("e => getComputedStyle(e).color") == "rgb(0, 0, 0)"
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for feedback in tab.locator(".predict details p").all()[:4]:
        assert feedback.bounding_box()["height"] > 0
    assert "none" in tab.locator(".cell_output img").first.evaluate("e => getComputedStyle(e).filter")


@pytest.mark.parametrize("page", PAGES)
def test_pages_tell_what_they_are(page):
    text = (SITE / page).read_text(encoding="utf-8")
    for name in ("og:title", "og:description", "og:site_name"):
        assert re.search(rf'<meta property="{name}" content="[^"]{{3,}}"', text), name
    assert len(re.findall(r"<h1>", text)) == 1
    assert page == "book/intro.html" or 'class="left-prev"' in text
    assert "launch-buttons" not in text, "no repository is set"


def test_citations_show_under_the_pointer_what_they_cite():
    for page in CHAPTERS:
        cited = re.findall(
            r'<a class="reference internal" href="references.html#[^>]*>', (SITE / page).read_text(encoding="utf-8")
        )
        assert cited
        assert all(re.search(r'title="[^"]{30,}"', tag) for tag in cited), page


@pytest.mark.parametrize("page", ALL)
def test_links_inside_the_book_lead_somewhere(page):
    text = (SITE / page).read_text(encoding="utf-8")
    for link in re.findall(r'href="([^"]+)"', text):
        if re.match(r"[a-z]+:", link) or link == "#":
            continue
        target, _, anchor = link.partition("#")
        folder = SITE if target.startswith("/") else (SITE / page).parent
        path = folder / target.split("?")[0].lstrip("/") if target else SITE / page
        assert path.exists(), f"{page} links to {link}"
        if anchor and path.suffix == ".html":
            assert f'id="{anchor}"' in path.read_text(encoding="utf-8"), (
                f"{page} links to {link}, which has no such place"
            )
