"""Names that a chapter uses for two things: what a reader learned of the first is wrong of the second."""

from __future__ import annotations

import ast
from collections.abc import Iterator

KINDS = {
    **dict.fromkeys((ast.List, ast.ListComp, ast.Tuple, ast.Set, ast.SetComp), "list"),
    **dict.fromkeys((ast.Dict, ast.DictComp), "dict"),
    ast.JoinedStr: "text",
    ast.Lambda: "function",
}
OWNED = {"function", "class", "import"}  # their names stand for nothing else, not even for another of their kind


def used_twice(cells: list[str]) -> dict[str, list[str]]:
    """Names that stand for two plainly different things at the top level of these cells, and those kinds.

    Only what the code shows counts: a literal, a definition, the number that `range` or `enumerate` gives. What a
    call returns may be anything, so it clashes with definitions and imports alone. `_` is no name.
    """
    kinds: dict[str, list[str]] = {}
    for cell in cells:
        for name, kind in _bound(ast.parse(cell).body):
            kinds.setdefault(name, []).append(kind)
    kinds.pop("_", None)
    return {
        name: found
        for name, found in kinds.items()
        if (OWNED & set(found) and len(found) > 1) or len(set(found) - {"unknown"}) > 1
    }


def _bound(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, "class" if isinstance(node, ast.ClassDef) else "function"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name.split(".")[0], "import") for alias in node.names)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _assigned(target, node.value)
        elif isinstance(node, ast.For):
            called = (
                node.iter.func.id if isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Name) else ""
            )
            first, *rest = _names(node.target)
            yield first, "number" if called in ("range", "enumerate") else "unknown"
            yield from ((name, "unknown") for name in rest)
        if isinstance(node, (ast.For, ast.With, ast.If)):
            yield from _bound(node.body + getattr(node, "orelse", []))


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, str]]:
    if isinstance(target, ast.Name):
        kind = KINDS.get(type(value), "unknown")
        if isinstance(value, ast.Constant) and value.value is not None:
            kind = "text" if isinstance(value.value, str) else "number"
        yield target.id, kind
    elif isinstance(value, ast.Tuple) and isinstance(target, ast.Tuple) and len(value.elts) == len(target.elts):
        for inner, its_value in zip(target.elts, value.elts, strict=True):
            yield from _assigned(inner, its_value)
    else:
        yield from ((name, "unknown") for name in _names(target))


def _names(target: ast.expr) -> list[str]:
    if isinstance(target, (ast.Tuple, ast.List)):
        return [name for part in target.elts for name in _names(part)]
    if isinstance(target, ast.Starred):
        return _names(target.value)
    return [target.id] if isinstance(target, ast.Name) else []  # an attribute or an entry is no name
