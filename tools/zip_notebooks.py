"""One file with all that a reader needs to run everything: notebooks, library, data, tools and tests.

It is the last commit, by `git archive`: what was not committed stays here, no link is followed, hidden files are left
out, and the same commit gives the same file, byte for byte.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VISIBLE = (".", ":!.*", ":!*/.*")


def main() -> int:
    source = (ROOT / "tyinglib" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "(.*?)"', source)
    folder = f"shared-weights-{version[1] if version else 'unversioned'}"
    command = ["git", "archive", "--format=zip", f"--prefix={folder}/", "HEAD", *VISIBLE]
    try:
        archive = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        print("==> what goes in is the last commit, and there is no git here, or no commit")
        return 1
    path = ROOT / "_build" / f"{folder}.zip"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(archive)
    print(f"==> the last commit, {len(archive) / 1e6:.1f} MB: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
