"""The site's mark on every page, 404.html for the lost, and what of a page's preview depends on the site's address.

The address stands in _config.yml, as html: baseurl. Previews are sphinxext-opengraph's, dates and sitemap.xml those of
sphinx-last-updated-by-git and sphinx-sitemap.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sphinx.application import Sphinx

LOGO = (Path(__file__).resolve().parents[2] / "book/_static/logo.svg").read_text(encoding="utf-8")


def place_previews(app: Sphinx, config: Any) -> None:
    config.ogp_site_url = config.html_baseurl
    if config.html_baseurl:
        config.ogp_image = "_static/preview.png"


def describe(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    context["logo_svg"] = LOGO.replace("<svg ", '<svg aria-hidden="true" ')
    if not app.config.html_baseurl:  # opengraph writes an address all the same, one that leads nowhere
        context["metatags"] = re.sub('<meta property="og:url".*\n', "", context.get("metatags", ""))


def write_404(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        root = urlsplit(app.config.html_baseurl).path or "/"
        facts = {"root": root, "title": app.config.html_title, "logo_svg": LOGO}
        Path(app.outdir, "404.html").write_text(app.builder.templates.render("404.html", facts), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", place_previews)
    app.connect("html-page-context", describe, priority=900)
    app.connect("build-finished", write_404)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
