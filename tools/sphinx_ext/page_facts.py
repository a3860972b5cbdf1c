"""What a page says about itself: when it was last changed, and what other sites show of it. And the two pages for
machines and for the lost: sitemap.xml, when the site's address is known, and 404.html.

The address stands in _config.yml, as html: baseurl. Dates come from git; where it or its history is missing, as in a
download, pages have none.
"""

from __future__ import annotations

import html
import re
import subprocess
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from docutils import nodes
from sphinx.application import Sphinx

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"
PREVIEW = "_static/preview.png"


def dates_of(root: Path) -> dict[str, str]:
    """For every file under `root` the day of its last commit; nothing if that cannot be known."""

    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=True)
        return done.stdout

    try:
        if git("rev-parse", "--is-shallow-repository").strip() != "false":
            return {}
        log = git("log", "--format=%x00%cs", "--name-only", "--relative", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return {}
    found: dict[str, str] = {}
    for commit in log.split("\0")[1:]:
        day, *names = commit.split("\n")
        for name in filter(None, names):
            found.setdefault(name, day)
    return found


def read_dates(app: Sphinx, config: Any) -> None:
    days = dates_of(Path(app.srcdir))
    config.page_dates = {name: day for name, day in days.items() if name.endswith((".md", ".ipynb"))}


def description(doctree: nodes.document) -> str:
    """The first paragraph of running text, cut at the end of a word."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = re.sub(r"\s+", " ", paragraph.astext()).strip()
        if len(text) > 80 and "\\" not in text and isinstance(paragraph.parent, nodes.section):
            return text if len(text) <= 200 else text[:200].rsplit(" ", 1)[0] + " …"
    return "Parameter sharing and tying, measured."


def describe(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    context["logo_svg"] = (STATIC / "logo.svg").read_text(encoding="utf-8").replace("<svg ", '<svg aria-hidden="true" ')
    source = app.env.doc2path(pagename, base=False) if doctree is not None else None
    day = app.config.page_dates.get(str(source))
    context["last_changed"] = date.fromisoformat(day) if day else None
    context["page_facts"] = ""
    if doctree is None:
        return
    title = re.sub(r"<[^>]*>", "", context.get("title", ""))
    facts = {"og:title": html.unescape(title), "og:description": description(doctree), "og:type": "article"}
    facts |= {"og:site_name": app.config.html_title, "twitter:card": "summary_large_image"}
    if address := app.config.html_baseurl:
        facts |= {"og:url": urljoin(address, f"{pagename}.html"), "og:image": urljoin(address, PREVIEW)}
        facts["og:image:alt"] = "Three free values feed eight weights in use: a tie is a linear map."
    if day:
        facts["article:modified_time"] = day
    tags = [f'<meta property="{name}" content="{html.escape(text)}" />' for name, text in facts.items()]
    tags.append(f'<meta name="description" content="{html.escape(facts["og:description"])}" />')
    context["page_facts"] = "\n  ".join(tags)


def write_pages(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    site, address = Path(app.outdir), app.config.html_baseurl
    root = urlsplit(address).path or "/"
    facts = {
        "root": root,
        "title": app.config.html_title,
        "logo_svg": (STATIC / "logo.svg").read_text(encoding="utf-8"),
    }
    (site / "404.html").write_text(app.builder.templates.render("404.html", facts), encoding="utf-8")
    sitemap = site / "sitemap.xml"
    sitemap.unlink(missing_ok=True)
    if address:
        lines = [
            '<?xml version="1.0" encoding="utf-8"?>',
            '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">',
        ]
        for name in sorted(app.env.found_docs):
            day = app.config.page_dates.get(str(app.env.doc2path(name, base=False)))
            changed = f"<lastmod>{day}</lastmod>" if day else ""
            lines.append(f"  <url><loc>{html.escape(urljoin(address, f'{name}.html'))}</loc>{changed}</url>")
        sitemap.write_text("\n".join([*lines, "</urlset>", ""]), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("page_dates", {}, "html")
    app.connect("config-inited", read_dates)
    app.connect("html-page-context", describe)
    app.connect("build-finished", write_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
