"""GrOWL on more than one layer, and on channels: `make benchmark-growl-deeper`.

Two networks go through the two stages of growl_mnist, with the exact proximal steps of ProxSGD:

    784-300-100-10 on MNIST        rows of layers 1 and 2: pixels, and the neurons of the first hidden layer
    three convolutions on Fashion  rows of convolutions 2 and 3: the weights that leave an input channel

No batch norm, so that a strength is a scale. Strengths are chosen on 10,000 of the training images: the one that
leaves the fewest weights, of those whose tied and retrained network costs at most a tenth more errors than the one
without a penalty. The chosen ones, and no penalty, are fitted on all training images and meet the test set once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before torch is loaded

import torch
from resumable import measure
from torch import Tensor, nn
from torch.nn import functional

from tyinglib import (
    AffinityPropagation,
    GroupLasso,
    GrOWL,
    Penalty,
    ProxSGD,
    compact,
    find_ties,
    mean_gradients,
    pld_weights,
    tie,
)
from tyinglib.book.chapter import accuracy
from tyinglib.book.datasets import Split, Splits, fashion_mnist, mnist

RESULTS = Path(__file__).parent / "results" / "growl_deeper.json"


@dataclass(frozen=True)
class Plan:
    """How long everything takes, and what is tried."""

    batch: int = 200
    lr: float = 0.05
    momentum: float = 0.9
    epochs: tuple[tuple[str, int, int], ...] = (("784-300-100-10", 10, 4), ("convolutions", 6, 2))  # of each stage
    prox_every: int = 5
    preference: float = 0.6  # of affinity propagation, as published for MNIST
    seeds: int = 3
    strengths: tuple[tuple[str, tuple[float, ...]], ...] = (
        ("784-300-100-10", (0.0005, 0.001, 0.002)),
        ("convolutions", (0.002, 0.004, 0.01)),
    )


def perceptron(seed: int) -> nn.Sequential:
    """784-300-100-10; layers 0 and 2 are regularised."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))


