"""Stage one: the network learns under a penalty on the rows of layer 1, or is cut down afterwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.growl_mnist.plan import SHIFTED, Job, Plan
from benchmarks.growl_mnist.training import Data, descend
from tyinglib import GroupLasso, GrOWL, Penalty, ProxSGD, pld_weights


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


@torch.no_grad()
def prune(layer: Any, x: Tensor, kept: int) -> None:
    """Zero all rows but `kept`: those with the largest length times the deviation of their pixel."""
    size = layer.weight.norm(dim=0) * x.std(0)
    layer.weight[:, size.argsort(descending=True, stable=True)[kept:]] = 0
