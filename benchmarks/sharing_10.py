"""Chapter 10's longer runs: MNIST-1D read in moments by a GRU, with one set of weights and with one for each moment.

In order, a piece of a shape may come at any moment. Shuffled (one order for all signals) the information is the same,
and no moment is like another. Some ten minutes on one core; it goes on where it stopped.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from resumable import measure
from torch import Tensor, nn

from tyinglib.book import chapter
from tyinglib.book.datasets import Splits, mnist1d, subset
from tyinglib.nn import UnrolledRNN

RESULTS = Path(__file__).parent / "results" / "sharing_10.json"
MOMENTS, PIECE, HIDDEN, STEPS = 20, 2, 16, 300
RATES = (0.01, 0.02)
SIZES = (100, 300, 1000)
SEEDS = range(3)


class Reader(nn.Module):
    """A GRU over the pieces of a signal, and ten scores from its last state; inputs (n, 40)."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.layer: nn.Module = (
            nn.GRU(PIECE, HIDDEN, batch_first=True)
            if weights == "tied"
            else UnrolledRNN(PIECE, HIDDEN, MOMENTS, cell="gru", batch_first=True)
        )
        self.head = nn.Linear(HIDDEN, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (n, 10)."""
        states, _ = self.layer(x.view(len(x), MOMENTS, PIECE))
        scores: Tensor = self.head(states[:, -1])
        return scores


def run(weights: str, data: Splits, size: int, seed: int) -> dict[str, list[float]]:
    """Accuracy in percent on validation and on test signals, for each of RATES."""
    found: dict[str, list[float]] = {"validation": [], "test": []}
    for rate in RATES:
        torch.manual_seed(seed)
        reader = Reader(weights)
        chapter.train(reader, subset(data.train, size, seed=seed), steps=STEPS, lr=rate)
        found["validation"].append(round(chapter.accuracy(reader, data.validation), 4))
        found["test"].append(round(chapter.accuracy(reader, data.test), 4))
    return found


def main() -> None:
    """Measure what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="measure all again")
    fresh = parser.parse_args().fresh
    chapter.setup(0)
    orders = {"in order": mnist1d(), "shuffled": mnist1d(shuffled=True)}
    jobs: dict[str, Any] = {
        f"{order}, {weights}, {size}, seed {seed}": partial(run, weights, data, size, seed)
        for seed in SEEDS
        for size in SIZES
        for order, data in orders.items()
        for weights in ("tied", "untied")
    }
    about = {"moments": MOMENTS, "piece": PIECE, "hidden": HIDDEN, "steps": STEPS, "rates": RATES}
    measure(RESULTS, jobs, fresh=fresh, data="MNIST-1D", cell="gru", **about)


if __name__ == "__main__":
    main()
