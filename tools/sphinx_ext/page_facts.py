"""What other sites show of a page; and 404.html, the page for the lost.

The site's address stands in _config.yml, as html: baseurl. Dates and sitemap.xml are sphinx-last-updated-by-git's and
sphinx-sitemap's. sphinxext-opengraph would cut descriptions inside words, and take formulas into them.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from docutils import nodes
from sphinx.application import Sphinx

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"
PREVIEW = "_static/preview.png"


def description(doctree: nodes.document) -> str:
    """The first paragraph of running text, cut at the end of a word."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = re.sub(r"\s+", " ", paragraph.astext()).strip()
        if len(text) > 80 and "\\" not in text and isinstance(paragraph.parent, nodes.section):
            return text if len(text) <= 200 else text[:200].rsplit(" ", 1)[0] + " …"
    return "Parameter sharing and tying, measured."


def describe(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    context["logo_svg"] = (STATIC / "logo.svg").read_text(encoding="utf-8").replace("<svg ", '<svg aria-hidden="true" ')
    if doctree is None:
        return
    title = re.sub(r"<[^>]*>", "", context.get("title", ""))
    facts = {"og:title": html.unescape(title), "og:description": description(doctree), "og:type": "article"}
    facts |= {"og:site_name": app.config.html_title, "twitter:card": "summary_large_image"}
    if address := app.config.html_baseurl:
        facts |= {"og:url": urljoin(address, f"{pagename}.html"), "og:image": urljoin(address, PREVIEW)}
        facts["og:image:alt"] = "Three free values feed eight weights in use: a tie is a linear map."
    tags = [f'<meta property="{name}" content="{html.escape(text)}" />' for name, text in facts.items()]
    tags.append(f'<meta name="description" content="{html.escape(facts["og:description"])}" />')
    context["metatags"] += "\n".join(tags)


def write_404(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    facts = {
        "root": urlsplit(app.config.html_baseurl).path or "/",
        "title": app.config.html_title,
        "logo_svg": (STATIC / "logo.svg").read_text(encoding="utf-8"),
    }
    Path(app.outdir, "404.html").write_text(app.builder.templates.render("404.html", facts), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", describe)
    app.connect("build-finished", write_404)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
