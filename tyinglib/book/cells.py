"""A chapter's own functions, for long runs and other seeds: run from the notebook's cells, so nothing is copied."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path
from typing import Any

import nbformat

BOOK = Path(__file__).parents[2] / "book"


def load(chapter: int, names: list[str]) -> dict[str, Any]:
    """The namespace after the chapter's set-up cell and the cells that define `names`, in the chapter's order.

    Parameters
    ----------
    chapter
        Its number.
    names
        What its cells define at their top level. A cell that defines one of them is run whole.

    Returns
    -------
    dict[str, Any]
        All that those cells defined.

    Raises
    ------
    KeyError
        If no cell defines one of the names.

    Examples
    --------
    >>> load(10, [])["chapter"].__name__
    'tyinglib.book.chapter'

    Chapter: all.
    """
    (path,) = BOOK.glob(f"{chapter:02d}-*.ipynb")
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    wanted = set(names)
    namespace: dict[str, Any] = {}
    for source in code:
        defined = _defined(source)
        if "chapter.setup(" in source or wanted & defined:
            with contextlib.chdir(BOOK):  # where a kernel would run, and finds stored results
                exec(compile(source, f"chapter {chapter}", "exec"), namespace)
            wanted -= defined
    if wanted:
        raise KeyError(f"no cell of {path.name} defines {sorted(wanted)} at its top level")
    return namespace


def _defined(source: str) -> set[str]:
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                parts = target.elts if isinstance(target, ast.Tuple) else [target]
                names |= {part.id for part in parts if isinstance(part, ast.Name)}
    return names
