"""Which runs, in which order: what the published table needs first, what could explain a gap after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from benchmarks.growl.settings import ROWS, Settings

SEEDS = 5  # of the table
STABILITY_SEEDS = 10  # of stage one, for the four penalties
PENALTIES = ("group lasso", "group lasso + l2", "GrOWL", "GrOWL + l2")


class Run(NamedTuple):
    """One entry of the results."""

    part: str  # "table", "stability", "why", "strengths"
    settings: Settings
    seed: int

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.settings.name}; seed {self.seed}"

    @property
    def stages(self) -> int:
        """Stability needs stage one alone."""
        return 1 if self.part == "stability" else 2


def table() -> Iterator[Run]:
    """The six rows, and for GrOWL the last upload's weights too."""
    released = [replace(ROWS[row], ramp="released") for row in ("GrOWL", "GrOWL + l2")]
    for seed in range(SEEDS):
        for settings in [*(ROWS[row] for row in (*reversed(PENALTIES), "weight decay", "none")), *released]:
            yield Run("table", settings, seed)


def stability() -> Iterator[Run]:
    """Stage one once more, for the changed indices."""
    for seed in range(SEEDS, STABILITY_SEEDS):
        for row in PENALTIES:
            yield Run("stability", ROWS[row], seed)


CHANGES: tuple[dict[str, object], ...] = (
    {"batch_norm": False},
    {"init_scale": 0.25},
    {"bn_eps": 1e-5},
    {"bn_momentum": 0.9},
    {"centred": True},
    {"prox_every": 1},
    {"masks": False},
    {"momentum": 0.0},
    {"prox_epochs": 100},  # as in the first upload, where l2 is on
    {"retrain_lr": "again"},
)


def why() -> Iterator[Run]:
    """One thing changed at a time, for the two rows that lie furthest from what is published."""
    for changed in CHANGES:
        for row in ("GrOWL + l2", "group lasso"):
            yield Run("why", replace(ROWS[row], **changed), 0)  # type: ignore[arg-type]
    for row in ("GrOWL", "GrOWL + l2"):
        yield Run("why", replace(ROWS[row], ramp="oscar"), 0)


# The step before all rows die is where most are at zero: looked for between what is published and where that is.
STRENGTHS = {
    "group lasso": (70.0, 80.0, 90.0, 100.0, 110.0),
    "group lasso + l2": (60.0, 90.0, 100.0, 110.0),
    "GrOWL": (1.05, 1.1, 1.15, 1.2, 1.3),  # times the published pair
    "GrOWL + l2": (1.05, 1.1, 1.15, 1.2, 1.3),
}


def strengths() -> Iterator[Run]:
    """Is there any strength at which the published compression is reached? Chosen on validation images, two seeds."""
    for seed in range(2):
        for number in range(max(map(len, STRENGTHS.values()))):
            for row in PENALTIES:
                for strength in STRENGTHS[row][number : number + 1]:
                    base = ROWS[row]
                    if row.startswith("GrOWL"):
                        pair = {"lambda1": round(12 * strength, 3), "lambda2": round(base.lambda2 * strength, 5)}
                        yield Run("strengths", replace(base, **pair), seed)
                    else:
                        yield Run("strengths", replace(base, lambda1=strength), seed)


def runs(parts: tuple[str, ...] = ("table", "why", "strengths", "stability")) -> list[Run]:
    """All of it, each run once."""
    known = {"table": table, "why": why, "strengths": strengths, "stability": stability}
    return list({run.key: run for part in parts for run in known[part]()}.values())
