"""One file with all that a reader needs to run everything: notebooks, library, data, tools and tests.

The same content gives the same file, byte for byte.
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOP = ("*.md", "*.toml", "*.txt", "*.yml", "*.cff", "LICENSE", "Makefile", "conftest.py")
FOLDERS = ("book", "tyinglib", "tools", "tests", "benchmarks")
LEFT_OUT = re.compile(r"(^|/)(__pycache__|\.[^/]*|[^/]*\.(pyc|tmp))(/|$)")


def files() -> list[str]:
    found = [path for pattern in TOP for path in ROOT.glob(pattern)]
    found += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    names = {path.relative_to(ROOT).as_posix() for path in found}
    return sorted(name for name in names if not LEFT_OUT.search(name))


def main() -> int:
    source = (ROOT / "tyinglib" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "(.*?)"', source)
    folder = f"shared-weights-{version[1] if version else 'unversioned'}"
    path = ROOT / "_build" / f"{folder}.zip"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in files():
            entry = zipfile.ZipInfo(f"{folder}/{name}")  # dated 1980, as all entries
            executable = name.endswith(".sh")
            entry.external_attr, entry.compress_type = (0o755 if executable else 0o644) << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, (ROOT / name).read_bytes())
    print(f"==> {path.stat().st_size / 1e6:.1f} MB: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
