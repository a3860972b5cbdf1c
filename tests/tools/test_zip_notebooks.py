"""make notebooks-zip: what a reader downloads holds all that the notebooks need, and nothing of this machine."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("zip_notebooks", ROOT / "tools/zip_notebooks.py")
zip_notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(zip_notebooks)


@pytest.fixture(scope="module")
def archive():
    assert zip_notebooks.main() == 0
    (path,) = (ROOT / "_build").glob("shared-weights-*.zip")
    return path


def test_the_same_content_gives_the_same_file(archive):
    before = archive.read_bytes()
    zip_notebooks.main()
    assert archive.read_bytes() == before


def test_it_holds_what_is_needed_and_no_more(archive):
    names = {name.partition("/")[2] for name in zipfile.ZipFile(archive).namelist()}
    notebooks = {path.relative_to(ROOT).as_posix() for path in (ROOT / "book").glob("*.ipynb")}
    assert notebooks
    needed = {"README.md", "requirements.txt", "pyproject.toml", "LICENSE", "Makefile", "tyinglib/__init__.py"}
    data = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tyinglib/datasets/data").rglob("*.*")}
    assert notebooks | needed | data <= names
    hidden = [name for name in names if "/." in f"/{name}" or "__pycache__" in name or name.startswith("_build")]
    assert hidden == []


def test_what_is_unpacked_runs_by_itself(archive, tmp_path):
    zipfile.ZipFile(archive).extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    # the notebook that reads files beside the library, too
    command = [sys.executable, "tools/run_notebooks.py", "--fresh", "how-fast"]
    around = os.environ | {"PYTHONPATH": str(folder), "MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=folder, env=around, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stored" in done.stdout or "unchanged" in done.stdout
