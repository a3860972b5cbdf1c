"""make pdf: the whole book on paper."""

import importlib.util
import re
import subprocess
import sys

import pytest
from browsing import ROOT
from pypdf import PdfReader


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
    assert "Right" in text, "the answers are open"
    assert "import torch" in text
    links = [a.get_object() for page in book.pages[:4] for a in page.get("/Annots", [])]
    assert sum("/Dest" in link or link.get("/A", {}).get("/S") == "/GoTo" for link in links) >= 10
    addresses = [link["/A"]["/URI"] for link in links if "/URI" in link.get("/A", {})]
    assert not [address for address in addresses if address.startswith(("file:", "http://127"))]
