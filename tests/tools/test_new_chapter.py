"""A new chapter, run as it comes, keeps every rule for chapters; and no chapter is written over another."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "tools/run_notebooks.py")
run_notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run_notebooks)


def test_the_template_keeps_the_rules(tmp_path):
    (tmp_path / "book").mkdir()
    environment = os.environ | {"BOOK_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    make = [sys.executable, ROOT / "tools/new_chapter.py", "12", "my-question"]
    subprocess.run(make, check=True, env=environment, capture_output=True)
    again = subprocess.run(make, check=False, env=environment, capture_output=True, text=True)
    assert again.returncode == 2
    assert "12-my-question.ipynb is there already" in again.stdout
    path = tmp_path / "book/12-my-question.ipynb"
    made = run_notebooks.execute(nbformat.read(path, as_version=4), path.stem)
    run_notebooks.write(run_notebooks.normalise(made), path)
    rules = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/chapters/test_rules.py"]
    done = subprocess.run(rules, check=False, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "passed" in done.stdout
