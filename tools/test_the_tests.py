"""Break a copy of the book in one way at a time; the named check must fail, and must pass on the unharmed copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "book/01-one-idea.ipynb"
PYTHON = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:warnings"]
NBVAL = [*PYTHON, "--nbval", "--nbval-sanitize-with", "tests/sanitize.cfg", CHAPTER]
RULES = [*PYTHON, "tests/chapters"]
BOOK = [sys.executable, "tools/build_book.py"]
LIBRARY = [*PYTHON, "tests/library/test_selection.py"]
LIMIT = 1800  # seconds; the longest check takes half a minute on a quiet machine


def edit_cell(found: Callable, change: Callable) -> Callable[[Path], None]:
    """A damage that changes the first cell for which found(cell)."""

    def damage(copy: Path) -> None:
        path = copy / CHAPTER
        notebook = nbformat.read(path, as_version=4)
        change(next(cell for cell in notebook.cells if cell.cell_type == "code" and found(cell)))
        nbformat.write(notebook, path)

    return damage


def edit_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A damage that replaces a piece of text, which must be there."""

    def damage(copy: Path) -> None:
        text = (copy / name).read_text(encoding="utf-8")
        if old not in text:
            raise SystemExit(f"cannot damage {name}: {old!r} is not in it; mend tools/test_the_tests.py")
        (copy / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return damage


def prints(cell: nbformat.NotebookNode) -> bool:
    return bool(cell.outputs) and "text" in cell.outputs[0] and bool(re.search(r"\d", cell.outputs[0].text))


def has_alt(cell: nbformat.NotebookNode) -> bool:
    return "mystnb" in cell.metadata


def alter_number(cell: nbformat.NotebookNode) -> None:
    cell.outputs[0].text = re.sub(r"\d", lambda d: str((int(d[0]) + 1) % 10), cell.outputs[0].text, count=1)


def make_raise(cell: nbformat.NotebookNode) -> None:
    cell.source = "raise RuntimeError('broken on purpose')\n" + cell.source


def strip_output(cell: nbformat.NotebookNode) -> None:
    cell.outputs = []


def drop_alt(cell: nbformat.NotebookNode) -> None:
    del cell.metadata["mystnb"]


def is_interactive(cell: nbformat.NotebookNode) -> bool:
    return any("tyinglib-interactive" in output.get("data", {}).get("text/html", "") for output in cell.outputs)


def edit_interactive(pattern: str, new: str) -> Callable[[Path], None]:
    def change(cell: nbformat.NotebookNode) -> None:
        data = cell.outputs[0].data
        data["text/html"], count = re.subn(pattern, new, data["text/html"], count=1)
        if not count:
            raise SystemExit(f"cannot damage an interactive figure: {pattern!r} is not in it; mend this file")

    return edit_cell(is_interactive, change)


# what is broken, how, the check that must notice, and what it must say
DAMAGES = [
    ("a stored number altered", edit_cell(prints, alter_number), "nbval", NBVAL, "cell"),
    ("a cell raises", edit_cell(prints, make_raise), "nbval", NBVAL, "broken on purpose"),
    ("an output stripped", edit_cell(prints, strip_output), "rules for chapters", RULES, "no output is stored"),
    ("an alt text removed", edit_cell(has_alt, drop_alt), "rules for chapters", RULES, "alt text"),
    ("the words of a frame altered", edit_interactive(r'(alt":"[^"]*)\d', r"\1x"), "nbval", NBVAL, "text/html"),
    ("a still picture removed", edit_interactive("<img [^>]*>", ""), "rules for chapters", RULES, "one still picture"),
    (
        "a reference broken",
        edit_text("book/glossary.md", "`prop-means`", "`prop-maens`"),
        "make book",
        BOOK,
        "prop-maens",
    ),
    (
        "a quotation that no cell prints any more",
        edit_text("book/questions.md", "tied, sums first", "tied, sums last"),
        "make book",
        BOOK,
        "sums last",
    ),
    (
        "a number typed into a page without cells",
        edit_text("book/takeaways.md", "Equal is not tied.", "Equal is not tied, 9 times out of 12."),
        "rules for chapters",
        RULES,
        "takeaways.md",
    ),
    (
        "a sign changed in the library",
        edit_text("tyinglib/_maps.py", "return (sums / sizes)", "return (-sums / sizes)"),
        "tests of the library",
        LIBRARY,
        "test_the_four_maps",
    ),
]


def fresh_copy(folder: Path) -> Path:
    copy = folder / "copy"
    leave = shutil.ignore_patterns(".git", ".venv*", "_build", "dist", "mutants", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=leave)
    return copy


def run(command: list[str], copy: Path) -> tuple[bool, str]:
    """Whether the check passes, and what it said; a check that does not end within LIMIT seconds fails."""
    # the copy's own tyinglib, not the installed one
    environment = os.environ | {"PYTHONPATH": str(copy), "BOOK_ROOT": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    said = copy.with_name("said")
    with said.open("wb") as output:  # a file: whoever a check leaves behind may hold a pipe open
        try:
            done = subprocess.run(
                command, cwd=copy, env=environment, stdout=output, stderr=output, timeout=LIMIT, check=False
            )
            passed, end = done.returncode == 0, ""
        except subprocess.TimeoutExpired:
            passed, end = False, f"\nit did not end within {LIMIT} s"
    return passed, said.read_text(encoding="utf-8", errors="replace") + end


def after(damage: Callable[[Path], None], command: list[str]) -> tuple[bool, str, float]:
    """What a check says of a copy with this damage, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        copy, start = fresh_copy(Path(folder)), time.monotonic()
        damage(copy)
        return *run(command, copy), time.monotonic() - start


def main() -> int:
    missed = 0
    with ThreadPoolExecutor(2) as pool:  # each in a copy of its own
        unharmed = [pool.submit(after, lambda copy: None, command) for command in (NBVAL, RULES, BOOK, LIBRARY)]
        harmed = [pool.submit(after, damage, command) for _, damage, _, command, _ in DAMAGES]
        for check in unharmed:
            passed, output, _ = check.result()
            if not passed:
                pool.shutdown(cancel_futures=True)
                print(f"the unharmed copy fails, so nothing can be said:\n{output[-3000:]}")
                return 1
        print("unharmed copy: every check passes", flush=True)
        for (what, _, name, _, must_say), check in zip(DAMAGES, harmed, strict=True):
            passed, output, seconds = check.result()
            noticed = not passed and must_say in output
            missed += not noticed
            verdict = f"caught by {name}" if noticed else f"NOT caught by {name}:\n{output[-2000:]}"
            print(f"{what}: {verdict} ({seconds:.0f} s)", flush=True)
    print(f"{len(DAMAGES) - missed} passed, {missed} failed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
