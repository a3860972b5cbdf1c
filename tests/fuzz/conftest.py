"""`make fuzz` runs explore.py with atheris, which the tests do without; FUZZ_RESULTS=file keeps how much passed."""

import json
import os
from pathlib import Path

import pytest

collect_ignore = ["explore.py"]
passed = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "call" and report.passed and hasattr(item.obj, "hypothesis"):
        passed[item.name] = item.module.RUNS
    return report


def pytest_sessionfinish():
    if path := os.environ.get("FUZZ_RESULTS"):
        Path(path).write_text(json.dumps(passed) + "\n", encoding="utf-8")
