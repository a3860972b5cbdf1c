"""The built pages: in the HTML, and in a real browser, light, dark and phone-wide."""

import functools
import http.server
import re
import subprocess
import threading
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in (SITE / "book").glob("*.html"))
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SCREENS = [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    found = subprocess.run(["sh", ROOT / "tools/find_browser.sh"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("no Chromium here: install Debian's `chromium`, or set CHROMIUM to a browser's path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found.stdout.strip(), args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Open a page; at the end, no request may have left the machine and no error stand in the console."""
    faults, contexts = [], []

    def open_one(page, mode="light", width=1280):
        context = browser.new_context(color_scheme=mode, viewport={"width": width, "height": 800})
        contexts.append(context)
        tab = context.new_page()
        local = (address, "data:", "blob:")
        tab.on("request", lambda r: None if r.url.startswith(local) else faults.append(f"request to {r.url}"))
        tab.on("console", lambda m: faults.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: faults.append(f"script error: {error}"))
        tab.on("response", lambda r: faults.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        tab.goto(address + page)
        tab.wait_for_load_state("networkidle")
        return tab

    yield open_one
    for context in contexts:
        context.close()
    assert not faults, faults


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
