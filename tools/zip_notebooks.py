"""One file with all that a reader needs to run everything: notebooks, library, data, tools and tests.

Only what git keeps goes in, as it stands in the folder, and no link is followed: a key that lies about stays here.
The same content gives the same file, byte for byte.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = re.compile(r"(^|/)\.")


def files() -> list[str]:
    """What git keeps and is a file here; nothing outside a repository."""
    try:
        git = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    except OSError:
        return []
    names = {name for name in git.stdout.split("\0") if name and not HIDDEN.search(name)}
    return sorted(name for name in names if (ROOT / name).is_file() and (ROOT / name).resolve() == ROOT / name)


def main() -> int:
    names = files()
    if not names:
        print("==> what goes in is what git keeps, and there is no git here, or nothing that it keeps")
        return 1
    source = (ROOT / "tyinglib" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "(.*?)"', source)
    folder = f"shared-weights-{version[1] if version else 'unversioned'}"
    path = ROOT / "_build" / f"{folder}.zip"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            entry = zipfile.ZipInfo(f"{folder}/{name}")  # dated 1980, as all entries
            executable = name.endswith(".sh")
            entry.external_attr, entry.compress_type = (0o755 if executable else 0o644) << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, (ROOT / name).read_bytes())
    print(f"==> {path.stat().st_size / 1e6:.1f} MB: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
