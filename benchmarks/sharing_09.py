"""Chapter 9's longer runs: dense, local and convolutional nets of equal width, on garments and on signals.

The nets and their training are the chapter's own: they are run from the notebook's cells. Each kind of net gets the
learning rate that is best for it on validation data, with a seed that is used for nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # before torch is loaded

import torch
from resumable import measure
from timing import machine, medians, side_by_side
from torch.nn import functional as F

from tyinglib.book.cells import load
from tyinglib.book.datasets import Splits, fashion_small, mnist1d, subset

RESULTS = Path(__file__).parent / "results" / "sharing_09.json"
KINDS = ("dense", "local", "convolution")
ROOMS = {"in the middle": 0, "anywhere": 3}
SIZES = (100, 400, 1600)
SETTINGS: dict[str, Any] = {
    "signal_rates": (0.001, 0.003, 0.01, 0.03, 0.1),
    "garment_rates": (0.003, 0.01, 0.03),
    "tuning_seed": 100,
    "tuning_size": 400,
    "seeds": (0, 1, 2, 3, 4),
    "garment_steps": 150,
    "signal_steps": 400,
}


def best_rate(run: Callable[[int, float], dict[str, Any]], rates: tuple[float, ...]) -> dict[str, Any]:
    """The rate that is best on validation data at the end, and what the others reached."""
    tuning = {lr: run(SETTINGS["tuning_seed"], lr)["validation"] for lr in rates}
    return {"lr": max(tuning, key=lambda lr: tuning[lr][-1]), "tuning": tuning}


def garments(chapter: dict[str, Any], room: int, kind: str) -> dict[str, Any]:
    """Five runs for every number of training images."""
    found = best_rate(partial(garment, chapter, room, kind, SETTINGS["tuning_size"]), SETTINGS["garment_rates"])
    runs = {n: [garment(chapter, room, kind, n, seed, found["lr"]) for seed in SETTINGS["seeds"]] for n in SIZES}
    return found | {"runs": runs}


def signals(chapter: dict[str, Any], data: Splits, kind: str) -> dict[str, Any]:
    """Five runs on all training signals."""
    found = best_rate(partial(signal, chapter, data, kind), SETTINGS["signal_rates"])
    return found | {"runs": [signal(chapter, data, kind, seed, found["lr"]) for seed in SETTINGS["seeds"]]}


def garment(chapter: dict[str, Any], room: int, kind: str, size: int, seed: int, lr: float) -> dict[str, Any]:
    """Accuracy on validation and test images after training on `size` images."""
    data = placed(chapter, room)
    model = chapter["network"](kind, seed)
    chapter["fit"](model, subset(data.train, size, seed=seed), seed, steps=SETTINGS["garment_steps"], lr=lr)
    return {"validation": [chapter.accuracy(model, data.validation)], "test": chapter.accuracy(model, data.test)}


def placed(chapter: dict[str, Any], room: int, kept: dict[int, Splits] = {}) -> Splits:  # noqa: B006 (made once)
    """The three parts of Fashion-MNIST, each with places of its own."""
    if room not in kept:
        kept[room] = Splits(*(chapter["place"](part, room, seed) for seed, part in enumerate(fashion_small())))
    return kept[room]


def signal(chapter: dict[str, Any], data: Splits, kind: str, seed: int, lr: float) -> dict[str, Any]:
    """Accuracy on validation signals every 25 steps, and on test signals at the end."""
    model = chapter["signal_network"](kind, seed)

    def watch(model: torch.nn.Module) -> float:
        return chapter.accuracy(model, data.validation)

    curve = chapter["fit"](model, data.train, seed, SETTINGS["signal_steps"], lr, batch=100, watch=watch)
    return {"validation": curve, "test": chapter.accuracy(model, data.test)}


def step_times(chapter: dict[str, Any]) -> dict[str, Any]:
    """Forward and backward of 100 garments, and the update, each by itself."""
    x, y = torch.rand(100, 400), torch.randint(10, (100,))
    functions: dict[str, Callable[[], object]] = {}
    for kind in KINDS:
        model = chapter["network"](kind, 0)
        optimizer = torch.optim.Adam(model.parameters())

        def gradients(model: torch.nn.Module = model) -> None:
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()

        functions |= {f"{kind}: gradients": gradients, f"{kind}: update": optimizer.step}
    return {"machine": machine(), **medians(side_by_side(functions, repeats=200, warm_up=5), "convolution: gradients")}


def main() -> None:
    """Measure what is not stored yet."""
    chapter = load(9, ["network", "fit", "place", "signal_network"])
    torch.set_default_dtype(torch.float32)
    jobs: dict[str, Callable[[], Any]] = {}
    for order in ("in order", "shuffled"):
        data = mnist1d(shuffled=order == "shuffled")
        for kind in KINDS:
            jobs[f"signals {order}, {kind}"] = partial(signals, chapter, data, kind)
    jobs["times"] = partial(step_times, chapter)
    for world, room in ROOMS.items():
        for kind in KINDS:
            jobs[f"garments {world}, {kind}"] = partial(garments, chapter, room, kind)
    measure(RESULTS, jobs, fresh="--fresh" in sys.argv, **SETTINGS)


if __name__ == "__main__":
    main()
