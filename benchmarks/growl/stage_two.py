"""Stage two, as released: the network goes on, and once an epoch the rows of a group are replaced by their mean.

Between two averagings the rows part again, and the first epoch begins with rows that were never averaged. The step
size is that of stage one's last step: the released code builds a second optimizer and then uses the first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.growl.stage_one import Ensemble, batches


def average(weight: Tensor, labels: Tensor) -> Tensor:
    """Every row as the mean of its group; rows with label -1 are zero."""
    inside = labels >= 0
    size = int(labels.max()) + 1 if inside.any() else 0
    sums = weight.new_zeros(size, weight.shape[1]).index_add_(0, labels[inside], weight[inside])
    means = sums / labels[inside].bincount(minlength=size)[:, None]
    result = torch.zeros_like(weight)
    result[inside] = means[labels[inside]]
    return result


def retrain(ensemble: Ensemble, labels: Tensor) -> list[dict[str, Any]]:
    """Stage two in place. `labels` (networks, pixels). Accuracy after every epoch, its averaging included."""
    settings = ensemble.settings
    examples = len(ensemble.images.x)
    steps = examples // settings.batch
    ensemble.forget_momentum()
    scores: dict[str, list[list[float]]] = {part: [] for part in ensemble.images.held}
    for epoch in range(settings.retrain):
        at = [epoch if m.retrain_lr == "again" else settings.epochs - 1 for m in ensemble.members]
        rates = [m.rate(e, steps, examples) for m, e in zip(ensemble.members, at, strict=True)]
        lr = torch.tensor(rates, device=ensemble.W.device).view(-1, 1, 1)
        for rows in batches(ensemble):
            ensemble.step(rows, lr)
        whole = ensemble.layer_one()
        ensemble.set_layer_one(torch.stack([average(weight, own) for weight, own in zip(whole, labels, strict=True)]))
        for part, values in scores.items():
            values.append([round(score, 2) for score in ensemble.accuracy(part)])
    return [{part: [epoch[i] for epoch in values] for part, values in scores.items()} for i in range(len(labels))]
