"""What is tried, how long it takes, in which order; and which strength of a penalty is reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

KEPT = (157, 235, 392)  # rows that stability is compared at: sparsity of 80, 70 and 50 %
MAGNITUDE = "magnitude"  # a plain network, cut down to the rows that matter most; its strength is their number
SHIFTED = "shifted images"  # a plain network that sees every image moved by up to a pixel: the best teacher here


@dataclass(frozen=True)
class Plan:
    """How long everything takes, and what is tried."""

    hidden: int = 300
    batch: int = 512
    lr: float = 0.1
    momentum: float = 0.9
    epochs: int = 10  # stage one without a penalty
    penalised: int = 12  # stage one with one; and the teacher that sees shifted images
    retrain: int = 12
    retrain_shifted: int = 20
    assign: int = 10  # learning which row joins which group
    prox_every: int = 10
    decay: float = 5e-4  # "weight decay", and the "+ l2" of stage one
    temperature: float = 2.0
    preference: float = 0.6  # of affinity propagation, as published
    tolerance: float = 0.2  # percent of accuracy that compression may cost: what it cost in the paper


@dataclass(frozen=True)
class Grid:
    """What is tried; it may grow, and the entries that are there stay."""

    seeds: int = 5
    stability_seeds: int = 10
    choose_seeds: int = 1
    groups: tuple[int, ...] = (32,)
    learned: tuple[int, ...] = (24,)
    kept: tuple[int, ...] = KEPT  # of magnitude pruning
    strengths: tuple[tuple[str, tuple[float, ...]], ...] = ()


GROWL, LASSO = (1e-3, 2e-3, 4e-3, 8e-3), (2e-3, 4e-3, 8e-3, 1.6e-2)  # exact: per step
EPOCH_GROWL, EPOCH_LASSO = (0.5, 0.7, 0.9, 1.1), (2.0, 3.0, 4.0, 5.0)  # published: once an epoch
SIZES = {
    "small": Grid(strengths=(("GrOWL, exact", GROWL[:2]), ("group lasso, exact", LASSO[1:3]))),
    "whole": Grid(
        groups=(32, 24, 48, 16, 64),
        learned=(24, 20, 16, 12),
        strengths=tuple(
            (f"{method}{l2}, {protocol}", strengths)
            for protocol, growl, lasso in (("exact", GROWL, LASSO), ("published", EPOCH_GROWL, EPOCH_LASSO))
            for l2 in ("", " + l2")
            for method, strengths in (("GrOWL", growl), ("group lasso", lasso))
        ),
    ),
}


class Job(NamedTuple):
    """One entry of the results."""

    phase: str  # "choose" or "report"; "data": no network, only the pixels
    method: str
    protocol: str  # how the penalty is applied: "exact" or "published"; "-" without one
    strength: float
    ties: str  # "affinity", "kmeans", "learned", "random", or "-": stage one only
    groups: int  # for all but affinity
    teaching: str  # stage two: "labels", "teacher" (distilled), "shifts" (distilled on shifted images)
    seed: int

    @property
    def key(self) -> str:
        """Its name in the results."""
        return " | ".join(map(str, self))


def jobs(plan: Plan, grid: Grid, results: dict[str, Any]) -> Iterator[Job]:
    """All of it, what matters most first. What is reported of a penalty depends on what was chosen for it."""
    plain, decayed = ("none", "-", 0.0), ("weight decay", "-", 0.0)
    strongest = {name: chosen(name, plan, grid, results) for name, _ in grid.strengths}
    settled = [(*name.split(", "), strength) for name, strength in strongest.items() if strength is not None]

    for seed in range(grid.choose_seeds):
        yield Job("choose", *plain, "affinity", 0, "labels", seed)
        for number in range(max((len(strengths) for _, strengths in grid.strengths), default=0)):
            for name, strengths in grid.strengths:
                if number < len(strengths):
                    yield Job("choose", *name.split(", "), strengths[number], "affinity", 0, "labels", seed)
    for seed in range(grid.seeds):
        yield Job("report", SHIFTED, "-", 0.0, "learned", grid.learned[0], "shifts", seed)
        for teaching in ("labels", "teacher", "shifts"):
            yield Job("report", *plain, "kmeans", grid.groups[0], teaching, seed)
        for point in [plain, decayed, *settled]:
            yield Job("report", *point, "affinity", 0, "labels", seed)
            if point != plain:  # what survived, in as many groups as the plain network's rows
                yield Job("report", *point, "kmeans", grid.groups[0], "labels", seed)
            yield Job("report", *point, "-", 0, "labels", seed)
        yield Job("report", *plain, "random", grid.groups[0], "labels", seed)
    for k in grid.groups[1:]:  # the frontier: k-means on the rows of a plain network, and learned groups
        for seed in range(grid.seeds):
            for teaching in ("labels", "shifts"):
                yield Job("report", *plain, "kmeans", k, teaching, seed)
    for k in grid.learned[1:]:
        for seed in range(grid.seeds):
            yield Job("report", SHIFTED, "-", 0.0, "learned", k, "shifts", seed)
    for seed in range(grid.seeds):  # their rival: the same start and the same teacher, the groups by k-means
        yield Job("report", SHIFTED, "-", 0.0, "kmeans", grid.learned[0], "shifts", seed)
    for kept in grid.kept:
        for seed in range(grid.seeds):
            for ties, groups in (("affinity", 0), ("kmeans", grid.groups[0])):
                yield Job("report", MAGNITUDE, "-", float(kept), ties, groups, "labels", seed)
    yield Job("data", "deviation", "-", 0.0, "-", 0, "-", 0)
    for seed in range(grid.seeds, grid.stability_seeds):
        for point in [plain, decayed, *settled]:
            yield Job("report", *point, "-", 0, "labels", seed)


def chosen(name: str, plan: Plan, grid: Grid, results: dict[str, Any]) -> float | None:
    """The strength that compresses most on validation, of those that cost at most `tolerance` against no penalty.

    Where all cost more, the most accurate. None until the whole grid has run.
    """
    entries = [entry for entry in results.values() if entry["phase"] == "choose"]
    dense = [entry["dense_accuracy"] for entry in entries if entry["method"] == "none"]
    points = []
    for strength in dict(grid.strengths)[name]:
        here = [e for e in entries if f"{e['method']}, {e['protocol']}" == name and e["strength"] == strength]
        if len(here) < grid.choose_seeds or not dense:
            return None
        if all(entry["n_groups"] for entry in here):
            points.append((fmean(e["accuracy"] for e in here), fmean(e["compression"] for e in here), strength))
    if not points:
        return None
    good = [point for point in points if point[0] >= fmean(dense) - plan.tolerance]
    return max(good, key=lambda point: point[1])[2] if good else max(points)[2]
