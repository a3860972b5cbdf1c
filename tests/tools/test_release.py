"""Versions agree, and the library alone needs nothing of the book's tools."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import textwrap
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

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
    """Each top-level import of the library is a dependency in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in project["dependencies"]}
    needs = {"sklearn" if name == "scikit_learn" else name for name in needs}
    for path in (ROOT / "tyinglib").rglob("*.py"):
        if "book" in path.relative_to(ROOT).parts:
            continue
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            known = name in sys.stdlib_module_names or name in needs or name in ("tyinglib", "__future__")
            assert known, f"{path.name} imports {name}, which pip install . does not bring"


def test_addresses_agree():
    """Where the repository's address is known, what is uploaded names it."""
    address = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    assert urls.get("Repository", "") == address, "pyproject.toml and _config.yml name the repository differently"


def test_the_wheel_is_the_library_alone(tmp_path):
    """Every file of it loads where nothing of the book's is installed, in less than 300 kB."""
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="it comes with the requirements: make install")
    (built,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    assert Path(built).stat().st_size < 300_000
    with zipfile.ZipFile(built) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "there")
    assert f"tyinglib-{tyinglib.__version__}.dist-info/licenses/LICENSE" in names
    assert not [name for name in names if name.startswith("tyinglib/book/")]
    modules = [name[:-3].replace("/", ".").removesuffix(".__init__") for name in names if name.endswith(".py")]
    assert {"tyinglib", "tyinglib.penalties", "tyinglib.regression", "tyinglib.nn"} <= set(modules)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    absent = [re.match(r"\w+", need)[0] for needs in extras.values() for need in needs]
    absent = ["PIL" if name == "pillow" else name for name in absent if name != "filelock"]  # torch brings filelock
    assert "matplotlib" in absent
    assert "dask" in absent
    code = f"""
        import importlib, sys
        sys.path.insert(0, {str(tmp_path / "there")!r})
        sys.modules.update(dict.fromkeys({absent}))  # None: importing it fails
        for name in {modules}:
            assert importlib.import_module(name).__file__.startswith({str(tmp_path)!r}), name
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=tmp_path)


def test_the_source_archive_can_load_its_own_tests(tmp_path):
    """make release-check runs them."""
    sdist = pytest.importorskip("hatchling.builders.sdist", reason="it comes with the requirements: make install")
    (built,) = sdist.SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(built) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.3 has none, and later ones warn
        archive.extractall(tmp_path / "there")
    (folder,) = (tmp_path / "there").iterdir()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only"]
    around = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=around, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "tests/library/test_tying.py" in done.stdout
