"""Which rows of layer 1 share a value."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.growl_mnist.plan import Job, Plan
from benchmarks.growl_mnist.training import Data, descend, distillation
from tyinglib import AffinityPropagation, KMeans, TieSpec, find_ties, tie


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
