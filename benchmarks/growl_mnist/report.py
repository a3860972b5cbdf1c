"""What the entries say together: the points of the frontier, and how stable the surviving rows are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.growl import report as published
from benchmarks.growl_mnist.plan import KEPT


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Points of the frontier with mean and standard deviation over seeds, and how stable the surviving rows are."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in results.values():
        if entry["ties"] != "-" and entry["n_groups"]:
            kind = ("phase", "method", "protocol", "strength", "ties", "groups", "teaching")
            groups.setdefault(" | ".join(str(entry[name]) for name in kind), []).append(entry)
    points = {}
    for name, entries in groups.items():
        rates = ("accuracy", "compression", "sparsity", "sharing", "n_groups", "dense_accuracy")
        numbers = {rate: torch.tensor([entry[rate] for entry in entries], dtype=torch.float64) for rate in rates}
        points[name] = {"seeds": len(entries)} | {
            rate: [float(v.mean()), float(v.std()) if len(v) > 1 else None] for rate, v in numbers.items()
        }
    return {"points": points, "stability": stability(results)}


def stability(results: dict[str, Any]) -> dict[str, Any]:
    """Which inputs survive stage one, over seeds: those not at zero, and the longest rows, of every method as many."""
    masks: dict[str, list[Tensor]] = {}
    for entry in results.values():
        if entry["phase"] != "report" or entry["ties"] != "-":
            continue
        name = f"{entry['method']}, {entry['protocol']}, {entry['strength']:g}"
        alive = torch.tensor([int(mark) for mark in entry["alive"]])
        masks.setdefault(f"{name}: not zero", []).append(alive)
        for kept in KEPT:
            for rule in ("by_norm", "by_contribution"):
                places = [int(place) for place in entry[rule].split()[:kept]]
                mask = torch.zeros_like(alive).index_fill(0, torch.tensor(places), 1) * alive
                masks.setdefault(f"{name}: {kept} {rule}", []).append(mask)
    found = {name: _stability(torch.stack(runs)) for name, runs in masks.items() if len(runs) > 1}
    # where fewer rows were left than are to be kept, numbers would not match
    return {name: values for name, values in found.items() if "not zero" in name or values["kept"] in KEPT}


def _stability(selected: Tensor) -> dict[str, Any]:
    found: dict[str, Any] = {"runs": len(selected), "kept": float(selected.sum(1).double().mean())}
    return found | (published.stability(selected) if selected.any() and not selected.all() else {})
