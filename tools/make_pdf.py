"""The whole book as one PDF: title, contents with page numbers, every page in order, bookmarks, links that work inside.

The built pages are put one after the other into one page, which Chromium prints; interactive figures are their still
pictures, and all that can be opened is open; answers and solutions stand at the end of their chapters (paper.js).
A printing tells on which pages the chapters begin, and is printed again with these numbers until they stand still.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from playwright.sync_api import Error, Page, sync_playwright
from pypdf import PdfReader

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
PAGE = SITE / "whole-book.html"  # beside the pages, so that pictures and styles are where these say
PDF = ROOT / "_build" / "shared-weights.pdf"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FOOTER = """<div style="width: 100%; text-align: center; font: 8pt sans-serif; color: #444">
<span class="pageNumber"></span></div>"""

PRINTINGS = 8  # two are usual; more when something moved between them
PATIENCE = 600_000  # milliseconds for a step of the browser: only a browser that hangs takes longer

# what a page looks like depends on its fonts and pictures: a printing before they are there breaks at other places
READY = """async () => {
    await document.fonts.ready;
    await Promise.all([...document.images].map(image => image.decode().catch(() => {
        throw new Error(`a picture cannot be shown: ${image.src.slice(0, 200)}`);
    })));
}"""

# writes page numbers into the contents
NUMBER = """pages => document.querySelectorAll('.contents a').forEach(a => {
    a.nextElementSibling.textContent = pages[a.hash.slice(1)] ?? '';
})"""


def order() -> list[tuple[str, list[str]]]:
    """Parts and the names of their pages, as _toc.yml has them; the landing page first, in a part without name."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [("", [toc["root"]])] + [(part["caption"], [c["file"] for c in part["chapters"]]) for part in toc["parts"]]


def article(name: str, names: set[str]) -> str:
    """What a page says, for paper: ids made unique, links turned to places in the book, nothing that needs a click."""
    text = (SITE / f"{name}.html").read_text(encoding="utf-8")
    text = text.partition('<article class="bd-article">')[2].partition("</article>")[0]
    text = re.sub(r"<script\b.*?</script>|<button\b.*?</button>|<noscript>.*?</noscript>", "", text, flags=re.S)
    text = re.sub(r'<a class="headerlink".*?</a>', "", text, flags=re.S)
    text = text.replace("<details", "<details open").replace("../_images/", "_images/")
    text = re.sub(r'(<[^<>]*\sid=")([^"]+)"', lambda m: f'{m[1]}{place(name, m[2])}"', text)
    return re.sub(r'href="([^"]*)"', lambda m: link(name, html.unescape(m[1]), names), text)


def place(name: str, anchor: str = "") -> str:
    """The id, in the whole book, of a page or of a place in it."""
    return f"{Path(name).name}--{anchor}" if anchor else Path(name).name


def link(name: str, address: str, names: set[str]) -> str:
    if re.match(r"[a-z]+:", address):
        return f'href="{html.escape(address)}"'
    target, _, anchor = address.partition("#")
    page = f"book/{Path(target).stem}" if target else name
    return f'href="#{place(page, anchor)}"' if page in names else ""


def title_of(name: str) -> str:
    """As the page's heading has it, with its number."""
    heading = re.search(r"<h1>(.*?)<a class", (SITE / f"{name}.html").read_text(encoding="utf-8"), re.S)
    return heading[1] if heading else name


