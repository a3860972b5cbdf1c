"""Versions agree, and the library alone needs nothing of the book's tools."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import tyinglib

ROOT = Path(__file__).resolve().parents[2]


def test_versions_and_changes_agree():
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)[1]
    heading = re.search(
        r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M
    )
    assert heading, "CHANGELOG.md has no heading such as '## 0.1.0 (unreleased)'"
    assert tyinglib.__version__ == citation == heading[1]


def test_the_library_alone_loads_no_tool_of_the_book():
    """Nor torch's parts for several processes, which take a second."""
    heavy = (
        "sklearn.cluster",
        "matplotlib",
        "IPython",
        "nbformat",
        "dask",
        "distributed",
        "torch.distributed.tensor",
        "mnist1d",
        "PIL",
    )
    look = f"import sys, tyinglib; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def imported(tree):
    """The packages that a file imports when it is loaded."""
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield statement.module.partition(".")[0]


def test_what_the_wheel_needs_is_what_is_imported():
    """Each top-level import of a room that is not for the book is a dependency in pyproject.toml."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in project["dependencies"]}
    needs = {"sklearn" if name == "scikit_learn" else name for name in needs}
    for path in (ROOT / "tyinglib").rglob("*.py"):
        if path.stem in ("plots", "notebook", "interactive", "_stills", "_balls"):
            continue
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            known = name in sys.stdlib_module_names or name in needs or name in ("tyinglib", "__future__")
            assert known, f"{path.name} imports {name}, which pip install . does not bring"
