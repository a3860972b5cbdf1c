"""Render the book, unless nothing has changed. A warning fails the build, and keeps failing it until it is mended.

What a build was made from is noted when it ends well. Sphinx reads only pages that changed, so a page that warned once
would be silent the second time: without a note, a build starts from nothing. So does one after a change that Sphinx
does not notice: of style, settings, programs or packages, of a file that is gone, or of the pages by another hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
NOTE = ROOT / "_build" / "made-from.json"
FOLDERS = ("book", "tyinglib", "tools", "benchmarks", "tests/slow", "tests/reports")
NOT_NOTICED = (
    "_config.yml",
    "book/_static/",
    "tools/sphinx_ext/",
    "tools/templates/",
    "tyinglib/book/interactive/",
)


def files() -> dict[str, str]:
    """Each file that a page may be made from, by its content."""
    paths = [path for path in ROOT.iterdir() if path.is_file()]
    paths += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    found = {}
    for path in paths:
        name = path.relative_to(ROOT)
        if not any(part.startswith(".") or part == "__pycache__" for part in name.parts):
            found[name.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def around() -> list[str]:
    """What else shows on pages: the installed packages, and the repository's address."""
    packages = sorted(path.name for path in Path(sysconfig.get_path("purelib")).glob("*.dist-info"))
    return [str(ROOT), sys.version, os.environ.get("REPOSITORY", ""), *packages]


def commit() -> str:
    """Of git, which has the dates of pages."""
    try:
        git = ["git", "rev-parse", "HEAD", "--is-shallow-repository"]
        return subprocess.run(git, cwd=ROOT, capture_output=True, encoding="utf-8", check=False).stdout
    except OSError:
        return ""


def pages() -> dict[str, list[int]]:
    found = ((path, path.stat()) for path in SITE.rglob("*") if path.is_file())
    return {path.relative_to(SITE).as_posix(): [stat.st_size, stat.st_mtime_ns] for path, stat in found}


def from_scratch(note: dict | None, now: dict) -> bool:
    """Whether Sphinx would leave out something that must be made again."""
    if note is None or note["pages"] != pages() or note["around"] != now["around"]:
        return True
    before, after = note["files"], now["files"]
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    return any(name not in after or name.startswith(NOT_NOTICED) for name in changed)


def main() -> int:
    start = time.monotonic()
    index = SITE / "index.html"
    now = {"files": files(), "around": around(), "commit": commit()}
    note = json.loads(NOTE.read_text(encoding="utf-8")) if NOTE.exists() else None
    whole = from_scratch(note, now)
    if note and not whole and all(note[name] == now[name] for name in now):
        print(f"==> nothing has changed. Open {index}")
        return 0
    NOTE.unlink(missing_ok=True)
    if whole:
        shutil.rmtree(SITE, ignore_errors=True)
    print("==> rendering the book" + (", from scratch" if whole else ""), flush=True)
    program = str(Path(sys.executable).with_name("jupyter-book"))
    options = ["-W", "-n", "--keep-going", "-q"] + ["--all"] * whole
    done = subprocess.run([program, "build", str(ROOT), *options], cwd=ROOT, check=False)
    if done.returncode or not index.exists():
        print("==> the book was not built: a warning counts as an error, see above")
        return 1
    NOTE.write_text(json.dumps(now | {"pages": pages()}), encoding="utf-8")
    print(f"==> done in {time.monotonic() - start:.0f} s. Open {index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
