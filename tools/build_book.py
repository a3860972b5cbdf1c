"""Render the book. A warning fails the build, and keeps failing it until it is mended.

Sphinx reads only pages that changed, so a page that warned once would be silent the second time. Therefore a build that
did not end well leaves a mark, and the next one starts from nothing. So does one after a change of style or settings,
which Sphinx does not notice.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNFINISHED = ROOT / "_build" / ".unfinished"


def not_noticed_since(moment: float) -> bool:
    """Whether a file that pages depend on, and that Sphinx does not watch, is newer."""
    folders = (ROOT / "book" / "_static", ROOT / "tools" / "sphinx_ext", ROOT / "tools" / "templates")
    files = [ROOT / "_config.yml", *(path for folder in folders for path in folder.glob("*.*"))]
    files += (ROOT / "tyinglib").glob("interactive.*s")
    return any(path.stat().st_mtime > moment for path in files)


def main() -> int:
    start = time.monotonic()
    index = ROOT / "_build" / "html" / "index.html"
    from_scratch = UNFINISHED.exists() or (index.exists() and not_noticed_since(index.stat().st_mtime))
    UNFINISHED.parent.mkdir(exist_ok=True)
    UNFINISHED.touch()
    print("==> rendering the book" + (", from scratch" if from_scratch else ""))
    program = str(Path(sys.executable).with_name("jupyter-book"))
    options = ["-W", "-n", "--keep-going", "-q"] + ["--all"] * from_scratch
    done = subprocess.run([program, "build", str(ROOT), *options], cwd=ROOT, check=False)
    if done.returncode or not index.exists():
        print("==> the book was not built: a warning counts as an error, see above")
        return 1
    UNFINISHED.unlink()
    index.touch()  # Sphinx leaves it alone when nothing changed
    print(f"==> done in {time.monotonic() - start:.0f} s. Open {index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
