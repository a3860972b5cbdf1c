"""Keeping measurements: each job is an entry of a JSON file, and a job that is there is not run again."""

from __future__ import annotations

import getpass
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm


def lock(path: Path) -> FileLock:
    """For a file that several workers of one user write to, one at a time."""
    user = getattr(os, "getuid", getpass.getuser)()  # Windows has no numbers for users
    return FileLock(Path(tempfile.gettempdir()) / f"{path.stem}_{user}.lock")


def keep(path: Path, content: Any) -> None:
    """Write all of it, or nothing: an interruption leaves the file as it was."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)


def measure(path: Path, jobs: Mapping[str, Callable[[], Any]], *, fresh: bool = False, **about: Any) -> dict[str, Any]:
    """Run the jobs that `path` does not hold yet, in order; keep each result as soon as it is there.

    `about` (settings, say) is stored beside the results; stored results of other settings raise ValueError.
    Entries of jobs that are not asked for any more are dropped. Returns name -> result.
    """
    stored = {} if fresh or not path.exists() else json.loads(path.read_text(encoding="utf-8"))
    about = json.loads(json.dumps(about))
    if stored and stored["about"] != about:
        raise ValueError(f"{path} was measured with other settings, {stored['about']}: --fresh starts anew")
    results = {name: stored["results"][name] for name in jobs if name in stored.get("results", {})}
    for name in tqdm([name for name in jobs if name not in results], unit="job"):
        results[name] = jobs[name]()
        ordered = {job: results[job] for job in jobs if job in results}
        keep(path, {"about": about, "results": ordered})
    return results
