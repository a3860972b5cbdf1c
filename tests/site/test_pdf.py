"""make pdf: the whole book on paper."""

import importlib.util
import re
import subprocess
import sys

import pytest
from browsing import PATIENCE, ROOT, SITE
from pypdf import PdfReader

FONT = "source-serif-4-latin-400-normal.woff2"


@pytest.fixture(scope="module")
def make_pdf():
    spec = importlib.util.spec_from_file_location("make_pdf", ROOT / "tools" / "make_pdf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def book(make_pdf, browser):  # where there is no browser, its fixture skips
    # Playwright's sync interface runs once in a thread: the tool has a process of its own
    done = subprocess.run([sys.executable, ROOT / "tools/make_pdf.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not make_pdf.PAGE.exists()
    return PdfReader(make_pdf.PDF)


def test_it_has_every_page_with_numbers_that_are_right(make_pdf, book):
    names = [name for _, chapters in make_pdf.order() for name in chapters]
    contents = "".join(page.extract_text() for page in book.pages[1:4])
    begins = make_pdf.beginnings()
    for name in names:
        number = begins[make_pdf.place(name)]
        title = re.sub(r"<[^>]*>", "", make_pdf.title_of(name)).split(":")[0]
        text = book.pages[number - 1].extract_text().replace("\u02bc", "\u2019")  # the apostrophe, as fonts map it
        assert re.sub(r"\s", "", title) in re.sub(r"\s", "", text), name
        assert re.search(rf"(?<!\d){number}(?!\d)", contents), f"{name} is on page {number}"
    assert [begins[make_pdf.place(name)] for name in names] == sorted(begins[make_pdf.place(name)] for name in names)
    for number in (5, len(book.pages) - 1):
        assert str(number) in book.pages[number - 1].extract_text().split(), "no page number"


def test_it_has_bookmarks_links_and_open_answers(book):
    assert len(book.outline) > 5
    text = "".join(page.extract_text() for page in book.pages)
    assert "import torch" in text
    links = [a.get_object() for page in book.pages[:4] for a in page.get("/Annots", [])]
    assert sum("/Dest" in link or link.get("/A", {}).get("/S") == "/GoTo" for link in links) >= 10
    addresses = [link["/A"]["/URI"] for link in links if "/URI" in link.get("/A", {})]
    assert not [address for address in addresses if address.startswith(("file:", "http://127"))]


def test_answers_and_solutions_stand_at_the_end_of_each_chapter_and_the_map_is_whole(make_pdf, book):
    begins, names = make_pdf.beginnings(), [name for _, chapters in make_pdf.order() for name in chapters]
    places = [begins[make_pdf.place(name)] for name in names] + [len(book.pages) + 1]
    chapters = [name for name in names if re.search(r"/\d\d-", name)]
    for name, begin, end in zip(names, places[:-1], places[1:], strict=True):
        sheets = [re.sub(r"\s", "", page.extract_text()) for page in book.pages[begin - 1 : end - 1]]
        if name in chapters:
            exercise = f"Exercise{int(name.rpartition('/')[2][:2])}.3("
            for heading, given_away in (("Answers", "Notthisone."), ("Solutions", "SolutiontoExercise")):
                first = next(number for number, sheet in enumerate(sheets) if given_away in sheet)
                assert heading in sheets[first], f"{given_away} stands before {heading}, on sheet {begin + first}"
                assert exercise in "".join(sheets[: first + 1])
                assert exercise not in "".join(sheets[first + 1 :]).replace(f"Solutionto{exercise}", "")
        elif name == names[0]:
            numbers = [f"{int(chapter.rpartition('/')[2][:2])}." for chapter in chapters]
            assert max(sum(number in sheet for number in numbers) for sheet in sheets) == len(chapters)


GROWS = """<!doctype html><nav class="contents"><a href="#two">Two</a><span>000</span></nav>
<article class="bd-article"><div class="sheet" id="one">One</div>
<div class="sheet" id="two" style="break-before: page">Two</div></article><script>
let times = 0;
addEventListener("afterprint", () => {
    if (++times > 2) return;
    const more = document.getElementById("two").cloneNode();
    more.id = "";
    document.getElementById("two").before(more);
});
</script>"""


def test_a_book_that_breaks_elsewhere_in_the_second_printing_is_printed_again(make_pdf, browser, tmp_path, monkeypatch):
    monkeypatch.setattr(make_pdf, "PAGE", tmp_path / "book.html")
    monkeypatch.setattr(make_pdf, "PDF", tmp_path / "book.pdf")
    monkeypatch.setattr(make_pdf, "order", lambda: [("", ["one", "two"])])
    make_pdf.PAGE.write_text(GROWS, encoding="utf-8")
    tab = browser.new_page()
    try:
        assert make_pdf.print_book(tab) == 4
    finally:
        tab.close()
    assert make_pdf.beginnings()["two"] == 4
    assert "Two4" in re.sub(r"\s", "", PdfReader(make_pdf.PDF).pages[0].extract_text())


LATE = """<!doctype html><style>
@font-face { font-family: Late; src: url(https://made-up.example/late.woff2) }
@media print { p { font-family: Late } }</style><p>Words</p><img src="https://made-up.example/late.svg">"""
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="30" height="700"/>'


def test_printing_waits_for_pictures_and_for_fonts_of_paper(make_pdf, browser):
    tab = browser.new_page()
    tab.set_default_timeout(PATIENCE)
    asked = {}
    tab.route("https://made-up.example/*", lambda route: asked.update({route.request.url[-4:]: route}))
    try:
        tab.emulate_media(media="print")
        tab.set_content(LATE, wait_until="commit")
        tab.evaluate(f"() => {{ window.ready = false; ({make_pdf.READY})().then(() => (window.ready = true)); }}")
        for kind, content in ((".svg", PICTURE.encode()), ("off2", (SITE / "_static/fonts" / FONT).read_bytes())):
            while kind not in asked:
                tab.evaluate("() => new Promise(requestAnimationFrame)")
            assert tab.evaluate("() => new Promise(done => setTimeout(() => done(window.ready)))") is False
            asked[kind].fulfill(body=content, content_type="image/svg+xml" if kind == ".svg" else "font/woff2")
        tab.wait_for_function("window.ready")
        assert tab.evaluate("document.images[0].height") == 700
        assert tab.evaluate("[...document.fonts].map(font => font.status)") == ["loaded"]
    finally:
        tab.close()
