"""Rules for the code of chapters: what a function returns is said, a name stands for one thing, most lines teach."""

import ast
import os
from pathlib import Path

import nbformat
import pytest
from names import used_twice
from shown_lines import count, shown_lines

from tyinglib.book import figures

BOOK = Path(os.environ.get("BOOK_ROOT", Path(__file__).parents[2])) / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if path.stem[:2].isdigit()]  # the others are reference pages
MOST_SHOWN = 0.25  # of a chapter's lines of code
FIGURES = sorted(Path(figures.__file__).parent.glob("[!_]*.py"))


def name_of(path):
    return path.stem


def code(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def without_docstring(source):
    """Names of classes, functions and methods that say nothing; `__init__` and functions within functions need not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef)):
            for inner in node.body:
                named = isinstance(inner, (ast.FunctionDef, ast.ClassDef)) and inner.name != "__init__"
                if named and not ast.get_docstring(inner):
                    yield inner.name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_function_says_what_it_returns(path):
    for source in code(path):
        silent = list(without_docstring(source))
        assert not silent, f"{silent}: a docstring of a line says what it returns:\n{source}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_name_stands_for_one_thing(path):
    twice = used_twice(code(path))
    assert not twice, f"give the second another name: {twice}"


@pytest.mark.parametrize("path", CHAPTERS, ids=name_of)
def test_most_lines_do_what_is_taught(path):
    lines, shown = count(path)
    assert shown <= MOST_SHOWN * lines, (
        f"{shown} of {lines} lines of code print, draw or write the ledger, more than {MOST_SHOWN:.0%}: "
        "a figure belongs in `tyinglib/book/figures/`, and `tables.table` sets a table in one line"
    )


@pytest.mark.parametrize("path", FIGURES, ids=name_of)
def test_a_chapters_figures_are_drawn_in_it_and_all_of_them(path):
    line = f"from tyinglib.book.figures import {path.stem} as figures\n"
    (chapter,) = [source for source in map("\n".join, map(code, CHAPTERS)) if line in source]
    module = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node.name for node in module.body if isinstance(node, ast.FunctionDef)]
    attributes = (node for node in ast.walk(ast.parse(chapter)) if isinstance(node, ast.Attribute))
    drawn = {node.attr for node in attributes if ast.unparse(node.value) == "figures"}
    assert drawn == {name for name in functions if not name.startswith("_")}


def test_the_rule_for_names_notices():
    assert used_twice(["import row", "for row in []: pass"]) == {"row": ["import", "unknown"]}
    assert used_twice(["def f(): pass", "def f(): pass"]) == {"f": ["function", "function"]}
    assert used_twice(["ways = {}", "a, ways = 1, (2, 3)"]) == {"ways": ["dict", "list"]}
    assert used_twice(["for i, x in enumerate('ab'): pass", "if x: i = [x for x in 'ab']"]) == {"i": ["number", "list"]}
    # one kind of thing, or nobody can tell
    assert not used_twice(["ax = f()\nfor ax in axes: pass", "ax = g()", "a.ax = 1; b['ax'] = {}; _ = 1", "_ = []"])


def test_the_rule_for_docstrings_notices():
    source = (
        'class A:\n    "Yes."\n    def __init__(self):\n        def g(): pass\n    def f(self): pass\ndef h(): pass'
    )
    assert sorted(without_docstring(source)) == ["f", "h"]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("print(\n    1\n)\nx = 1  # print", {1, 2, 3}),
        ("for x in y:\n    # said\n    print(x)\n\n    ax.set(\n        x=x)", {1, 3, 5, 6}),
        ("for x in y:\n    z = f(x)\n    print(z)", {3}),
        ("with torch.no_grad():\n    print(f(x))", {1, 2}),
        ("def show(x):\n    y = f(x)\n    plt.plot(y)", {1, 2, 3}),
        ("def f(x):\n    print(x)\n    return x", {2}),
        ('def draw(figure):\n    "Text."\n    ax = figure.subplots()\n    return "words"', {1, 3, 4}),
        ("figure, axes = plt.subplots()\naxes[0].set(x=1)\nledger.add(1)\nledger", {1, 2, 3, 4}),
        ("w = fit(x)\nfigures.weights(w)\nplt.show()", {2, 3}),
        ("x = torch.ones(3)\nassert x.shape", set()),
    ],
)
def test_what_shows_is_counted(source, shown):
    assert shown_lines(source) == shown
