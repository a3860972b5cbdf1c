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
    if zip_notebooks.main():
        pytest.skip("what goes in is the last commit, and there is none here")
    (path,) = (ROOT / "_build").glob("shared-weights-*.zip")
    return path


def test_the_same_commit_gives_the_same_file(archive):
    before = archive.read_bytes()
    zip_notebooks.main()
    assert archive.read_bytes() == before


def test_it_holds_what_is_needed_and_no_more(archive):
    names = {name.partition("/")[2] for name in zipfile.ZipFile(archive).namelist()}
    notebooks = {path.relative_to(ROOT).as_posix() for path in (ROOT / "book").glob("*.ipynb")}
    assert notebooks
    needed = {"README.md", "requirements.txt", "pyproject.toml", "LICENSE", "Makefile", "tyinglib/__init__.py"}
    data = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tyinglib/book/datasets/data").rglob("*.*")}
    assert notebooks | needed | data <= names
    hidden = [name for name in names if "/." in f"/{name}" or "__pycache__" in name or name.startswith("_build")]
    assert hidden == []


def commit(folder):
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "add", "."], cwd=folder, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "All"], cwd=folder, check=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small repository, with a secret beside it."""
    root = tmp_path / "project"
    for name in ("README.md", "tyinglib/__init__.py", "book/numbers.csv", ".hidden", "book/.hidden/numbers.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text('__version__ = "1"\n', encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    commit(root)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/key").write_text("secret", encoding="utf-8")
    monkeypatch.setattr(zip_notebooks, "ROOT", root)
    return root


KEPT = {"README.md", "book/numbers.csv", "tyinglib/__init__.py"}


def packed(project):
    assert zip_notebooks.main() == 0
    with zipfile.ZipFile(project / "_build/shared-weights-1.zip") as archive:
        files = [name for name in archive.namelist() if not name.endswith("/")]
        assert all(b"secret" not in archive.read(name) for name in files)
        return {name.partition("/")[2] for name in files}


def test_what_was_not_committed_stays_out(project):
    (project / "book/key").write_text("secret", encoding="utf-8")
    (project / "README.md").write_text("secret", encoding="utf-8")
    assert packed(project) == KEPT


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_no_link_is_followed(project, tmp_path):
    (project / "book/link").symlink_to(tmp_path / "beside/key")
    (project / "book/folder").symlink_to(tmp_path / "beside")
    commit(project)
    assert packed(project) == KEPT | {"book/link", "book/folder"}


def test_without_a_commit_nothing_is_packed(project, monkeypatch, capsys):
    monkeypatch.setenv("GIT_DIR", str(project / "nothing"))
    assert zip_notebooks.main() == 1
    assert "there is no git here" in capsys.readouterr().out
    monkeypatch.setenv("PATH", "")
    assert zip_notebooks.main() == 1
    assert not (project / "_build").exists()


def test_what_is_unpacked_runs_by_itself(archive, tmp_path):
    zipfile.ZipFile(archive).extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    # the notebook that reads files beside the library, too
    command = [sys.executable, "tools/run_notebooks.py", "--fresh", "how-fast"]
    around = os.environ | {"PYTHONPATH": str(folder), "MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=folder, env=around, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stored" in done.stdout or "unchanged" in done.stdout
