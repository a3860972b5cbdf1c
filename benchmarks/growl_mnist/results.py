"""results/growl_mnist.json: the plan, what the entries say together, and one entry a job."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.growl.settings import PUBLISHED
from benchmarks.growl_mnist.plan import Plan
from benchmarks.growl_mnist.report import summary
from benchmarks.resumable import keep, lock

RESULTS = Path(__file__).parents[1] / "results" / "growl_mnist.json"


def load(path: Path, plan: Plan) -> dict[str, Any]:
    """The results so far; of another plan, ValueError."""
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if stored and stored["plan"] != asdict(plan):
        raise ValueError(f"{path} was measured with another plan; --fresh measures all again")
    results: dict[str, Any] = stored.get("results", {})
    return results


def save(path: Path, plan: Plan, key: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Add an entry to what is there by now, perhaps by another worker; write all of it, or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path):
        results = {name: value for name, value in sorted({**load(path, plan), key: entry}.items())}
        text = {"published": PUBLISHED, "plan": asdict(plan), "summary": summary(results), "results": results}
        keep(path, text)
    return results
