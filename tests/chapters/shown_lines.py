"""How much of a chapter's code only shows: prints, tables, figures and the ledger, counted in lines.

    python tests/chapters/shown_lines.py

A line of code is one that is neither empty, nor a comment alone, nor in a docstring. It shows when it stands in

- a cell whose input the page hides: these draw a figure;
- a statement that calls what shows (`SHOWS`), or a method of axes, of a figure or of a ledger;
- a loop, a branch or a `with` block in which every statement shows;
- a function in which some statement shows and that returns nothing, or that is given the figure or the axes.

What only prepares what is shown, such as the rows of a table that have a name of their own, is not counted.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import nbformat

SHOWS = {"print", "table", "show", "display", "Ledger"}  # functions, and methods of anything
DRAWN_ON = {"plt", "plots", "interactive", "figures", "figure", "ax", "axes", "ledger", "tables"}
LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def code_lines(source: str) -> set[int]:
    """Numbers of the lines with code on them."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {n for t in tokens if t.type not in LAYOUT for n in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def shown_lines(source: str) -> set[int]:
    """Numbers of the lines that show."""
    found = {n for node in _showing(ast.parse(source).body) for n in range(node.lineno, node.end_lineno + 1)}
    return found & code_lines(source)


def _showing(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if _shows(node):
            yield node
        elif hasattr(node, "body"):
            for block in ("body", "orelse", "finalbody"):
                yield from _showing(getattr(node, block, []))


def _shows(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef):
        given = bool(node.args.args) and node.args.args[0].arg in DRAWN_ON
        returns = any(isinstance(inner, ast.Return) and inner.value is not None for inner in ast.walk(node))
        return (given or not returns) and any(map(_calls_what_shows, ast.walk(node)))
    if isinstance(node, (ast.ClassDef, ast.Import, ast.ImportFrom)):
        return False
    if hasattr(node, "body"):
        return all(_shows(inner) for block in ("body", "orelse") for inner in getattr(node, block, []))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Name):
        return node.value.id in DRAWN_ON  # `ledger` as a cell's last line
    return any(map(_calls_what_shows, ast.walk(node)))


def _calls_what_shows(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Name):
        return called.id in SHOWS or called.id.startswith(("show_", "plot_", "draw_"))
    while isinstance(called, (ast.Attribute, ast.Subscript, ast.Call)):
        if isinstance(called, ast.Attribute) and called.attr in SHOWS:
            return True
        called = called.func if isinstance(called, ast.Call) else called.value
    return isinstance(called, ast.Name) and called.id in DRAWN_ON


def count(path: Path) -> tuple[int, int]:
    """Of a notebook: (lines of code, those of them that show)."""
    lines = shown = 0
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            of_cell = code_lines(cell.source)
            lines += len(of_cell)
            hidden = "hide-input" in cell.metadata.get("tags", [])
            shown += len(of_cell if hidden else shown_lines(cell.source))
    return lines, shown


if __name__ == "__main__":
    for path in sorted((Path(__file__).parents[2] / "book").glob("*.ipynb")):
        lines, shown = count(path)
        print(f"{path.stem:20}{lines:6} lines{shown:6} show{100 * shown / lines:6.1f} %")