def convolutions(seed: int) -> nn.Sequential:
    """Three convolutions and a dense end; layers 3 and 5 are regularised."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 49, 10),
    )


NETWORKS: dict[str, tuple[Callable[[int], nn.Sequential], tuple[int, ...]]] = {
    "784-300-100-10": (perceptron, (0, 2)),
    "convolutions": (convolutions, (3, 5)),
}


def penalty_for(method: str, strength: float, weight: Tensor) -> Penalty | None:
    """On the slices that belong to one input. GrOWL's weights fall over the first half, as in growl_mnist."""
    n = weight.shape[1]
    if method == "group lasso":
        return GroupLasso(strength, dim=1)
    if method == "GrOWL":
        return GrOWL(pld_weights(n, strength, 0.215 / 12 * strength, p=n // 2), dim=1)
    return None


def descend(
    model: nn.Module, optimizer: torch.optim.Optimizer, data: Split, epochs: int, plan: Plan, seed: int
) -> None:
    """Epochs of shuffled batches; the learning rate is constant for half of the steps, then falls to zero."""
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * (len(data.y) // plan.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / steps) + 0.02))
    for _ in range(epochs):
        order = torch.randperm(len(data.y), generator=generator)
        for rows in order[: len(order) // plan.batch * plan.batch].view(-1, plan.batch):
            optimizer.zero_grad()
            functional.cross_entropy(model(data.x[rows]), data.y[rows]).backward()
            optimizer.step()
            schedule.step()


def two_stages(
    network: str, method: str, strength: float, data: Split, held: Split, plan: Plan, seed: int
) -> dict[str, Any]:
    """Learn the structure, tie, retrain, compact; what is left of each regularised layer."""
    make, places = NETWORKS[network]
    (lengths,) = [stages for name, *stages in plan.epochs if name == network]
    model = make(seed)
    layers: list[Any] = [model[place] for place in places]
    penalised = [{"params": [layer.weight], "penalty": penalty_for(method, strength, layer.weight)} for layer in layers]
    ids = {id(layer.weight) for layer in layers}
    others = [p for p in model.parameters() if id(p) not in ids]
    optimizer = ProxSGD([*penalised, {"params": others}], plan.lr, plan.momentum, prox_every=plan.prox_every)
    descend(model, optimizer, data, lengths[0], plan, seed)
    optimizer.apply_owed()
    entry: dict[str, Any] = {"learned": accuracy(model, held), "layers": []}
    whole = sum(p.numel() for p in model.parameters())
    for layer in layers:
        spec = find_ties(layer.weight, dim=1, by=AffinityPropagation(preference=plan.preference))
        entry["layers"].append(
            {"rows": len(spec.labels), "alive": int((spec.labels >= 0).sum()), "groups": spec.n_groups}
        )
        if spec.n_groups == 0:  # nothing passes this layer any more
            return entry | {"accuracy": None}
        tie(layer, "weight", spec)
    entry["tied"] = accuracy(model, held)
    with mean_gradients(model):
        retraining = torch.optim.SGD(model.parameters(), plan.lr, plan.momentum)
        descend(model, retraining, data, lengths[1], plan, seed)
    small = compact(model.eval(), held.x[:8])
    return entry | {
        "accuracy": accuracy(small, held),
        "parameters": whole,
        "free": sum(p.numel() for p in model.parameters()),
        "compact": sum(p.numel() for p in small.parameters()),
    }


def chosen(results: dict[str, Any], network: str, method: str, plan: Plan) -> float:
    """The strength with the fewest free parameters, of those that cost at most a tenth more errors; else the best."""
    runs = {
        strength: results[f"choose | {network} | {method} | {strength}"] for strength in dict(plan.strengths)[network]
    }
    runs = {strength: run for strength, run in runs.items() if run["accuracy"] is not None}
    limit = 100 - 1.1 * (100 - results[f"choose | {network} | none | 0.0"]["accuracy"])
    good = {strength: run["free"] for strength, run in runs.items() if run["accuracy"] >= limit}
    return min(good, key=good.__getitem__) if good else max(runs, key=lambda strength: runs[strength]["accuracy"])


def run(sets: dict[str, Splits], plan: Plan, path: Path, *, fresh: bool = False) -> dict[str, Any]:
    """Choose on validation images, then report on the test images."""

    def job(phase: str, network: str, method: str, strength: float, seed: int) -> Callable[[], dict[str, Any]]:
        return lambda: two_stages(network, method, strength, *parts(sets[network], phase), plan, seed)

    choose = {
        f"choose | {network} | {method} | {strength}": job("choose", network, method, strength, 0)
        for network, strengths in plan.strengths
        for method in ("none", "group lasso", "GrOWL")
        for strength in (strengths if method != "none" else (0.0,))
    }
    results = measure(path, choose, fresh=fresh, plan=asdict(plan))
    report = {}
    for seed in range(plan.seeds):
        for network, _ in plan.strengths:
            for method in ("none", "group lasso", "GrOWL"):
                strength = 0.0 if method == "none" else chosen(results, network, method, plan)
                name = f"report | {network} | {method} | {strength} | {seed}"
                report[name] = job("report", network, method, strength, seed)
    return measure(path, {**choose, **report}, plan=asdict(plan))


def parts(splits: Splits, phase: str) -> tuple[Split, Split]:
    """What a phase fits on, and what it is scored on."""
    if phase == "choose":
        return splits.train, splits.validation
    both = [torch.cat(pair) for pair in zip(splits.train, splits.validation, strict=True)]
    return Split(both[0], both[1]), splits.test


def main() -> None:
    """Measure, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mnist", help="folder of MNIST's four files; without it as datasets.mnist")
    parser.add_argument("--fashion", help="folder of Fashion-MNIST's; without it as datasets.fashion_mnist")
    parser.add_argument("--fresh", action="store_true", help="measure all again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = {
        "784-300-100-10": mnist(options.mnist, dtype=torch.float32),
        "convolutions": fashion_mnist(options.fashion, dtype=torch.float32),
    }
    for name, entry in run(sets, Plan(), RESULTS, fresh=options.fresh).items():
        print(name, entry)


if __name__ == "__main__":
    main()
