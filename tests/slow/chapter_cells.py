"""A chapter's own functions, for tests with seeds that the page doesn't show: nothing is copied."""

import ast
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import nbformat

BOOK = Path(__file__).parents[2] / "book"


def load(chapter: str, names: Iterable[str]) -> SimpleNamespace:
    """Run the set-up cell, and in order the cells that define these names; what they define."""
    wanted, found = set(names), set()
    notebook = nbformat.read(next(BOOK.glob(f"{chapter}-*.ipynb")), as_version=4)
    space: dict[str, object] = {"__name__": f"chapter_{chapter}"}
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    for place, source in enumerate(sources):
        here = defined(source) & wanted
        if place == 0 or here:
            exec(compile(source, f"chapter {chapter}, code cell {place + 1}", "exec"), space)
            found |= here
    if wanted - found:
        raise ValueError(f"chapter {chapter} defines no {', '.join(sorted(wanted - found))}")
    return SimpleNamespace(**space)


def defined(source: str) -> set[str]:
    """The names that a cell gives to functions, classes and values at its top level."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names
