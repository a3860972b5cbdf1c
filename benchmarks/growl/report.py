"""What the entries say together, row by row of the published table; the book's page prints these."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.growl.settings import ROWS
from tyinglib import selection_stability

PIXELS = 784
Entry = Mapping[str, Any]


def entries(runs: Mapping[str, Entry], row: str, changed: Mapping[str, Any] | None = None) -> list[Entry]:
    """Of one row of the table with the released settings, but for `changed`; by seed."""
    found = [run for run in runs.values() if run["row"] == row and run["changed"] == dict(changed or {})]
    return sorted(found, key=lambda run: run["seed"])


def spread(values: Iterable[float]) -> tuple[float, float | None, int]:
    """Mean, standard deviation (None of one), how many."""
    listed = list(values)
    return statistics.fmean(listed), statistics.stdev(listed) if len(listed) > 1 else None, len(listed)


def counts(run: Entry) -> dict[str, float]:
    """Sparsity in percent, sharing (rows a group), compression (all rows by groups). Of a plain network: 0, 1, 1."""
    groups = run.get("groups", PIXELS)
    alive = run["rows"] if "groups" in run else PIXELS
    return {
        "rows": alive,
        "groups": groups,
        "sparsity": 100 * (1 - alive / PIXELS),
        "sharing": alive / groups,
        "compression": PIXELS / groups,
    }


def accuracies(run: Entry) -> dict[str, float]:
    """Percent of the test images: after the last epoch, the best over the epochs, the epoch best on validation."""
    if "retrained" in run:
        test, validation = run["retrained"]["test"], run["retrained"]["validation"]
    else:  # the plain network is not retrained
        test, validation = ([point[part] for point in run["trajectory"]] for part in ("test", "validation"))
    return {"last": test[-1], "best": max(test), "chosen": test[validation.index(max(validation))]}


def finished(runs: Iterable[Entry]) -> list[Entry]:
    """Those that reached their end with rows left, and both stages."""
    return [run for run in runs if not run["ended"] and ("retrained" in run or run["row"] == "none")]


def summary(runs: Iterable[Entry]) -> dict[str, tuple[float, float | None, int]]:
    """Counts and accuracies over the seeds that finished."""
    whole = [{**counts(run), **accuracies(run)} for run in finished(runs)]
    return {name: spread(values[name] for values in whole) for name in (whole[0] if whole else {})}


def masks(runs: Iterable[Entry]) -> Tensor:
    """(runs, pixels): which rows stage one left."""
    return torch.tensor([[int(mark) for mark in run["alive"]] for run in runs])


def first_rows(runs: Iterable[Entry], kept: int, ranking: str) -> Tensor:
    """(runs, pixels): the `kept` rows that come first "by_norm" or "by_contribution"; ValueError if a run has fewer."""
    chosen = []
    for run in runs:
        places = [int(place) for place in run[ranking].split()[:kept]]
        if len(places) < kept:
            raise ValueError(f"a run of {run['row']!r} has {len(places)} rows left, and {kept} are asked for")
        chosen.append(torch.zeros(PIXELS, dtype=torch.int64).index_fill(0, torch.tensor(places), 1))
    return torch.stack(chosen)


def stability(selected: Tensor) -> dict[str, float]:
    """The paper's changed indices in percent, and Phi with its interval; `selected` (runs, pixels)."""
    phi = selection_stability(selected)
    return {"phi": phi.phi, "lower": phi.lower, "upper": phi.upper, "changed": changed_indices(selected)}


def changed_indices(selected: Tensor) -> float:
    """The paper's figure, in percent: the mean distance of a run's mask to the mean mask, by rows alive in some run."""
    distance = (selected - selected.double().mean(0)).abs().sum(1).mean()
    return float(distance / selected.any(0).sum()) * 100


def progress(runs: Mapping[str, Entry]) -> dict[str, int]:
    """How many seeds each row has, the changed settings aside."""
    return {row: len(entries(runs, row)) for row in ROWS}
