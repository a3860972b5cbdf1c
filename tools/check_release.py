"""Build the release, look into it, try the wheel in an environment that has nothing else, and the archive's own tests.

python tools/check_release.py [--index-url URL]      URL: where pip finds torch (for a build without CUDA)
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST_IMPORT = 1.2  # times torch and scikit-learn together
BOOK = ROOT / "tyinglib" / "book"  # the chapters' own, which is not released


def build(folder: Path) -> tuple[Path, Path]:
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def look_into(wheel: Path, source: Path) -> None:
    """The library is there, whole, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tyinglib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and BOOK not in path.parents
    }
    missing = wanted - set(names)
    other = [name for name in names if name not in wanted and ".dist-info/" not in name]
    if missing or other:
        raise SystemExit(f"the wheel lacks {sorted(missing)} and has {other} too many")
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("LICENSE", "CHANGELOG.md", "pyproject.toml", "tests/library/test_selection.py"):
        if name not in inside:
            raise SystemExit(f"the source archive lacks {name}")
    if not any(packed.endswith(".dist-info/licenses/LICENSE") for packed in names):
        raise SystemExit("the wheel lacks its licence")


def import_time(python: Path, names: str, folder: Path, tries: int = 7) -> float:
    """Seconds of processor time, the best of some: what else the machine does then counts little."""
    code = f"import {names}, time; print(time.process_time())"
    command = [python, "-c", code]
    outputs = [subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True) for _ in range(tries)]
    return min(float(done.stdout) for done in outputs)


def try_in_empty_environment(wheel: Path, folder: Path, index: str | None) -> Path:
    """Returns the environment's Python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    torch = re.search(r"^torch==\S+", pins, re.M)[0]  # what the book was verified with
    subprocess.run([*pip, torch, *(["--index-url", index] if index else [])], check=True)
    subprocess.run([*pip, wheel], check=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    alone = "import sys, tyinglib; bad = {'matplotlib', 'IPython', 'pytest'} & set(sys.modules); assert not bad, bad"
    subprocess.run([python, "-c", alone], check=True, cwd=folder, env=environment)
    ratio = import_time(python, "tyinglib", folder) / import_time(python, "torch, sklearn", folder)
    print(f"import tyinglib takes {ratio:.2f} times as long as import torch, sklearn")
    if ratio > LONGEST_IMPORT:
        raise SystemExit(f"that is more than {LONGEST_IMPORT} times: import late what few need")
    subprocess.run([*pip, "pytest", "onnx", "onnxscript"], check=True)  # what the examples need
    # by module name: the installed files are imported, not the folder's
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--doctest-modules", "--pyargs", "tyinglib"]
    subprocess.run([python, *tests], check=True, cwd=folder, env=environment)
    return python


def try_the_archive(source: Path, folder: Path, python: Path) -> None:
    """As one who has the source archive alone would: what it asks for, then its tests."""
    with tarfile.open(source) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.3 has none, and later ones warn
        archive.extractall(folder)
    (unpacked,) = folder.iterdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "-q", "-r", "requirements.txt"]
    for command in (pip, [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]):
        subprocess.run(command, check=True, cwd=unpacked, env=environment | {"MPLBACKEND": "agg"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index-url", help="where pip finds torch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel, source = build(folder / "dist")
        look_into(wheel, source)
        python = try_in_empty_environment(wheel, folder / "empty", options.index_url)
        try_the_archive(source, folder / "archive", python)
        (ROOT / "dist").mkdir(exist_ok=True)
        for made in (wheel, source):
            (ROOT / "dist" / made.name).write_bytes(made.read_bytes())
            print(f"dist/{made.name}: {made.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
