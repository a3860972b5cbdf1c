"""GrOWL in two stages on MNIST (Zhang et al., ICLR 2018), beside what it must beat: `make benchmark-growl`.

Stage one learns which inputs to drop and which to tie; stage two retrains inside that structure::

    learn        ProxSGD and GrOWL on the rows of layer 1 of 784-300-10
    find_ties    rows at zero are pruned, rows that are alike form groups
    tie          one codebook column a group
    retrain      the network again, inside its ties
    compact      the smaller network, with the same outputs

Every method goes through the same five steps. What is chosen is chosen on 10,000 of the training images, with the
network fitted on the other 50,000 (phase "choose"); the chosen points are fitted on all 60,000 and meet the test set
once, in phase "report". Every job is an entry in results/growl_mnist.json; a job that is there is not run again.

Where this departs from the paper (its own protocol needs days on a laptop): batches of 512, some tens of epochs with
a learning rate that rises to 0.1 and falls to 0, and torch's first weights: the published ones are four times as
large, and in so few epochs cost 0.4 % of accuracy. Retraining sees every group's sum centred, and large ones scaled
down, which changes no tie: the scale goes into the codebook, the shift into the bias, and a group of many pixels does
not get a step that is as many times too long.
"""

from __future__ import annotations

import argparse
import copy
import getpass
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before torch is loaded

import torch
from filelock import FileLock
from resumable import keep
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from tyinglib import (
    AffinityPropagation,
    GroupLasso,
    GrOWL,
    KMeans,
    Penalty,
    ProxSGD,
    TieSpec,
    compact,
    count_parameters,
    find_ties,
    pld_weights,
    save_tied,
    selection_stability,
    tie,
)
from tyinglib.book.datasets import Split, Splits, mnist
from tyinglib.compacting import SumInputs

KEPT = (157, 235, 392)  # rows that stability is compared at: sparsity of 80, 70 and 50 %
MAGNITUDE = "magnitude"  # a plain network, cut down to the rows that matter most; its strength is their number
SHIFTED = "shifted images"  # a plain network that sees every image moved by up to a pixel: the best teacher here
RESULTS = Path(__file__).parent / "results" / "growl_mnist.json"

PUBLISHED = {  # Zhang et al. (2018), table 1 and section 4.1: percent, but for sharing and compression
    "none": {"sparsity": 0.0, "sharing": 1.0, "compression": 1.0, "accuracy": 98.3},
    "weight decay": {"sparsity": 0.0, "sharing": 1.6, "compression": 1.6, "accuracy": 98.4},
    "group lasso": {"sparsity": 87.6, "sharing": 1.9, "compression": 15.8, "accuracy": 98.1, "changed": 11.09},
    "group lasso + l2": {"sparsity": 93.2, "sharing": 1.6, "compression": 23.7, "accuracy": 98.0, "changed": 32.07},
    "GrOWL": {"sparsity": 80.4, "sharing": 3.2, "compression": 16.7, "accuracy": 98.1, "changed": 0.59},
    "GrOWL + l2": {"sparsity": 83.6, "sharing": 3.9, "compression": 24.1, "accuracy": 98.1, "changed": 0.62},
}


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


class Data(NamedTuple):
    """What a phase fits on, and what it is scored on."""

    x: Tensor
    y: Tensor
    held: Split

    def shifted(self) -> Tensor:
        """(9, features): which pixel comes where when an image moves by up to one pixel; the fifth moves nothing."""
        side = round(self.x.shape[1] ** 0.5)
        places = torch.arange(side * side).view(side, side)
        moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        return torch.stack([places.roll(move, (0, 1)).flatten() for move in moves])


# --- stage one


def network(data: Data, plan: Plan, seed: int) -> nn.Sequential:
    """784-300-10, ReLU and then batch norm."""
    torch.manual_seed(seed)
    first = nn.Linear(data.x.shape[1], plan.hidden)
    return nn.Sequential(first, nn.ReLU(), nn.BatchNorm1d(plan.hidden), nn.Linear(plan.hidden, 10))


