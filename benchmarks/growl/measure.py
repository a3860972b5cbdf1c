"""A run from its first weights to its entry."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from benchmarks.growl import ties
from benchmarks.growl.plan import Run
from benchmarks.growl.settings import ROWS
from benchmarks.growl.stage_one import Ensemble, Images, learn
from benchmarks.growl.stage_two import retrain
from tyinglib.book.datasets import mnist

PREFERENCES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
VALIDATION = 5000  # images that are held back, as in the released code: 55,000 are left to fit


def images(folder: str | None, device: str = "cpu") -> Images:
    """MNIST: 55,000 images to fit, 5000 for validation, 10,000 for the test."""
    splits = mnist(folder, dtype=torch.float32)
    x, y = (torch.cat(pair) for pair in zip(splits.validation, splits.train, strict=True))
    held = {"validation": (x[:VALIDATION], y[:VALIDATION]), "test": tuple(splits.test)}
    return Images(x[VALIDATION:], y[VALIDATION:], held).to(device)


def measure(runs: Sequence[Run], data: Images, log: Callable[[int], None] = lambda epoch: None) -> list[dict[str, Any]]:
    """The entries of runs that may train as one ensemble."""
    started = time.perf_counter()
    ensemble = Ensemble([run.settings for run in runs], [run.seed for run in runs], data)
    trajectories = learn(ensemble, log)
    after_one = time.perf_counter()
    weights = ensemble.layer_one().cpu()
    deviation = data.x.std(0).cpu()
    entries, labels = [], []
    for run, weight, trajectory, ended in zip(runs, weights, trajectories, ensemble.ended, strict=True):
        entry, own = look(run, weight, deviation)
        entries.append(entry | {"ended": ended, "trajectory": trajectory})
        labels.append(own)
    if runs[0].stages == 2 and runs[0].settings.retrain and not all(ensemble.ended):
        found = retrain(ensemble, torch.stack(labels).to(ensemble.W.device))
        for entry, scores in zip(entries, found, strict=True):
            if not entry["ended"]:
                entry["retrained"] = scores
    for entry in entries:
        entry["minutes"] = round((time.perf_counter() - started) / 60, 2)
        entry["minutes_stage_one"] = round((after_one - started) / 60, 2)
        entry["together"] = len(runs)
        entry["device"] = str(data.x.device)
    return entries


def look(run: Run, weight: Tensor, deviation: Tensor) -> tuple[dict[str, Any], Tensor]:
    """What stage one left, and the labels of its groups. `weight` is (pixels, units)."""
    base = asdict(ROWS[run.settings.row])
    lengths = weight.norm(dim=1)
    alive = (lengths > 0).nonzero().flatten()
    entry: dict[str, Any] = {
        "part": run.part,
        "row": run.settings.row,
        "changed": {name: value for name, value in asdict(run.settings).items() if value != base[name]},
        "seed": run.seed,
        "rows": len(alive),
        "alive": "".join(map(str, (lengths > 0).int().tolist())),
        "by_norm": _order(lengths),
        "by_contribution": _order(lengths * deviation),
    }
    labels = torch.full((len(weight),), -1)
    if run.stages == 1 or run.settings.row == "none" or len(alive) < 2:
        return entry, labels
    entry["ties"] = {}
    for preference in PREFERENCES:
        found, about = ties.groups(weight[alive], preference)
        entry["ties"][str(preference)] = about
        if preference == run.settings.preference:
            labels[alive] = found
            entry["groups"] = about["groups"]
    return entry, labels


def _order(size: Tensor) -> str:
    """Places of the rows that are not zero, largest first."""
    order = size.argsort(descending=True, stable=True)
    return " ".join(str(place) for place in order.tolist() if size[place] > 0)
