"""Stage two: the network again, inside its ties."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.growl_mnist.plan import Job, Plan
from benchmarks.growl_mnist.training import Data, descend, distillation
from tyinglib import TieSpec
from tyinglib.compacting import SumInputs


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
