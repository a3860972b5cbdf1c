"""When the book is rendered again, and how much of it. A program that notes its options stands for jupyter-book."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("build_book", ROOT / "tools/build_book.py")
build_book = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build_book)

RENDER = """#!/bin/sh
echo "$@" >> calls
mkdir -p _build/html
grep -h . book/*.md > _build/html/index.html
! grep -q "a warning" book/*.md
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the program is a shell script")


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A small project, rendered once."""
    made_from = ("book/one.md", "book/two.md", "book/_static/book.css", "tools/sphinx_ext/lists.py", "_config.yml")
    for name in (*made_from, "tests/slow/test_headlines_01.py", "tests/reports/test_reports_files.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n", encoding="utf-8")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/jupyter-book").write_text(RENDER, encoding="utf-8")
    (tmp_path / "bin/jupyter-book").chmod(0o755)
    monkeypatch.setattr(build_book, "ROOT", tmp_path)
    monkeypatch.setattr(build_book, "SITE", tmp_path / "_build/html")
    monkeypatch.setattr(build_book, "NOTE", tmp_path / "_build/made-from.json")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.delenv("REPOSITORY", raising=False)
    assert render(tmp_path) == "from scratch"
    assert render(tmp_path) == "nothing"
    return tmp_path


def render(book, succeeds=True):
    (book / "calls").unlink(missing_ok=True)
    assert build_book.main() == (0 if succeeds else 1)
    if not (book / "calls").exists():
        return "nothing"
    return "from scratch" if "--all" in (book / "calls").read_text(encoding="utf-8") else "what changed"


def append(name):
    return lambda book, _: (book / name).write_bytes((book / name).read_bytes() + b"more\n")


def commit(book, _):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *words], cwd=book, check=True)


@pytest.mark.parametrize(
    ("change", "how_much"),
    [
        (append("book/one.md"), "what changed"),
        (lambda book, _: (book / "book/three.md").touch(), "what changed"),
        (append("tests/slow/test_headlines_01.py"), "what changed"),  # the checks page says what it repeats
        (append("tests/reports/test_reports_files.py"), "what changed"),
        (commit, "what changed"),
        (append("_config.yml"), "from scratch"),
        (append("book/_static/book.css"), "from scratch"),
        (append("tools/sphinx_ext/lists.py"), "from scratch"),
        (append("_build/html/index.html"), "from scratch"),
        (lambda book, _: (book / "_build/html/index.html").unlink(), "from scratch"),
        (lambda book, _: (book / "book/two.md").unlink(), "from scratch"),
        (lambda book, _: (book / "book/two.md").rename(book / "book/three.md"), "from scratch"),
        (lambda _, patch: patch.setenv("REPOSITORY", "https://example.com/a/b"), "from scratch"),
        (lambda _, patch: patch.setattr(sys, "version", "another"), "from scratch"),
        (lambda book, _: (book / "book/one.md").touch(), "nothing"),
        (lambda book, _: (book / ".hidden").touch(), "nothing"),
    ],
)
def test_after_a_change(book, monkeypatch, change, how_much):
    change(book, monkeypatch)
    assert render(book) == how_much
    assert render(book) == "nothing"


def test_a_warning_fails_every_build_until_it_is_mended(book):
    text = (book / "book/one.md").read_text(encoding="utf-8")
    (book / "book/one.md").write_text("a warning\n", encoding="utf-8")
    assert render(book, succeeds=False) == "what changed"
    assert render(book, succeeds=False) == "from scratch"
    (book / "book/one.md").write_text(text, encoding="utf-8")
    assert render(book) == "from scratch"
    assert render(book) == "nothing"


def test_pages_of_files_that_are_gone_are_gone(book):
    (book / "_build/html/two.html").touch()  # as if rendered from book/two.md
    (book / "book/two.md").unlink()
    render(book)
    assert not (book / "_build/html/two.html").exists()
