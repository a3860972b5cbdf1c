"""results/growl_table.json: one line a run; a run that is there is not run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.resumable import lock

PATH = Path(__file__).parents[1] / "results" / "growl_table.json"


def load(path: Path = PATH) -> dict[str, Any]:
    """Key -> entry."""
    if not path.exists():
        return {}
    runs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return runs


def add(key: str, entry: dict[str, Any], path: Path = PATH) -> dict[str, Any]:
    """Keep an entry beside those that are there by now, perhaps from another process. All is written, or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path):
        runs = dict(sorted({**load(path), key: entry}.items()))
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in runs.items())
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(f'{{"runs": {{\n{lines}\n}}}}\n', encoding="utf-8")
        unfinished.replace(path)
    return runs
