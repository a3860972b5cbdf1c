"""Render the book. A warning fails the build, and keeps failing it until it is mended.

Sphinx reads only pages that changed, so a page that warned once would be silent the second time. Therefore a build that
did not end well leaves a mark, and the next one starts from nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNFINISHED = ROOT / "_build" / ".unfinished"


def main() -> int:
    start = time.monotonic()
    from_scratch = UNFINISHED.exists()
    UNFINISHED.parent.mkdir(exist_ok=True)
    UNFINISHED.touch()
    print("==> rendering the book" + (", from scratch because the last build failed" if from_scratch else ""))
    program = str(Path(sys.executable).with_name("jupyter-book"))
    options = ["-W", "-n", "--keep-going", "-q"] + ["--all"] * from_scratch
    done = subprocess.run([program, "build", str(ROOT), *options], cwd=ROOT, check=False)
    index = ROOT / "_build" / "html" / "index.html"
    if done.returncode or not index.exists():
        print("==> the book was not built: a warning counts as an error, see above")
        return 1
    UNFINISHED.unlink()
    print(f"==> done in {time.monotonic() - start:.0f} s. Open {index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
