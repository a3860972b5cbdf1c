"""Pages that show early and weigh little: scripts wait until the page is drawn, style sheets keep the rules that some
page uses, and pictures are packed tighter without losing a pixel.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tinycss2
from PIL import Image
from sphinx.application import Sphinx

# thebe needs another host; pagename is for a version switcher; what is closed opens without togglebutton's help
UNWANTED = re.compile(r"thebe|DOCUMENTATION_OPTIONS\.pagename|togglebutton|toggleHint|toggleOpenOnPrint")
UNWANTED_SHEETS = re.compile(r"thebe|togglebutton")
THEBE_SETTINGS = re.compile(
    r'<script type="text/x-thebe-config">.*?</script>\s*(?:<script>kernelName = .*?</script>)?', re.S
)
SAME_ID = re.compile(r' id="(?:proof|exercise|solution)-content"')  # many of a page have it: it leads nowhere
PICTURE = re.compile(r"(_images/[\w.-]+)\.png\b")
# The large sheets, which were written for every site, and not for this one
PURGED = ("styles/pydata-sphinx-theme.css", "styles/sphinx-book-theme.css", "sphinx-design.min.css", "basic.css")
WORD = re.compile(r"[A-Za-z_][\w-]*")


def arrange(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Every script once and deferred; no thebe; pictures by their new names."""
    seen: set[str] = set()
    kept = []
    for script in context.get("script_files", []):
        attributes = getattr(script, "attributes", {})
        text = f"{getattr(script, 'filename', script)} {attributes.get('body', '')}"
        if UNWANTED.search(text) or text in seen:
            continue
        seen.add(text)
        if getattr(script, "filename", None):
            attributes.pop("async", None)
            if pagename == "search":  # its own scripts are not deferred, and need the others
                attributes.pop("defer", None)
            else:
                attributes["defer"] = "defer"
        kept.append(script)
    context["script_files"] = kept
    context["css_files"] = [sheet for sheet in context.get("css_files", []) if not UNWANTED_SHEETS.search(str(sheet))]
    if "body" in context:
        body = SAME_ID.sub("", THEBE_SETTINGS.sub("", context["body"]))
        body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")  # its words are its name
        body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')  # of no items
        context["body"] = PICTURE.sub(r"\1.webp", body)


def used_words(site: Path) -> set[str]:
    """All that may be the name of a class, an id or a tag: every word of the pages' tags, and of the scripts."""
    words: set[str] = set()
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<[a-zA-Z][^<>]*>", page.read_text(encoding="utf-8")):
            words.update(WORD.findall(tag))
    for script in (site / "_static").rglob("*.js"):
        words.update(WORD.findall(script.read_text(encoding="utf-8")))
    return words


def purged(sheet: str, words: set[str]) -> str:
    """The style sheet without rules for classes, ids and tags that no page has."""
    return "".join(_kept(tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True), words))


def _kept(rules: Iterable[Any], words: set[str]) -> Iterable[str]:
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = _split(tinycss2.serialize(rule.prelude))
            wanted = [selector for selector in selectors if set(_names(selector)) <= words]
            if wanted:
                yield f"{','.join(wanted)}{{{tinycss2.serialize(rule.content).strip()}}}"
        elif rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports") and rule.content:
            inner = tinycss2.parse_rule_list(rule.content, skip_comments=True, skip_whitespace=True)
            if text := "".join(_kept(inner, words)):
                yield f"@{rule.lower_at_keyword}{tinycss2.serialize(rule.prelude)}{{{text}}}"
        elif rule.type == "at-rule" and not (
            rule.lower_at_keyword == "font-face" and "Awesome" in tinycss2.serialize(rule.content)
        ):
            yield tinycss2.serialize([rule])


def _split(selectors: str) -> list[str]:
    """At commas that stand in no bracket."""
    return [part.strip() for part in re.split(r",(?![^(\[]*[)\]])", selectors) if part.strip()]


def _names(selector: str) -> Iterable[str]:
    """The classes and ids that an element must have; what stands in brackets may be absent."""
    previous = None
    while previous != selector:
        previous, selector = selector, re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", selector)
    for name in re.findall(r"[.#]((?:\\.|[\w-])+)", selector):
        yield name.replace("\\", "")


def pack_picture(path: Path) -> None:
    """The same pixels in a smaller file; what was packed is kept for the next build."""
    kept = path.parents[2] / ".pictures" / f"{hashlib.sha256(path.read_bytes()).hexdigest()}.webp"
    if not kept.exists():
        picture = Image.open(path)
        if picture.mode == "RGBA" and picture.getextrema()[3][0] == 255:
            picture = picture.convert("RGB")
        packed = io.BytesIO()
        picture.save(packed, "webp", lossless=True, method=4)
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(packed.getvalue())
    shutil.copyfile(kept, path.with_suffix(".webp"))
    path.unlink()


def pack(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(pack_picture, (site / "_images").glob("*.png")))
    static = site / "_static"
    unused = [*static.glob("sphinx-thebe.*"), *static.glob("togglebutton.*")]
    for path in [*static.rglob("*.map"), static / "scripts" / "fontawesome.js", *unused]:
        path.unlink(missing_ok=True)
    shutil.rmtree(site / "_static" / "vendor", ignore_errors=True)  # fonts of icons: book.css draws those we use
    search = site / "_static" / "searchtools.js"  # its excerpts would show each formula three times
    listed = '[".headerlink", "script", "style"]'
    text = search.read_text(encoding="utf-8")
    search.write_text(text.replace(listed, listed[:-1] + ', "annotation", ".katex-html"]'), encoding="utf-8")
    words = used_words(site)
    for name in PURGED:
        path = site / "_static" / name
        path.write_text(purged(path.read_text(encoding="utf-8"), words), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", arrange, priority=900)
    app.connect("build-finished", pack)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
