"""A chapter's own functions, run from the notebook: nothing is copied, so nothing can differ."""

import ast
import contextlib
import io
from pathlib import Path

import nbformat

BOOK = Path(__file__).parents[2] / "book"


def load(chapter, names):
    """Run the set-up cell and every cell that defines one of `names` at its top level; return what they define."""
    (path,) = BOOK.glob(f"{chapter:02d}-*.ipynb")
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    space = {"__name__": "chapter"}
    left = set(names)
    for number, source in enumerate(cells):
        found = defined(source) & left
        if number == 0 or found:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, f"{path.name}, code cell {number + 1}", "exec"), space)
            left -= found
    assert not left, f"{path.name} defines no {sorted(left)}"
    return space


def defined(source):
    """The names that a cell binds by def, class or assignment."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {inner.id for target in node.targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}
    return names