def whole() -> str:
    """The book as one page; the contents leave room for page numbers."""
    parts, names = order(), {name for _, names in order() for name in names}
    sheets = re.findall(r'<link[^>]*rel="stylesheet"[^>]*>', (SITE / "book/intro.html").read_text(encoding="utf-8"))
    styles = "\n".join(sheets).replace("../_static/", "_static/") + '<script defer src="_static/paper.js"></script>'
    contents, body = [], []
    for caption, chapters in parts:
        contents += [f'<li class="part">{caption}</li>'] if caption else []
        for name in chapters:
            contents.append(f'<li><a href="#{place(name)}">{title_of(name)}</a><span>000</span></li>')
            part = f'<p class="part">{caption}</p>' if caption and name == chapters[0] else ""
            body.append(f'<div class="sheet" id="{place(name)}">{part}{article(name, names)}</div>')
    version = re.search(r'__version__ = "(.*?)"', (ROOT / "tyinglib" / "__init__.py").read_text(encoding="utf-8"))
    paper = (ROOT / "tools" / "paper.css").read_text(encoding="utf-8")
    logo = (ROOT / "book/_static/logo.svg").read_text(encoding="utf-8")
    return f"""<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8"><title>Shared Weights</title>
{styles}<link rel="stylesheet" href="_static/interactive.css"><style>{paper}</style>
<main class="bd-main"><div class="bd-content"><div class="bd-article-container"><article class="bd-article">
<div class="title-page">{logo}<p class="name">Shared Weights</p><p>Parameter sharing and tying, measured.</p>
<p>Version {version[1] if version else ""}. Code: MIT licence. Text and figures: CC BY 4.0.</p></div>
<nav class="contents"><p class="part">Contents</p><ul>{"".join(contents)}</ul></nav>
{"".join(body)}</article></div></div></main></html>"""


def beginnings() -> dict[str, int]:
    """On which page of the PDF each page of the book begins, counted from 1."""
    reader = PdfReader(PDF)
    named = {name.lstrip("/"): destination for name, destination in reader.named_destinations.items()}
    found = {}
    for name in (place(name) for _, names in order() for name in names):
        number = reader.get_destination_page_number(named[name]) if name in named else None
        if number is not None:
            found[name] = number + 1
    return found


def settle(print_once: Callable[[], dict[str, int]], write: Callable[[dict[str, int]], None]) -> int:
    """Print, write the page numbers that the printing has, and so on until they were there before; how often it took.

    Raises
    ------
    RuntimeError
        If they still change at the last of `PRINTINGS`.
    """
    written: dict[str, int] = {}
    for printing in range(1, PRINTINGS + 1):
        found = print_once()
        if found == written:
            return printing
        changed = sorted(name for name in found | written if found.get(name) != written.get(name))
        write(found)
        written = found
    raise RuntimeError(
        f"the page numbers did not stand still in {PRINTINGS} printings; these changed at last: {', '.join(changed)}. "
        "Something before them changes its height by itself: print that page alone, twice, and compare"
    )


def print_book(tab: Page) -> int:
    """Write the PDF from the page that holds the whole book; how many printings it took."""
    tab.set_default_timeout(PATIENCE)
    tab.emulate_media(media="print")  # fonts that only paper wants are loaded too
    tab.goto(PAGE.as_uri())
    tab.evaluate(READY)

    def print_once() -> dict[str, int]:
        tab.pdf(
            path=PDF,
            format="A4",
            margin={"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"},
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            outline=True,
            tagged=True,
        )
        return beginnings()

    return settle(print_once, lambda pages: tab.evaluate(NUMBER, pages))


def main() -> int:
    start = time.monotonic()
    if not (SITE / "index.html").exists():
        print("==> build the pages first: make book")
        return 1
    found = subprocess.run(["sh", str(ROOT / "tools/find_browser.sh")], capture_output=True, text=True, check=False)
    if found.returncode:
        print("==> a PDF needs a Chromium: install Debian's `chromium`, or set CHROMIUM to a browser's path")
        return 1
    print("==> printing the book", flush=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found.stdout.strip(), args=FLAGS, timeout=PATIENCE)
        try:
            PAGE.write_text(whole(), encoding="utf-8")
            printings = print_book(browser.new_page())
        except (RuntimeError, Error) as error:
            print(f"==> {error}")
            return 1
        finally:
            browser.close()
            PAGE.unlink(missing_ok=True)
    count = len(PdfReader(PDF).pages)
    print(f"==> {count} pages in {printings} printings and {time.monotonic() - start:.0f} s: {PDF}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