def penalty_for(method: str, strength: float, n: int) -> Penalty | None:
    """The penalty on layer 1. GrOWL's weights fall over the first half of the rows, by the paper's formula.

    That ramp falls by one lambda_2 a row, and so does the released code's as first uploaded (February 2018: 390 to 0
    over the first 391 rows). Since its change of March 2018 it is twice as steep (783 to 0 over as many rows).
    """
    if method.startswith("group lasso"):
        return GroupLasso(strength, dim=1)
    if method.startswith("GrOWL"):
        slope = 0.235 / 12 if method.endswith("l2") else 0.215 / 12
        return GrOWL(pld_weights(n, strength, slope * strength, p=n // 2), dim=1)
    return None


def learn(job: Job, data: Data, plan: Plan) -> nn.Sequential:
    """Stage one: the trained network, with the rows at exactly zero that its penalty put there.

    Batch norm after layer 1 undoes any scaling of its rows and biases, so a penalty on their norms can fall to nothing
    at no cost: the whole layer shrinks, until steps and noise stop it. A strength is no scale here; it goes with the
    learning rate and the number of steps.
    """
    model = network(data, plan, job.seed)
    first, *others = model.parameters()
    penalty = penalty_for(job.method, job.strength, data.x.shape[1])
    places = data.shifted()
    decay = plan.decay if job.method == "weight decay" or job.method.endswith("l2") else 0.0
    epochs = plan.epochs if penalty is None and job.method != SHIFTED else plan.penalised

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        x = data.x[rows]
        if job.method == SHIFTED:
            x = x.gather(1, places[torch.randint(len(places), rows.shape, generator=generator)])
        return functional.cross_entropy(model(x), data.y[rows])

    if job.protocol == "exact":
        groups = [{"params": [first], "penalty": penalty, "weight_decay": decay}, {"params": others}]
        optimizer = ProxSGD(groups, plan.lr, plan.momentum, prox_every=plan.prox_every)
        descend(model, optimizer, loss, len(data.x), epochs, plan, job.seed)
        optimizer.apply_owed()
        return model

    plain = torch.optim.SGD(
        [{"params": [first], "weight_decay": decay}, {"params": others}], lr=plan.lr, momentum=plan.momentum
    )
    alive = torch.ones(data.x.shape[1], dtype=torch.bool)

    @torch.no_grad()
    def once_an_epoch() -> None:  # with the bare learning rate; what is at zero stays there
        if penalty is not None:
            first.copy_(penalty.prox(first, plain.param_groups[0]["lr"]))
            alive.logical_and_(first.any(0))

    @torch.no_grad()
    def keep_zeros() -> None:
        if penalty is not None:
            first.mul_(alive)

    descend(model, plain, loss, len(data.x), epochs, plan, job.seed, after_step=keep_zeros, after_epoch=once_an_epoch)
    return model


def descend(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, torch.Generator], Tensor],
    n: int,
    epochs: int,
    plan: Plan,
    seed: int,
    after_step: Callable[[], None] = lambda: None,
    after_epoch: Callable[[], None] = lambda: None,
) -> None:
    """Epochs of shuffled batches; the learning rate rises for a tenth of the steps, then falls to zero."""
    generator = torch.Generator().manual_seed(seed)
    per_epoch = max(n // plan.batch, 1)
    steps = per_epoch * epochs
    warm = max(steps // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(steps - warm, 1))
    )
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(n, generator=generator)[: per_epoch * plan.batch].view(per_epoch, -1):
            optimizer.zero_grad()
            loss(rows, generator).backward()
            optimizer.step()
            after_step()
            schedule.step()
        after_epoch()
    model.eval()


@torch.no_grad()
def prune(layer: Any, x: Tensor, kept: int) -> None:
    """Zero all rows but `kept`: those with the largest length times the deviation of their pixel."""
    size = layer.weight.norm(dim=0) * x.std(0)
    layer.weight[:, size.argsort(descending=True, stable=True)[kept:]] = 0


# --- the ties


def ties_for(job: Job, model: nn.Sequential, data: Data, plan: Plan) -> TieSpec:
    """Which rows of layer 1 share a value."""
    weight = model[0].weight.detach()
    if job.ties == "affinity":
        return find_ties(weight, dim=1, by=AffinityPropagation(preference=plan.preference))
    variance = data.x.var(0)
    if job.ties == "kmeans":
        return find_ties(weight, dim=1, by=KMeans(job.groups, slice_weight=variance))
    if job.ties == "learned":
        return learned_ties(job, model, data, plan)
    if job.ties == "random":
        generator = torch.Generator().manual_seed(job.seed)
        alive = ((variance > 0) & weight.any(0)).nonzero().flatten()
        labels = torch.full((len(variance),), -1)
        labels[alive] = torch.randperm(len(alive), generator=generator) % job.groups
        return TieSpec(labels, dim=1)
    raise ValueError(f"no such ties: {job.ties!r}")


def learned_ties(job: Job, model: nn.Sequential, data: Data, plan: Plan) -> TieSpec:
    """Beyond the paper: rows choose their groups by gradient descent, at first softly, from k-means on.

    Row i is the mixture sum_g P_ig c_g of codebook rows, P_i = softmax(sharpness * score_i). The mixed network learns
    to answer as the dense one does on shifted images, while the sharpness rises; then every row takes its likeliest.
    """
    start = ties_for(job._replace(ties="kmeans"), model, data, plan)
    alive = (start.labels >= 0).nonzero().flatten()
    scores = nn.Parameter(functional.one_hot(start.labels[alive]).to(data.x.dtype))
    mixed = copy.deepcopy(model)
    tie(mixed[0], "weight", start)
    codebook = mixed[0].parametrizations.weight.original
    rest = [mixed[0].bias, *mixed[1:].parameters()]
    groups = [{"params": [codebook], "lr": plan.lr / 100}, {"params": rest, "lr": plan.lr / 3}]
    descent = torch.optim.SGD(groups, lr=plan.lr, momentum=plan.momentum)
    choice = torch.optim.Adam([scores], lr=0.02)
    places = data.shifted()
    steps = max(len(data.x) // plan.batch, 1) * plan.assign
    sharpness = iter((3.0 * 4.0 ** (torch.arange(steps + 1) / steps)).tolist())  # 3 to 12

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        x = data.x[rows].gather(1, places[torch.randint(len(places), rows.shape, generator=generator)])
        with torch.no_grad():
            told = model(x)
        sums = x[:, alive] @ torch.softmax(next(sharpness) * scores, 1)
        output = mixed[1:](functional.linear(sums, codebook, mixed[0].bias))
        return distillation(output, told, data.y[rows], plan.temperature)

    def choose() -> None:
        choice.step()
        choice.zero_grad()

    descend(mixed, descent, loss, len(data.x), plan.assign, plan, job.seed, after_step=choose)
    labels = torch.full_like(start.labels, -1)
    labels[alive] = torch.unique(scores.argmax(1), return_inverse=True)[1]  # a group may be left empty
    return TieSpec(labels, dim=1)


# --- stage two


def retrain(model: nn.Sequential, spec: TieSpec, teacher: nn.Module | None, job: Job, data: Data, plan: Plan) -> None:
    """Train the tied network, in place, on the sums of its groups: W x = C (S^T x), so the sums are all it reads."""
    layer: Any = model[0]
    codebook: nn.Parameter = layer.parametrizations.weight.original
    add = SumInputs(spec.labels, dim=-1)
    copies = data.shifted() if job.teaching == "shifts" else [torch.arange(data.x.shape[1])]
    with torch.no_grad():
        sums = torch.stack([add(data.x[:, places]) for places in copies])
        told = None if teacher is None else torch.stack([teacher(data.x[:, places]) for places in copies])
        # no group is stretched beyond the pixel that varies most: what is nearly always dark stays small
        mean, spread = sums.mean((0, 1)), sums.std((0, 1)).clamp(min=float(data.x.std(0).max()))
        sums = (sums - mean) / spread
        small = nn.Sequential(nn.Linear(*codebook.T.shape), *model[1:])
        small[0].weight.copy_(codebook * spread)
        small[0].bias.copy_(layer.bias + codebook @ mean)

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        view = torch.randint(len(sums), rows.shape, generator=generator)
        output = small(sums[view, rows])
        if told is None:
            return functional.cross_entropy(output, data.y[rows])
        return distillation(output, told[view, rows], data.y[rows], plan.temperature)

    optimizer = torch.optim.SGD(small.parameters(), lr=plan.lr, momentum=plan.momentum)
    epochs = plan.retrain_shifted if job.teaching == "shifts" else plan.retrain
    descend(small, optimizer, loss, len(data.x), epochs, plan, job.seed)
    with torch.no_grad():
        codebook.copy_(small[0].weight / spread)
        layer.bias.copy_(small[0].bias - codebook @ mean)
    model.eval()


def distillation(output: Tensor, told: Tensor, y: Tensor, temperature: float) -> Tensor:
    """A tenth of the labels' loss; nine tenths of the distance to the teacher's softened answers."""
    softly = functional.log_softmax(output / temperature, 1)
    target = functional.log_softmax(told / temperature, 1)
    distance = functional.kl_div(softly, target, log_target=True, reduction="batchmean")
    return 0.1 * functional.cross_entropy(output, y) + 0.9 * temperature**2 * distance


# --- a job, from the beginning to its entry


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """Percent."""
    return float((model(split.x).argmax(1) == split.y).double().mean()) * 100


class Bench:
    """Runs jobs. Networks that several jobs start from are trained once, and again after an interruption."""

    def __init__(self, splits: Splits, plan: Plan) -> None:
        both = [torch.cat(parts) for parts in zip(splits.train, splits.validation, strict=True)]
        self.data = {
            "choose": Data(*splits.train, held=splits.validation),
            "report": Data(both[0], both[1], held=splits.test),
        }
        self.plan = plan
        self.kept: dict[tuple[Any, ...], nn.Sequential] = {}

    def run(self, job: Job) -> dict[str, Any]:
        """The five steps. Of phase "data": the pixels in the order of their deviation, which needs no network."""
        if job.phase == "data":
            deviation = self.data["report"].x.std(0)
            return job._asdict() | {"by_deviation": _text(deviation.argsort(descending=True, stable=True))}
        data, plan = self.data[job.phase], self.plan
        model = copy.deepcopy(self._stage_one(job))
        if job.method == MAGNITUDE:
            prune(model[0], data.x, int(job.strength))
        entry: dict[str, Any] = job._asdict() | {"dense_accuracy": accuracy(model, data.held)}
        entry["alive"] = "".join(map(str, model[0].weight.any(0).int().tolist()))
        norms = model[0].weight.detach().norm(dim=0)
        entry["longest_row"] = float(norms.max())
        if job.ties == "-":  # what pruning would keep, first to last; rows at zero stand last
            for name, size in (("by_norm", norms), ("by_contribution", norms * data.x.std(0))):
                entry[name] = _text(size.argsort(descending=True, stable=True))
            return entry
        spec = ties_for(job, model, data, plan)
        if spec.n_groups == 0:
            return entry | {"n_groups": 0, "accuracy": None}
        tie(model[0], "weight", spec)
        entry["tied_accuracy"] = accuracy(model, data.held)
        retrain(model, spec, self._teacher(job), job, data, plan)
        small = compact(model, data.held.x[:16])
        first = copy.deepcopy(model[0])
        first.bias = None  # the published rates count the weight alone
        count = count_parameters(first)
        with tempfile.TemporaryDirectory() as folder:
            size = save_tied(model, Path(folder) / "model.safetensors")
        return entry | {
            "n_groups": spec.n_groups,
            "sparsity": count.sparsity * 100,
            "sharing": count.sharing_rate,
            "compression": count.compression_rate,
            "accuracy": accuracy(small, data.held),
            "bytes": size,
            "labels": _text(spec.labels),
        }

    def _teacher(self, job: Job) -> nn.Module | None:
        if job.teaching == "labels":
            return None
        return self._stage_one(job._replace(method=SHIFTED if job.teaching == "shifts" else "none"))

    def _stage_one(self, job: Job) -> nn.Sequential:
        if job.method in ("none", MAGNITUDE, SHIFTED):
            method = SHIFTED if job.method == SHIFTED else "none"
            job = job._replace(method=method, protocol="-", strength=0.0)
        return self._once((*job[:4], job.seed), lambda: learn(job, self.data[job.phase], self.plan))

    def _once(self, key: tuple[Any, ...], make: Callable[[], nn.Sequential]) -> nn.Sequential:
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


# --- the plan, job by job


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
            points.append((_mean(e["accuracy"] for e in here), _mean(e["compression"] for e in here), strength))
    if not points:
        return None
    good = [point for point in points if point[0] >= _mean(dense) - plan.tolerance]
    return max(good, key=lambda point: point[1])[2] if good else max(points)[2]


def _mean(values: Any) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _text(numbers: Tensor) -> str:
    return " ".join(map(str, numbers.tolist()))


# --- what the entries say together


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
    if selected.any() and not selected.all():
        phi = selection_stability(selected)
        found |= {"phi": phi.phi, "lower": phi.lower, "upper": phi.upper, "changed": changed_indices(selected)}
    return found


def changed_indices(selected: Tensor) -> float:
    """The paper's figure, in percent: the mean distance of a run's mask to the mean mask, by rows alive in some run."""
    distance = (selected - selected.double().mean(0)).abs().sum(1).mean()
    return float(distance / selected.any(0).sum()) * 100


# --- the program


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
    user = getattr(os, "getuid", getpass.getuser)()  # Windows has no numbers for users
    with FileLock(Path(tempfile.gettempdir()) / f"growl_mnist_{user}.lock"):
        results = {name: value for name, value in sorted({**load(path, plan), key: entry}.items())}
        text = {"published": PUBLISHED, "plan": asdict(plan), "summary": summary(results), "results": results}
        keep(path, text)
    return results


def measure(
    splits: Splits, plan: Plan, grid: Grid, path: Path, *, limit: int | None = None, worker: tuple[int, int] = (0, 1)
) -> dict[str, Any]:
    """Run what the results do not hold yet, `limit` jobs at most; as worker i of n, every n-th seed's."""
    results = load(path, plan)
    bench = Bench(splits, plan)
    number, workers = worker
    with tqdm(unit="job") as bar:
        while limit is None or bar.n < limit:
            todo = [job for job in dict.fromkeys(jobs(plan, grid, results)) if job.key not in results]
            mine = [job for job in todo if (job.seed + (job.phase == "report")) % workers == number]
            if not mine:
                break
            bar.total = bar.n + len(mine)
            bar.set_postfix_str(mine[0].key)
            results = save(path, plan, mine[0].key, bench.run(mine[0]))
            bar.update()
    return results


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


def main() -> None:
    """Measure, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="folder of MNIST's four files; without it as tyinglib.book.datasets.mnist")
    parser.add_argument("--fresh", action="store_true", help="measure all again")
    parser.add_argument("--jobs", type=int, help="stop after so many")
    parser.add_argument("--size", choices=SIZES, default="whole", help="of the plan: an hour, or a day, on one core")
    parser.add_argument("--worker", default="0/1", help="i/n: this one of n that run at the same time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = mnist(options.data, dtype=torch.float32)
    if options.fresh:
        RESULTS.unlink(missing_ok=True)
    number, workers = map(int, options.worker.split("/"))
    found = summary(measure(splits, Plan(), SIZES[options.size], RESULTS, limit=options.jobs, worker=(number, workers)))
    for name, point in found["points"].items():
        (mean, spread), compression = point["accuracy"], point["compression"][0]
        print(f"{name}: {compression:.1f}x at {mean:.2f} +- {spread or 0:.2f} % ({point['seeds']} seeds)")
    for name, values in found["stability"].items():
        print(f"{name}: {values}")


if __name__ == "__main__":
    main()
